"""What devices of a tensor-parallel group exchange in a step."""

from __future__ import annotations

import numpy as np

from simulator.device.device import Device
from simulator.errors import UnsupportedError
from simulator.op.kernels import FloatArray
from simulator.units import parse

RING_S = {"peer": 2e-6, "host": 3e-6}
"""Start of a ring of kernels, each device on it, by link: 16 us for 8 devices with NVLink, 25 with PCIe alone. Source:
all-reduce times of NCCL in aiconfigurator's tables, 512 bytes on H100, H200 and RTX PRO 6000."""

LINK_SHARE = 0.75
"""Of a link's bandwidth that sums reach, in rings as in one step."""


def sum_seconds(device: Device, ways: int, message_bytes: FloatArray, start_s: float) -> FloatArray:
    """Time of one sum of a message over the devices of a group, the same shape. [s]

    Engines' own kernels let each device read all others' messages in one step, from links between devices; a ring hands
    each device 2 (n - 1) / n of the message, in as many steps: small messages take the first, long ones the second.
    Worked example: 256 KiB on 8 H200 of 450 GB/s are 3.2 us + 7 x 262,144 / 338e9 = 8.6 us, measured 10.1.
    Source: Thakur et al., 2005, section 4.5.

    start_s : of the engine's own kernel. [s]
    """
    if ways == 1:
        return np.zeros_like(message_bytes)
    kind, bandwidth = _link(device)
    reached = LINK_SHARE * bandwidth
    ring_s: FloatArray = RING_S[kind] * ways + 2 * (ways - 1) / ways * message_bytes / reached
    direct_s: FloatArray = start_s + (ways - 1) * message_bytes / reached
    return np.minimum(ring_s, direct_s) if kind == "peer" else ring_s


def _link(device: Device) -> tuple[str, float]:
    links = device.profile.links
    peer = links.peer if links else None
    host = links.host if links else None
    link = peer or host
    if link is None:
        raise UnsupportedError(f"{device.name} lists no link to other devices; give one with --set links.peer....")
    return ("peer" if peer else "host"), parse(link.bandwidth, "byte/s", f"{device.name}: links")


def link_byte_per_s(device: Device) -> float:
    """Bandwidth of a device's link to others, one direction. [byte/s]"""
    return _link(device)[1]

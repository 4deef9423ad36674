"""What devices of a tensor-parallel group exchange in a step."""

from __future__ import annotations

import numpy as np

from simulator.device.device import Device
from simulator.errors import UnsupportedError
from simulator.op.kernels import FloatArray
from simulator.units import parse

LATENCY_S = {"peer": 8e-6, "host": 25e-6}
"""Start of a small sum over the devices of a node, by link."""

LINK_SHARE = 0.75
"""Of a link's bandwidth that sums reach."""


def sum_seconds(device: Device, ways: int, message_bytes: FloatArray) -> FloatArray:
    """Time of one sum of a message over the devices of a group, the same shape. [s]

    A ring hands each device 2 (n - 1) / n of the message. Source: Thakur et al., 2005, section 4.5.
    """
    if ways == 1:
        return np.zeros_like(message_bytes)
    kind, bandwidth = _link(device)
    moved = 2 * (ways - 1) / ways * message_bytes
    result: FloatArray = LATENCY_S[kind] + moved / (LINK_SHARE * bandwidth)
    return result


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

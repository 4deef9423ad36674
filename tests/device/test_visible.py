"""What a program sees of a board's memory: worked by hand, with and without codes in it, and of other vendors."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from simulator.device.device import Device, load_device
from simulator.device.visible import visible_bytes

GIB = 2.0**30


def of(name: str, **profile: str) -> Device:
    device = load_device(name)
    return replace(device, profile=msgspec.structs.replace(device.profile, **profile))


@pytest.mark.parametrize(
    ("name", "seen_gib"),
    [
        # The driver keeps 0.25 GiB and 0.7 %: 80 - 0.25 - 0.56, 24 - 0.25 - 0.168.
        ("h100-sxm5-80gb", 79.19),
        ("rtx-4090", 23.582),
        # One byte in sixteen holds codes: 48 x 15/16 = 45, and 45 - 0.25 - 0.315 is left of it.
        ("l40s", 44.435),
    ],
)
def test_a_board_without_what_the_driver_and_its_codes_keep(name: str, seen_gib: float) -> None:
    assert visible_bytes(load_device(name)) == pytest.approx(seen_gib * GIB)


@pytest.mark.parametrize(
    "device",
    [
        *(load_device(name) for name in ("mi300x", "tpu-v5e", "m1", "epyc-7742")),
        of("cpu-16core", vendor="NVIDIA"),  # a processor's memory is the computer's own
        of("l40s", vendor="AMD"),
        of("l40s", vendor="Other"),
    ],
    ids=lambda device: f"{device.name} {device.profile.vendor}",
)
def test_only_boards_of_the_vendor_that_was_measured_keep_some(device: Device) -> None:
    assert visible_bytes(device) == device.memory.capacity_bytes

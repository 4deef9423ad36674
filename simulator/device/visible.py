"""The memory that a program sees: a board's, less what error correction and the driver keep."""

from __future__ import annotations

from simulator.device.device import Device

CODES = 15 / 16
"""Of the memory that is left where codes lie in it: one byte in sixteen. An L40S of 48 GiB shows 45.0."""

DRIVER_BYTES, DRIVER_SHARE = 0.25 * 2**30, 0.007
"""What NVIDIA's driver and firmware keep: so many bytes, and a share of the capacity.

Fitted to the total that `torch.cuda.mem_get_info` gives in engines' logs: 7.65 of 8 GiB (a laptop's RTX 4070), 23.55 of
24 (RTX 4090), 39.50 of 40 (A100), 44.39 of 45.0 (L40S), 47.50 of 48 (RTX A6000), 79.19 of 80 (H100), within 0.2 GiB
each.
"""


def visible_bytes(device: Device) -> float:
    """What a program can have of a device's memory. [byte]

    Worked example: an H100 of 80 GiB, 80 - 0.25 - 0.56 = 79.19 GiB. Boards of other vendors are taken as they are.
    """
    whole = device.memory.capacity_bytes
    if device.profile.kind != "gpu" or device.profile.vendor != "NVIDIA":
        return whole
    if device.profile.memory.error_correction:
        whole *= CODES
    return whole * (1 - DRIVER_SHARE) - DRIVER_BYTES

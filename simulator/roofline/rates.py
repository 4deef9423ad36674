"""What a device does in a second for a kernel: peaks by precision and engine, at each fidelity."""

from __future__ import annotations

from enum import StrEnum
from functools import lru_cache
from typing import Any

from simulator.device.device import Device
from simulator.errors import UnsupportedError
from simulator.op.kernel import Engine
from simulator.precision import Precision


class Fidelity(StrEnum):
    """How much of the hardware a time knows of."""

    NAPKIN = "napkin"
    """Work divided by a fraction of the peak."""
    ROOFLINE = "roofline"
    """The datasheet's peaks and bandwidth: a bound for direct algorithms."""
    CALIBRATED = "calibrated"
    """Sustained rates, tiles and waves, choice of algorithm, launch and dispatch."""


@lru_cache(maxsize=256)
def peak_name(device: Device, precision: Precision, engine: Engine) -> str:
    """The peak that an engine runs at: the fastest that the device has of those that serve the precision.

    A product of half-width values may run in fp32 lanes after widening, as the libraries do where half-width lanes are
    slower (GeForce 10: 1/64) or missing.

    Raises
    ------
    UnsupportedError
        If the device lists none of them.
    """
    wanted = precision.matrix_peaks if engine is Engine.MATRIX else precision.vector_peaks
    listed = [name for name in wanted if name in device.peak]
    if not listed:
        raise UnsupportedError(
            f"{device.name} lists no {' or '.join(wanted)} peak, which precision {precision.name} needs; it has "
            f"{', '.join(sorted(device.peak))}; choose another --precision or give one with --set peak.{wanted[-1]}=..."
        )
    return max(listed, key=lambda name: _first(device.peak[name]))


def _first(number: float | Any) -> float:
    """A number of a device, or the first of a column of them (`device/columns.py`)."""
    return float(number if isinstance(number, float | int) else number.flat[0])

"""The roofs of a device: its memory's slope and one flat for each engine, as the datasheet has them and sustained."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simulator.op.kernels import FloatArray
from simulator.roofline.setting import Setting


def quotient(above: FloatArray | float, below: FloatArray | float) -> FloatArray:
    """Work over traffic, an intensity [FLOP/byte], or over time, a rate [FLOP/s]; NaN where there is nothing below.

    Worked: 12 FLOP that move 4 bytes in 2 s have an intensity of 3 FLOP/byte and reach 6 FLOP/s.
    """
    upper, lower = np.broadcast_arrays(np.asarray(above, dtype=float), np.asarray(below, dtype=float))
    result: FloatArray = np.divide(upper, lower, out=np.full(upper.shape, np.nan), where=lower > 0)
    return result


@dataclass(frozen=True, slots=True)
class Rate:
    """A peak or a bandwidth: the datasheet's, and what good kernels sustain of it, if that is asked for. [1/s]"""

    name: str
    datasheet: float
    sustained: float | None


@dataclass(frozen=True, slots=True)
class Roofs:
    """Memory bandwidth and the compute peaks that kernels run at, the highest first. [byte/s], [FLOP/s]"""

    memory: Rate
    compute: tuple[Rate, ...]

    def attainable(self, intensity: float) -> float:
        """The datasheet's roof above an intensity [FLOP/byte]: the lower of slope and highest flat. [FLOP/s]

        Worked: 900 GB/s and 14 TFLOP/s meet at 15.6 FLOP/byte; 10 FLOP/byte attain 9 TFLOP/s, 100 attain 14.

        >>> roofs = Roofs(Rate("HBM2", 900e9, None), (Rate("fp32", 14e12, None),))
        >>> f"{roofs.ridges[0][0]:.1f}", roofs.attainable(10) / 1e12, roofs.attainable(100) / 1e12
        ('15.6', 9.0, 14.0)

        References
        ----------
        Williams, Waterman, Patterson, "Roofline", Commun. ACM 52(4), 2009. doi:10.1145/1498765.1498785
        """
        return min(intensity * self.memory.datasheet, self.compute[0].datasheet)

    @property
    def ridges(self) -> list[tuple[float, float]]:
        """(intensity, performance) where the slope meets each flat. [FLOP/byte], [FLOP/s]"""
        return [(rate.datasheet / self.memory.datasheet, rate.datasheet) for rate in self.compute]

    def is_above_ridge(self, intensity: float) -> bool:
        """Whether the highest flat, not the slope, limits work of an intensity [FLOP/byte]."""
        return intensity > self.ridges[0][0]


def device_roofs(setting: Setting) -> Roofs:
    """The roofs over kernels of a setting's precision; sustained ones at the calibrated fidelity only.

    Raises
    ------
    UnsupportedError
        If the device lists no peak for the precision.
    """
    device = setting.device

    def flat(name: str) -> Rate:
        share = device.sustained["matrix" if name.endswith("_tensor") else "vector"]
        return Rate(
            name.replace("_", " "), device.peak[name], device.peak[name] * share if setting.calibrated else None
        )

    names = sorted({setting.matrix_peak, setting.vector_peak})
    slope = setting.bandwidth_byte_per_s if setting.calibrated else None
    memory = Rate(device.memory.technology.upper(), device.memory.bandwidth_byte_per_s, slope)
    return Roofs(memory, tuple(sorted(map(flat, names), key=lambda found: -found.datasheet)))

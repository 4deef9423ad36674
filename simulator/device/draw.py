"""What a board draws: what it takes at rest, what it takes while kernels run, and energy an operation and a byte.

    power = min(static + running + computing x share of the time + bytes/s x energy a byte, held)

Static power, energy an operation by engine and energy a byte of memory are those that hold a board's clock
(`device/power.py`). A product in another format takes energy in inverse proportion to its peak, so that units at work
draw the same whatever they compute in. Limiters act on a mean over some hundredths of a second, which holds many
kernels: the limit is one of a step, not of a kernel.

Worked: an H100 SXM (132 units, 700 W, sustained 0.8 of 989 TFLOP/s at 0.55 pJ) that streams 2.2 TB/s and computes in a
twentieth of the time: static 15 + 132 x 0.35 = 61 W; running 0.366 x 700 = 256 W; computing 0.05 x 0.8 x 989e12 x
0.55e-12 x 1980/1830 = 24 W; bytes 2.2e12 x (31 + 16) pJ = 103 W: 444 W.
"""

from __future__ import annotations

from dataclasses import dataclass

from simulator.device.device import Device
from simulator.device.inheritance import families_of, load_family
from simulator.device.power import STATIC_W, UNIT_W, energy_of, memory_energy, rated_clock
from simulator.units import parse

RUNNING = 0.366
"""Share of its limit that a board takes, beside its static power, from the first kernel on: instructions, caches,
links. Of dense products it is part of the energy of their operations, from which the clock's limit follows. Fitted to
measured watts, as `WAY_J` is (`python -m simulator.calibration.power_fit`)."""

WAY_J = 16e-12
"""Energy of a byte between the memory's pins and the units, beside the memory's own. [J]"""

COMPUTING = 0.56
"""Share of its limit that a board's units take at their sustained rate, where its family has no energy of an operation:
an A100's is 0.56, an H100's 0.67, a B200's 0.46 by their families' energies."""

HELD = 0.96
"""Share of its limit at which a board is held: a B200's mean power under loads that reach it is 0.95 to 0.97 of its
1,000 W, the highest of an H100 0.99 of 700 W (ML.ENERGY)."""

LOW, HIGH = 0.808, 1.25
"""Measured over predicted watts, 10th and 90th percentile where each device is held out of the fit."""


@dataclass(frozen=True)
class Draw:
    """What makes a board's power. [W], [J/byte]

    Attributes
    ----------
    vector_w, matrix_w : of lanes and of tensor cores at work at their sustained rates.
    limit_w : the board's.
    """

    static_w: float
    running_w: float
    vector_w: float
    matrix_w: float
    byte_j: float
    limit_w: float

    def power(self, lanes: float, tensors: float, byte_per_s: float) -> float:
        """While kernels run. [W]

        lanes, tensors : shares of the time in which they compute.
        """
        computing = lanes * self.vector_w + tensors * self.matrix_w
        return min(self.static_w + self.running_w + computing + byte_per_s * self.byte_j, HELD * self.limit_w)


def draw_of(device: Device, running: float = RUNNING, way_j: float = WAY_J) -> Draw | None:
    """What makes a board's power; None of a processor, and where the profile states no limit.

    Parameters
    ----------
    running, way_j : in place of what was fitted, as a fit tries them.
    """
    profile = device.profile
    if profile.power is None or device.kind == "cpu":
        return None
    limit_w = parse(profile.power, "W", device.name)
    return Draw(
        static_w=min(STATIC_W + UNIT_W * device.unit_count, limit_w / 2),
        running_w=running * limit_w,
        vector_w=_computing_w(device, "vector", limit_w),
        matrix_w=_computing_w(device, "matrix", limit_w),
        byte_j=memory_energy(profile.memory) + way_j,
        limit_w=limit_w,
    )


def _computing_w(device: Device, engine: str, limit_w: float) -> float:
    """Units of an engine at work. [W]

    A clock that the limit holds to a share of the rated one lowers the rate by it, and the energy of an operation too.
    """
    family = load_family(families_of(device.profile)[-1], device.name)
    peak = device.peak.get("fp32" if engine == "vector" else "fp16_tensor")
    used = energy_of(device.profile, family)
    energy = getattr(used, engine) if used else None
    if peak is None or used is None or energy is None:
        return COMPUTING * limit_w
    clock = rated_clock(device.profile, used) * device.limits.get(engine, 1.0)
    return device.sustained[engine] * float(peak) * parse(energy, "J") * clock

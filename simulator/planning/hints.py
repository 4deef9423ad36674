"""Which other setting a reader should look at: a batch at which the device is busy, the precision people train in."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np

from simulator.errors import SimulatorError
from simulator.op.kernels import FloatArray
from simulator.pipeline import Simulation, overhead_shares, simulate
from simulator.roofline.times import Bound

DOUBLINGS = 14
"""Batches up to this power of two of the present one are looked at."""

BUSY = 0.5
"""Share of a step's time below which waiting for the host no longer decides."""

HALF = ("amp", "bf16")
"""Precisions that people train in on matrix units, the most usual first."""


class PrecisionHint(msgspec.Struct, frozen=True):
    """A faster precision and how many times faster the step is in it."""

    precision: str
    speedup: float


def busy_batch(simulation: Simulation) -> int | None:
    """The smallest batch, among doublings that fit the memory, at which the device and not its host decides.

    None where the device decides already, where no such batch fits, and for the bounds, which know no host.
    """
    if simulation.step.bound is not Bound.OVERHEAD or not simulation.calibrated:
        return None
    batches: FloatArray = np.array([float(simulation.batch * 2**power) for power in range(1, DOUBLINGS)])
    batches = batches[batches <= simulation.memory.largest_batch]
    if not len(batches):
        return None
    shares = overhead_shares(simulation.workload, simulation.device, batches, simulation.options)
    busy = np.flatnonzero(shares < BUSY)
    return int(batches[busy[0]]) if len(busy) else None


def precision_hint(simulation: Simulation) -> PrecisionHint | None:
    """Half width on matrix units, where a step in fp32 leaves them idle and would be faster in it.

    None for other precisions and fidelities, and where there are no such units or nothing is gained.
    """
    options, device = simulation.options, simulation.device
    if options.precision != "fp32" or not simulation.calibrated:
        return None
    name = next((name for name in HALF if _on_matrix_units(simulation, name)), None)
    if name is None:
        return None
    try:
        other = simulate(simulation.workload, device, replace(options, precision=name, ignore_memory=True))
    except SimulatorError:
        return None
    speedup = simulation.step.time_s / other.step.time_s
    return PrecisionHint(name, speedup) if speedup > 1 else None


def _on_matrix_units(simulation: Simulation, precision: str) -> bool:
    try:
        return replace(simulation.options, precision=precision).on(simulation.device).on_tensor_cores
    except SimulatorError:
        return False

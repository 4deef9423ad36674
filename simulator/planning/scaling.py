"""Speed-up and efficiency against the number of devices, with the part of it that each cause takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from simulator.device.device import Device
from simulator.device.system import usual_cluster
from simulator.errors import InputError, SimulatorError
from simulator.parallel.data import late_seconds
from simulator.pipeline import Options, Simulation, simulate
from simulator.workload.workload import Workload

CAUSES = ("smaller batches", "exchange", "slowest device")
"""What keeps many devices from the speed of as many single ones."""


@dataclass(frozen=True)
class ScalingPoint:
    """So many devices.

    Attributes
    ----------
    batch : samples of each device.
    speed_up : throughput over that of one device at the batch that was asked for.
    efficiency : the speed-up over the number of devices.
    lost : cause -> part of the efficiency that it takes; with `efficiency` they sum to one.
    reason : why it cannot run; "" where it does, and then all else is known.
    """

    devices: int
    batch: int
    time_s: float = float("nan")
    samples_per_s: float = float("nan")
    speed_up: float = float("nan")
    efficiency: float = float("nan")
    lost: tuple[float, float, float] = (float("nan"),) * 3
    reason: str = ""


def scaling(
    workload: Workload, device: Device, options: Options, counts: Sequence[int], *, global_batch: int | None = None
) -> list[ScalingPoint]:
    """Data-parallel training on each number of devices, joined as they usually are.

    Parameters
    ----------
    options : `batch` is of each device (weak scaling).
    global_batch : samples of all devices together instead (strong scaling); one device then takes all of them, whether
        they fit its memory or not.

    Raises
    ------
    SimulatorError
        If one device cannot run it.
    """
    if options.task != "train":
        raise InputError("scaling is of training: devices that infer exchange nothing")
    whole = global_batch or options.batch or workload.batch
    alone = simulate(workload, device, replace(options, batch=whole, ignore_memory=True))
    return [_point(workload, device, options, count, (whole, global_batch is not None), alone) for count in counts]


def _point(
    workload: Workload, device: Device, options: Options, count: int, batches: tuple[int, bool], alone: Simulation
) -> ScalingPoint:
    whole, shared = batches
    batch = whole // count if shared else whole
    if shared and whole % count:
        return ScalingPoint(count, batch, reason=f"{whole} samples do not divide over {count} devices")
    try:
        joined = usual_cluster(device, count) if count > 1 else None
        step = simulate(workload, device, replace(options, batch=batch), joined).step
    except SimulatorError as error:
        return ScalingPoint(count, batch, reason=str(error))
    efficiency = step.samples_per_s / (count * alone.step.samples_per_s)
    computing_s = step.kernels_s
    late_s = float(late_seconds(count, np.asarray(computing_s - step.update_s))) if count > 1 else 0.0
    late_s = min(late_s, step.communication_s)
    without = batch / computing_s / alone.step.samples_per_s
    parts = 1 - without, without * (step.communication_s - late_s) / step.time_s, without * late_s / step.time_s
    return ScalingPoint(count, batch, step.time_s, step.samples_per_s, efficiency * count, efficiency, parts)

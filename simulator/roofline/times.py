"""Kernel times: the slower of computing and moving data, plus the launch."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from simulator.device.device import Device
from simulator.op.kernel import Engine, Phase
from simulator.op.kernels import FloatArray, IntArray, Kernels, at_batch
from simulator.precision import Precision
from simulator.roofline.rates import Fidelity, engine_peaks, rates
from simulator.roofline.traffic import TrafficModel, traffic_bytes
from simulator.units import FLOPS_PER_MAC


class Bound(IntEnum):
    """What a kernel waits for."""

    COMPUTE = 0
    MEMORY = 1
    OVERHEAD = 2


@dataclass(frozen=True, slots=True)
class Times:
    """Columns over kernels, shape (kernels,) or (batches, kernels). [FLOP], [byte], [s]"""

    flops: FloatArray
    traffic_bytes: FloatArray
    compute_s: FloatArray
    memory_s: FloatArray
    overhead_s: FloatArray
    time_s: FloatArray
    bound: IntArray


def kernel_times(
    kernels: Kernels,
    device: Device,
    batch: FloatArray | float,
    precision: Precision,
    fidelity: Fidelity = Fidelity.CALIBRATED,
    traffic: TrafficModel = TrafficModel.IDEAL,
) -> Times:
    """Time of each kernel: the slower of computing and moving data, plus its launch.

    Parameters
    ----------
    kernels : columns of shape (kernels,). [FLOP], [elements]
    batch : samples in the step, at least 1; a column of shape (batches, 1) evaluates many at once.
    fidelity : `roofline` takes the datasheet's rates and no launch cost, `calibrated` the sustained ones.

    Returns
    -------
    Times, columns of shape (kernels,) or (batches, kernels). [s]

    Raises
    ------
    UnsupportedError
        If the device lists no peak for an (engine, dtype) that a kernel needs.

    References
    ----------
    Williams, Waterman, Patterson, "Roofline", Commun. ACM 52(4), 2009. doi:10.1145/1498765.1498785
    """
    rate = rates(kernels, device, precision, fidelity)
    flops = at_batch(kernels.flops, batch)
    moved = traffic_bytes(kernels, device, batch, precision, traffic)
    compute_s = flops / rate.compute_flop_per_s
    memory_s = moved / rate.bandwidth_byte_per_s
    overhead_s = np.full_like(compute_s, rate.launch_s)
    busy_s = np.maximum(compute_s, memory_s)
    bound = np.where(compute_s >= memory_s, Bound.COMPUTE, Bound.MEMORY)
    bound = np.where(overhead_s > busy_s, Bound.OVERHEAD, bound)
    return Times(flops, moved, compute_s, memory_s, overhead_s, busy_s + overhead_s, bound)


def napkin_times(
    kernels: Kernels, device: Device, batch: FloatArray | float, precision: Precision, operations_scale: float = 1.0
) -> Times:
    """The founding articles' estimate: forward multiply-accumulates, each one operation, at a fraction of the peak.

    Parameters
    ----------
    operations_scale : what the articles count for each multiply-accumulate of ours (21 G for 20.69 G in SENet).

    Notes
    -----
    It leaves out that a MAC is two FLOP, the backward pass, and all traffic: about six times too fast for training.
    """
    _, matrix = engine_peaks(device, precision)
    counted = (kernels.engine == Engine.MATRIX) & (kernels.phase == Phase.FORWARD)
    flops = at_batch(kernels.flops, batch)
    operations = np.where(counted, flops / FLOPS_PER_MAC, 0.0) * operations_scale
    time_s = operations / (matrix * device.utilisation)
    zero = np.zeros_like(time_s)
    moved = traffic_bytes(kernels, device, batch, precision, TrafficModel.IDEAL)
    return Times(flops, moved, time_s, zero, zero, time_s, np.full(time_s.shape, Bound.COMPUTE, dtype=np.int64))

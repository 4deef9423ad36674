"""Kernel times: the slower of computing and moving data, plus the launch."""

from __future__ import annotations

import msgspec
import numpy as np

from simulator.device.framework import NEVER_LATE
from simulator.op.kernel import Engine, OpClass, Phase
from simulator.op.kernels import Columns, FloatArray, IntArray, Kernels, at_batch
from simulator.roofline import processor
from simulator.roofline.calibrated import calibrated_seconds
from simulator.roofline.calls import group_launches, issued_seconds
from simulator.roofline.layout import with_layout
from simulator.roofline.queue import waiting_seconds
from simulator.roofline.resource import Resource
from simulator.roofline.setting import Setting
from simulator.roofline.traffic import ideal_bytes, traffic_bytes
from simulator.units import FLOPS_PER_MAC


class Bound(Resource):
    """What a kernel waits for."""

    COMPUTE = 0
    MEMORY = 1
    OVERHEAD = 2
    COMMUNICATION = 3
    """Of steps on several devices alone: what is exchanged and hides behind nothing."""
    INPUT = 4
    """Of steps alone whose samples come from a loader: what the device waits for them."""


ROOFS = (Bound.COMPUTE, Bound.MEMORY)
"""Resources that work side by side: a kernel takes as long as the slowest of them, the first of equals."""

OF_KERNELS = (*ROOFS, Bound.OVERHEAD)
"""All that a kernel may wait for, the first axis of seconds. What is no roof adds to them, and binds a kernel where it
takes longer than they do; what a step alone waits for adds to the sum of its kernels."""


class Times(msgspec.Struct, frozen=True):
    """Columns over kernels, shape (kernels,) or (batches, kernels). [FLOP], [byte], [s]

    `seconds` has one row more than these for each of `OF_KERNELS`: shape (resources, ..., kernels).
    """

    flops: FloatArray
    traffic_bytes: FloatArray
    seconds: FloatArray
    time_s: FloatArray
    bound: IntArray


def kernel_times(kernels: Kernels, setting: Setting, batch: FloatArray | float) -> Times:
    """Time of each launch: the slower of computing and moving data, plus what the device waits between launches.

    Parameters
    ----------
    kernels : launches in order. [FLOP], [elements]
    setting : of which the fidelity `roofline` takes the datasheet's rates and no waiting, `calibrated` all that
        `calibrated.py` knows.
    batch : samples in the step, at least 1; a column of shape (batches, 1) evaluates many at once.

    Returns
    -------
    Times, columns of shape (launches,) or (batches, launches). [s]

    Raises
    ------
    UnsupportedError
        If the device lists no peak for an (engine, dtype) that a kernel needs.

    References
    ----------
    Williams, Waterman, Patterson, "Roofline", Commun. ACM 52(4), 2009. doi:10.1145/1498765.1498785
    """
    busy, rows = busy_times(kernels, setting, batch), kernels.row
    launched_s = busy.busy_s.take(rows, axis=-1)
    seconds = np.zeros((len(OF_KERNELS), *launched_s.shape))
    for roof, roof_s in zip(ROOFS, busy.seconds, strict=True):
        seconds[roof] = roof_s.take(rows, axis=-1)
    overhead_s = seconds[Bound.OVERHEAD]
    if setting.calibrated:
        overhead_s[...] = overhead_seconds(kernels, setting, batch, launched_s)
    return Times(
        flops=busy.flops.take(rows, axis=-1),
        traffic_bytes=busy.traffic_bytes.take(rows, axis=-1),
        seconds=seconds,
        time_s=launched_s + overhead_s,
        bound=np.where(overhead_s > launched_s, Bound.OVERHEAD, busy.roof.take(rows, axis=-1)),
    )


class Busy(msgspec.Struct, frozen=True):
    """Columns over distinct kernels, without any waiting, shape (kernels,) or (batches, kernels). [FLOP], [byte], [s]

    `seconds` are of each of `ROOFS`; `busy_s` is the slowest of them, and on a processor what overlaps with none.
    """

    flops: FloatArray
    traffic_bytes: FloatArray
    seconds: tuple[FloatArray, ...]
    busy_s: FloatArray

    @property
    def roof(self) -> IntArray:
        """The slowest of `ROOFS` for each kernel."""
        slowest: IntArray = np.argmax(np.broadcast_arrays(*self.seconds), axis=0)
        return slowest


def busy_times(kernels: Kernels, setting: Setting, batch: FloatArray | float) -> Busy:
    """What each distinct kernel computes and moves, and how long that takes; arguments as of `kernel_times`."""
    columns = kernels.distinct
    flops = at_batch(columns.flops, batch)
    moved = traffic_bytes(columns, setting, batch)
    if setting.calibrated:
        parts = _calibrated(columns, with_layout(setting, kernels), batch, moved)
        compute_s, memory_s, busy_s = _steady(columns, parts, setting)
        return Busy(flops, moved, (compute_s, memory_s), busy_s)
    vector, matrix = setting.vector_flop_per_s, setting.matrix_flop_per_s
    of_products = np.where(columns.op_class == OpClass.ATTENTION, setting.of_attention.matrix_flop_per_s, matrix)
    compute_s = flops / np.where(columns.engine == Engine.MATRIX, of_products, vector)
    memory_s = moved / setting.device.memory.bandwidth_byte_per_s
    return Busy(flops, moved, (compute_s, memory_s), np.maximum(compute_s, memory_s))


def busy_seconds(columns: Columns, setting: Setting, batch: FloatArray | float) -> FloatArray:
    """Calibrated time of kernels run one by one, without any waiting, shape (kernels,). [s]"""
    return parts_seconds(columns, setting, batch)[2]


def parts_seconds(
    columns: Columns, setting: Setting, batch: FloatArray | float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The same by what it is made of: computing, moving data, and both. [s]"""
    return _calibrated(columns, setting, batch, traffic_bytes(columns, setting, batch))


def _calibrated(
    columns: Columns, setting: Setting, batch: FloatArray | float, moved: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Seconds of computing, of moving data, and of both: the slower, and on a processor what overlaps with neither."""
    compute_s, memory_s = calibrated_seconds(columns, setting, batch, moved)
    if setting.precision.attention:
        wider = calibrated_seconds(columns, setting.of_attention, batch, moved)[0]
        compute_s = np.where(columns.op_class == OpClass.ATTENTION, wider, compute_s)
    if not setting.on_processor:
        return compute_s, memory_s, np.maximum(compute_s, memory_s)
    compute_s = processor.arithmetic_seconds(columns, setting, compute_s)
    copies_s = processor.copy_seconds(columns, setting, batch)
    return compute_s, memory_s + copies_s, np.maximum(compute_s, memory_s) + copies_s


def _steady(
    columns: Columns, parts: tuple[FloatArray, FloatArray, FloatArray], setting: Setting
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The same where a framework issues kernels for long: products at the clock that the power limit then allows."""
    if setting.framework is NEVER_LATE or not setting.holds:
        return parts
    compute_s, memory_s, _ = parts
    compute_s = compute_s / np.where(columns.op_class == OpClass.GEMM, setting.steady, 1.0)
    return compute_s, memory_s, np.maximum(compute_s, memory_s)


def overhead_seconds(kernels: Kernels, setting: Setting, batch: FloatArray | float, busy_s: FloatArray) -> FloatArray:
    """The device's own gap between launches, and its waiting for the host, the shape of `busy_s`. [s]"""
    device, framework = setting.device, setting.framework
    calls_s = processor.call_seconds(kernels, setting, batch)
    if calls_s is not None:
        return np.broadcast_to(calls_s, busy_s.shape)
    if framework is NEVER_LATE:
        return np.broadcast_to(processor.start_seconds(device), busy_s.shape)
    dispatch_s, helpers_s = issued_seconds(kernels, framework)
    if not setting.on_processor:  # copying a batch to a device and waiting for its answer
        dispatch_s = processor.with_first(dispatch_s, framework.step_s)
    if device.profile.family in setting.path.launched_groups:
        dispatch_s = dispatch_s + group_launches(kernels) * device.launch_s
    dispatch_s = dispatch_s * device.host_scale
    gap_s = processor.start_seconds(device) + helpers_s
    if framework.blocking:
        return gap_s + np.broadcast_to(dispatch_s, busy_s.shape)
    return gap_s + waiting_seconds(busy_s + gap_s, dispatch_s)


def napkin_times(kernels: Kernels, setting: Setting, batch: FloatArray | float, operations_scale: float = 1.0) -> Times:
    """The founding articles' estimate: forward multiply-accumulates, each one operation, at a fraction of the peak.

    Parameters
    ----------
    operations_scale : what the articles count for each multiply-accumulate of ours (21 G for 20.69 G in SENet).

    Notes
    -----
    It leaves out that a MAC is two FLOP, the backward pass, and all traffic: about six times too fast for training.
    """
    columns = kernels.distinct
    counted = (columns.engine == Engine.MATRIX) & (columns.phase == Phase.FORWARD)
    flops = at_batch(columns.flops, batch)
    operations = np.where(counted, flops / FLOPS_PER_MAC, 0.0) * operations_scale
    time_s = (operations / (setting.matrix_flop_per_s * setting.device.utilisation))[..., kernels.row]
    seconds = np.zeros((len(OF_KERNELS), *time_s.shape))
    seconds[Bound.COMPUTE] = time_s
    moved = ideal_bytes(columns, setting, batch)[..., kernels.row]
    flops = flops[..., kernels.row]
    return Times(flops, moved, seconds, time_s, np.full(time_s.shape, Bound.COMPUTE, dtype=np.int64))

"""The stages of an answer, each a function of a workload and options: kernels, times, memory, certainty."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from simulator.causes.tiles import HALF_WIDTH
from simulator.device.device import Device
from simulator.device.framework import Reserve, load_framework
from simulator.device.framework_profile import ExecutionPath
from simulator.device.host import is_measured
from simulator.execution.certainty import Interval, Question, batch_amount, factors_of, interval_of
from simulator.execution.memory import Footprint, footprint
from simulator.op.kernels import FloatArray, IntArray, Kernels
from simulator.op.optimizer import Optimizer, get_optimizer
from simulator.pipeline.options import LARGEST, Options
from simulator.precision import Precision, Role, get_precision
from simulator.roofline.rates import Fidelity
from simulator.roofline.setting import PROCESSOR, path_on
from simulator.roofline.times import Bound, Times, kernel_times, napkin_times
from simulator.roofline.traffic import TrafficModel
from simulator.workload.lowering import Software, lower
from simulator.workload.workload import Workload


def kernels_of(workload: Workload, options: Options, device: Device | None = None) -> Kernels:
    """The workload's kernels for these options, lowered once.

    Batch normalisation is folded at inference where the framework does it, and in the bounds of the other fidelities;
    element-wise operations are fused where the framework compiles them, or the device runs compiled graphs alone.

    device : the one that runs them; None for one that leaves it to the framework.
    """
    precision, framework = get_precision(options.precision), load_framework(options.framework)
    path = framework.path(precision) if device is None else path_on(device, framework.path(precision))
    training, calibrated = options.training, options.calibrated
    software = Software(
        master_weights=precision.master_weights and (training or (calibrated and path.casts)),
        fold=path.folds or not calibrated,
        fuse=path.fuses and calibrated,
        inline=path.inlines and not training and calibrated,
        join=calibrated and _joins(path, precision, training=training),
        biases=path.biases if calibrated else (),
        autocast=path.promotes and calibrated and precision.master_weights,
        eager_attention=framework.eager_attention and calibrated,
        pieces=not path.fuses and calibrated,
        written_gelu=framework.written_gelu and calibrated,
        adds_gradients=framework.adds_gradients and calibrated,
        copies_heads=not path.heads_in_place and calibrated,
        quantize=training and calibrated and precision.attention is not None,
        persistent=path.persistent and calibrated,
    )
    return lower(workload, software, training=training, optimizer=_optimizer(options))


def _joins(path: ExecutionPath, precision: Precision, *, training: bool) -> bool:
    if not training:
        return "inference" in path.joins
    half = precision.widths[Role.ACTIVATION] <= HALF_WIDTH
    return "training" in path.joins or (half and "half training" in path.joins)


def _optimizer(options: Options) -> Optimizer | None:
    return get_optimizer(options.optimizer) if options.training else None


def times_of(
    workload: Workload, kernels: Kernels, device: Device, options: Options, batch: float | FloatArray
) -> Times:
    """Times of a workload's kernels, at one batch or at a column of batches (b, 1)."""
    setting = options.on(device)
    if setting.fidelity is Fidelity.NAPKIN:
        scale = operations_per_sample(workload, options.count) / max(workload.macs, 1)
        return napkin_times(kernels, setting, batch, scale)
    return kernel_times(kernels, setting, batch)


def operations_per_sample(workload: Workload, count: str) -> float:
    """Operations that the napkin estimate counts: forward MACs, or what the articles quote or would count. [MAC]"""
    if count == "exact":
        return workload.macs
    return workload.quoted_macs or sum(counts.macs for counts in workload.article_counts)


def step_seconds(workload: Workload, device: Device, batches: FloatArray, options: Options | None = None) -> FloatArray:
    """Step time at many batch sizes in one broadcast, shape (batches,). [s]"""
    chosen = options or Options()
    column = np.asarray(batches, dtype=float)[:, None]
    times = times_of(workload, kernels_of(workload, chosen, device), device, chosen, column)
    seconds: FloatArray = times.time_s.sum(axis=-1)
    return seconds


def overhead_shares(workload: Workload, device: Device, batches: FloatArray, options: Options) -> FloatArray:
    """Share of a step's time in kernels that wait for launches or the host, shape (batches,)."""
    column = np.asarray(batches, dtype=float)[:, None]
    times = times_of(workload, kernels_of(workload, options, device), device, options, column)
    waiting = np.where(times.bound == Bound.OVERHEAD, times.time_s, 0.0)
    shares: FloatArray = waiting.sum(axis=-1) / times.time_s.sum(axis=-1)
    return shares


def footprint_of(workload: Workload, device: Device, options: Options) -> Footprint:
    """What a step holds, whether it fits or not."""
    precision, batch = get_precision(options.precision), options.batch or workload.batch
    capacity, reserve = device.memory.capacity_bytes, reserve_of(device, options)
    return footprint(workload, batch, precision, capacity, _optimizer(options), reserve)


def largest_batch(workload: Workload, device: Device, options: Options) -> int:
    """The most samples of a step that the device's memory holds, in closed form; one where it holds none."""
    return min(max(footprint_of(workload, device, replace(options, batch=1)).largest_batch, 1), LARGEST)


def reserve_of(device: Device, options: Options) -> Reserve:
    """What the framework holds of the device's memory; nothing of a processor's."""
    return Reserve() if device.kind == PROCESSOR else load_framework(options.framework).reserve


def gradient_bytes_of(workload: Workload, options: Options) -> FloatArray:
    """What each layer exchanges in a training step on several devices, shape (layers,). [byte]"""
    precision = get_precision(options.precision)
    width = precision.widths[Role.STATE if precision.master_weights else Role.WEIGHT_GRADIENT]
    return width * np.array([layer.parameters for layer in workload.layers], dtype=float)


def interval_at(workload: Workload, device: Device, options: Options, batch: int, waiting: float) -> Interval | None:
    """How sure a calibrated time is; the bounds, and traffic as without caches, have no interval.

    waiting : share of the step's time that waits for launches or the host.
    """
    if not _has_interval(options):
        return None
    return interval_of(_question(workload, device, options, batch, waiting))


def interval_factors(
    workload: Workload, device: Device, options: Options, batches: IntArray, waiting: FloatArray, held: FloatArray
) -> tuple[FloatArray, FloatArray] | None:
    """Both bounds of many steps over their predicted times, each the shape of `waiting`, whose last axis is `batches`.

    Parameters
    ----------
    batches : all smaller than `SMALL_BATCH`, or none.
    held : how much more of its clock a power limit takes than from the device, of a shape that broadcasts.
    """
    if not _has_interval(options):
        return None
    amounts = np.array([batch_amount(batch) for batch in batches.tolist()])
    further = {"batch": amounts - amounts[0], "held": held}
    return factors_of(_question(workload, device, options, int(batches[0]), 0.0), waiting, further)


def _has_interval(options: Options) -> bool:
    return options.calibrated and options.traffic == TrafficModel.IDEAL


def _question(workload: Workload, device: Device, options: Options, batch: int, waiting: float) -> Question:
    software = load_framework(options.framework)
    host = "measured" if is_measured(options.host) else "named" if options.host else "unknown"
    return Question(workload.name, device, software, options.precision, batch, waiting, host, options.training)

"""The whole program: a workload, a device and options become a step, a run and a footprint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from simulator.device.device import Device
from simulator.device.framework import Reserve, load_framework
from simulator.device.host import hosted, is_measured, load_host
from simulator.errors import InputError, UnknownNameError
from simulator.execution.certainty import Interval, Question, factors_of, interval_of
from simulator.execution.memory import Footprint, check_fits, footprint
from simulator.execution.run import Run, run_of
from simulator.execution.step import LayerTimes, Step, layer_times, step_of, with_communication, with_input
from simulator.op.kernels import FloatArray, Kernels
from simulator.op.optimizer import Optimizer, get_optimizer
from simulator.precision import Role, get_precision
from simulator.roofline.rates import Fidelity
from simulator.roofline.setting import PROCESSOR, Setting, setting_of
from simulator.roofline.times import Bound, Times, kernel_times, napkin_times
from simulator.roofline.traffic import TrafficModel
from simulator.roofline.used import Used, used_numbers, weakest_grade
from simulator.workload.dataset import NO_DATASET
from simulator.workload.lowering import lower
from simulator.workload.workload import Workload

if TYPE_CHECKING:
    import pandas as pd

    from simulator.device.system import Cluster
    from simulator.execution.bill import Bill
    from simulator.execution.course import Course
    from simulator.execution.input import Feeding, Input
    from simulator.parallel.data import Exchange

TASKS = ("train", "infer")
COUNTS = ("exact", "articles")
LARGEST = 10**12
"""Batches and epochs beyond this are surely a mistake."""


@dataclass(frozen=True)
class Options:
    """What is asked of a workload on a device; names are checked when the options are made.

    Attributes
    ----------
    batch : samples a step; the workload's own if None.
    epochs : passes over the dataset; one if None, and at inference then none is spoken of.
    host : class of the computer that issues the kernels, or the time of a call on it; the device's usual one if "".
    count : "exact", or "articles" for the founding articles' counting conventions.
    ignore_memory : go on where the step does not fit the device.
    """

    batch: int | None = None
    precision: str = "fp32"
    task: str = "train"
    epochs: int | None = None
    optimizer: str = "sgd"
    fidelity: str = "calibrated"
    traffic: str = "ideal"
    count: str = "exact"
    framework: str = "pytorch"
    host: str = ""
    ignore_memory: bool = False

    def __post_init__(self) -> None:
        """Refuse unknown names and sizes below one."""
        for what, value, known in (
            ("task", self.task, TASKS),
            ("fidelity", self.fidelity, tuple(Fidelity)),
            ("traffic model", self.traffic, tuple(TrafficModel)),
            ("count", self.count, COUNTS),
        ):
            if value not in known:
                raise UnknownNameError(what, value, known)
        for what, number in (("batch", self.batch), ("epochs", self.epochs)):
            if number is not None and not 1 <= number <= LARGEST:
                raise InputError(f"{what} must be between 1 and {LARGEST}, found {number}")
        get_optimizer(self.optimizer)
        load_framework(self.framework)
        if self.host:
            load_host(self.host)
        if get_precision(self.precision).inference_only and self.training:
            raise InputError(f"precision {self.precision} is for inference; add --task infer")

    @property
    def training(self) -> bool:
        """Whether a step trains."""
        return self.task == "train"

    @property
    def calibrated(self) -> bool:
        """Whether times hold all that is known, and not the datasheet alone."""
        return self.fidelity == Fidelity.CALIBRATED

    def on(self, device: Device) -> Setting:
        """What a time on a device reads, the device in the computer that is asked for."""
        device = hosted(device, self.host)
        return setting_of(device, self.precision, self.framework, self.fidelity, self.traffic)


@dataclass(frozen=True)
class Simulation:
    """The answer: everything a report shows."""

    workload: Workload
    setting: Setting = field(repr=False)
    options: Options
    kernels: Kernels = field(repr=False)
    times: Times = field(repr=False)
    layers: LayerTimes = field(repr=False)
    step: Step
    run: Run
    memory: Footprint
    used: tuple[Used, ...] = field(repr=False)
    """Every number that the time rests on, with its source."""
    grade: str
    interval: Interval | None = None
    """How sure the calibrated time is; None for the other fidelities, which are bounds."""
    command: str = ""
    """The command line that asked, if one did."""
    cluster: Cluster | None = None
    exchange: Exchange | None = field(default=None, repr=False)
    """What several devices exchange in a training step."""
    bill: Bill | None = None
    """What the run costs, where that is asked for."""
    input: Input | None = None
    """How samples reach the device, where that is asked for."""
    course: Course | None = None
    """The run on the calendar, where that is asked for."""
    plot: ClassVar[Any]
    """Plots on axes, `plot.roofline(ax=...)`; `report.plotting` adds it where the package hands out `simulate`."""

    @property
    def device(self) -> Device:
        """The device, in the computer that was asked for."""
        return self.setting.device

    @property
    def calibrated(self) -> bool:
        """Whether the time holds all that is known, and not the datasheet alone."""
        return self.setting.calibrated

    @property
    def batch(self) -> int:
        """Samples a step."""
        return self.step.batch

    @property
    def counts_epochs(self) -> bool:
        """Whether the answer is a time of epochs: a dataset is known and, at inference, epochs were asked for."""
        asked = self.options.training or self.options.epochs is not None
        return asked and self.workload.dataset != NO_DATASET

    def to_frame(self) -> pd.DataFrame:
        """One row a layer, by name: `op`, `parameters`, `flops`, `traffic_bytes`, `time_s` and its parts, `bound`."""
        import pandas as pd

        layers, times = self.workload.layers, self.layers
        columns = {
            "op": [layer.op.kind for layer in layers],
            "parameters": [layer.parameters for layer in layers],
            "flops": times.flops,
            "traffic_bytes": times.traffic_bytes,
            "compute_s": times.compute_s,
            "memory_s": times.memory_s,
            "overhead_s": times.overhead_s,
            "time_s": times.time_s,
            "bound": [Bound(bound).name.lower() for bound in times.bound.tolist()],
        }
        return pd.DataFrame(columns, index=pd.Index([layer.name for layer in layers], name="layer"))

    @property
    def left_out(self) -> float:
        """FLOPs of the step over what the napkin estimate counts: how many times more work; infinite for none."""
        counted = operations_per_sample(self.workload, self.options.count) * self.batch
        return self.step.flops / counted if counted else float("inf")


def simulate(
    workload: Workload, device: Device, options: Options | None = None, cluster: Cluster | None = None
) -> Simulation:
    """How long a workload takes on a device, and why.

    cluster : several such devices, each of which steps on `batch` samples of its own (data parallelism); one if None.

    Raises
    ------
    UnsupportedError
        If the device lists no peak for the precision.
    OutOfMemoryError
        If the step does not fit the device's memory and `ignore_memory` is not set.
    """
    chosen = options or Options()
    setting, batch = chosen.on(device), chosen.batch or workload.batch
    device, peak_flop_per_s = setting.device, setting.matrix_flop_per_s
    if workload.dataset == NO_DATASET and chosen.epochs is not None:
        raise InputError(f"{workload.name} names no dataset, so that it has no epochs; give --dataset or --samples")
    memory = _memory(workload, device, chosen)
    kernels = kernels_of(workload, chosen)
    timed = partial(times_of, workload, kernels, device, chosen)
    times = timed(batch)
    if not times.time_s.any():
        raise InputError(f"{workload.name}: nothing in it takes time, task {chosen.task}, fidelity {chosen.fidelity}")
    exchange = _exchange(workload, kernels, times, chosen, cluster)
    devices = cluster.devices if cluster else 1
    step = step_of(kernels, times, batch, peak_flop_per_s)
    step = with_communication(step, exchange.exposed_s, devices) if exchange else replace(step, devices=devices)
    if setting.fidelity is Fidelity.NAPKIN:
        step = replace(step, mfu=device.utilisation)
    used = used_numbers(setting, training=chosen.training)
    return Simulation(
        workload=workload,
        setting=setting,
        options=chosen,
        kernels=kernels,
        times=times,
        layers=layer_times(kernels, times, len(workload.layers)),
        step=step,
        run=_run(workload, step, chosen, timed),
        memory=memory,
        used=used,
        grade=weakest_grade(used, setting.fidelity),
        cluster=cluster,
        exchange=exchange,
        interval=interval_at(workload, device, chosen, step.batch, step.bound_shares[Bound.OVERHEAD]),
    )


def fed(simulation: Simulation, feeding: Feeding) -> Simulation:
    """The same answer where samples come from a loader that prefetches: a step waits for its slowest stage.

    Raises
    ------
    InputError, UnsupportedError
        Where something of the input is not known.
    """
    from simulator.execution.input import input_of

    workload, device, step, options = simulation.workload, simulation.device, simulation.step, simulation.options
    cluster = simulation.cluster
    machine = (cluster.per_node, cluster.nodes) if cluster else (1, 1)
    found = input_of(workload, device, feeding, (step.batch, step.time_s), machine)
    timed = partial(times_of, workload, simulation.kernels, device, options)
    run = _run(workload, step, options, timed, found.time_s / step.batch)
    interval = None if found.exposed_s > 0 else simulation.interval
    return replace(simulation, step=with_input(step, found.exposed_s), run=run, input=found, interval=interval)


def _memory(workload: Workload, device: Device, options: Options) -> Footprint:
    """What a step holds; an `OutOfMemoryError` where it does not fit, unless that is to be ignored."""
    memory = footprint_of(workload, device, options)
    if not options.ignore_memory:
        check_fits(memory, workload, device.name, options.batch or workload.batch)
    return memory


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


def _run(workload: Workload, step: Step, options: Options, timed: Callable[[int], Times], sample_s: float = 0.0) -> Run:
    """All epochs, of whole steps on all devices and of one smaller step; a single step where no dataset is known.

    sample_s : what the input of each device takes of a step, for each of its samples. [s]
    """
    together = step.batch * step.devices
    samples = workload.dataset.samples if workload.dataset != NO_DATASET else together

    def step_s(size: int) -> float:
        each = -(-size // step.devices)
        return max(step.time_s - _saved(step, timed, each), sample_s * each)

    return run_of(samples, together, options.epochs or 1, step_s)


def _exchange(
    workload: Workload, kernels: Kernels, times: Times, options: Options, cluster: Cluster | None
) -> Exchange | None:
    """The sums of gradients over several devices; None on one, and at inference."""
    if cluster is None or cluster.devices == 1 or not options.training:
        return None
    from simulator.parallel.data import exchange_gradients

    bucket_bytes = load_framework(options.framework).bucket_bytes
    return exchange_gradients(kernels, times, gradient_bytes_of(workload, options), cluster, bucket_bytes)


def gradient_bytes_of(workload: Workload, options: Options) -> FloatArray:
    """What each layer exchanges in a training step on several devices, shape (layers,). [byte]"""
    precision = get_precision(options.precision)
    width = precision.widths[Role.STATE if precision.master_weights else Role.WEIGHT_GRADIENT]
    return width * np.array([layer.parameters for layer in workload.layers], dtype=float)


def _saved(step: Step, timed: Callable[[int], Times], batch: int) -> float:
    """What a step of fewer samples saves of a full one. [s]"""
    if batch == step.batch:
        return 0.0
    return step.time_s - step.communication_s - float(timed(batch).time_s.sum())


def interval_at(workload: Workload, device: Device, options: Options, batch: int, waiting: float) -> Interval | None:
    """How sure a calibrated time is; the bounds, and traffic as without caches, have no interval.

    waiting : share of the step's time that waits for launches or the host.
    """
    if not _has_interval(options):
        return None
    return interval_of(_question(workload, device, options, batch, waiting))


def _has_interval(options: Options) -> bool:
    return options.calibrated and options.traffic == TrafficModel.IDEAL


def _question(workload: Workload, device: Device, options: Options, batch: int, waiting: float) -> Question:
    software = load_framework(options.framework)
    host = "measured" if is_measured(options.host) else "named" if options.host else "unknown"
    return Question(workload.name, device, software, options.precision, batch, waiting, host)


def interval_factors(
    workload: Workload, device: Device, options: Options, batch: int, waiting: FloatArray
) -> tuple[FloatArray, FloatArray] | None:
    """Both bounds of many steps of one batch over their predicted times, each the shape of `waiting`."""
    if not _has_interval(options):
        return None
    return factors_of(_question(workload, device, options, batch, 0.0), waiting)


def step_seconds(workload: Workload, device: Device, batches: FloatArray, options: Options | None = None) -> FloatArray:
    """Step time at many batch sizes in one broadcast, shape (batches,). [s]"""
    chosen = options or Options()
    column = np.asarray(batches, dtype=float)[:, None]
    seconds: FloatArray = times_of(workload, kernels_of(workload, chosen), device, chosen, column).time_s.sum(axis=-1)
    return seconds


def overhead_shares(workload: Workload, device: Device, batches: FloatArray, options: Options) -> FloatArray:
    """Share of a step's time in kernels that wait for launches or the host, shape (batches,)."""
    column = np.asarray(batches, dtype=float)[:, None]
    times = times_of(workload, kernels_of(workload, options), device, options, column)
    waiting = np.where(times.bound == Bound.OVERHEAD, times.time_s, 0.0)
    shares: FloatArray = waiting.sum(axis=-1) / times.time_s.sum(axis=-1)
    return shares


def kernels_of(workload: Workload, options: Options) -> Kernels:
    """The workload's kernels for these options, lowered once.

    Batch normalisation is folded at inference where the framework does it, and in the bounds of the other fidelities;
    element-wise operations are fused where the framework compiles them.
    """
    precision, framework = get_precision(options.precision), load_framework(options.framework)
    path = framework.path(precision)
    training, calibrated = options.training, options.calibrated
    return lower(
        workload,
        training=training,
        optimizer=_optimizer(options),
        master_weights=precision.master_weights and (training or (calibrated and path.casts)),
        fold=path.folds or not calibrated,
        fuse=path.fuses and calibrated,
        join=path.joins and calibrated,
        autocast=path.promotes and calibrated and precision.master_weights,
        eager_attention=framework.eager_attention and calibrated,
        quantize=training and calibrated and precision.attention is not None,
    )


def operations_per_sample(workload: Workload, count: str) -> float:
    """Operations that the napkin estimate counts: forward MACs, or what the articles quote or would count. [MAC]"""
    if count == "exact":
        return workload.macs
    return workload.quoted_macs or sum(counts.macs for counts in workload.article_counts)


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

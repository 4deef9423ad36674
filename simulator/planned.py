"""A training step of a plan on a cluster: what `pipeline.simulate` is for one device, for many that share a network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from simulator.device.device import Device
from simulator.device.system import Cluster
from simulator.errors import InputError, OutOfMemoryError
from simulator.execution.bill import Bill
from simulator.execution.certainty import Interval
from simulator.execution.course import Course, without_last
from simulator.execution.input import Input
from simulator.execution.memory import Footprint
from simulator.execution.plan_certainty import plan_interval
from simulator.execution.plan_memory import Holding, stage_footprints
from simulator.execution.run import Run, run_of
from simulator.op.kernel import Engine
from simulator.op.kernels import at_batch
from simulator.op.optimizer import get_optimizer
from simulator.parallel.adding import adding_seconds
from simulator.parallel.data import memory_share, taken_share
from simulator.parallel.groups import groups_of
from simulator.parallel.issuing import issued
from simulator.parallel.pieces import layer_seconds, pieces_of
from simulator.parallel.plan import FULLY, Plan, divisor
from simulator.parallel.shard import shard_by
from simulator.parallel.step import PlanStep, Share, plan_step
from simulator.pipeline import Options, kernels_of, reserve_of, times_of
from simulator.roofline.setting import Setting
from simulator.units import binary_bytes
from simulator.workload.dataset import NO_DATASET
from simulator.workload.workload import Workload


@dataclass(frozen=True, eq=False)
class Planned:
    """The answer for a plan.

    Attributes
    ----------
    share : one rank's share of the workload, lowered and timed for one micro-batch.
    global_batch : samples of a step of all devices.
    stages : memory of a device of each stage.
    model_flops : what the products of a step compute, without what is computed again. [FLOP]
    """

    workload: Workload
    device: Device
    options: Options
    plan: Plan
    cluster: Cluster
    share: Share
    step: PlanStep
    global_batch: int
    microbatch: int
    stages: tuple[Footprint, ...]
    model_flops: float
    peak_flop_per_s: float
    command: str = ""
    bill: Bill | None = None
    """What the run costs, where that is asked for."""
    course: Course | None = None
    """The run on the calendar, where that is asked for."""
    input: Input | None = None
    """How samples reach the devices, where that is asked for."""

    @property
    def setting(self) -> Setting:
        """What its kernels' times read."""
        return self.options.on(self.device)

    @property
    def run(self) -> Run | None:
        """All epochs, of whole steps, the last of an epoch too unless it is dropped; None where no dataset is known."""
        dataset = self.workload.dataset
        if dataset == NO_DATASET:
            return None
        run = run_of(dataset.samples, self.global_batch, self.options.epochs or 1, lambda _: self.step.time_s)
        dropped = self.course is not None and self.course.dropped
        return without_last(run, self.global_batch, self.step.time_s) if dropped else run

    @property
    def interval(self) -> Interval:
        """How sure the time is; unvalidated where it waits for samples."""
        return plan_interval(self.workload, waits=self.input is not None and self.input.exposed_s > 0)

    @property
    def samples_per_s(self) -> float:
        """Throughput of all devices. [1/s]"""
        return self.global_batch / self.step.time_s

    @property
    def tokens(self) -> int:
        """Positions of one sample; one where the network reads no sequence."""
        shape = self.workload.inputs[0]
        return shape[0] if len(shape) == 1 else 1

    @property
    def tokens_per_s_per_device(self) -> float:
        """[1/s]"""
        return self.samples_per_s * self.tokens / self.plan.devices

    @property
    def mfu(self) -> float:
        """Model FLOP utilisation: what the step's products compute over what all devices could."""
        return self.model_flops / (self.step.time_s * self.plan.devices * self.peak_flop_per_s)

    @property
    def fullest(self) -> int:
        """The stage that needs most memory."""
        return int(np.argmax([stage.total_bytes for stage in self.stages]))

    @property
    def memory(self) -> Footprint:
        """The fullest stage's."""
        return self.stages[self.fullest]

    @property
    def fits(self) -> bool:
        """Whether every stage does."""
        return all(stage.fits for stage in self.stages)


def simulate_plan(
    workload: Workload, device: Device, options: Options, cluster: Cluster, plan: Plan, global_batch: int | None = None
) -> Planned:
    """A training step of a plan.

    Parameters
    ----------
    options : `batch` is the samples of each replica (of tp x pp x cp devices), unless `global_batch` is given.

    Raises
    ------
    InputError
        If a count does not divide, with the nearest that does.
    OutOfMemoryError
        If a stage does not fit and `options.ignore_memory` is not set, with the nearest change that would.
    """
    found = evaluate(workload, device, options, cluster, plan, global_batch)
    if not found.fits and not options.ignore_memory:
        raise OutOfMemoryError(_too_large(found))
    return found


def evaluate(
    workload: Workload,
    device: Device,
    options: Options,
    cluster: Cluster,
    plan: Plan,
    global_batch: int | None = None,
) -> Planned:
    """The same, whether it fits or not."""
    if not options.training:
        raise InputError("--parallel is for training; `simulate serve` shares out a model that infers")
    return Shares(workload, device, options, cluster).evaluate(plan, global_batch)


class Shares:
    """Ranks' shares of a workload, lowered and timed once for all plans that differ in nothing that a rank sees."""

    def __init__(self, workload: Workload, device: Device, options: Options, cluster: Cluster) -> None:
        self.workload, self.device, self.options, self.cluster = workload, device, options, cluster
        self.setting = options.on(device)
        self._known: dict[tuple[int, int, int, bool, bool, int], Share] = {}

    def of(self, plan: Plan, size: int) -> Share:
        """The share of each rank of a plan, timed at a micro-batch."""
        key = (plan.tensor, plan.context, plan.expert, plan.sequence, plan.pipelined, size)
        if key not in self._known:
            self._known[key] = self._timed(plan, size)
        return self._known[key]

    def _timed(self, plan: Plan, size: int) -> Share:
        rank = shard_by(self.workload, plan)
        kernels = kernels_of(rank, self.options)
        times = times_of(rank, kernels, self.device, self.options, size)
        exchange = groups_of(plan, self.cluster), self.cluster
        samples = self.setting.precision, size
        seconds = layer_seconds(rank, kernels, times, exchange, samples, pipelined=plan.pipelined)
        software = self.setting.framework
        adding_s = adding_seconds(rank, self.setting, software.accumulation)
        taken = taken_share(self.device, self.cluster, memory_share(times))
        return Share(rank, kernels, times, issued(seconds, rank, software.expert_s), adding_s, taken)

    def footprints(self, plan: Plan, global_batch: int | None = None) -> tuple[Footprint, ...]:
        """Memory of a device of each stage, without playing the step."""
        batch, size = batches(self.workload, self.options, plan, global_batch)
        share = self.of(plan, size)
        optimizer = get_optimizer(self.options.optimizer)
        reserve = reserve_of(self.device, self.options)
        precision, software = self.setting.precision, self.setting.framework
        fused, capacity = software.path(precision).fuses, self.device.memory.capacity_bytes
        holding = Holding(precision, optimizer, capacity, reserve, fused, software.accumulation)
        pieces = pieces_of(share.workload, share.seconds, plan)
        return stage_footprints(share.workload, pieces, plan, (size, batch // size), holding)

    def evaluate(self, plan: Plan, global_batch: int | None = None) -> Planned:
        """A step of a plan."""
        batch, size = batches(self.workload, self.options, plan, global_batch)
        share = self.of(plan, size)
        bucket_bytes = self.setting.framework.bucket_bytes
        samples = (self.setting.precision, size, batch // size)
        return Planned(
            workload=self.workload,
            device=self.device,
            options=self.options,
            plan=plan,
            cluster=self.cluster,
            share=share,
            step=plan_step(share, plan, self.cluster, samples, bucket_bytes),
            global_batch=batch * plan.data,
            microbatch=size,
            stages=self.footprints(plan, global_batch),
            model_flops=_model_flops(self.workload, self.options, batch * plan.data),
            peak_flop_per_s=self.setting.matrix_flop_per_s,
        )


def batches(workload: Workload, options: Options, plan: Plan, global_batch: int | None) -> tuple[int, int]:
    """Samples a step of each replica, and of a micro-batch.

    Raises
    ------
    InputError
        Where they do not divide, or interleaving has no whole groups of micro-batches; with the nearest that does.
    """
    if global_batch is not None and global_batch % plan.data:
        nearest = max(global_batch // plan.data, 1) * plan.data
        raise InputError(f"a global batch of {global_batch} does not divide over dp={plan.data}; {nearest} would")
    batch = global_batch // plan.data if global_batch else options.batch or workload.batch
    size = plan.microbatch or (batch if plan.pipeline == 1 else 1)
    if batch % size:
        fit = divisor(batch, size)
        raise InputError(f"--microbatch {size} does not divide the {batch} samples of a replica; {fit} would")
    return batch, size


def _model_flops(workload: Workload, options: Options, batch: int) -> float:
    """FLOPs of all products of a step, as the whole network's kernels count them."""
    kernels = kernels_of(workload, options)
    flops = at_batch(kernels.distinct.flops, 1.0)[kernels.row]
    return float(flops[kernels.engine == Engine.MATRIX].sum()) * batch


def _too_large(found: Planned) -> str:
    """One line: what does not fit, its components, and the nearest change that does."""
    memory, plan = found.memory, found.plan
    parts = (
        f"parameters {binary_bytes(memory.parameters_bytes)}, gradients {binary_bytes(memory.gradients_bytes)}, "
        f"optimizer {binary_bytes(memory.optimizer_bytes)}, activations {binary_bytes(memory.activations_bytes)}, the "
        f"framework beside them {binary_bytes(memory.reserved_bytes)}"
    )
    where = f"stage {found.fullest + 1} of {plan.pipeline}" if plan.pipeline > 1 else "each device"
    return (
        f"{found.workload.name} with {plan.label}: {where} needs {binary_bytes(memory.total_bytes)} of the "
        f"{binary_bytes(memory.capacity_bytes)} of {found.device.name}: {parts}; {_way_out(found)} "
        "(--ignore-memory goes on)"
    )


def _way_out(found: Planned) -> str:
    for words, plan in changes(found.plan):
        try:
            batch = found.global_batch
            other = evaluate(found.workload, found.device, found.options, found.cluster, plan, batch)
        except InputError:
            continue
        if other.fits:
            return f"{words} would fit"
    return "no smaller micro-batch, recomputation or ZeRO stage alone fits: more devices, or more of tp and pp"


def changes(plan: Plan) -> Iterator[tuple[str, Plan]]:
    """Changes that need less memory, the cheapest in time first."""
    if plan.zero < 1 and plan.data > 1:
        yield "--zero 1", replace(plan, zero=1)
    if plan.recompute == "none":
        yield "--recompute selective", replace(plan, recompute="selective")
    if plan.microbatch and plan.microbatch > 1:
        yield f"--microbatch {plan.microbatch // 2}", replace(plan, microbatch=plan.microbatch // 2)
    if plan.zero < FULLY and plan.data > 1 and plan.pipeline == 1:
        yield "--zero 3", replace(plan, zero=3)
    if plan.recompute != "full":
        yield "--recompute full", replace(plan, recompute="full")
    if plan.recompute != "full":
        yield "--recompute full --microbatch 1", replace(plan, recompute="full", microbatch=1)
        if plan.zero < FULLY and plan.data > 1:
            yield "--recompute full --zero 3", replace(plan, recompute="full", zero=3)

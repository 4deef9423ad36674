"""Ranks' shares of a network, which plans have in common: what fits, what it takes at least, and the step itself."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from simulator.device.device import Device
from simulator.device.system import Cluster
from simulator.errors import InputError
from simulator.execution.memory import Footprint
from simulator.execution.plan_memory import least_bytes, stage_bytes, stage_contents, stage_footprint
from simulator.execution.plan_states import Holding, StageContent
from simulator.op.kernel import Engine
from simulator.op.kernels import at_batch
from simulator.op.optimizer import get_optimizer
from simulator.parallel.adding import adding_seconds
from simulator.parallel.data import memory_share, taken_share
from simulator.parallel.groups import groups_of
from simulator.parallel.issuing import issued
from simulator.parallel.pieces import layer_seconds, split_of
from simulator.parallel.plan import Plan, divisor
from simulator.parallel.shard import shard_by
from simulator.parallel.step import Prepared, Share, plan_step, prepared
from simulator.pipeline import Options, kernels_of, reserve_of, times_of
from simulator.planned.answer import Planned
from simulator.workload.workload import Workload


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
        kernels = kernels_of(rank, self.options, self.device)
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
        size, contents = self._contents(plan, global_batch)
        return tuple(stage_footprint(stage, size, self._holding) for stage in contents)

    def fits(self, plan: Plan, global_batch: int | None = None) -> bool:
        """Whether every stage does; no more are looked at than it takes to know."""
        size, contents = self._contents(plan, global_batch)
        return all(stage_bytes(stage, size, self._holding) <= self._holding.capacity_bytes for stage in contents)

    def least_fits(self, plan: Plan, global_batch: int | None = None) -> bool:
        """Whether weights, gradients and moments do, without which no recomputation would help."""
        batches(self.workload, self.options, plan, global_batch)
        return least_bytes(shard_by(self.workload, plan), plan, self._holding) <= self._holding.capacity_bytes

    def _contents(self, plan: Plan, global_batch: int | None) -> tuple[int, Iterator[StageContent]]:
        """Samples of a micro-batch, and what lies on each stage."""
        batch, size = batches(self.workload, self.options, plan, global_batch)
        share = self.of(plan, size)
        split = split_of(share.workload, share.seconds, plan.chunks)
        return size, stage_contents(share.workload, split, plan, batch // size)

    @cached_property
    def _holding(self) -> Holding:
        return holding_of(self.device, self.options)

    def prepared(self, plan: Plan, global_batch: int | None = None) -> Prepared:
        """A step of a plan, ready to be played."""
        batch, size = batches(self.workload, self.options, plan, global_batch)
        samples = (self.setting.precision, size, batch // size)
        return prepared(self.of(plan, size), plan, self.cluster, samples, self.setting.framework.bucket_bytes)

    def evaluate(self, plan: Plan, global_batch: int | None = None) -> Planned:
        """A step of a plan."""
        batch, size = batches(self.workload, self.options, plan, global_batch)
        ready = self.prepared(plan, global_batch)
        return Planned(
            workload=self.workload,
            device=self.device,
            options=self.options,
            plan=plan,
            cluster=self.cluster,
            share=ready.share,
            step=plan_step(ready),
            global_batch=batch * plan.data,
            microbatch=size,
            stages=self.footprints(plan, global_batch),
            model_flops=self._model_flops * batch * plan.data,
            peak_flop_per_s=self.setting.matrix_flop_per_s,
        )

    @cached_property
    def _model_flops(self) -> float:
        """FLOPs of all products of one sample, as the whole network's kernels count them."""
        kernels = kernels_of(self.workload, self.options, self.device)
        flops = at_batch(kernels.distinct.flops, 1.0)[kernels.row]
        return float(flops[kernels.engine == Engine.MATRIX].sum())


def holding_of(device: Device, options: Options) -> Holding:
    """What a stage's memory depends on beside the network."""
    setting = options.on(device)
    precision, software = setting.precision, setting.framework
    optimizer, reserve = get_optimizer(options.optimizer), reserve_of(device, options)
    fused, capacity = software.path(precision).fuses, device.memory.capacity_bytes
    return Holding(precision, optimizer, capacity, reserve, fused, software.accumulation)


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

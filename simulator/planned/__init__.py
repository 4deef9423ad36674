"""A training step of a plan on a cluster: what `pipeline.simulate` is for one device, for many that share a network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from simulator.device.device import Device
from simulator.device.system import Cluster
from simulator.errors import InputError, OutOfMemoryError
from simulator.parallel.plan import FULLY, Plan
from simulator.pipeline import Options
from simulator.planned.answer import Planned as Planned
from simulator.planned.shares import Shares as Shares
from simulator.planned.shares import batches as batches
from simulator.units import binary_bytes
from simulator.workload.workload import Workload


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

"""The most samples that a plan's devices have room for, in closed form."""

from __future__ import annotations

from dataclasses import replace

from simulator.errors import InputError
from simulator.parallel.plan import Plan, divisor
from simulator.pipeline import LARGEST
from simulator.planned import Shares, batches


def largest_microbatch(shares: Shares, plan: Plan, global_batch: int | None = None) -> int:
    """The most samples of a micro-batch that divide a replica's batch and fit on every stage; one where none fits.

    A stage's memory is `weights + held x microbatch x activations`, with as many micro-batches held as the schedule
    ever keeps: more than with few of them, so that what is found fits.
    """
    single = replace(plan, microbatch=1)
    batch, _ = batches(shares.workload, shares.options, single, global_batch)
    room = _room(shares, single, global_batch)
    return divisor(batch, max(room, 1))


def largest_plan_batch(shares: Shares, plan: Plan) -> int:
    """The most samples of each replica's step that fit, where they pass at once; one where not even one does.

    Raises
    ------
    InputError
        Where they pass in micro-batches, of which memory allows any number.
    """
    if plan.pipeline > 1 or plan.microbatch is not None:
        raise InputError(
            "--batch max: where samples pass in micro-batches, memory bounds the micro-batch; give --microbatch max"
        )
    return min(max(_room(shares, replace(plan, microbatch=1), plan.data), 1), LARGEST)


def _room(shares: Shares, plan: Plan, global_batch: int | None) -> int:
    return min(stage.largest_batch for stage in shares.footprints(plan, global_batch))

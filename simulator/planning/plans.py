"""The fastest plans: every sensible way to share a network over devices, evaluated, those that fit sorted by time."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import gcd

from simulator.device.device import Device
from simulator.device.system import Cluster
from simulator.errors import InputError
from simulator.op.experts import Experts
from simulator.op.key_selection import KeySelection
from simulator.op.mixer import Mixer
from simulator.parallel.bound import PlanBound
from simulator.parallel.plan import RECOMPUTE, Plan
from simulator.parallel.stages import blocks
from simulator.parallel.tensor import heads_of
from simulator.pipeline import Options
from simulator.planned import Planned, Shares
from simulator.workload.workload import Workload

MICROBATCHES = (1, 2, 4, 8, 16, 32)
PIECES = (1, 2, 4)
"""Pieces a stage that are tried."""

LONG = 8192
"""Positions that context parallelism leaves each rank at least: what is no longer than that trains without."""


@dataclass(frozen=True, eq=False)
class Found:
    """What a search found.

    Attributes
    ----------
    best : of plans that fit, the fastest first, as many as were asked for; of those that differ in recomputation alone,
        the one with the least.
    second : the fastest plan of other degrees than the best one's; None where there is none.
    tried, fit, too_large, refused : plans that were looked at, that fit, that fit no device, and that cannot be.
    nearest : of those too large, the one that lacks least memory; None where any fits.
    """

    best: tuple[Planned, ...]
    second: Planned | None
    fit: int
    too_large: int
    refused: int
    nearest: Planned | None

    @property
    def tried(self) -> int:
        """Plans that were looked at: each fits, or is too large."""
        return self.fit + self.too_large


def search(
    workload: Workload, device: Device, options: Options, cluster: Cluster, global_batch: int, top: int = 10
) -> Found:
    """The fastest of all candidates; the recomputation of each is the least that fits.

    A plan's step is played only while what it takes at least is less than the last of those asked for takes.

    top : plans that are asked for.

    Raises
    ------
    InputError
        If no candidate can be: the reason of the last one.
    """
    shares = Shares(workload, device, options, cluster)
    fitting: list[Plan] = []
    short: list[Plan] = []
    refused: list[InputError] = []
    for plan in candidates(workload, cluster, global_batch):
        try:
            fitting += _least(shares, plan, global_batch, short)
        except InputError as error:
            refused.append(error)
    if not fitting and not short:
        raise refused[-1] if refused else InputError(f"{workload.name}: nothing shares it over {cluster.label}")
    answers = fastest(shares, fitting, global_batch, top)
    second = next((other for other in answers if other.plan.label != answers[0].plan.label), None)
    nearest = None if fitting else _nearest(shares, short, global_batch)
    return Found(answers[:top], second, len(fitting), len(short), len(refused), nearest)


def fastest(shares: Shares, plans: Sequence[Plan], global_batch: int, top: int) -> tuple[Planned, ...]:
    """The fastest plans, so many at least, and with them one of other degrees than the first's, if there is one."""
    least = [(shares.prepared(plan, global_batch).least_s, place) for place, plan in enumerate(plans)]
    found: list[Planned] = []
    for least_s, place in sorted(least):
        if _decided(found, least_s, top):
            break
        insort(found, shares.evaluate(plans[place], global_batch), key=lambda answer: answer.step.time_s)
    return tuple(found)


def _decided(found: Sequence[Planned], least_s: float, top: int) -> bool:
    """Whether no plan that takes so long at least is among those asked for, of answers from the fastest on. [s]"""
    others = [answer for answer in found if answer.plan.label != found[0].plan.label]
    return len(found) >= top and bool(others) and max(found[top - 1].step.time_s, others[0].step.time_s) < least_s


def _least(shares: Shares, plan: Plan, global_batch: int, short: list[Plan]) -> list[Plan]:
    """The plan with the least recomputation that fits, or none; those that do not fit are added to `short`."""
    recomputed = [replace(plan, recompute=recompute) for recompute in RECOMPUTE]
    if not shares.least_fits(plan, global_batch):
        short += recomputed
        return []
    for chosen in recomputed:
        if shares.fits(chosen, global_batch):
            return [chosen]
        short.append(chosen)
    return []


def _nearest(shares: Shares, short: Sequence[Plan], global_batch: int) -> Planned:
    """Of plans that are too large, the one that lacks least memory."""

    def lacking(plan: Plan) -> float:
        return -min(stage.headroom_bytes for stage in shares.footprints(plan, global_batch))

    return shares.evaluate(min(short, key=lacking), global_batch)


def candidates(workload: Workload, cluster: Cluster, global_batch: int) -> Iterator[Plan]:
    """Degrees that divide devices, heads, experts and batch; tensor parallelism stays inside a machine."""
    heads = _heads(workload)
    for tensor in _divisors(gcd(heads, cluster.per_node)):
        for pipeline in _divisors(cluster.devices // tensor) if cluster.devices % tensor == 0 else ():
            if pipeline > len(blocks(workload)):
                continue
            rest = cluster.devices // tensor // pipeline
            for context in _contexts(workload, gcd(heads // tensor, rest)):
                if global_batch % (rest // context) == 0:
                    yield from _degrees(
                        Plan(rest // context, tensor, pipeline, context=context), workload, global_batch
                    )


def _degrees(plan: Plan, workload: Workload, global_batch: int) -> Iterator[Plan]:
    """Expert ranks inside the others, and the rest of what makes a plan."""
    for expert in _experts(workload, plan.tokens_ranks):
        yield from _variants(replace(plan, expert=expert), workload, global_batch // plan.data)


def _contexts(workload: Workload, ranks: int) -> list[int]:
    """Degrees of context parallelism that leave each rank a long sequence; one where no rule shares positions out."""
    if any(isinstance(layer.op, (KeySelection, Mixer)) for layer in workload.layers):
        return [1]
    positions = workload.inputs[0][0]
    return [degree for degree in _divisors(ranks) if degree == 1 or _long(positions, degree)]


def _long(positions: int, degree: int) -> bool:
    return positions % degree == 0 and positions // degree >= LONG


def _variants(plan: Plan, workload: Workload, batch: int) -> Iterator[Plan]:
    """Micro-batches, pieces a stage and ZeRO stages of some degrees."""
    sequence = plan.tensor > 1 and workload.inputs[0][0] // plan.context % plan.tensor == 0
    for size in MICROBATCHES:
        if batch % size:
            continue
        for pieces in PIECES if plan.pipeline > 1 else (1,):
            if pieces * plan.pipeline > len(blocks(workload)) or (pieces > 1 and batch // size < plan.pipeline):
                continue
            schedule = "interleaved" if pieces > 1 else "1f1b"
            for zero in _stages(plan):
                yield replace(plan, microbatch=size, virtual=pieces, schedule=schedule, zero=zero, sequence=sequence)


def _stages(plan: Plan) -> tuple[int, ...]:
    if plan.data * plan.context == 1:
        return (0,)
    return (1, 3) if plan.pipeline == 1 else (1,)


def _divisors(number: int) -> list[int]:
    return [degree for degree in range(1, number + 1) if number % degree == 0]


def _heads(workload: Workload) -> int:
    """What tensor-parallel degrees must divide; one where no layer has heads to share out."""
    heads = [heads for layer in workload.layers if (heads := heads_of(layer.op))]
    return gcd(*heads) if heads else 1


def _experts(workload: Workload, ranks: int) -> list[int]:
    counts = {layer.op.count for layer in workload.layers if isinstance(layer.op, Experts)}
    return _divisors(gcd(ranks, *counts)) if counts else [1]


def why_slower(best: Planned, other: Planned) -> str:
    """What costs a plan most against a faster one: "4.1% slower: exchange is 12.0% of its step, not 3.0%"."""
    ours, theirs = best.step, other.step
    part = max(PlanBound, key=lambda bound: theirs.seconds[bound] - ours.seconds[bound])
    shares = (theirs.seconds[part] / theirs.time_s, ours.seconds[part] / ours.time_s)
    slower = theirs.time_s / ours.time_s - 1
    return f"{slower:.1%} slower: {part.word} is {shares[0]:.1%} of its step, not {shares[1]:.1%}"

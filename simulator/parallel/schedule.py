"""Schedules: in which order the stages of a pipeline run their micro-batches, and what they keep meanwhile.

Sources: Huang et al., "GPipe", NeurIPS 2019; Narayanan et al., SC 2021, arXiv 2104.04473, section 2.2; Qi et al., "Zero
Bubble Pipeline Parallelism", 2023, arXiv 2401.10241, section 3 (ZB-H1).
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from simulator.parallel.plan import Plan


class TaskKind(StrEnum):
    """What a task computes."""

    FORWARD = "forward"
    BACKWARD = "backward"
    """Gradients of activations and weights; those of activations alone where weights wait (zero bubble)."""
    WEIGHTS = "weights"


class Task(NamedTuple):
    """One piece of the network at one micro-batch."""

    kind: TaskKind
    chunk: int
    microbatch: int


def held(tasks: Sequence[Task], kept_apart: int = 0) -> dict[int, int]:
    """Chunk -> micro-batches whose activations a stage keeps at the fullest moment of its order.

    kept_apart : micro-batches whose weights' gradients wait for a gap, at most, which keep their activations too.
    """
    now: dict[int, int] = {}
    most: dict[int, int] = {}
    total = fullest = 0
    for kind, chunk, _ in tasks:
        total += 1 if kind is TaskKind.FORWARD else -1
        now[chunk] = now.get(chunk, 0) + (1 if kind is TaskKind.FORWARD else -1)
        if total >= fullest:
            fullest, most = total, dict(now)
    return {chunk: min(count + kept_apart, len(tasks) // 2) for chunk, count in most.items()}


def held_by_stage(plan: Plan, microbatches: int) -> tuple[dict[int, int], ...]:
    """The same for each stage of a plan."""
    return _held(plan.schedule, plan.pipeline, plan.virtual, min(microbatches, _enough(plan)))


@lru_cache(maxsize=1024)
def _held(schedule: str, stages: int, pieces: int, microbatches: int) -> tuple[dict[int, int], ...]:
    plan = Plan(pipeline=stages, schedule=schedule, virtual=pieces)
    waiting = stages if schedule == "zero-bubble" else 0
    return tuple(held(order, waiting) for order in orders(plan, microbatches))


def orders(plan: Plan, microbatches: int) -> list[list[Task]]:
    """The tasks of each stage, in order; those of weights apart run in gaps and stand in none."""
    return _orders(plan.schedule, plan.pipeline, plan.virtual, microbatches)


@lru_cache(maxsize=16)
def _orders(schedule: str, stages: int, pieces: int, microbatches: int) -> list[list[Task]]:
    plan = Plan(pipeline=stages, schedule=schedule, virtual=pieces)
    if plan.schedule == "gpipe":
        return [_gpipe(stage, microbatches) for stage in range(plan.pipeline)]
    if plan.virtual > 1:
        return [_interleaved(stage, plan, microbatches) for stage in range(plan.pipeline)]
    return [_one_by_one(stage, plan.pipeline, microbatches) for stage in range(plan.pipeline)]


def _gpipe(stage: int, microbatches: int) -> list[Task]:
    forward = [Task(TaskKind.FORWARD, stage, number) for number in range(microbatches)]
    return forward + [Task(TaskKind.BACKWARD, stage, number) for number in reversed(range(microbatches))]


def _one_by_one(stage: int, stages: int, microbatches: int) -> list[Task]:
    """1F1B: as many forward passes as stages follow, then one backward after each further one."""
    first = min(stages - stage - 1, microbatches)
    forward = [Task(TaskKind.FORWARD, stage, number) for number in range(microbatches)]
    backward = [Task(TaskKind.BACKWARD, stage, number) for number in range(microbatches)]
    return _alternating(forward, backward, first)


def _interleaved(stage: int, plan: Plan, microbatches: int) -> list[Task]:
    """Several pieces a stage: a group of micro-batches, one for each stage, passes all pieces before the next group.

    Where they do not divide, groups are as many as whole ones fit and larger, since a smaller one would have a stage
    wait for what it does itself later. Source: PyTorch, `ScheduleInterleaved1F1B`, `number_of_rounds`.
    """
    stages, pieces = plan.pipeline, plan.virtual
    forward, backward = [], []
    groups = grouped(microbatches, stages)
    for group in groups:
        for piece in range(pieces):
            forward += [Task(TaskKind.FORWARD, piece * stages + stage, number) for number in group]
            place = (pieces - 1 - piece) * stages + stage
            backward += [Task(TaskKind.BACKWARD, place, number) for number in group]
    ahead = 2 * (stages - stage - 1) + (pieces - 1) * len(groups[0])
    return _alternating(forward, backward, min(ahead, len(forward)))


def grouped(microbatches: int, stages: int) -> list[range]:
    """Micro-batches in groups of as many as stages or a little more, the larger ones first.

    Worked example: 24 on 16 stages: one group; 13 on 4: 5, 4 and 4.
    """
    each, rest = divmod(microbatches, max(microbatches // stages, 1))
    found: list[range] = []
    first = 0
    while first < microbatches:
        size = each + (len(found) < rest)
        found.append(range(first, first + size))
        first += size
    return found


def _alternating(forward: list[Task], backward: list[Task], first: int) -> list[Task]:
    order = forward[:first]
    for ahead, back in zip(forward[first:], backward, strict=False):
        order += (ahead, back)
    return order + backward[len(forward) - first :]


ROUNDS = {"1f1b": 4, "interleaved": 6}
"""Micro-batches a stage after which a play repeats. GPipe's never does, and gaps that weights fill are uneven."""


def _enough(plan: Plan) -> int:
    """Micro-batches after which the play repeats."""
    return ROUNDS[plan.schedule] * plan.pipeline if plan.schedule in ROUNDS else 10**9

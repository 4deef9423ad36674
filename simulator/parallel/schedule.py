"""Schedules: in which order the stages of a pipeline run their micro-batches, played out event by event.

Each device has its tasks in an order; a task starts when the device is free and what it needs has arrived. With m
micro-batches and p equal stages of f forward and b backward, 1F1B and GPipe take (m + p - 1)(f + b), interleaving v
pieces a stage m (f + b) + (p - 1)(f + b) / v. Worked example: p = 4, m = 8, f = 1, b = 2: 33; with v = 2: 28.5.

Sources: Huang et al., "GPipe", NeurIPS 2019; Narayanan et al., SC 2021, arXiv 2104.04473, section 2.2; Qi et al., "Zero
Bubble Pipeline Parallelism", 2023, arXiv 2401.10241, section 3 (ZB-H1).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from itertools import chain
from math import inf
from typing import NamedTuple

from simulator.errors import UnsupportedError
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


class Event(NamedTuple):
    """A task that was run. [s]"""

    device: int
    task: Task
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Durations:
    """Times of the pieces, one number a chunk; `hop_s` is what a tensor takes from one device to the next. [s]"""

    forward_s: Sequence[float]
    backward_s: Sequence[float]
    weights_s: Sequence[float]
    hop_s: float = 0.0


@dataclass(frozen=True)
class Timeline:
    """All tasks of a step, in the order of their starts on each device.

    Attributes
    ----------
    by_device : the tasks of each stage.
    end_s : when the last task ends. [s]
    """

    by_device: tuple[tuple[Event, ...], ...]
    end_s: float

    @property
    def events(self) -> Iterator[Event]:
        """All tasks, stage after stage."""
        return chain.from_iterable(self.by_device)

    def busy_s(self, device: int) -> float:
        """Time that a stage computes. [s]"""
        return sum(event.end_s - event.start_s for event in self.by_device[device])


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


def play(plan: Plan, durations: Durations, microbatches: int) -> Timeline:
    """Run all tasks as soon as they can, each stage in its order."""
    waiting = [list(reversed(order)) for order in orders(plan, microbatches)]
    player = _Player(plan, durations, microbatches)
    while any(waiting):
        moved = [player.run(device, tasks) for device, tasks in enumerate(waiting)]
        if not any(moved):  # pragma: no cover - an order that waits for itself is our mistake
            raise AssertionError(f"{plan.schedule_label}: {microbatches} micro-batches wait for each other")
    for device in range(plan.pipeline):
        player.fill(device, inf)
    return Timeline(tuple(map(tuple, player.events)), max(player.free))


NOT_YET = float("-inf")


class _Player:
    """Clocks of the devices, ends of the tasks by piece and micro-batch, weights' tasks that wait for a gap."""

    def __init__(self, plan: Plan, durations: Durations, microbatches: int) -> None:
        self.apart_too = plan.schedule == "zero-bubble"
        self.stages, self.last = plan.pipeline, plan.chunks - 1
        self.free = [0.0] * plan.pipeline
        self.forward = [[NOT_YET] * microbatches for _ in range(plan.chunks)]
        self.backward = [[NOT_YET] * microbatches for _ in range(plan.chunks)]
        self.events: list[list[Event]] = [[] for _ in range(plan.pipeline)]
        self.apart: list[list[Task]] = [[] for _ in range(plan.pipeline)]
        hop_s = durations.hop_s if plan.pipeline > 1 else 0.0
        both = zip(durations.backward_s, durations.weights_s, strict=True)
        backward_s = [back + (0.0 if self.apart_too else weights) for back, weights in both]
        self.weights_s, self.seconds = list(durations.weights_s), (backward_s, list(durations.forward_s))
        # What each piece needs, and its way: forward the result of the piece before, backward the gradient of the one
        # behind; the first piece needs nothing, the last one's backward pass its own forward pass.
        nothing = [0.0] * microbatches
        self.inputs = ([*self.backward[1:], self.forward[-1]], [nothing, *self.forward[:-1]])
        ways = [hop_s] * self.last
        self.ways = ([*ways, 0.0], [0.0, *ways])

    def run(self, device: int, tasks: list[Task]) -> bool:
        """A device's tasks, next one last, as far as their inputs are there; whether there were any."""
        events, before = self.events[device], len(tasks)
        while tasks:
            kind, chunk, number = task = tasks[-1]
            forward = kind is TaskKind.FORWARD
            ends = (self.forward if forward else self.backward)[chunk]
            arrived = self.inputs[forward][chunk][number] + self.ways[forward][chunk]
            if arrived < 0:
                break
            if self.apart_too:
                self.fill(device, arrived)
            start = max(self.free[device], arrived)
            ends[number] = self.free[device] = end = start + self.seconds[forward][chunk]
            events.append(Event(device, task, start, end))
            tasks.pop()
            if self.apart_too and not forward:
                self._later(device, chunk, number)
        return len(tasks) < before

    def _later(self, device: int, chunk: int, number: int) -> None:
        """Gradients of weights, which wait for a gap; no more than stages."""
        self.apart[device].append(Task(TaskKind.WEIGHTS, chunk, number))
        if len(self.apart[device]) > self.stages:
            self._weights(device)

    def fill(self, device: int, until_s: float) -> None:
        """Weights' gradients that wait, while there is time."""
        waiting = self.apart[device]
        while waiting and self.free[device] + self.weights_s[waiting[0].chunk] <= until_s:
            self._weights(device)

    def _weights(self, device: int) -> None:
        task, start = self.apart[device].pop(0), self.free[device]
        self.free[device] = start + self.weights_s[task.chunk]
        self.events[device].append(Event(device, task, start, self.free[device]))


ROUNDS = {"1f1b": 4, "interleaved": 6}
"""Micro-batches a stage after which a play repeats. GPipe's never does, and gaps that weights fill are uneven."""


MOST_TASKS = 10**6
"""Passes of pieces that are played one by one: a few seconds."""


def _enough(plan: Plan) -> int:
    """Micro-batches after which the play repeats."""
    return ROUNDS[plan.schedule] * plan.pipeline if plan.schedule in ROUNDS else 10**9


def played_seconds(plan: Plan, durations: Durations, microbatches: int) -> tuple[Timeline, float]:
    """A timeline and the time of the whole step. [s]

    Once every stage is busy the play repeats with each round of as many micro-batches as stages, or a little more where
    pieces are interleaved and they do not divide: what goes beyond some rounds is not played, and adds what the last
    round took.
    """
    size = microbatches // max(microbatches // plan.pipeline, 1) if plan.virtual > 1 else plan.pipeline
    enough = ROUNDS[plan.schedule] * size if plan.schedule in ROUNDS else 10**9
    if microbatches <= enough + size:
        if 2 * microbatches * plan.pipeline * plan.virtual > MOST_TASKS:
            raise UnsupportedError(
                f"{microbatches} micro-batches of {plan.schedule} are more than are played; give larger ones "
                "(--microbatch) or --schedule 1f1b"
            )
        timeline = play(plan, durations, microbatches)
        return timeline, timeline.end_s
    played = enough + (0 if plan.virtual > 1 else (microbatches - enough) % size)
    timeline = play(plan, durations, played)
    round_s = timeline.end_s - play(plan, durations, played - size).end_s
    return timeline, timeline.end_s + (microbatches - played) / size * round_s

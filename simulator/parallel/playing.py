"""A pipeline's schedule played out event by event.

Each device has its tasks in an order; a task starts when the device is free and what it needs has arrived. With m
micro-batches and p equal stages of f forward and b backward, 1F1B and GPipe take (m + p - 1)(f + b), interleaving v
pieces a stage m (f + b) + (p - 1)(f + b) / v. Worked example: p = 4, m = 8, f = 1, b = 2: 33; with v = 2: 28.5.

Sources: those of `schedule.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate, chain
from math import inf
from typing import NamedTuple

from simulator.errors import UnsupportedError
from simulator.parallel.plan import Plan
from simulator.parallel.schedule import ROUNDS, Task, TaskKind, orders


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
    tasks, starts_s, ends_s : of each stage, what it ran and when. [s]
    """

    tasks: Sequence[Sequence[Task]]
    starts_s: Sequence[Sequence[float]]
    ends_s: Sequence[Sequence[float]]

    @cached_property
    def by_device(self) -> tuple[tuple[Event, ...], ...]:
        """The tasks of each stage."""
        stages = zip(range(len(self.tasks)), self.tasks, self.starts_s, self.ends_s, strict=True)
        return tuple(
            tuple(Event(stage, *ran) for ran in zip(tasks, starts, ends, strict=True))
            for stage, tasks, starts, ends in stages
        )

    @property
    def end_s(self) -> float:
        """When the last task ends. [s]"""
        return max(ends[-1] for ends in self.ends_s)

    @property
    def events(self) -> Iterator[Event]:
        """All tasks, stage after stage."""
        return chain.from_iterable(self.by_device)

    def busy_s(self, device: int) -> float:
        """Time that a stage computes. [s]"""
        return sum(end - start for start, end in zip(self.starts_s[device], self.ends_s[device], strict=True))


def play(plan: Plan, durations: Durations, microbatches: int) -> Timeline:
    """Run all tasks as soon as they can, each stage in its order."""
    tasks, waiting = _numbered(plan.schedule, plan.pipeline, plan.virtual, microbatches)
    player = _Player(plan, durations, microbatches)
    done = [0] * plan.pipeline
    while any(place < len(rows) for place, rows in zip(done, waiting, strict=True)):
        before = list(done)
        for device, rows in enumerate(waiting):
            done[device] = player.run(device, rows, done[device])
        if done == before:  # pragma: no cover - an order that waits for itself is our mistake
            raise AssertionError(f"{plan.schedule_label}: {microbatches} micro-batches wait for each other")
    for device in range(plan.pipeline):
        player.fill(device, inf)
    return Timeline(player.ran if player.apart_too else tasks, player.starts, player.ended)


@lru_cache(maxsize=32)
def _numbered(
    schedule: str, stages: int, pieces: int, microbatches: int
) -> tuple[list[list[Task]], list[list[tuple[int, int]]]]:
    """The tasks of each stage, and as numbers: its piece, beyond all pieces for a forward pass, and its micro-batch."""
    plan = Plan(pipeline=stages, schedule=schedule, virtual=pieces)
    tasks, first = orders(plan, microbatches), {TaskKind.FORWARD: plan.chunks, TaskKind.BACKWARD: 0}
    return tasks, [[(first[kind] + chunk, number) for kind, chunk, number in order] for order in tasks]


NOT_YET = float("-inf")


class _Player:
    """Clocks of the devices, ends of the tasks by piece and micro-batch, weights' tasks that wait for a gap."""

    def __init__(self, plan: Plan, durations: Durations, microbatches: int) -> None:
        self.apart_too = plan.schedule == "zero-bubble"
        self.stages, self.chunks, last = plan.pipeline, plan.chunks, plan.chunks - 1
        self.free = [0.0] * plan.pipeline
        self.ends = [[NOT_YET] * microbatches for _ in range(2 * plan.chunks)]
        self.starts: list[list[float]] = [[] for _ in range(plan.pipeline)]
        self.ended: list[list[float]] = [[] for _ in range(plan.pipeline)]
        self.ran: list[list[Task]] = [[] for _ in range(plan.pipeline)]
        self.apart: list[list[Task]] = [[] for _ in range(plan.pipeline)]
        hop_s = durations.hop_s if plan.pipeline > 1 else 0.0
        both = zip(durations.backward_s, durations.weights_s, strict=True)
        backward_s = [back + (0.0 if self.apart_too else weights) for back, weights in both]
        self.weights_s, self.seconds = list(durations.weights_s), [*backward_s, *durations.forward_s]
        # What each piece needs, and its way: backward the gradient of the one behind, forward the result of the piece
        # before; the last one's backward pass needs its own forward pass, the first piece nothing.
        backward, forward = self.ends[: plan.chunks], self.ends[plan.chunks :]
        self.inputs = [*backward[1:], forward[-1], [0.0] * microbatches, *forward[:-1]]
        self.ways = [*[hop_s] * last, 0.0, 0.0, *[hop_s] * last]

    def run(self, device: int, rows: Sequence[tuple[int, int]], place: int) -> int:
        """A device's tasks from a place on, as far as their inputs are there; the place of the next one."""
        starts, ended, free = self.starts[device], self.ended[device], self.free[device]
        while place < len(rows):
            row, number = rows[place]
            arrived = self.inputs[row][number] + self.ways[row]
            if arrived < 0:
                break
            if self.apart_too:
                self.fill(device, arrived)
                free = self.free[device]
            start = arrived if arrived > free else free
            self.ends[row][number] = self.free[device] = free = start + self.seconds[row]
            starts.append(start)
            ended.append(free)
            place += 1
            if self.apart_too:
                self._later(device, row, number)
                free = self.free[device]
        return place

    def _later(self, device: int, row: int, number: int) -> None:
        """What ran, and the gradients of its weights, which wait for a gap; no more than stages."""
        forward, chunk = divmod(row, self.chunks)
        self.ran[device].append(Task(TaskKind.FORWARD if forward else TaskKind.BACKWARD, chunk, number))
        if forward:
            return
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
        self.ran[device].append(task)
        self.starts[device].append(start)
        self.ended[device].append(self.free[device])


MOST_TASKS = 10**6
"""Passes of pieces that are played one by one: a few seconds."""


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


def least_seconds(plan: Plan, durations: Durations, microbatches: int) -> list[float]:
    """Before which no stage can have run its last task, nor the first stage since others must have before. [s]

    A stage waits for the first micro-batch to come to it, and runs all its tasks. Its last one is the backward pass of
    its first piece, which the pieces before it follow; where weights' gradients wait for a gap it may be of those.

    Worked example: two stages of 1 forward and 2 backward, 4 micro-batches, no hop: 3 x 4 = 12 on the first, 13 on the
    second, after which the first has 2 to do: 15, as (m + p - 1)(f + b) says.
    """
    hop_s = durations.hop_s if plan.pipeline > 1 else 0.0
    backward = [back + weights for back, weights in zip(durations.backward_s, durations.weights_s, strict=True)]
    work = [ahead + back for ahead, back in zip(durations.forward_s, backward, strict=True)]
    come = [0.0, *accumulate(ahead + hop_s for ahead in durations.forward_s)]
    left = [0.0, *accumulate(back + hop_s for back in backward)]
    stages = range(plan.pipeline)
    ends = [come[stage] + microbatches * sum(work[stage :: plan.pipeline]) for stage in stages]
    if plan.schedule == "zero-bubble":
        return ends
    return [max(ends[0], *(end + left[stage] for stage, end in enumerate(ends))), *ends[1:]]

"""What a stage of a plan holds over the time of its step, as its tasks run and micro-batches come and go."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from simulator.execution.memory import Footprint
from simulator.execution.over_step import NO_LAYER, MemoryOverStep, Span, over_step_of
from simulator.execution.plan_memory import (
    layer_activations,
    layer_gradients,
    layer_kept,
    trained_by_layer,
    waiting_bytes,
)
from simulator.execution.plan_states import Holding, StageContent, stage_states
from simulator.op.kernels import FloatArray
from simulator.parallel.pieces import LayerSeconds
from simulator.parallel.playing import Event
from simulator.parallel.schedule import TaskKind


def stage_over_step(
    stage: StageContent,
    samples: tuple[int, Holding],
    footprint: Footprint,
    play: tuple[Sequence[Event], LayerSeconds],
    rest_s: float,
) -> MemoryOverStep:
    """A stage's memory over its tasks, and what follows them.

    Parameters
    ----------
    samples : of a micro-batch, and what a stage's memory depends on beside the network.
    play : the stage's tasks as they ran, and the times of the layers, which share out those of the tasks.
    rest_s : from the last task to the end of the step. [s]
    """
    events, seconds = play
    player = _Filling(stage, *samples, seconds)
    spans: list[Span] = []
    now = 0.0
    for event in events:
        if event.start_s > now:
            spans.append((event.start_s - now, player.waiting, player.gradients, NO_LAYER))
        spans += player.run(event)
        now = event.end_s
    return over_step_of([*spans, (rest_s, 0.0, player.whole, NO_LAYER)], footprint)


class _Filling:
    """The memory of a stage while its tasks run.

    now : micro-batches whose activations are kept of each piece.
    apart : of these, those whose weights' gradients wait for a gap.
    made : weights that have a gradient. [parameters]
    """

    def __init__(self, stage: StageContent, microbatch: int, holding: Holding, seconds: LayerSeconds) -> None:
        self.stage, self.microbatch, self.holding, self.seconds = stage, microbatch, holding, seconds
        self.now, self.apart = [0] * len(stage.here), [0] * len(stage.here)
        self.done: set[int] = set()
        self.made = 0.0
        self.spans = [slice(layers.start, layers.stop) for layers in stage.here]
        self.places = np.split(np.arange(sum(map(len, stage.here))), np.cumsum([len(here) for here in stage.here])[:-1])
        self.kept, self.trained = layer_kept(stage, holding), trained_by_layer(stage.workload)
        self.whole = stage_states(stage, holding).gradients
        self.during = layer_gradients(stage, self.whole, holding)
        self.always = holding.keeps("gradients")
        self.all = float(sum(self.trained[span].sum() for span in self.spans))

    @property
    def content(self) -> StageContent:
        """The stage with the micro-batches that it keeps now."""
        return replace(self.stage, counts=tuple(a + b for a, b in zip(self.now, self.apart, strict=True)))

    @property
    def waiting(self) -> float:
        """Activations that wait for their backward pass. [byte]"""
        return self.microbatch * waiting_bytes(self.content, self.holding)

    @property
    def gradients(self) -> float:
        """Gradients of weights that are there. [byte]"""
        return self.whole if self.always or not self.all else self.whole * self.made / self.all

    def run(self, event: Event) -> Iterator[Span]:
        """Spans of a task, a layer each."""
        kind, chunk, _ = event.task
        piece = chunk // self.stage.plan.pipeline
        length = event.end_s - event.start_s
        if kind is TaskKind.FORWARD:
            yield from self._forward(piece, length)
            self.now[piece] += 1
        elif kind is TaskKind.BACKWARD:
            yield from self._backward(piece, length)
            self.now[piece] -= 1
            self.apart[piece] += self.stage.plan.schedule == "zero-bubble"
        else:
            yield (length, self.waiting, self.gradients, NO_LAYER)
            self.apart[piece] -= 1

    def _forward(self, piece: int, length: float) -> Iterator[Span]:
        span = self.spans[piece]
        held = self.waiting + self.microbatch * np.cumsum(self.kept[span])
        lengths = _shared(length, (self.seconds.forward + self.seconds.sent)[span])
        for place, spent, bytes_held in zip(self.stage.here[piece], lengths, held.tolist(), strict=True):
            yield (spent, bytes_held, self.gradients, place)

    def _backward(self, piece: int, length: float) -> Iterator[Span]:
        span, places = self.spans[piece], self.places[piece]
        held = self.microbatch * layer_activations(self.content, self.holding)[places]
        seconds = self.seconds
        lengths = _shared(length, (seconds.backward + seconds.weights + seconds.returned)[span])
        made = self._made(piece)
        columns = zip(self.stage.here[piece], lengths, held.tolist(), made.tolist(), strict=True)
        for place, spent, bytes_held, gradients in reversed(list(columns)):
            yield (spent, bytes_held, gradients, place)

    def _made(self, piece: int) -> FloatArray:
        """Gradients while each layer of a piece runs backward; those of its first micro-batch are made as it goes."""
        during, first = self.during[self.places[piece]], piece not in self.done
        trained = self.trained[self.spans[piece]]
        before = self.made
        if first:
            self.done.add(piece)
            self.made += float(trained.sum())
        if not first or self.always or self.stage.microbatches == 1:
            return during
        found: FloatArray = during - self.whole
        return found + self.whole * (before + np.cumsum(trained[::-1])[::-1]) / max(self.all, 1.0)


def _shared(length: float, seconds: FloatArray) -> list[float]:
    """A task's time, shared out over its layers as their own are. [s]"""
    total = float(seconds.sum())
    shares = seconds / total if total else np.full(len(seconds), 1 / len(seconds))
    return [float(share) for share in length * shares]

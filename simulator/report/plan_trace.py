"""A step's play as a trace that Perfetto opens: a row a device and stream, layers' names, colours by bound."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from simulator.execution.step import LayerTimes, layer_times
from simulator.parallel.pieces import Piece
from simulator.parallel.playing import Event
from simulator.parallel.schedule import TaskKind
from simulator.parallel.stages import block_name
from simulator.planned import Planned
from simulator.report.writing import writing
from simulator.roofline.times import Bound

US = 1e6
DETAILED = 4000
"""Spans of blocks in a trace: further micro-batches stand as one span each."""

COLOURS = {
    Bound.COMPUTE: "thread_state_running",
    Bound.MEMORY: "thread_state_iowait",
    Bound.OVERHEAD: "thread_state_runnable",
    Bound.COMMUNICATION: "thread_state_uninterruptible",
    Bound.INPUT: "thread_state_unknown",
}
"""Chrome's trace format names colours by state."""

COMPUTE, NETWORK = 0, 1
STREAMS = {COMPUTE: "compute", NETWORK: "exchange"}


def write_trace(answer: Planned, path: Path) -> None:
    """The trace as a file, or an `InputError` where it cannot be written."""
    with writing("the timeline", path):
        path.write_text(trace_text(answer), encoding="utf-8")


def trace_text(answer: Planned) -> str:
    """The trace as the text of a file."""
    return json.dumps(trace(answer))


def trace(answer: Planned) -> dict[str, Any]:
    """Chrome's trace format. Times of a long step are those of the micro-batches that were played."""
    layers = layer_times(answer.share.kernels, answer.share.times, len(answer.share.workload.layers))
    events = [*_names(answer), *_tasks(answer, layers), *_gradients(answer)]
    return {"traceEvents": events, "displayTimeUnit": "ms"}


def _names(answer: Planned) -> Iterator[dict[str, Any]]:
    for stage in range(answer.plan.pipeline):
        yield {"name": "process_name", "ph": "M", "pid": stage, "args": {"name": f"stage {stage + 1}"}}
        for stream, name in STREAMS.items():
            yield {"name": "thread_name", "ph": "M", "pid": stage, "tid": stream, "args": {"name": name}}


def _tasks(answer: Planned, layers: LayerTimes) -> Iterator[dict[str, Any]]:
    left = DETAILED
    for event in answer.step.timeline.events:
        piece = answer.step.pieces[event.task.chunk]
        bound = _bound(layers, piece)
        yield _span(event, f"{event.task.kind} {event.task.microbatch + 1}", bound) | {"cat": bound.word}
        inner = list(_blocks(answer, event, piece, layers)) if left > 0 else []
        left -= len(inner)
        yield from inner


def _span(event: Event, name: str, bound: Bound) -> dict[str, Any]:
    return {
        "name": name,
        "ph": "X",
        "pid": event.device,
        "tid": COMPUTE,
        "ts": US * event.start_s,
        "dur": US * (event.end_s - event.start_s),
        "cname": COLOURS[bound],
        "args": {"piece": event.task.chunk + 1, "micro-batch": event.task.microbatch + 1},
    }


def _blocks(answer: Planned, event: Event, piece: Piece, layers: LayerTimes) -> Iterator[dict[str, Any]]:
    """The blocks of a task, each as long as its kernels' share; backward the last block comes first."""
    phases = {TaskKind.FORWARD: [0], TaskKind.BACKWARD: [1, 2], TaskKind.WEIGHTS: [2]}[event.task.kind]
    seconds = layers.by_phase[phases].sum(axis=0)
    spans = _runs(answer, piece)
    total = float(seconds[piece.layers.start : piece.layers.stop].sum())
    now, length = event.start_s, event.end_s - event.start_s
    for name, places in spans if event.task.kind is TaskKind.FORWARD else reversed(spans):
        own = float(seconds[places.start : places.stop].sum())
        if own and total:
            part = Event(event.device, event.task, now, now + length * own / total)
            yield _span(part, name, _bound_of(layers, places))
            now = part.end_s


def _runs(answer: Planned, piece: Piece) -> list[tuple[str, range]]:
    """(block's name, layers) of a piece, in order."""
    found: list[tuple[str, range]] = []
    for place in piece.layers:
        layer = answer.share.workload.layers[place]
        name = block_name(layer.name) or layer.name
        if found and found[-1][0] == name:
            found[-1] = (name, range(found[-1][1].start, place + 1))
        else:
            found.append((name, range(place, place + 1)))
    return found


def _bound(layers: LayerTimes, piece: Piece) -> Bound:
    return _bound_of(layers, piece.layers)


def _bound_of(layers: LayerTimes, places: range) -> Bound:
    """What most of the layers' time waits for."""
    here = slice(places.start, places.stop)
    shares = np.bincount(layers.bound[here], weights=layers.time_s[here], minlength=len(Bound))
    return Bound(int(shares.argmax()))


def _gradients(answer: Planned) -> Iterator[dict[str, Any]]:
    ends = [max(event.end_s for event in events) for events in answer.step.timeline.by_device]
    for stage, buckets in enumerate(answer.step.buckets):
        for number, bucket in enumerate(buckets):
            yield {
                "name": f"gradients {number + 1}",
                "cat": "communication",
                "ph": "X",
                "pid": stage,
                "tid": NETWORK,
                "ts": US * (ends[stage] + bucket.start_s),
                "dur": US * (bucket.end_s - bucket.start_s),
                "cname": COLOURS[Bound.COMMUNICATION],
                "args": {"bytes": bucket.message_bytes},
            }

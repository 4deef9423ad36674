"""The trace of a plan, span by span: two stages, two blocks and a head, with times made up by hand."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from simulator.parallel.playing import Event
from simulator.parallel.schedule import Task, TaskKind
from simulator.planned import Planned
from simulator.report import plan_trace
from simulator.roofline.times import Bound

NAMES = ("block.0.a", "block.0.b", "block.1.a", "head")
TIMES = SimpleNamespace(
    # Forward, gradients of inputs, of weights, update; what most of the layers' time waits for.
    by_phase=np.array([[1.0, 1.0, 2.0, 4.0], [2.0, 0.0, 2.0, 4.0], [0.0, 2.0, 2.0, 4.0], [9.0, 9.0, 9.0, 9.0]]),
    bound=np.array([Bound.COMPUTE, Bound.MEMORY, Bound.MEMORY, Bound.COMPUTE]),
    time_s=np.array([1.0, 3.0, 2.0, 4.0]),
)
F, B, W = TaskKind.FORWARD, TaskKind.BACKWARD, TaskKind.WEIGHTS


def event(stage: int, kind: TaskKind, start_s: float, end_s: float, microbatch: int = 0) -> Event:
    return Event(stage, Task(kind, stage, microbatch), start_s, end_s)


def answer(*stages: list[Event]) -> Planned:
    made = SimpleNamespace(
        share=SimpleNamespace(
            kernels=None,
            times=None,
            workload=SimpleNamespace(layers=[SimpleNamespace(name=name) for name in NAMES]),
        ),
        plan=SimpleNamespace(pipeline=2),
        step=SimpleNamespace(
            timeline=SimpleNamespace(by_device=stages, events=[one for stage in stages for one in stage]),
            pieces=[SimpleNamespace(layers=range(3)), SimpleNamespace(layers=range(3, 4))],
            buckets=(
                [
                    SimpleNamespace(start_s=0.5, end_s=1.5, message_bytes=100.0),
                    SimpleNamespace(start_s=1.5, end_s=2.0, message_bytes=50.0),
                ],
                [],
            ),
        ),
    )
    return cast(Planned, made)


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    monkeypatch.setattr(plan_trace, "layer_times", lambda *_: TIMES)
    found = json.loads(
        plan_trace.trace_text(
            answer(
                [event(0, F, 0.0, 2.0), event(0, B, 5.0, 8.0)],
                [event(1, F, 2.0, 3.0), event(1, B, 3.0, 5.0, 1), event(1, W, 5.0, 6.0, 1)],
            )
        )
    )
    assert found["displayTimeUnit"] == "ms"
    return cast("list[dict[str, Any]]", found["traceEvents"])


def said(found: dict[str, Any]) -> tuple[Any, ...]:
    """(stage, stream, name, start and length in microseconds, colour)."""
    return found["pid"], found["tid"], found["name"], found["ts"], found["dur"], found["cname"]


def test_every_stage_and_stream_has_a_name(spans: list[dict[str, Any]]) -> None:
    names = [(one["name"], one["pid"], one.get("tid"), one["args"]["name"]) for one in spans if one["ph"] == "M"]
    assert names == [
        *(("process_name", 0, None, "stage 1"), ("thread_name", 0, 0, "compute"), ("thread_name", 0, 1, "exchange")),
        *(("process_name", 1, None, "stage 2"), ("thread_name", 1, 0, "compute"), ("thread_name", 1, 1, "exchange")),
    ]


def test_tasks_and_the_blocks_in_them(spans: list[dict[str, Any]]) -> None:
    computing = [one for one in spans if one["ph"] == "X" and one["tid"] == 0]
    slow, busy = "thread_state_iowait", "thread_state_running"
    assert list(map(said, computing)) == [
        (0, 0, "forward 1", 0.0, 2e6, slow),
        # Of forward times of 1 + 1 and 2 half of the 2 s each.
        (0, 0, "block.0", 0.0, 1e6, slow),
        (0, 0, "block.1", 1e6, 1e6, slow),
        (0, 0, "backward 1", 5e6, 3e6, slow),
        # The last block first: 2 + 2 of 2 + 2 + 2 + 2, half of 3 s.
        (0, 0, "block.1", 5e6, 1.5e6, slow),
        (0, 0, "block.0", 6.5e6, 1.5e6, slow),
        (1, 0, "forward 1", 2e6, 1e6, busy),
        (1, 0, "head", 2e6, 1e6, busy),
        (1, 0, "backward 2", 3e6, 2e6, busy),
        (1, 0, "head", 3e6, 2e6, busy),
        (1, 0, "weights 2", 5e6, 1e6, busy),
        (1, 0, "head", 5e6, 1e6, busy),
    ]
    tasks = [one for one in computing if "cat" in one]
    assert [one["cat"] for one in tasks] == ["memory", "memory", "compute", "compute", "compute"]
    assert [one["args"] for one in tasks[1:4]] == [
        {"piece": 1, "micro-batch": 1},
        {"piece": 2, "micro-batch": 1},
        {"piece": 2, "micro-batch": 2},
    ]


def test_gradients_follow_the_last_task_of_their_stage(spans: list[dict[str, Any]]) -> None:
    exchanged = [one for one in spans if one.get("tid") == 1 and one["ph"] == "X"]
    waiting = "thread_state_uninterruptible"
    assert list(map(said, exchanged)) == [
        (0, 1, "gradients 1", 8.5e6, 1e6, waiting),
        (0, 1, "gradients 2", 9.5e6, 0.5e6, waiting),
    ]
    assert [(one["cat"], one["args"]) for one in exchanged] == [
        ("communication", {"bytes": 100.0}),
        ("communication", {"bytes": 50.0}),
    ]


def test_blocks_are_left_out_of_long_steps_and_where_they_take_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    idle = SimpleNamespace(by_phase=np.zeros((4, 4)), bound=TIMES.bound, time_s=TIMES.time_s)
    one = answer([event(0, F, 0.0, 2.0)], [event(1, F, 2.0, 3.0)])
    for times, detailed, blocks in ((TIMES, 3, 3), (TIMES, 2, 2), (TIMES, 0, 0), (idle, 3, 0)):
        monkeypatch.setattr(plan_trace, "layer_times", lambda *_, times=times: times)
        monkeypatch.setattr(plan_trace, "DETAILED", detailed)
        found = [one for one in plan_trace.trace(one)["traceEvents"] if one["ph"] == "X" and one["tid"] == 0]
        assert len(found) - blocks == 2

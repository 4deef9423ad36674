"""Schedules: published formulas are the test of the play, and laws that every play keeps."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.errors import UnsupportedError
from simulator.parallel.plan import Plan
from simulator.parallel.schedule import Durations, Task, TaskKind, grouped, held_by_stage, orders, play, played_seconds

PLANS = [
    Plan(pipeline=4),
    Plan(pipeline=4, schedule="gpipe"),
    Plan(pipeline=4, schedule="interleaved", virtual=2),
    Plan(pipeline=3, schedule="interleaved", virtual=3),
    Plan(pipeline=4, schedule="zero-bubble"),
    Plan(pipeline=1),
]


def even(plan: Plan, hop_s: float = 0.0) -> Durations:
    """Forward 1, backward 2 (half of it weights) a stage."""
    each = [1 / plan.virtual] * plan.chunks
    return Durations(each, each, each, hop_s)


@pytest.mark.parametrize("microbatches", [4, 8, 64])
def test_bubbles_are_those_of_the_formulas(microbatches: int) -> None:
    stages = 4
    whole = 3 * microbatches
    for schedule in ("1f1b", "gpipe"):
        plan = Plan(pipeline=stages, schedule=schedule)
        assert play(plan, even(plan), microbatches).end_s == pytest.approx(whole + 3 * (stages - 1))
    plan = Plan(pipeline=stages, schedule="interleaved", virtual=2)
    assert play(plan, even(plan), microbatches).end_s == pytest.approx(whole + 3 * (stages - 1) / 2)
    plan = Plan(pipeline=stages, schedule="zero-bubble")
    # Qi et al., table 1: (p - 1)(f + b - w) of ZB-H1, of equal f, b and w.
    assert play(plan, even(plan), microbatches).end_s == pytest.approx(whole + (stages - 1))


def test_micro_batches_in_flight() -> None:
    assert [sum(held.values()) for held in held_by_stage(Plan(pipeline=4), 16)] == [4, 3, 2, 1]
    assert [sum(held.values()) for held in held_by_stage(Plan(pipeline=4, schedule="gpipe"), 16)] == [16] * 4
    # Korthikanti et al., 2022, section 4.2.3: L (1 + (p - 1) / (p v)) blocks, of which a piece has L / (p v): 8 + 3.
    interleaved = held_by_stage(Plan(pipeline=4, schedule="interleaved", virtual=2), 16)
    assert sum(interleaved[0].values()) == 8 + 3


def test_the_order_of_the_first_stage_by_hand() -> None:
    first = orders(Plan(pipeline=2), 3)[0]
    assert [(task.kind, task.microbatch) for task in first] == [
        (TaskKind.FORWARD, 0),
        (TaskKind.FORWARD, 1),
        (TaskKind.BACKWARD, 0),
        (TaskKind.FORWARD, 2),
        (TaskKind.BACKWARD, 1),
        (TaskKind.BACKWARD, 2),
    ]


@given(
    plan=st.sampled_from(PLANS),
    microbatches=st.integers(1, 20),
    hop_s=st.floats(0, 2),
    data=st.data(),
)
def test_no_stage_runs_before_its_input_and_none_does_two_things(
    plan: Plan, microbatches: int, hop_s: float, data: st.DataObject
) -> None:
    times = st.lists(st.floats(0.01, 5), min_size=plan.chunks, max_size=plan.chunks)
    durations = Durations(data.draw(times), data.draw(times), data.draw(times), hop_s)
    timeline = play(plan, durations, microbatches)
    ends = {event.task: event.end_s for event in timeline.events}
    kinds = 3 if plan.schedule == "zero-bubble" else 2
    assert len(ends) == kinds * plan.chunks * microbatches
    for events in timeline.by_device:
        assert all(a.end_s <= b.start_s + 1e-9 for a, b in pairwise(events))
    hop = hop_s if plan.pipeline > 1 else 0.0
    for event in timeline.events:
        kind, chunk, number = event.task
        if kind is TaskKind.FORWARD and chunk:
            assert event.start_s >= ends[Task(TaskKind.FORWARD, chunk - 1, number)] + hop - 1e-9
        if kind is TaskKind.BACKWARD:
            before = (
                Task(TaskKind.FORWARD, chunk, number) if chunk == plan.chunks - 1 else Task(kind, chunk + 1, number)
            )
            assert event.start_s >= ends[before] - 1e-9
        if kind is TaskKind.WEIGHTS:
            assert event.start_s >= ends[Task(TaskKind.BACKWARD, chunk, number)] - 1e-9
    slowest = max(timeline.busy_s(device) for device in range(plan.pipeline))
    assert timeline.end_s >= slowest - 1e-9


@given(plan=st.sampled_from(PLANS), microbatches=st.integers(30, 90), data=st.data())
def test_a_long_step_is_as_if_all_of_it_were_played(plan: Plan, microbatches: int, data: st.DataObject) -> None:
    times = st.lists(st.floats(0.8, 1.2), min_size=plan.chunks, max_size=plan.chunks)
    durations = Durations(data.draw(times), data.draw(times), data.draw(times), 0.05)
    timeline, seconds = played_seconds(plan, durations, microbatches)
    assert timeline.end_s <= seconds + 1e-9
    assert seconds == pytest.approx(play(plan, durations, microbatches).end_s, rel=0.02)


@pytest.mark.parametrize("schedule", ["gpipe", "zero-bubble"])
def test_more_microbatches_than_are_played_are_refused(schedule: str) -> None:
    plan = Plan(pipeline=4, schedule=schedule)
    durations = Durations([1.0] * plan.chunks, [2.0] * plan.chunks, [0.5] * plan.chunks, 0.1)
    with pytest.raises(UnsupportedError, match="are more than are played"):
        played_seconds(plan, durations, 10**9 + 1)


@pytest.mark.parametrize("more", [0, 1])
def test_interleaved_rounds_repeat_whether_stages_divide_them_or_not(more: int) -> None:
    plan = Plan(pipeline=4, schedule="interleaved", virtual=2)  # 2 pieces of 1, 2 and 0.5 s
    durations = Durations([1.0] * plan.chunks, [2.0] * plan.chunks, [0.5] * plan.chunks, 0.1)
    assert played_seconds(plan, durations, 10**9 + more)[1] == pytest.approx(7e9, rel=1e-6)


def test_micro_batches_go_in_groups_of_as_many_as_stages_or_a_little_more() -> None:
    assert grouped(24, 16) == [range(24)]
    assert grouped(13, 4) == [range(5), range(5, 9), range(9, 13)]
    assert grouped(8, 4) == [range(4), range(4, 8)]
    assert grouped(3, 4) == [range(3)]


@pytest.mark.parametrize(("stages", "pieces"), [(2, 2), (3, 4), (5, 2), (8, 3)])
def test_interleaving_takes_any_number_of_micro_batches(stages: int, pieces: int) -> None:
    # No stage waits for itself, and none is faster than its own work and the way of the first micro-batch to it.
    plan = Plan(pipeline=stages, virtual=pieces, schedule="interleaved")
    durations = Durations([1.0] * plan.chunks, [2.0] * plan.chunks, [0.0] * plan.chunks, 0.0)
    for count in range(1, 3 * stages + 2):
        assert play(plan, durations, count).end_s >= 3.0 * count * pieces + (stages - 1)

"""Schedules: published formulas are the test of the play, and laws that every play keeps."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.errors import UnsupportedError
from simulator.parallel.plan import Plan
from simulator.parallel.playing import Durations, least_seconds, play, played_seconds
from simulator.parallel.schedule import Task, TaskKind

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


@pytest.mark.parametrize(("stages", "pieces"), [(2, 2), (3, 4), (5, 2), (8, 3)])
def test_interleaving_takes_any_number_of_micro_batches(stages: int, pieces: int) -> None:
    # No stage waits for itself, and none is faster than its own work and the way of the first micro-batch to it.
    plan = Plan(pipeline=stages, virtual=pieces, schedule="interleaved")
    durations = Durations([1.0] * plan.chunks, [2.0] * plan.chunks, [0.0] * plan.chunks, 0.0)
    for count in range(1, 3 * stages + 2):
        assert play(plan, durations, count).end_s >= 3.0 * count * pieces + (stages - 1)


@given(plan=st.sampled_from(PLANS), microbatches=st.integers(1, 90), hop_s=st.floats(0, 2), data=st.data())
def test_no_play_is_shorter_than_its_stages_own_work_and_the_way_there_and_back(
    plan: Plan, microbatches: int, hop_s: float, data: st.DataObject
) -> None:
    times = st.lists(st.floats(0.01, 5), min_size=plan.chunks, max_size=plan.chunks)
    durations = Durations(data.draw(times), data.draw(times), data.draw(times), hop_s)
    timeline = play(plan, durations, microbatches)
    least = least_seconds(plan, durations, microbatches)
    assert all(ends[-1] >= bound - 1e-9 for ends, bound in zip(timeline.ends_s, least, strict=True))


@pytest.mark.parametrize("microbatches", [1, 4, 64])
def test_equal_stages_take_what_they_take_at_least(microbatches: int) -> None:
    for plan in (Plan(pipeline=4), Plan(pipeline=4, schedule="gpipe")):
        assert least_seconds(plan, even(plan), microbatches)[0] == pytest.approx(3 * (microbatches + 3))
    # Two stages of 1 forward and 2 backward, 4 micro-batches: 13 on the second, after which the first has 2 to do.
    by_hand = Durations([1.0, 1.0], [1.0, 1.0], [1.0, 1.0])
    assert least_seconds(Plan(pipeline=2), by_hand, 4) == [15.0, 13.0]

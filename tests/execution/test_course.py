"""A run on the calendar: dropped samples, warm-up, evaluations, and waiting for the slowest device."""

from __future__ import annotations

from math import pi, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.billing import billed, billed_plan
from simulator.courses import coursed, coursed_plan
from simulator.device.device import load_device
from simulator.device.storage import load_storage
from simulator.device.system import cluster_of_system
from simulator.errors import InputError
from simulator.execution.bill import Circumstances
from simulator.execution.course import (
    Habits,
    RunStep,
    course_of,
    evaluation_seconds,
    largest_of,
    without_last,
)
from simulator.execution.failures import Failures
from simulator.execution.run import Run, run_of
from simulator.parallel.bound import PlanBound
from simulator.parallel.plan import Plan
from simulator.pipeline import Options, simulate
from simulator.planned import Planned, simulate_plan
from simulator.workload.reading import load_workload

A100 = load_device("a100-sxm4-80gb")
RUN = Run(samples=1000, steps_per_epoch=10, epoch_s=20.0, epochs=6)
COSTS = RunStep(time_s=2.0, computing_s=1.5, samples=100, devices=8, evaluate=lambda samples: samples / 100)


def planned(**plan: int | str) -> Planned:
    joined = cluster_of_system("dgx-a100-80gb", 2)
    options = Options(precision="bf16", epochs=2, ignore_memory=True)
    workload = load_workload("gpt2", samples=1000)
    return simulate_plan(workload, A100, options, joined, Plan(data=16, **plan), 64)  # type: ignore[arg-type]


def test_the_largest_of_a_few_by_hand() -> None:
    # Of two 1 / sqrt(pi), of three 3 / (2 sqrt(pi)).
    assert largest_of(1) == pytest.approx(0, abs=1e-12)
    assert largest_of(2) == pytest.approx(1 / sqrt(pi), rel=1e-9)
    assert largest_of(3) == pytest.approx(1.5 / sqrt(pi), rel=1e-9)


def test_the_largest_of_many_is_what_drawing_them_gives() -> None:
    drawn = np.random.default_rng(7).standard_normal((4000, 256)).max(axis=1)
    assert largest_of(256) == pytest.approx(drawn.mean(), abs=4 * drawn.std() / sqrt(4000))
    assert largest_of(10**6) == pytest.approx(4.863, abs=0.001)


@given(st.integers(1, 10**6), st.integers(1, 10**6))
def test_more_devices_have_a_slower_slowest(one: int, other: int) -> None:
    few, many = sorted((one, other))
    assert largest_of(few) <= largest_of(many) + 1e-12


def test_a_course_by_hand() -> None:
    habits = Habits(warm_up_steps=5, evaluate_every=4, straggler_spread=0.1)
    course = course_of(RUN, COSTS, habits, 300)
    late = 0.1 * largest_of(8) * 1.5 / 2
    assert course.steps_s == 120
    assert course.late_s == pytest.approx(120 * late)
    assert course.warm_up_s == pytest.approx(5 * 2 * (1 + late))
    assert (course.evaluations, course.evaluation_s) == (1, 3)
    assert course.total_s == pytest.approx(120 + 120 * late + 10 * (1 + late) + 3)


@given(st.floats(0, 0.5), st.floats(0, 0.5), st.integers(0, 100), st.integers(1, 6))
def test_nothing_asked_adds_nothing_and_more_never_less(one: float, other: float, steps: int, every: int) -> None:
    assert course_of(RUN, COSTS, Habits()).total_s == RUN.total_s
    low, high = sorted((one, other))
    calm, wild = (course_of(RUN, COSTS, Habits("keep", steps, every, 50, spread)) for spread in (low, high))
    assert RUN.total_s <= calm.total_s <= wild.total_s


def test_dropped_samples_leave_full_steps() -> None:
    run = run_of(1050, 100, 3, lambda size: size / 100)
    full = without_last(run, 100, 1.0)
    assert (full.samples, full.steps_per_epoch, full.epoch_s) == (1000, 10, 10)
    with pytest.raises(InputError, match="leaves nothing"):
        without_last(run, 2000, 1.0)


def test_an_evaluation_has_full_passes_and_a_rest() -> None:
    assert evaluation_seconds(250, 100, lambda size: 1 + size / 100) == pytest.approx(2 + 2 + 1.5)
    assert evaluation_seconds(200, 100, lambda size: size / 100) == 2
    assert evaluation_seconds(7, 100, float) == 7


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"last_batch": "some"}, "--last-batch"),
        ({"warm_up_steps": -1}, "--warm-up-steps"),
        ({"evaluate_every": 0}, "--evaluate-every"),
        ({"evaluate_every": 1, "evaluate_samples": 0}, "--evaluate-samples"),
        ({"evaluate_samples": 10}, "give --evaluate-every"),
        ({"straggler_spread": float("nan")}, "--straggler-spread"),
        ({"straggler_spread": -0.1}, "--straggler-spread"),
        ({"straggler_spread": 1.0}, "--straggler-spread"),
    ],
)
def test_what_cannot_be_is_refused(fields: dict[str, float], why: str) -> None:
    with pytest.raises(InputError, match=why):
        Habits(**fields)  # type: ignore[arg-type]


def test_a_step_on_the_calendar() -> None:
    plain = simulate(load_workload("resnet50"), A100, Options(epochs=8, batch=64))
    found = coursed(plain, Habits(last_batch="drop", evaluate_every=4))
    forward = simulate(load_workload("resnet50"), A100, Options(batch=64, task="infer")).step.time_s
    assert found.course is not None
    assert found.course.dropped == 1281167 % 64
    assert found.run.epoch_s == pytest.approx(1281167 // 64 * plain.step.time_s)
    assert found.course.evaluation_s == pytest.approx(2 * 50000 / 64 * forward, rel=0.01)
    bill = billed(found, Circumstances(price_usd_per_hour=1)).bill
    assert bill is not None
    assert bill.time_s == found.course.total_s
    assert bill.cost_usd == pytest.approx(found.course.total_s / 3600)


def test_evaluations_nobody_knows_the_size_of_are_an_error() -> None:
    unknown = simulate(load_workload("resnet50", samples=1000), A100, Options(epochs=8))
    with pytest.raises(InputError, match="give --evaluate-samples"):
        coursed(unknown, Habits(evaluate_every=1))
    assert coursed(unknown, Habits(evaluate_every=1, evaluate_samples=10)).course is not None
    with pytest.raises(InputError, match="an inference is one"):
        coursed(simulate(load_workload("resnet50"), A100, Options(task="infer", epochs=2)), Habits(evaluate_every=1))


def test_a_plan_on_the_calendar() -> None:
    plain = planned()
    found = coursed_plan(plain, Habits("drop", 10, 1, 640, 0.02))
    assert found.run is not None
    assert plain.run is not None
    assert found.course is not None
    assert (plain.run.steps_per_epoch, found.run.steps_per_epoch) == (16, 15)
    assert found.course.steps_s == pytest.approx(30 * plain.step.time_s)
    seconds = plain.step.seconds
    computing = seconds[PlanBound.COMPUTE] + seconds[PlanBound.RECOMPUTE] + seconds[PlanBound.UPDATE]
    assert found.course.late_s == pytest.approx(30 * 0.02 * largest_of(16) * computing)
    assert 0.2 * 20 * plain.step.time_s < found.course.evaluation_s < 0.4 * 20 * plain.step.time_s


def checkpoint_s(answer: Planned) -> float:
    bill = billed_plan(answer, Circumstances(failures=Failures(1e9), checkpoint_to="nvme-pcie4")).bill
    assert bill is not None
    assert bill.interrupted is not None
    broken = bill.interrupted
    return broken.checkpoints_s / broken.work_s * broken.interval_s


def test_a_checkpoint_takes_its_state_at_the_storages_rate() -> None:
    # fp32 with SGD: four bytes a parameter and no moments, 25.6 million of them, at 5 GB/s.
    answer = simulate(load_workload("resnet50"), A100, Options(epochs=1000))
    given = Circumstances(failures=Failures(5e7), checkpoint_to="nvme-pcie4")
    bill = billed(answer, given).bill
    assert bill is not None
    assert bill.interrupted is not None
    state = answer.memory.parameters_bytes + answer.memory.optimizer_bytes
    each = bill.interrupted.checkpoints_s / bill.interrupted.work_s * bill.interrupted.interval_s
    assert each == pytest.approx(state / 5e9)
    assert state >= 25_557_032 * 4


def test_machines_of_zero_each_write_their_part() -> None:
    one, shared = checkpoint_s(planned()), checkpoint_s(planned(zero=1))
    assert one == pytest.approx(2 * shared)


def test_storage_of_unknown_rate_is_an_error() -> None:
    assert load_storage("object-store").write_byte_per_s is None
    with pytest.raises(InputError, match="give --checkpoint TIME"):
        billed_plan(planned(), Circumstances(failures=Failures(1e9), checkpoint_to="object-store"))

"""The search for plans: what it tries, finds and says."""

from __future__ import annotations

from functools import lru_cache

import pytest

from simulator.device.device import load_device
from simulator.device.system import cluster_of_system
from simulator.errors import InputError
from simulator.parallel.plan import Plan
from simulator.pipeline import Options
from simulator.planned import evaluate
from simulator.planning.plans import Found, candidates, search, why_slower
from simulator.report.plans import arguments
from simulator.workload.importers import Request
from simulator.workload.reading import load_workload

A100 = load_device("a100-sxm4-80gb")
ADAM = Options(precision="bf16", optimizer="adam")
BOX = cluster_of_system("dgx-a100-80gb", 1)


@lru_cache
def found(name: str = "llama3_8b", batch: int = 32) -> Found:
    return search(load_workload(name, request=Request(attention="fused")), A100, ADAM, BOX, batch)


def test_the_best_fits_and_none_that_fits_is_faster() -> None:
    answers = found().best
    assert answers[0].fits
    times = [answer.step.time_s for answer in answers]
    assert times == sorted(times)
    assert len(answers) + found().too_large == found().tried


def test_what_it_prints_can_be_typed_again() -> None:
    best = found().best[0]
    words = arguments(best).split()
    assert words[:2] == ["--parallel", best.plan.label]
    again = evaluate(best.workload, A100, ADAM, BOX, best.plan, 32)
    assert again.step.time_s == best.step.time_s


def test_the_runner_up_differs_in_its_degrees_and_says_why() -> None:
    first, second = found().best[0], found().runner_up()
    assert second is not None
    assert second.plan.label != first.plan.label
    assert "slower: " in why_slower(first, second)


def test_candidates_divide_heads_experts_devices_and_batch() -> None:
    workload = load_workload("mixtral_8x7b")
    plans = list(candidates(workload, BOX, 24))
    assert {plan.expert for plan in plans} == {1, 2, 4, 8}
    assert all(plan.devices == 8 for plan in plans)
    assert all(24 % (plan.data * (plan.microbatch or 1)) == 0 for plan in plans)
    assert {plan.tensor for plan in list(candidates(load_workload("resnet50"), BOX, 24))} == {1}


def test_where_nothing_fits_the_nearest_is_named() -> None:
    none = found("llama3_405b", 8)
    assert none.best == ()
    assert none.nearest is not None
    assert not none.nearest.fits


def test_a_batch_smaller_than_any_plan_needs_is_an_error() -> None:
    with pytest.raises(InputError):
        search(load_workload("resnet50"), A100, ADAM, cluster_of_system("dgx-a100-80gb", 64), 1)


def test_plans_are_hashable_rows() -> None:
    assert len({Plan(data=2), Plan(data=2), Plan(data=4)}) == 2

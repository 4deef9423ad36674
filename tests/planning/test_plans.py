"""The search for plans: what it tries, finds and says."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from types import SimpleNamespace
from typing import cast

import pytest

from simulator.device.device import load_device
from simulator.device.system import cluster_of_system
from simulator.errors import InputError
from simulator.parallel.bound import PlanBound
from simulator.parallel.plan import RECOMPUTE, Plan
from simulator.pipeline import Options
from simulator.planned import Planned, Shares, evaluate
from simulator.planning.plans import Found, _nearest, candidates, search, why_slower
from simulator.report.plans import arguments
from simulator.workload.importers import Request
from simulator.workload.reading import load_workload

A100 = load_device("a100-sxm4-80gb")
ADAM = Options(precision="bf16", optimizer="adam")
SYSTEM = "dgx-a100-80gb"
BOX = cluster_of_system(SYSTEM, 1)


@lru_cache
def found(name: str = "llama3_8b", batch: int = 32) -> Found:
    return search(load_workload(name, request=Request(attention="fused")), A100, ADAM, BOX, batch)


def test_the_best_fits_and_none_that_fits_is_faster() -> None:
    answers = found().best
    assert answers[0].fits
    times = [answer.step.time_s for answer in answers]
    assert times == sorted(times)
    assert found().fit + found().too_large == found().tried


CASES = [
    ("llama3_8b", "fused", 32, 1),
    ("mixtral_8x7b", "fused", 64, 4),
    ("gpt2_xl", "eager", 48, 1),
    ("resnet50", None, 256, 2),
]


@pytest.mark.parametrize(("name", "attention", "batch", "nodes"), CASES)
def test_what_is_found_is_what_playing_every_plan_finds(
    name: str, attention: str | None, batch: int, nodes: int
) -> None:
    workload, cluster = load_workload(name, request=Request(attention=attention)), cluster_of_system(SYSTEM, nodes)
    shares, every, short = Shares(workload, A100, ADAM, cluster), [], 0
    for plan in candidates(workload, cluster, batch):
        for recompute in RECOMPUTE:
            answer = shares.evaluate(replace(plan, recompute=recompute), batch)
            least_s = shares.prepared(answer.plan, batch).least_s
            assert least_s <= answer.step.time_s * (1 + 1e-12)
            assert shares.fits(answer.plan, batch) == answer.fits
            assert shares.least_fits(answer.plan, batch) or not answer.fits
            if answer.fits:
                every.append(answer)
                break
            short += 1
    every.sort(key=lambda answer: answer.step.time_s)
    fast = search(workload, A100, ADAM, cluster, batch)
    assert (fast.fit, fast.too_large, fast.refused) == (len(every), short, 0)
    assert [answer.plan for answer in fast.best] == [answer.plan for answer in every[:10]]
    assert [answer.step.time_s for answer in fast.best] == [answer.step.time_s for answer in every[:10]]
    second = next(answer for answer in every if answer.plan.label != every[0].plan.label)
    assert fast.second is not None
    assert fast.second.plan == second.plan


def test_few_of_many_plans_are_played(monkeypatch: pytest.MonkeyPatch) -> None:
    played: list[Plan] = []

    def counted(shares: Shares, plan: Plan, batch: int) -> Planned:
        played.append(plan)
        return evaluated(shares, plan, batch)

    evaluated = Shares.evaluate
    monkeypatch.setattr(Shares, "evaluate", counted)
    fast = search(load_workload("llama3_8b"), A100, ADAM, cluster_of_system(SYSTEM, 4), 128)
    assert len(fast.best) == 10
    assert len(played) < fast.fit / 3


def test_what_it_prints_can_be_typed_again() -> None:
    best = found().best[0]
    words = arguments(best).split()
    assert words[:2] == ["--parallel", best.plan.label]
    again = evaluate(best.workload, A100, ADAM, BOX, best.plan, 32)
    assert again.step.time_s == best.step.time_s


def test_the_runner_up_differs_in_its_degrees_and_says_why() -> None:
    first, second = found().best[0], found().second
    assert second is not None
    assert second.plan.label != first.plan.label
    assert "slower: " in why_slower(first, second)


def test_a_slower_plan_is_told_by_what_costs_it_most_more() -> None:
    def step(**parts: float) -> Planned:
        seconds = [parts.get(bound.name.lower(), 0.0) for bound in PlanBound]
        return cast(Planned, SimpleNamespace(step=SimpleNamespace(seconds=seconds, time_s=sum(seconds))))

    # 3 s against 2: exchange grows by 0.9 s, bubbles by 0.3, and the larger computing shrinks by 0.2.
    best, other = step(compute=1.5, exchange=0.3, bubble=0.2), step(compute=1.3, exchange=1.2, bubble=0.5)
    assert why_slower(best, other) == "50.0% slower: exchange is 40.0% of its step, not 15.0%"


def test_the_nearest_of_plans_that_are_too_large_lacks_least_on_its_fullest_stage() -> None:
    lacks = {1: (5.0, -30.0), 2: (-10.0, -20.0), 4: (100.0, -40.0)}

    def footprints(plan: Plan, _: int) -> list[SimpleNamespace]:
        return [SimpleNamespace(headroom_bytes=bytes_) for bytes_ in lacks[plan.data]]

    shares = cast(Shares, SimpleNamespace(footprints=footprints, evaluate=lambda plan, batch: (plan, batch)))
    assert _nearest(shares, [Plan(data=data) for data in lacks], 64) == (Plan(data=2), 64)


def test_candidates_divide_heads_experts_devices_and_batch() -> None:
    workload = load_workload("mixtral_8x7b")
    plans = list(candidates(workload, BOX, 24))
    assert {plan.expert for plan in plans} == {1, 2, 4, 8}
    assert all(plan.devices == 8 for plan in plans)
    assert all(24 % (plan.data * (plan.microbatch or 1)) == 0 for plan in plans)
    assert {plan.tensor for plan in list(candidates(load_workload("resnet50"), BOX, 24))} == {1}


def test_long_sequences_are_shared_out_too() -> None:
    """Context ranks keep 8,192 positions at least, of as many heads as the tensor ranks leave."""
    fused = Request(attention="fused", sequence=65536)
    long = load_workload("llama3_8b", request=fused)
    plans = list(candidates(long, BOX, 8))
    assert {plan.context for plan in plans} == {1, 2, 4, 8}
    assert all(plan.devices == 8 for plan in plans)
    assert all(plan.zero for plan in plans if plan.context > 1)
    assert {plan.context for plan in candidates(load_workload("llama3_8b"), BOX, 8)} == {1}
    fast = search(long, A100, ADAM, BOX, 8)
    best, without = fast.best[0], [answer for answer in fast.best if answer.plan.context == 1]
    assert best.plan.context > 1
    assert all(answer.step.time_s > best.step.time_s for answer in without)


def test_positions_are_not_shared_out_where_states_pass_along_them() -> None:
    request = Request(sequence=65536)
    assert {plan.context for plan in candidates(load_workload("qwen3_5_27b", request=request), BOX, 8)} == {1}


def test_where_nothing_fits_the_nearest_is_named() -> None:
    none = found("llama3_405b", 8)
    assert none.best == ()
    assert none.nearest is not None
    assert not none.nearest.fits


def test_a_batch_smaller_than_any_plan_needs_is_an_error() -> None:
    with pytest.raises(InputError):
        search(load_workload("resnet50"), A100, ADAM, cluster_of_system(SYSTEM, 64), 1)


def test_plans_are_hashable_rows() -> None:
    assert len({Plan(data=2), Plan(data=2), Plan(data=4)}) == 2

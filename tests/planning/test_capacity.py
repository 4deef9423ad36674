"""Capacity plans: margins and probabilities by hand, and what a plan must keep."""

from __future__ import annotations

from math import inf

import pytest

from simulator.device.device import load_device
from simulator.device.prices import Pricing
from simulator.errors import InputError
from simulator.pipeline import Options
from simulator.planning.capacity import CapacityPlan, Needs, SetUp, plan
from simulator.workload.reading import load_workload

RESNET = load_workload("resnet50")
DAY = 86400.0


def set_up(**changes: object) -> SetUp:
    base = {
        "device": load_device("v100"), "devices": 4, "precision": "fp32", "batch": 64, "time_s": 100.0, "low_s": 80.0,
        "high_s": 125.0, "cost_usd": 10.0, "power_w": 1000.0,
    }  # fmt: skip
    return SetUp(**(base | changes))  # type: ignore[arg-type]


def found(**needs: float) -> CapacityPlan:
    devices = ["v100-sxm2-16gb", "t4", "a100-sxm4-80gb"]
    return plan(RESNET, devices, [1, 8], needs=Needs(**needs), options=Options(epochs=90), precisions=["fp32", "amp"])


def test_probabilities_are_those_of_the_interval() -> None:
    # An 80 % interval has a tenth below it and a tenth above.
    one = set_up()
    assert one.probability(100) == pytest.approx(0.5)
    assert one.probability(125) == pytest.approx(0.9, abs=1e-4)
    assert one.probability(80) == pytest.approx(0.1, abs=1e-4)
    assert one.probability(inf) == 1
    assert set_up(low_s=100.0, high_s=100.0).probability(99) == 0
    # Each side has a width of its own: from 50 to 125 a run is as rarely done at 50 as it is late at 125.
    assert set_up(low_s=50.0).probability(50) == pytest.approx(0.1, abs=1e-4)
    assert set_up(low_s=50.0).probability(125) == pytest.approx(0.9, abs=1e-4)


def test_strain_is_what_is_taken_of_each_limit() -> None:
    needs = Needs(deadline_s=200, budget_usd=5, power_w=2000)
    assert set_up().strain(needs) == {"deadline": 0.5, "budget": 2, "power": 0.5}
    assert not set_up().meets(needs)
    assert set_up(cost_usd=None).strain(needs)["budget"] == inf


def test_every_choice_meets_the_needs_and_is_the_least() -> None:
    answer = found(deadline_s=DAY, power_w=3000)
    meeting = [one for one in answer.considered if one.meets(answer.needs)]
    assert answer.meeting == len(meeting) > 0
    assert answer.fastest is not None
    assert answer.fastest.time_s == min(one.time_s for one in meeting)
    assert answer.smallest is not None
    assert answer.smallest.devices == min(one.devices for one in meeting)
    assert answer.cheapest is not None
    assert answer.cheapest.cost_usd == min(one.cost_usd for one in meeting if one.cost_usd is not None)
    assert answer.nearest is None
    frame = answer.to_frame()
    assert len(frame) == len(answer.considered)
    assert frame["meets"].sum() == answer.meeting
    (fastest,) = frame[frame["best"].str.contains("fastest")].to_dict("records")
    assert (fastest["device"], fastest["time_s"]) == (answer.fastest.device.name, answer.fastest.time_s)
    assert frame["probability"].between(0, 1).all()


def test_devices_draw_and_cost_together() -> None:
    answer = plan(RESNET, ["v100-sxm2-16gb", "a100-sxm4-80gb"], [1, 4], options=Options(epochs=1, batch=32))
    watts = {(one.device.name, one.devices): one.power_w for one in answer.considered}
    # Boards of 300 and 400 W.
    assert watts == {
        **{("v100-sxm2-16gb", 1): 300, ("v100-sxm2-16gb", 4): 1200},
        **{("a100-sxm4-80gb", 1): 400, ("a100-sxm4-80gb", 4): 1600},
    }
    usd = load_device("a100-sxm4-80gb").profile.price
    assert usd is not None
    for one in answer.considered[2:]:
        assert one.cost_usd == pytest.approx(usd.usd_per_hour * one.devices * one.time_s / 3600)


def test_of_as_many_devices_those_of_least_power_are_the_smallest_set_up() -> None:
    answer = plan(RESNET, ["v100-sxm2-16gb", "a100-sxm4-80gb", "t4"], [1, 2], options=Options(epochs=1, batch=32))
    assert answer.smallest is not None
    assert answer.fastest is not None
    assert (answer.smallest.device.name, answer.smallest.devices) == ("t4", 1)  # of 70 W, and the slowest
    assert answer.smallest.time_s == max(one.time_s for one in answer.considered)
    assert answer.fastest.device.name == "a100-sxm4-80gb"


def test_where_nothing_meets_it_the_nearest_says_why() -> None:
    answer = found(deadline_s=60)
    assert answer.cheapest is answer.fastest is answer.smallest is None
    assert answer.nearest is not None
    assert answer.nearest.time_s == min(one.time_s for one in answer.considered)
    assert answer.obstacle() == f"it takes {answer.nearest.time_s / 60:.2f} times the deadline"


def test_an_unknown_price_is_unknown_and_never_nothing() -> None:
    answer = plan(RESNET, ["t4"], needs=Needs(budget_usd=1e9), options=Options(epochs=1))
    assert answer.meeting == 0
    assert answer.obstacle() == "its price is not known"
    given = plan(
        RESNET, [Pricing({"t4": 0.35}).of(load_device("t4"))], needs=Needs(budget_usd=1e9), options=Options(epochs=1)
    )
    assert given.cheapest is not None
    assert given.cheapest.cost_usd == pytest.approx(0.35 * given.cheapest.time_s / 3600)


def test_the_batch_is_the_fastest_of_those_that_fit() -> None:
    answer = plan(RESNET, ["v100-sxm2-16gb"], options=Options(epochs=1))
    (one,) = answer.considered
    assert one.batch in {64, 128}
    fixed = plan(RESNET, ["v100-sxm2-16gb"], options=Options(epochs=1, batch=16))
    assert fixed.considered[0].batch == 16
    assert fixed.considered[0].time_s > one.time_s


def test_devices_that_cannot_run_it_have_their_reason() -> None:
    answer = plan(RESNET, ["v100", "k80"], options=Options(epochs=1), precisions=["bf16"])
    assert set(answer.refused) == {"v100", "k80"} or "k80" in answer.refused
    assert "bf16" in answer.refused["k80"]


def test_a_run_without_a_dataset_has_no_end() -> None:
    from dataclasses import replace

    from simulator.workload.dataset import NO_DATASET

    with pytest.raises(InputError, match="no dataset"):
        plan(replace(RESNET, dataset=NO_DATASET), ["v100"])

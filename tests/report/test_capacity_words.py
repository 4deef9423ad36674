"""Capacity plans and fleets in words, of answers made up by hand: every number stands where it belongs."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from simulator.device.device import Device, load_device
from simulator.device.profile import Price
from simulator.planning.capacity import CapacityPlan, Needs, SetUp
from simulator.planning.fleet import Carried, Demand
from simulator.planning.provision import Fleet, Lost, Provision
from simulator.report import capacity, fleet
from simulator.serving.traffic import Promise, Traffic
from simulator.workload.reading import load_workload

LENET = load_workload("lenet5")
V100 = load_device("v100")
HOUR = 3600.0


def priced(device: Device, usd: float | None, date: str = "2026-01-01") -> Device:
    price = None if usd is None else Price(usd_per_hour=usd, date=date)
    return cast(Device, SimpleNamespace(name=device.name, profile=SimpleNamespace(price=price)))


def words(capsys: pytest.CaptureFixture[str]) -> str:
    """All that was printed, with one blank between words."""
    return " ".join(capsys.readouterr().out.split())


# ---- capacity

SMALL = SetUp(priced(V100, 2.0), 8, "amp", 128, 2 * HOUR, HOUR, 4 * HOUR, 32.0, 2000.0)
UNKNOWN = replace(SMALL, device=priced(V100, None), cost_usd=None, power_w=None)
NEEDS = Needs(deadline_s=2 * HOUR, budget_usd=64.0, power_w=4000.0)


def capacity_of(**found: Any) -> CapacityPlan:
    every: dict[str, Any] = dict.fromkeys(("cheapest", "fastest", "smallest", "nearest"))
    return CapacityPlan(**{"needs": NEEDS, "considered": (SMALL,) * 5, "meeting": 0, "refused": {}, **every, **found})


def test_a_set_up_with_its_margins() -> None:
    assert capacity.row("cheapest", SMALL, NEEDS) == {
        **{"": "cheapest", "set-up": "8 x v100-pcie-16gb in amp at batch 128"},
        **{"time": "2.00 hours", "low": "1.00 hours", "high": "4.00 hours"},
        # At the predicted time half of the runs are done; half of the budget and of the power are left.
        **{"in time": "50%", "cost": "32 USD", "power": "2.00 kW"},
        "margin": "deadline +0%, budget +50%, power +50%",
    }
    late = capacity.row("", replace(SMALL, time_s=3 * HOUR), NEEDS)
    assert late["margin"].startswith("deadline -50%")
    free = capacity.row("", UNKNOWN, Needs())
    assert (free["in time"], free["cost"], free["power"], free["margin"]) == ("", "unknown", "unknown", "")
    assert capacity.row("", UNKNOWN, NEEDS)["margin"] == "deadline +0%"


@pytest.mark.parametrize(
    ("needs", "epochs", "expected"),
    [
        (NEEDS, 1, "lenet5, 1 epoch of mnist: within 2.00 hours, for 64 USD, with 4.00 kW: 3 of 5 set-ups meet it"),
        (Needs(), 90, "lenet5, 90 epochs of mnist: no limits: 3 of 5 set-ups meet it"),
        (Needs(budget_usd=2e6), 2, "lenet5, 2 epochs of mnist: for 2,000,000 USD: 3 of 5 set-ups meet it"),
    ],
)
def test_what_is_asked_of_a_plan(needs: Needs, epochs: int, expected: str) -> None:
    assert capacity.headline(capacity_of(needs=needs, meeting=3), LENET, epochs) == expected


def test_a_capacity_plan_on_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    refused = {f"d{number}": f"reason {number}" for number in range(7)}
    capacity.print_capacity(capacity_of(cheapest=SMALL, fastest=SMALL, smallest=SMALL, meeting=3, refused=refused),
                            LENET, 1)  # fmt: skip
    text = words(capsys)
    assert "prices of 2026-01-01, a device an hour" in text
    assert "not d4: reason 4 and 2 more devices that cannot run it" in text
    assert "not d5" not in text
    assert "no cheapest" not in text
    five = dict(list(refused.items())[:5])
    capacity.print_capacity(capacity_of(fastest=UNKNOWN, smallest=UNKNOWN, meeting=2, refused=five), LENET, 1)
    text = words(capsys)
    assert "the price of none of them is known: no cheapest" in text
    assert "prices of" not in text
    assert "more devices" not in text


def test_a_plan_that_nothing_meets(capsys: pytest.CaptureFixture[str]) -> None:
    late = replace(SMALL, time_s=3 * HOUR)
    capacity.print_capacity(capacity_of(nearest=late), LENET, 1)
    text = words(capsys)
    assert "nothing meets it; 8 x v100-pcie-16gb in amp at batch 128 comes nearest: it takes 1.50 times the" in text
    assert " nearest 8 x " in text
    capacity.print_capacity(capacity_of(considered=()), LENET, 1)
    assert "nothing runs it" in words(capsys)


def test_a_capacity_plan_as_json() -> None:
    found = capacity.capacity_summary(capacity_of(cheapest=SMALL, meeting=3), LENET, 2)
    assert (found["workload"], found["epochs"], found["considered"], found["meeting"]) == ("lenet5", 2, 5, 3)
    assert found["needs"] == {"deadline_s": 2 * HOUR, "budget_usd": 64.0, "power_w": 4000.0}
    assert (found["obstacle"], found["fastest"], found["nearest"]) == (None, None, None)
    assert found["cheapest"] == {
        **{"device": "v100-pcie-16gb", "devices": 8, "precision": "amp", "batch": 128, "time_s": 2 * HOUR},
        **{"low_s": HOUR, "high_s": 4 * HOUR, "probability_in_time": pytest.approx(0.5), "cost_usd": 32.0},
        **{"power_w": 2000.0, "margins": {"deadline": 0.0, "budget": 0.5, "power": 0.5}},
    }
    none = capacity.capacity_summary(capacity_of(needs=Needs(deadline_s=HOUR), nearest=UNKNOWN), LENET, 1)
    assert none["needs"] == {"deadline_s": HOUR, "budget_usd": None, "power_w": None}
    assert none["obstacle"] == "it takes 2.00 times the deadline"
    unknown = capacity.capacity_summary(capacity_of(nearest=UNKNOWN), LENET, 1)["nearest"]["margins"]
    assert unknown == {"deadline": 0.0, "budget": None, "power": None}


# ---- fleets


def fleet_of(name: str = "h200", replicas: int = 2, surest: int | None = 4, **more: Any) -> Fleet:
    made: Any = SimpleNamespace(
        device=priced(load_device(name), more.get("usd", 3.0)),
        devices=2,
        ways=more.get("ways", 2),
        stages=more.get("stages", 1),
        by_experts=more.get("by_experts", False),
        form=SimpleNamespace(name="fp8"),
        engine=SimpleNamespace(name="vllm"),
    )
    together = more.get("together", 1)
    site: Any = SimpleNamespace(
        name="dgx-h200" if together > 1 else name,
        deployment=made,
        together=together,
        device=made.device,
        devices=lambda count: count * 2 if together == 1 else 8,
        usd_per_hour=lambda count: None if more.get("usd", 3.0) is None else 3.0 * 2 * count,
    )
    latency = {"ttft": {"p95_s": 0.5}, "tpot": {"p95_s": 0.025}}
    return Fleet(site, replicas, Carried(1.5, 2.25, 3.5), more.get("fewest", 2), surest, latency)


def provision_of(**found: Any) -> Provision:
    traffic = Traffic(number=500, lengths=("1000", "100"), seed=7)
    promise = Promise(found.pop("limits", (("ttft", 1.0), ("tpot", 0.05))))
    demand = Demand(4.0, promise, traffic)
    plain = {"cheapest": None, "fewest": None, "runners_up": {}, "considered": 12, "simulated": 3, "lost": ()}
    return Provision(**{"demand": demand, **plain, **found})


def test_a_fleet_in_words() -> None:
    assert fleet.describe(fleet_of()) == "4 x h200, 2 replicas of 2 in fp8 under vllm"
    assert fleet.describe(fleet_of(replicas=1)) == "2 x h200, 1 replica of 2 in fp8 under vllm"
    split = fleet_of(ways=1, stages=2, by_experts=True)
    assert fleet.describe(split) == (
        "4 x h200, 2 replicas of 2 (2 groups of layers, 1 share each), whole experts to each, in fp8 under vllm"
    )
    assert fleet.describe(fleet_of(by_experts=True)) == (
        "4 x h200, 2 replicas of 2, whole experts to each, in fp8 under vllm"
    )
    whole = fleet_of(together=4)  # eight devices in fours
    assert fleet.describe(whole) == "8 x h200 in 2 dgx-h200, 2 replicas of 2 in fp8 under vllm"


@pytest.mark.parametrize(
    ("surest", "expected"),
    [
        (4, "sure: enough at the slow end of the 80% interval too"),
        (5, "not sure: at the slow end of the 80% interval it takes 5"),
        (None, "not sure: at the slow end of the 80% interval no number keeps it"),
    ],
)
def test_how_sure_a_fleet_is(surest: int | None, expected: str) -> None:
    assert fleet.certainty(fleet_of(surest=surest)) == expected


def test_a_row_of_a_fleet() -> None:
    # 12 USD an hour at 4 x 100 tokens a second: 12 / 3600 / 400 x 1e6 = 8.33 USD a million.
    assert fleet.row("cheapest", fleet_of(), provision_of()) == {
        **{"": "cheapest", "devices": "4 x h200", "replicas": "2 x 2", "tp, pp": "2, 1", "precision": "fp8"},
        **{"a replica carries": "2.25/s (1.5 to 3.5)", "devices (fast to slow end)": "2 to 4"},
        **{"p95 ttft": "500 ms", "p95 tpot": "25.0 ms", "USD/h": "12.00", "USD/M tokens": "8.33"},
    }
    unknown = fleet.row("", fleet_of(usd=None, surest=None), provision_of())
    assert (unknown["USD/h"], unknown["USD/M tokens"]) == ("unknown", "unknown")
    assert fleet.row("", fleet_of(ways=1, stages=2, by_experts=True), provision_of())["tp, pp"] == "1, 2 ep"
    assert unknown["devices (fast to slow end)"] == "2 to none"


def test_what_is_asked_of_a_fleet() -> None:
    asked = "lenet5, 4 requests/s of 1000 tokens in, 100 out"
    counts = ": 12 set-ups of a replica, queues of 3 simulated"
    limits = ", 95 of 100 within ttft 1.00 s, tpot 50.0 ms"
    assert fleet.headline(provision_of(), LENET) == asked + limits + counts
    assert fleet.headline(provision_of(limits=()), LENET) == asked + counts


def test_fleets_on_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    lost = tuple(Lost(f"d{number}", "dear", "dear" if number else "many") for number in range(14))
    found = provision_of(
        cheapest=fleet_of(), fewest=fleet_of("b200"), runners_up={"fewest": fleet_of("h100")}, lost=lost
    )
    fleet.print_provision(found, LENET)
    text = words(capsys)
    assert "cheapest: 4 x h200, 2 replicas of 2 in fp8 under vllm; sure: enough" in text
    assert "fewest: 4 x b200" in text
    assert "runner-up 4 x h100" in text
    assert "d0 dear many d1 dear the same" in text
    assert "d11 dear" in text
    assert "d12" not in text
    assert "and 2 more, farther off: --json has them" in text
    assert "prices of 2026-01-01, a device an hour; each replica gets an equal share of the requests" in text
    assert "nothing that is offered" not in text


def test_a_fleet_without_a_price_or_none_at_all(capsys: pytest.CaptureFixture[str]) -> None:
    free = fleet_of(usd=None)
    fleet.print_provision(provision_of(fewest=free, lost=(Lost("a", "", "many"), Lost("b", "dear", ""))), LENET)
    text = words(capsys)
    assert "cheapest: the price of none that keeps it is known; give --price NAME=USD" in text
    assert "a (it is) many b dear (it is)" in text
    assert "prices of" not in text
    assert "farther off" not in text
    fleet.print_provision(provision_of(), LENET)
    text = words(capsys)
    assert "nothing that is offered keeps it" in text
    assert "the price of none" not in text


def test_fleets_as_json() -> None:
    found = fleet.provision_summary(
        provision_of(cheapest=fleet_of(together=4), fewest=fleet_of(), lost=(Lost("a", "", "many"),)), LENET
    )
    assert found["demand"] == {
        **{"rate_per_s": 4.0, "input": "1000", "output": "100", "arrivals": "poisson", "requests": 500, "seed": 7},
        **{"prefix": 0, "guessed": 0, "acceptance": found["demand"]["acceptance"]},
        "slo": {"ttft_s": 1.0, "tpot_s": 0.05},
    }
    assert (found["coverage"], found["considered"], found["simulated"]) == (0.8, 12, 3)
    assert (found["cheapest"]["system"], found["fewest"]["system"]) == ("dgx-h200", None)
    few = found["fewest"]
    assert (few["device"], few["devices"], few["replicas"], few["tp"]) == ("h200", 4, 2, 2)
    assert (few["pp"], few["expert_parallel"]) == (1, False)
    assert (few["precision"], few["engine"], few["sure"]) == ("fp8", "vllm", True)
    assert few["replica_per_s"] == {"low": 1.5, "middle": 2.25, "high": 3.5}
    assert (few["devices_fast"], few["devices_slow"], few["usd_per_hour"]) == (2, 4, 12.0)
    assert few["usd_per_million_tokens"] == pytest.approx(12 / 3600 / 400 * 1e6)
    assert found["lost"] == [{"device": "a", "cheapest": None, "fewest": "many"}]
    assert found["runners_up"] == {"cheapest": None, "fewest": None}

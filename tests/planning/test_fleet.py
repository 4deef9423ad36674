"""Fleets for served requests: bounds, what a plan must keep, and how sure it is."""

from __future__ import annotations

from dataclasses import replace
from math import ceil, inf
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simulator import load_device, load_workload
from simulator.device.prices import Pricing
from simulator.device.system import load_system
from simulator.errors import InputError, OutOfMemoryError
from simulator.planning.fleet import SLACK, Demand, FleetSite, Trials, carried, site_of
from simulator.planning.fleet_search import KEYS, NEVER, Search
from simulator.planning.provision import Offer, Provision, provision
from simulator.report.fleet import describe, headline
from simulator.serving.answer import Service
from simulator.serving.certainty import serving_certainty, spans_of
from simulator.serving.conditions import RequestConditions
from simulator.serving.costs import Speculation
from simulator.serving.static import RequestLengths, prompt_seconds, token_seconds
from simulator.serving.traffic import Promise, Traffic, at_rate, largest_rate, promise

MODEL = load_workload("llama3_8b")
TRAFFIC = Traffic(number=200, lengths=("1000", "100"))
OFFER = Offer(["h100", "a100-sxm4-80gb", "l4", "t4"], ways=(1, 2))
LIMITS = "ttft=500ms,tpot=40ms"


def key(goal: str, full_per_s: float, replicas: int = 2, usd: float | None = 8.0) -> tuple[float, ...]:
    """By what a fleet of machines of four devices is ordered."""
    made = SimpleNamespace(
        full_per_s=full_per_s,
        devices=lambda number: 4 * number,
        usd_per_hour=lambda number: None if usd is None else usd * number,
    )
    return KEYS[goal](cast(FleetSite, made), replicas)


@pytest.mark.parametrize("goal", KEYS)
def test_of_equal_fleets_the_one_that_carries_more_comes_first(goal: str) -> None:
    assert key(goal, 20.0) < key(goal, 10.0) < key(goal, 30.0, replicas=3)
    assert key(goal, 10.0, usd=7.0) < key(goal, 20.0)


def test_a_fleet_of_unknown_price_is_never_the_cheapest_and_the_last_of_its_number() -> None:
    assert key("cheapest", 10.0, usd=None) == NEVER
    assert key("fewest", 10.0, usd=None) == (8, inf, -10.0)
    assert key("fewest", 1.0, usd=1e9) < key("fewest", 10.0, usd=None) < key("fewest", 10.0, replicas=3)


def demand(rate_per_s: float = 20.0, limits: str = LIMITS) -> Demand:
    return Demand(rate_per_s, promise(limits), TRAFFIC)


def site(name: str = "h100", ways: int = 1, **changes: object) -> FleetSite:
    service = Service(devices=ways, request=RequestLengths(1000, 100))
    return replace(site_of(MODEL, load_device(name), service), **changes)


@pytest.fixture(scope="module")
def answer() -> Provision:
    return provision(MODEL, OFFER, demand())


def test_devices_are_of_replicas_or_of_whole_machines() -> None:
    assert site(ways=2).devices(5) == 10
    # Four replicas of two in a machine of eight: five take two machines.
    assert site(ways=2, together=8).devices(5) == 16
    assert site(ways=2, together=8).usd_per_hour(1) == pytest.approx(8 * 6.88)
    assert site("l4").usd_per_hour(3) is None


@pytest.mark.parametrize("name", ["h100", "l4", "a100-sxm4-80gb"])
def test_what_a_replica_carries_at_best_bounds_what_its_queue_does(name: str) -> None:
    # All requests come at once, ten times as many as run at a time.
    one = site(name)
    line = Trials(one, replace(demand(), traffic=replace(TRAFFIC, number=2500))).line
    served = at_rate(line, 1e6)
    assert 0.8 * one.full_per_s < 2500 / float(served.end_s.max()) <= one.full_per_s


@pytest.mark.parametrize(("ways", "stages"), [(1, 2), (2, 2), (1, 4)])
def test_groups_of_layers_bound_what_their_queue_does(ways: int, stages: int) -> None:
    service = Service(devices=ways * stages, ways=ways, stages=stages, request=RequestLengths(1000, 100))
    one = site_of(MODEL, load_device("h100"), service)
    line = Trials(one, replace(demand(), traffic=replace(TRAFFIC, number=2500))).line
    served = at_rate(line, 1e6)
    assert 0.6 * one.full_per_s < 2500 / float(served.end_s.max()) <= one.full_per_s


@pytest.mark.parametrize("given", [RequestConditions(700), RequestConditions(0, Speculation(3, 0.8))])
def test_shared_prompts_and_guessed_tokens_bound_what_their_queue_does(given: RequestConditions) -> None:
    service = Service(request=RequestLengths(1000, 100), shared=given.shared, speculation=given.speculation)
    one = site_of(MODEL, load_device("h100"), service)
    traffic = replace(TRAFFIC, number=2500, conditions=given)
    served = at_rate(Trials(one, replace(demand(), traffic=traffic)).line, 1e6)
    assert site().full_per_s < 0.8 * one.full_per_s
    assert 0.6 * one.full_per_s < 2500 / float(served.end_s.max()) <= one.full_per_s


def test_a_plan_takes_what_prompts_share_and_what_is_guessed() -> None:
    plain, shared = (
        provision(MODEL, Offer(["h100"], stages=(1,)), replace(demand(150), traffic=replace(TRAFFIC, conditions=given)))
        for given in (RequestConditions(), RequestConditions(800, Speculation(3, 0.8)))
    )
    assert plain.fewest is not None
    assert shared.fewest is not None
    assert shared.fewest.devices < plain.fewest.devices
    assert "800 tokens of each prompt shared, 3 tokens guessed ahead, 80% of them right" in headline(shared, MODEL)


def test_degrees_are_chosen_among_and_said() -> None:
    offer = Offer(["l4"], precisions=("fp8",), stages=(1, 2, 4), ways=(1, 2, 4))
    found = provision(load_workload("mixtral_8x7b"), offer, demand(1.0, "tpot=100ms"))
    assert found.fewest is not None
    # 4 or 8 devices hold it: (4, 1), (2, 2), (1, 4), (4, 2), (2, 4), and whole experts where layers are shared.
    assert found.considered == 9
    alone = replace(offer, ways=(4,), stages=(1,), by_experts=(True,))
    only = provision(load_workload("mixtral_8x7b"), alone, demand(1.0, "tpot=100ms"))
    assert only.considered == 1
    assert only.fewest is None or found.fewest.devices <= only.fewest.devices
    assert ("groups of layers" in describe(found.fewest)) == (found.fewest.site.deployment.stages > 1)


def test_machines_are_divided_by_whole_replicas() -> None:
    found = provision(MODEL, Offer([], systems=["dgx-h100"], ways=(3, 4), stages=(1, 2, 3)), demand(1))
    # Of eight devices: (4, 1) and (4, 2).
    assert found.considered == 2


def test_a_request_alone_takes_its_prompt_and_its_tokens() -> None:
    one = site()
    assert one.first_s == pytest.approx(prompt_seconds(one.deployment, 1, 1000))
    assert one.token_s == pytest.approx(token_seconds(one.deployment, 1, RequestLengths(1000, 100)), rel=0.01)
    # Of prompts longer than a step takes, all pieces.
    long = site_of(MODEL, load_device("h100"), Service(request=RequestLengths(20_000, 10)))
    assert long.first_s == pytest.approx(prompt_seconds(long.deployment, 1, 20_000))


def test_prompts_alone_fill_the_steps_that_read_them() -> None:
    # One token out: nothing decodes, so that a replica reads 8192 tokens a step and nothing else.
    one = site_of(MODEL, load_device("h100"), Service(request=RequestLengths(8192, 1)))
    assert one.full_per_s == pytest.approx(SLACK / one.first_s)


def test_the_choices_keep_the_limits_in_a_queue(answer: Provision) -> None:
    for fleet in (answer.cheapest, answer.fewest, *answer.runners_up.values()):
        assert fleet is not None
        trials = Trials(fleet.site, answer.demand)
        each = answer.demand.rate_per_s / fleet.replicas
        assert answer.demand.promise.kept(at_rate(trials.line, each))
        assert fleet.latency["ttft"]["p95_s"] <= 0.5
        assert fleet.carries.low <= fleet.carries.middle <= fleet.carries.high
        assert fleet.carries.middle >= each
        if fleet.replicas > 1:
            assert not Trials(fleet.site, answer.demand).keeps(fleet.replicas - 1)


def test_no_other_site_is_better(answer: Provision) -> None:
    # Every site looked at by itself, without bounds or order.
    assert answer.cheapest is not None
    assert answer.fewest is not None
    usd, number = inf, inf
    for name in OFFER.devices:
        for ways in OFFER.ways:
            try:
                one = site(name, ways)
            except OutOfMemoryError:
                continue
            trials = Trials(one, answer.demand)
            replicas = next((count for count in range(1, 60) if trials.keeps(count)), None)
            if replicas is not None:
                usd = min(usd, one.usd_per_hour(replicas) or inf)
                number = min(number, one.devices(replicas))
    assert answer.cheapest.usd_per_hour == usd
    assert answer.fewest.devices == number


def test_each_device_that_is_not_chosen_has_its_reason(answer: Provision) -> None:
    lost = {one.device: one for one in answer.lost}
    assert lost["t4"].fewest.startswith(("does not fit", "misses", "at least"))
    assert lost["l4"].cheapest == "price unknown"
    assert "devices" in lost["l4"].fewest
    assert set(lost) | {answer.cheapest.site.name, answer.fewest.site.name} >= {"t4", "l4", "a100-sxm4-80gb"}  # type: ignore[union-attr]
    assert set(answer.to_frame()["device"]) == set(lost)


def test_limits_that_a_request_alone_misses_are_named() -> None:
    found = provision(MODEL, Offer(["l4", "h100"]), demand(limits="tpot=1ms"))
    assert found.cheapest is found.fewest is None
    assert all("misses tpot: a request alone takes" in one.fewest for one in found.lost)
    assert found.simulated == 0


def test_an_offer_of_few_devices_is_kept_to() -> None:
    found = provision(MODEL, Offer(["l4"], most=2), demand(200))
    assert found.fewest is None
    assert "more than 2" in found.lost[0].fewest
    with pytest.raises(InputError, match="name a --device or a --system"):
        provision(MODEL, Offer([]), demand())


def test_machines_are_bought_whole() -> None:
    found = provision(MODEL, Offer([], systems=["dgx-h100"], ways=(1, 3, 8, 16)), demand(1))
    assert found.fewest is not None
    assert found.fewest.devices == load_system("dgx-h100").devices
    assert found.fewest.site.name == "dgx-h100"


def test_a_price_of_your_own_is_taken() -> None:
    found = provision(MODEL, Offer(["l4", "h100"], prices=Pricing({"l4": 0.01})), demand())
    assert found.cheapest is not None
    assert found.cheapest.site.name == "l4"
    assert found.cheapest.usd_per_hour == pytest.approx(0.01 * found.cheapest.devices)
    million = found.usd_per_million(found.cheapest)
    # 20 requests of 100 tokens a second are 7.2 million tokens an hour.
    assert million == pytest.approx(0.01 * found.cheapest.devices / 7.2)


RATES = st.floats(0.5, 150)


def counts(rate_per_s: float, limits: str = LIMITS) -> tuple[float, float]:
    """Devices of the fewest, price of the cheapest; infinite where there is none."""
    search = Search(demand(rate_per_s, limits), SITES, inf)
    found = {name: search.best(rule) for name, rule in KEYS.items()}
    fewest, cheapest = found["fewest"], found["cheapest"]
    return (
        fewest[0][0].site.devices(fewest[0][1]) if fewest else inf,
        cheapest[0][0].site.usd_per_hour(cheapest[0][1]) or inf if cheapest else inf,
    )


SITES = [site("h100"), site("a100-sxm4-80gb"), site("l4", 2)]


@given(RATES, RATES)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
def test_a_higher_rate_never_needs_fewer_devices_nor_less_money(one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert all(few <= many for few, many in zip(counts(low), counts(high), strict=True))


@given(RATES, st.integers(60, 1000), st.integers(60, 1000), st.integers(10, 80))
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
def test_a_looser_limit_never_needs_more(rate: float, one: int, other: int, token: int) -> None:
    tight, loose = sorted((one, other))
    strict = counts(rate, f"ttft={tight}ms,tpot={token}ms")
    assert all(few <= many for few, many in zip(counts(rate, f"ttft={loose}ms,tpot={token}ms"), strict, strict=True))


def test_steps_that_are_all_slower_carry_as_much_less() -> None:
    # With every step 1.25 times as long, a rate is kept where 1.25 times the rate keeps limits 1.25 times as tight.
    trials = Trials(site(), demand())
    found = carried(trials, 1.0)
    spans = spans_of("vllm")
    tight = Promise((("ttft", 0.5 / spans["ttft"].high), ("tpot", 0.04 / spans["tpot"].high)))
    assert found.low == pytest.approx(largest_rate(trials.line, tight) / spans["tpot"].high, rel=0.03)


def test_spans_hold_the_prediction_and_a_request_is_as_sure_as_its_less_sure_part() -> None:
    certainty = serving_certainty()
    for engine in (*certainty.engines, "unheard of"):
        spans = spans_of(engine)
        assert spans["e2e"].high == max(spans["ttft"].high, spans["tpot"].high)
        assert all(0 < span.low <= 1 <= span.high for span in spans.values())
    assert spans_of("unheard of")["tpot"] == certainty.others.token


def test_a_rate_is_above_zero() -> None:
    with pytest.raises(InputError, match="rate must be above zero"):
        demand(0.0)


def test_what_has_no_price_cannot_be_the_cheapest() -> None:
    assert KEYS["cheapest"](site("l4"), 1) == NEVER
    assert KEYS["fewest"](site("l4"), 3)[0] == 3
    assert ceil(20 / site().full_per_s) == Search(demand(), [one := site()], inf).least[one]

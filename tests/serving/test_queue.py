"""The simulated queue: nothing is lost, the cache is never overfull, closed forms hold, seeds repeat."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator import load_device, load_workload
from simulator.errors import InputError, UnknownNameError
from simulator.serving.answer import Service, serve
from simulator.serving.apart import Readers, shared_out
from simulator.serving.arrivals import Requests, drawn, mean_length, recorded
from simulator.serving.blocks import Growing
from simulator.serving.cache import held_requests
from simulator.serving.conditions import RequestConditions
from simulator.serving.costs import Speculation, StepCosts, Surface, costs_of
from simulator.serving.loops import steady
from simulator.serving.queued import Rules
from simulator.serving.scheduler import run_queue
from simulator.serving.static import RequestLengths
from simulator.serving.step import both, decoding, reading, step_times
from simulator.serving.traffic import QueueAnswer, Traffic, at_rate, largest_rate, line_of, percentiles, promise

ANSWER = serve(load_workload("llama3_8b"), load_device("h100"), Service(concurrency=(1,)))
COSTS = costs_of(ANSWER.deployment)
WIDE = Rules(blocks=10**6, block=16, tokens=8192, requests=256)
LENGTH = st.integers(1, 300)


def constant(value: float) -> Surface:
    return Surface([0.0, 1.0], [0.0, 1.0], [[value, value], [value, value]])


def plain(read_s: float = 1.0, decode_s: float = 1.0, tokens: float = 1.0) -> StepCosts:
    """Steps that take the same time whatever is in them."""
    return StepCosts(constant(decode_s), constant(0.0), constant(read_s), constant(0.0), 0.0, tokens)


def requests(arrival: list[float], prompt: list[int], output: list[int]) -> Requests:
    return Requests(np.array(arrival), np.array(prompt), np.array(output))


def test_a_request_alone_takes_its_prompt_and_its_tokens() -> None:
    # Read in one step of 2 s, which gives the first token, then 4 more steps of 1 s.
    served = run_queue(requests([3.0], [100], [5]), plain(2.0), WIDE)
    assert served.first_token_s[0] == 2.0
    assert served.request_s[0] == 6.0
    assert served.token_s[0] == 1.0
    assert served.tokens_per_s == 5 / 6.0  # from when it came, not from nought


def test_a_long_prompt_is_read_in_pieces_beside_what_decodes() -> None:
    # 20,000 tokens in steps of 8192: three steps. Beside them the first request decodes on.
    served = run_queue(requests([0.0, 1.5], [10, 20_000], [10, 1]), plain(), WIDE)
    # The first: read by 1 s, a token at 2 s; then three mixed steps and the rest of its nine tokens, all of 1 s.
    assert served.end_s[0] == 10.0
    assert served.end_s[1] == 5.0


def test_an_engine_finds_requests_only_where_it_looks() -> None:
    # The first decodes from 1 s on; every fourth step it is looked for more: at 5 s for what comes at 1.5 s.
    rules = replace(WIDE, interval=4)
    served = run_queue(requests([0.0, 1.5], [10, 10], [20, 1]), plain(), rules)
    assert served.end_s[1] == 6.0
    at_once = run_queue(requests([0.0, 1.5], [10, 10], [20, 1]), plain(), WIDE)
    assert at_once.end_s[1] == 3.0
    # One that comes alone is found at once.
    assert run_queue(requests([7.5], [10], [1]), plain(), rules).end_s[0] == 8.5


def test_a_prompt_waits_for_others_to_be_read_with() -> None:
    # Read by 1 s, seen at 2 s; three steps pass, in which another comes, and both are read in one step.
    rules = replace(WIDE, gather=3)
    came = requests([0.0, 1.5, 3.2], [10, 10, 10], [20, 1, 1])
    served = run_queue(came, plain(), rules)
    assert served.end_s[1:].tolist() == [6.0, 6.0]
    # Where they fill a step, they do not wait; nor does one where nothing decodes.
    full = run_queue(requests([0.0, 1.5], [10, 9000], [20, 1]), plain(), rules)
    assert full.end_s[1] == 4.0
    assert run_queue(requests([0.0], [10], [1]), plain(), rules).end_s[0] == 1.0


@pytest.mark.parametrize(("interval", "gather"), [(8, 0), (1, 12), (6, 4)])
def test_waiting_in_a_queue_is_that_of_the_static_answer(interval: int, gather: int) -> None:
    # One request decodes all the time; others wait half an interval and what prompts gather, as `steady_at` says.
    times = np.sort(np.random.default_rng(1).uniform(100, 9_000, 300))
    came = requests([0.0, *times], [10] * 301, [200_000, *[1] * 300])
    usual, rare = (
        run_queue(came, plain(0.1, 0.1), rules) for rules in (WIDE, replace(WIDE, interval=interval, gather=gather))
    )
    later_s = float((rare.first_token_s - usual.first_token_s)[1:].mean())
    assert later_s == pytest.approx(0.1 * ((interval - 1) / 2 + gather), rel=0.15)


@given(
    st.lists(st.tuples(st.floats(0, 20), LENGTH, LENGTH), min_size=1, max_size=25), st.integers(1, 9), st.integers(0, 5)
)
@settings(max_examples=40, deadline=None)
def test_nothing_is_lost_whenever_the_engine_looks(
    rows: list[tuple[float, int, int]], interval: int, gather: int
) -> None:
    rows.sort()
    arrival, prompt, output = (list(column) for column in zip(*rows, strict=True))
    windows = ((64, 0.125),)
    rules = Rules(120, 16, 256, 6, interval=interval, gather=gather, windows=windows, state=1)
    came = requests(arrival, prompt, output)
    served = run_queue(came, plain(0.5, 0.2), rules)
    assert served.tokens == sum(output)
    assert served.cached.max() <= 120
    assert (served.first_s > came.arrival_s).all()
    assert (served.end_s >= served.first_s).all()


def test_windows_keep_no_more_than_their_span() -> None:
    # 4 blocks of tokens; of a window of 32 at an eighth of a block a token, 4 more, or 2 of a request of 16.
    rules = Rules(1000, 16, 8192, 256, windows=((32, 0.125),))
    lengths = np.array([64, 16])
    assert (rules.fixed(lengths) + rules.grown(lengths)).tolist() == [8, 3]
    served = run_queue(requests([0.0], [63], [1]), plain(), rules)
    assert served.cached.max() == 8


@pytest.mark.parametrize("name", ["gpt_oss_20b", "gemma2_2b", "mistral_7b", "llama3_8b"])
def test_the_queue_holds_as_many_requests_as_the_static_answer(name: str) -> None:
    answer = serve(load_workload(name), load_device("h100"), Service(request=RequestLengths(7000, 400)))
    rules = line_of(answer.deployment, Traffic()).rules
    length = np.array([7400])
    each = int((rules.fixed(length) + rules.grown(length))[0])
    held = held_requests(answer.deployment, 7400)
    assert rules.blocks // each == pytest.approx(held, abs=max(1, 0.03 * held))
    assert answer.capacity.requests(7400) == pytest.approx(held, abs=1)


def test_groups_of_layers_decode_as_the_static_answer_has_it() -> None:
    deployment = serve(load_workload("llama3_8b"), load_device("h100"), Service(devices=4, stages=4)).deployment
    costs = costs_of(deployment)
    exact = float(step_times(deployment, decoding(64 / 4, 1500)).time_s[0])
    assert costs.decoding(64, 1500) == pytest.approx(exact, rel=0.03)
    # Eight prompts over four groups: 8 + 3 of 32 shares of the step, as far as they overlap.
    together = costs.mixed(0, 0, [(500, 0)] * 8)
    alone = replace(costs, stages=1).mixed(0, 0, [(500, 0)] * 8)
    assert together == pytest.approx(alone * (1 - deployment.engine.overlap * (1 - 11 / 32)))


def test_what_is_not_mixed_waits_for_the_prompt() -> None:
    rules = Rules(blocks=10**6, block=16, tokens=8192, requests=256, chunked=False)
    served = run_queue(requests([0.0, 1.5], [10, 20_000], [10, 1]), plain(), rules)
    # One whole step reads the second prompt, in which the first request gets no token.
    assert served.end_s[1] == 3.0
    assert served.end_s[0] == 11.0


@given(
    st.lists(st.tuples(st.floats(0, 50), LENGTH, LENGTH), min_size=1, max_size=40),
    st.integers(40, 200),
    st.booleans(),
    st.integers(1, 8),
)
@settings(max_examples=60, deadline=None)
def test_tokens_in_are_tokens_out_and_the_cache_is_never_overfull(
    rows: list[tuple[float, int, int]], blocks: int, chunked: bool, most: int
) -> None:
    rows.sort()
    arrival, prompt, output = (list(column) for column in zip(*rows, strict=True))
    rules = Rules(blocks=blocks, block=16, tokens=512, requests=most, chunked=chunked)
    came = requests(arrival, prompt, output)
    served = run_queue(came, plain(0.5, 0.2), rules)
    assert served.tokens == sum(output)
    assert served.cached.max() <= blocks
    assert served.running.max() <= most
    assert (served.first_s > came.arrival_s).all()
    assert (served.end_s >= served.first_s).all()
    assert (np.diff(served.moment_s) >= 0).all()


@given(st.lists(st.integers(-300, 300), max_size=30), st.integers(0, 400), st.sampled_from([1, 16, 64]))
def test_counted_blocks_are_those_of_each_request(bases: list[int], step: int, block: int) -> None:
    growing = Growing(block)
    for base in [*bases, 7]:
        growing.add(base)
    growing.remove(7)
    assert growing.blocks(step) == sum(-(-(base + step) // block) for base in bases)
    assert growing.tokens(step) == sum(base + step for base in bases)


def test_a_single_server_waits_as_the_closed_form_says() -> None:
    # M/D/1: mean wait = rho S / (2 (1 - rho)); Kleinrock, "Queueing Systems", 1975, section 5.6. The mean of 40,000
    # waits at rho of one half is within 3 % of it.
    service_s = COSTS.mixed(0, 0, [(1000, 0)])
    came = drawn(0.5 / service_s, 40_000, ("1000", "1"), seed=3)
    served = run_queue(came, COSTS, Rules(blocks=10**6, block=16, tokens=8192, requests=1))
    wait_s = float((served.first_token_s - service_s).mean())
    assert wait_s == pytest.approx(0.5 * service_s / (2 * (1 - 0.5)), rel=0.03)


def test_regular_requests_that_do_not_meet_never_wait() -> None:
    came = drawn(0.1, 50, ("1000", "20"), seed=0, pattern="regular")
    served = run_queue(came, COSTS, WIDE)
    assert np.ptp(served.first_token_s) == pytest.approx(0, abs=1e-9)


def test_the_same_seed_is_the_same_queue() -> None:
    line = line_of(ANSWER.deployment, Traffic(200, ("lognormal:500,1", "exponential:100"), seed=5))
    one, two = at_rate(line, 8), at_rate(line, 8)
    assert (one.end_s == two.end_s).all()
    other = at_rate(line_of(ANSWER.deployment, Traffic(200, ("lognormal:500,1", "exponential:100"), seed=6)), 8)
    assert (one.end_s != other.end_s).any()


def test_tables_are_the_steps_that_they_stand_for() -> None:
    deployment = ANSWER.deployment
    for batch, context in ((1, 100), (37, 1500), (200, 3000)):
        exact = float(step_times(deployment, decoding(batch, context)).time_s[0])
        assert COSTS.decoding(batch, context) == pytest.approx(exact, rel=0.03)
    for batch, context, new, past in (
        (30, 800, 1000, 2000),
        (60, 4000, 500, 3000),
        (60, 4000, 4000, 0),
        (0, 0, 100, 0),
    ):
        load = both(decoding(batch, context), reading(1, new, past)) if batch else reading(1, new, past)
        exact = float(step_times(deployment, load).time_s[0])
        assert COSTS.mixed(batch, context, [(new, past)]) == pytest.approx(exact, rel=0.05)


def test_the_host_holds_up_steps_of_short_prompts_however_long_their_attention_is() -> None:
    # Without recorded graphs the host issues decoding steps too; reading the cache goes on meanwhile.
    slow = serve(load_workload("llama3_8b"), load_device("h100"), Service(graphs=False, concurrency=(1,))).deployment
    costs = costs_of(slow)
    for batch, context in ((1, 100), (64, 4000), (256, 8000)):
        exact = float(step_times(slow, decoding(batch, context)).time_s[0])
        assert costs.decoding(batch, context) == pytest.approx(exact, rel=0.03)
    assert costs.decoding(1, 100) == pytest.approx(costs.decoding(1, 20_000))


def test_ten_thousand_requests_take_seconds() -> None:
    came = drawn(10, 10_000, ("lognormal:1000,1", "lognormal:250,1"), seed=1)
    start = time.process_time()
    served = run_queue(came, COSTS, Rules(28_000, 16, 8192, 256))
    assert time.process_time() - start < 10
    assert served.tokens == came.output.sum()


def test_a_full_cache_puts_the_last_comers_back() -> None:
    came = drawn(8, 300, ("1000", "400"), seed=2)
    served = run_queue(came, COSTS, Rules(1500, 16, 8192, 256))
    assert served.preempted > 0
    assert served.cached.max() <= 1500
    assert served.tokens == came.output.sum()


def test_a_request_longer_than_the_cache_is_refused() -> None:
    with pytest.raises(InputError, match="a request of 400 tokens is longer than the cache's 144"):
        run_queue(requests([0.0], [300], [100]), plain(), Rules(10, 16, 512, 4))


def test_shared_beginnings_are_read_and_kept_once() -> None:
    alone = at_rate(line_of(ANSWER.deployment, Traffic(100, ("4000", "50"))), 5)
    shared = at_rate(line_of(ANSWER.deployment, Traffic(100, ("4000", "50"), conditions=RequestConditions(3200))), 5)
    assert shared.first_token_s.mean() < 0.8 * alone.first_token_s.mean()
    assert shared.cached.max() < alone.cached.max()


def test_guessing_ahead_makes_as_many_tokens_as_are_right() -> None:
    # 3 guesses of which each is right with 0.7: 1 + 0.7 + 0.49 + 0.343 = 2.533 tokens a step.
    assert Speculation(3, 0.7).tokens == pytest.approx(2.533)
    assert Speculation().tokens == 1
    served = run_queue(requests([0.0], [10], [101]), plain(tokens=2.5), WIDE)
    assert served.end_s[0] == 1 + 100 / 2.5


def test_prompts_on_devices_of_their_own_do_not_hold_up_tokens() -> None:
    usual = at_rate(line_of(ANSWER.deployment, Traffic(200, ("3000", "100"))), 8)
    apart = at_rate(
        line_of(
            ANSWER.deployment, Traffic(200, ("3000", "100"), conditions=RequestConditions(reader=ANSWER.deployment))
        ),
        8,
    )
    assert apart.token_s.mean() < 0.8 * usual.token_s.mean()
    assert (apart.end_s >= apart.first_s).all()


def test_the_largest_rate_keeps_the_promise_and_a_larger_one_does_not() -> None:
    line = line_of(ANSWER.deployment, Traffic(300, ("1000", "100")))
    kept = promise("ttft=200ms, tpot=15ms")
    rate = largest_rate(line, kept)
    assert rate > 1
    assert kept.kept(at_rate(line, rate))
    assert not kept.kept(at_rate(line, 1.05 * rate))
    assert largest_rate(line, promise("ttft=1us")) == 0


def test_goodput_counts_the_requests_that_keep_all_limits() -> None:
    # Four at once of one token each, read one a step of 1 s: first tokens after 1, 2, 3 and 4 s.
    rules = Rules(blocks=10**6, block=16, tokens=10, requests=256)
    served = run_queue(requests([0.0] * 4, [10] * 4, [1] * 4), plain(), rules)
    answer = QueueAnswer(line_of(ANSWER.deployment, Traffic()), served, promise("ttft=2.5s, e2e=10s"))
    assert served.first_token_s.tolist() == [1.0, 2.0, 3.0, 4.0]
    assert answer.good_share == 0.5
    assert answer.goodput_per_s == pytest.approx(2 / float(served.end_s.max()))
    assert QueueAnswer(answer.line, served).goodput_per_s is None


def test_percentiles_grow() -> None:
    for shares in percentiles(at_rate(line_of(ANSWER.deployment, Traffic(100)), 5)).values():
        assert shares["p50_s"] <= shares["p95_s"] <= shares["p99_s"]


def test_lengths_and_arrivals_have_the_means_that_were_asked() -> None:
    came = drawn(20, 20_000, ("lognormal:800,1", "uniform:100-300"), seed=1, pattern="bursty")
    assert came.rate_per_s == pytest.approx(20, rel=0.06)
    assert came.prompt.mean() == pytest.approx(800, rel=0.05)
    assert came.output.min() == 100
    assert came.output.max() == 300
    gaps = np.diff(came.arrival_s)
    assert gaps.std() / gaps.mean() == pytest.approx(2, rel=0.1)
    assert mean_length("512") == 512


def test_recorded_requests_are_read_in_the_order_of_their_arrival(tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text("arrival_s,input,output\n2.5,100,10\n0.5,200,20\n", encoding="utf-8")
    came = recorded(trace)
    assert came.arrival_s.tolist() == [0.5, 2.5]
    assert came.prompt.tolist() == [200, 100]
    trace.write_text("arrival_s,input,output\n2.5,0,10\n", encoding="utf-8")
    with pytest.raises(InputError, match="line 2: a time of at least 0"):
        recorded(trace)
    trace.write_text("arrival_s,input\n2.5,1\n", encoding="utf-8")
    with pytest.raises(InputError, match="'output' is missing"):
        recorded(trace)


@pytest.mark.parametrize("text", ["0", "-3", "normal:3", "uniform:9-3", "lognormal:0,1", "lognormal:5", ""])
def test_lengths_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="write a number"):
        drawn(1, 10, (text, "1"), seed=0)


@pytest.mark.parametrize("text", [str(2**24 + 1), "9" * 20, "9" * 400, f"exponential:{10**12}", "lognormal:1e9,0.1"])
def test_lengths_that_no_model_takes_are_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"more than the 16,777,216 tokens|write a number"):
        drawn(1, 10, ("1", text), seed=0)


@pytest.mark.parametrize("text", ["lognormal:nan,1", "lognormal:5,inf", f"exponential:{10**400}"])
def test_lengths_of_numbers_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="write a number"):
        drawn(1, 10, (text, "1"), seed=0)


def test_recorded_requests_that_no_model_takes_are_refused(tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text(f"arrival_s,input,output\n0,{2**63},10\n", encoding="utf-8")
    with pytest.raises(InputError, match="line 2: more than the 16,777,216 tokens"):
        recorded(trace)
    trace.write_text(f'arrival_s,input,output\n0,"{"1" * 200_000}",10\n', encoding="utf-8")
    with pytest.raises(InputError, match=r"trace\.csv: after line 1: "):
        recorded(trace)


def test_names_and_numbers_are_checked() -> None:
    with pytest.raises(UnknownNameError, match="pattern of arrivals 'burst'"):
        drawn(1, 10, ("1", "1"), seed=0, pattern="burst")
    with pytest.raises(InputError, match="rate must be above zero"):
        drawn(0, 10, ("1", "1"), seed=0)
    with pytest.raises(InputError, match="known: ttft, tpot, e2e"):
        promise("tftt=3ms")
    with pytest.raises(InputError, match="acceptance"):
        Speculation(2, 1.0)


def test_more_requests_than_a_queue_is_played_out_for_are_refused() -> None:
    with pytest.raises(InputError, match="1,000,001 requests are more than the 1,000,000"):
        drawn(5.0, 10**6 + 1, ("10", "10"), 0)


MEANS: dict[str, dict[str, Any]] = {
    "plain": {},
    "readers": {"prefill_devices": 1},
    "shared": {"shared": 3000},
    "guessed": {"speculation": Speculation(3, 0.8)},
    "both": {"prefill_devices": 1, "shared": 3000},
}


@pytest.mark.parametrize("means", MEANS.values(), ids=MEANS)
def test_a_queue_at_the_rate_of_a_closed_loop_has_its_latencies(means: dict[str, Any]) -> None:
    # Requests at even distances: no two prompts meet, so that the queue has up to a sixth fewer at a time.
    service = Service(request=RequestLengths(4000, 256), concurrency=(16,), **means)
    answer = serve(load_workload("llama3_8b"), load_device("h100"), service)
    point = answer.points[0]
    conditions = RequestConditions(service.shared, service.speculation, answer.reader)
    traffic = Traffic(300, ("4000", "256"), pattern="regular", conditions=conditions)
    served = at_rate(line_of(answer.deployment, traffic), point.tokens_per_s / 256)
    assert served.token_s.mean() == pytest.approx(point.token_s, rel=0.12)
    assert 0.7 * point.first_s < served.first_token_s.mean() < 1.05 * point.first_s
    assert served.request_s.mean() == pytest.approx(point.request_s, rel=0.15)


def test_readers_take_as_many_prompts_at_a_time_as_come() -> None:
    # One prompt in 0.1 s, two in 0.15 s, four in 0.25 s: at most 16 a second.
    readers = Readers((1.0, 2.0, 4.0), (0.1, 0.15, 0.25), 0.01)
    assert readers.most_per_s == 16
    assert readers.batch(1) == 1
    assert readers.batch(14) == pytest.approx(14 * readers.batch_seconds(readers.batch(14)))
    assert readers.batch(100) == 4
    # Alone, nobody is before it: its own time and the sending.
    assert readers.first_seconds(1, 0.0) == pytest.approx(0.11)
    decoding_now, first_s = shared_out(1000.0, readers, lambda _: 1.0)
    # Sixteen a second are read and decode for a second each; the others wait: 984 over 16 a second.
    assert decoding_now == pytest.approx(16)
    assert first_s == pytest.approx(984 / 16)


def test_an_engine_that_reserves_starts_a_request_when_all_its_tokens_have_room() -> None:
    """Blocks of 16 hold 160 tokens: of requests of 16 + 64 tokens, which end as 5 blocks each, two run at a time, and
    none is put back; without, three are taken in at once and one of them is."""
    asked = requests([0.0] * 4, [16] * 4, [64] * 4)
    rules = Rules(blocks=10, block=16, tokens=8192, requests=256, reserves=True)
    kept, mixed = (run_queue(asked, plain(), replace(rules, reserves=on)) for on in (True, False))
    assert kept.running.max() == 2
    assert kept.preempted == 0
    assert mixed.running.max() > 2
    assert mixed.preempted > 0
    assert kept.tokens == mixed.tokens == 256


def test_a_loop_of_an_engine_that_reserves_runs_what_the_cache_holds_in_the_end() -> None:
    deployment, request = ANSWER.deployment, RequestLengths(512, 4096)
    scheduler = msgspec.structs.replace(deployment.engine.scheduler, reserves=True)
    keeping = replace(deployment, engine=replace(deployment.engine, scheduler=scheduler))
    held = held_requests(deployment, request.total)
    few, half = (steady(keeping, number, request).first_s for number in (held, held + held // 2))
    assert half > few + 0.4 * steady(keeping, held, request).request_s
    assert steady(deployment, held + held // 4, request).first_s < 0.1 * half

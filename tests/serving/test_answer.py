"""Static answers: capacity, times, errors, properties."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator import load_device, load_workload
from simulator.device.visible import visible_bytes
from simulator.errors import InputError, OutOfMemoryError, UnknownNameError
from simulator.report.serving import serving_summary
from simulator.report.serving_documents import Prefill
from simulator.serving.answer import Service, Serving, deploy, serve
from simulator.serving.cache import activation_bytes, capacity, request_bytes, running
from simulator.serving.calls import product_call
from simulator.serving.costs import Speculation
from simulator.serving.engine import load_engine, names, profile_of
from simulator.serving.exchange import sum_seconds
from simulator.serving.loops import steady, steady_at
from simulator.serving.settings import EngineSettings
from simulator.serving.static import RequestLengths, batch_seconds, decode_steps, first_token_times, prompt_seconds
from simulator.serving.step import Deployment, both, decoding, reading, step_times
from simulator.serving.times import ServingBound

TOKENS = st.integers(1, 4000)
FEW = st.integers(1, 64)


def deployed(device: str = "h100", **fields: object) -> Deployment:
    return deploy(load_workload("llama3_8b"), load_device(device), Service(**fields))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def large() -> Serving:
    return serve(load_workload("llama3_70b"), load_device("h100"), Service("fp8", devices=4))


def test_the_cache_holds_what_weights_and_workspaces_leave() -> None:
    room = capacity(deployed())
    assert room.weights_bytes == pytest.approx(16_060_522_496)
    assert room.token_bytes == 32 * 2 * 8 * 128 * 2
    whole = visible_bytes(load_device("h100"))
    used = room.weights_bytes + room.activations_bytes + room.reserve_bytes + room.cache_bytes
    assert used == pytest.approx(load_engine("vllm").memory.fraction * whole)
    assert room.tokens % room.block == 0
    assert room.tokens * room.token_bytes <= room.cache_bytes


def test_no_token_is_faster_than_its_weights() -> None:
    deployment = deployed()
    seconds = step_times(deployment, decoding(1, 1)).time_s[0]
    assert seconds > 0.93 * deployment.work.weight_bytes / deployment.device.memory.bandwidth_byte_per_s


@given(FEW, TOKENS, TOKENS)
@settings(max_examples=25, deadline=None)
def test_more_requests_and_longer_contexts_never_take_less(requests: int, short: int, more: int) -> None:
    deployment = deployed()
    times = step_times(
        deployment, decoding(np.array([requests, requests, requests + 8]), np.array([short, short + more, short]))
    )
    assert times.time_s[0] <= times.time_s[1] * (1 + 1e-9)
    kernels_s = times.seconds[ServingBound.COMPUTE] + times.seconds[ServingBound.MEMORY]
    assert kernels_s[0] <= kernels_s[2] * (1 + 1e-9)


@given(FEW, TOKENS)
@settings(max_examples=15, deadline=None)
def test_the_parts_are_the_whole_and_points_do_not_mix(requests: int, context: int) -> None:
    deployment = deployed(devices=2)
    load = both(decoding(requests, context), reading(1, 512))
    one = step_times(deployment, load)
    assert one.seconds.shape == (len(ServingBound), 1)
    assert (one.seconds >= 0).all()
    assert one.bound() == max(ServingBound, key=lambda bound: one.seconds[bound, 0])
    many = step_times(deployment, decoding(np.array([1, requests]), np.array([1, context])))
    assert many.time_s[1] == pytest.approx(step_times(deployment, decoding(requests, context)).time_s[0])


def test_the_document_of_a_step_has_each_resource_and_names_the_largest(large: Serving) -> None:
    step = serving_summary(large)["prefill"]
    named = [key for key in Prefill.__annotations__ if key in {bound.key for bound in ServingBound}]
    assert len(named) == len(ServingBound)
    assert sum(step[key] for key in named) == pytest.approx(step["time_s"], rel=1e-12)
    assert max(ServingBound, key=lambda bound: step[bound.key]).word == step["bound"]


def test_a_static_batch_is_its_prompts_and_its_tokens() -> None:
    deployment, request = deployed(), RequestLengths(512, 1)
    # The first token comes with the prompt, so one token of output is the prompt alone.
    assert batch_seconds(deployment, 4, request) == pytest.approx(prompt_seconds(deployment, 4, 512))


@pytest.mark.parametrize("engine", names())
def test_every_engine_serves_more_requests_with_more_tokens_a_second(engine: str) -> None:
    deployment = deployed(engine=engine, precision="fp16")
    rates = [steady(deployment, requests, RequestLengths(128, 256)).output_tokens_per_s for requests in (1, 4, 16)]
    assert rates == sorted(rates)


def test_the_answer_of_a_large_model_is_whole(large: Serving) -> None:
    assert [point.requests for point in large.points][:4] == [1, 2, 4, 8]
    assert all(point.fits for point in large.points)
    first, last = large.points[0], large.points[-1]
    assert last.tokens_per_s > 5 * first.tokens_per_s
    assert last.token_s > first.token_s
    assert first.cost_usd is not None
    # 6.88 USD an hour on each of 4 devices over tokens a second, for a million.
    assert first.cost_usd == pytest.approx(4 * 6.88 / 3600 / first.tokens_per_s * 1e6)
    # 700 W each, for as long as a token takes all of them.
    assert first.energy_j == pytest.approx(4 * 700 / first.tokens_per_s)
    # 80 layers of a dozen kernels, issued one by one, take the host longer than 2,048 tokens on four devices.
    assert large.prefill.bound() is ServingBound.LAUNCHES
    assert first_token_times(large.deployment, 8192).bound() is ServingBound.COMPUTE


def test_what_cannot_be_served_is_one_line() -> None:
    llama, device = load_workload("llama3_70b"), load_device("h100")
    with pytest.raises(OutOfMemoryError, match=r"the cache holds no request; try --devices \d+"):
        serve(llama, device, Service("bf16"))
    with pytest.raises(InputError, match="degrees that do"):
        serve(llama, device, Service("fp8", devices=3))
    with pytest.raises(InputError, match="context of 1024 tokens"):
        serve(load_workload("gpt2"), device, Service(request=RequestLengths(1000, 100)))
    with pytest.raises(InputError, match="context of 131072 tokens"):
        serve(load_workload("llama3_8b"), device, Service(request=RequestLengths(10**7, 1)))
    with pytest.raises(InputError, match="ask for at most"):
        serve(load_workload("llama3_8b"), load_device("rtx-4090"), Service("bf16", request=RequestLengths(10**5, 1)))
    with pytest.raises(InputError, match="more than 16777216 together"):
        RequestLengths(2**24, 1)
    with pytest.raises(UnknownNameError, match="did you mean 'fp8'"):
        serve(llama, device, Service("fp9"))
    with pytest.raises(UnknownNameError, match="unknown engine"):
        serve(llama, device, Service(engine="vlm"))


def test_points_are_many_a_second(large: Serving) -> None:
    requests, context = np.repeat(np.arange(1, 101), 100), np.tile(np.arange(100) * 40 + 100, 100)
    start = time.process_time()
    times = step_times(large.deployment, decoding(requests, context)).time_s
    assert times.shape == (10_000,)
    assert time.process_time() - start < 2.0


def test_a_warm_answer_takes_no_tenth_of_a_second(large: Serving) -> None:
    deployment = large.deployment
    start = time.process_time()
    again = serve(deployment.workload, deployment.device, large.service)
    assert time.process_time() - start < 0.1
    assert again.points == large.points


def test_loops_answered_together_are_those_answered_alone() -> None:
    deployment, request = deployed(), RequestLengths(700, 90)
    together = steady_at(deployment, (1, 5, 40), request)
    for number, found in zip((1, 5, 40), together, strict=True):
        alone = steady(deployment, number, request)
        assert found.token_s == pytest.approx(alone.token_s)
        assert found.first_s == pytest.approx(alone.first_s)


def test_what_the_cache_does_not_hold_runs_after_what_it_holds() -> None:
    """Llama 3 70B in fp8 on one H200: 70.6 of 0.9 x 141 GB are weights; batches beyond the cache follow each other."""
    deployment = deploy(load_workload("llama3_70b"), load_device("h200"), Service("fp8"))
    request = RequestLengths(2048, 2048)
    held = running(deployment, 10_000, request.total)
    assert 1 < held < 100
    assert held * request_bytes(deployment, request.total) <= capacity(deployment).cache_bytes
    whole, half = (batch_seconds(deployment, number, request) for number in (2 * held, held))
    assert whole == pytest.approx(2 * half)
    assert batch_seconds(deployment, held - 1, request) < half


def test_a_loop_beyond_the_cache_waits_and_makes_no_more() -> None:
    """As many are in the loop as come in the time that each stays: N = rate x time (Little)."""
    deployment = deploy(load_workload("llama3_70b"), load_device("h200"), Service("fp8"))
    request = RequestLengths(2048, 2048)
    held = running(deployment, 10_000, request.prompt + request.output / 2)
    full, more = steady_at(deployment, [held, 3 * held], request)
    assert more.output_tokens_per_s == pytest.approx(full.output_tokens_per_s)
    assert more.token_s == full.token_s
    assert more.request_s == pytest.approx(3 * full.request_s)
    assert more.output_tokens_per_s / request.output * more.request_s == pytest.approx(3 * held)


def test_a_prompt_behind_cached_tokens_takes_their_attention_longer() -> None:
    deployment = deployed()
    times = [prompt_seconds(deployment, 1, 4096, cached) for cached in (0, 8192, 65536)]
    assert times[0] < times[1] < times[2]
    assert times[0] == prompt_seconds(deployment, 1, 4096)


def test_the_rate_of_prompts_attention_leaves_decoding_alone() -> None:
    deployment = deployed()
    deployment = replace(deployment, engine=replace(deployment.engine, calls=False))
    slow = replace(deployment, engine=replace(deployment.engine, attention=deployment.engine.attention / 10))
    assert step_times(slow, decoding(8, 4000)).time_s == step_times(deployment, decoding(8, 4000)).time_s
    assert step_times(slow, reading(1, 4000)).time_s > step_times(deployment, reading(1, 4000)).time_s


def test_a_step_is_made_of_calls_where_the_device_has_any() -> None:
    """A product of 4 bits whose sum is 4,096 long takes at least the chain of its steps, however few its weights."""
    deployment = deployed("b200", precision="fp4")
    call = product_call(deployment.device, "fp4")
    assert call is not None
    assert call.chain_s > 0
    products = next(group for group in deployment.lowered.groups(decoding(1, 100)) if not group.cache)
    assert (products.memory_s[products.called] >= call.chain_s * 4096 / 1024 * (1 - 1e-9)).all()
    assert product_call(load_device("rtx-4090"), "fp4") is None


def test_kernels_that_the_host_issues_bound_short_prompts_and_no_decoding() -> None:
    deployment = deployed()
    slow = replace(deployment, engine=replace(deployment.engine, dispatch_s=10 * deployment.engine.dispatch_s))
    assert step_times(slow, reading(1, 64)).time_s > 5 * step_times(deployment, reading(1, 64)).time_s
    assert step_times(slow, decoding(8, 400)).time_s == step_times(deployment, decoding(8, 400)).time_s


def test_prompts_wait_until_the_engine_looks_and_are_read_together() -> None:
    deployment, request = deployed(), RequestLengths(1000, 500)
    scheduler = msgspec.structs.replace(deployment.engine.scheduler, interval=31)
    rare = replace(deployment, engine=replace(deployment.engine, scheduler=scheduler))
    often, seldom = steady(deployment, 64, request), steady(rare, 64, request)
    assert seldom.first_s > often.first_s + 14 * float(step_times(deployment, decoding(64, 1250)).time_s[0])
    assert seldom.token_s < often.token_s


def test_sums_of_small_messages_take_one_step_and_of_long_ones_a_ring() -> None:
    """256 KiB on 8 H200: 3.2 us + 7 x 262,144 / 337.5e9 = 8.6 us; a GiB: 16 us + 1.75 x 1.07e9 / 337.5e9 = 5.6 ms."""
    times = sum_seconds(load_device("h200"), 8, np.array([262144.0, 2.0**30]), 3.2e-6)
    assert times == pytest.approx([3.2e-6 + 7 * 262144 / 337.5e9, 16e-6 + 1.75 * 2**30 / 337.5e9])
    assert sum_seconds(load_device("h200"), 1, np.array([1e6]), 3.2e-6) == 0


def test_an_engine_extends_another_but_for_what_its_file_gives() -> None:
    base, other = (load_engine(name, "rdna") for name in ("llama.cpp", "llama.cpp-rocblas"))
    assert other.matrix != base.matrix
    assert replace(load_engine("llama.cpp-rocblas", "ada"), name="", description="") == replace(
        load_engine("llama.cpp", "ada"), name="", description=""
    )
    assert "ollama" not in profile_of("llama.cpp-rocblas").aliases
    assert set(profile_of("llama.cpp-rocblas").families) == set(profile_of("llama.cpp").families)


def test_steps_are_remembered_and_the_same() -> None:
    deployment, load = deployed(), decoding(7, 1234)
    first = step_times(deployment, load)
    assert deployment.lowered.groups(load) is deployment.lowered.groups(decoding(7, 1234))
    many = step_times(deployment, decoding(np.full(40, 7.0), 1234))
    assert many.time_s == pytest.approx(np.full(40, first.time_s[0]))


def test_an_engine_is_started_with_other_settings() -> None:
    device, model = load_device("h100"), load_workload("llama3_8b")
    usual = deploy(model, device, Service())
    less = deploy(model, device, Service(settings=EngineSettings(0.5, 2048, 64)))
    assert less.engine.scheduler.tokens == 2048
    assert less.engine.scheduler.block == usual.engine.scheduler.block
    # 40 % less of what a program sees; the tried step of 64 requests holds less than that of 1,024.
    freed = activation_bytes(usual) - activation_bytes(less)
    lost = capacity(usual).cache_bytes - capacity(less).cache_bytes
    assert lost == pytest.approx(0.4 * visible_bytes(device) - freed)
    assert serve(model, device, Service(settings=EngineSettings(requests=64))).most_requests == 64
    # Four pieces of a prompt of 8,192 tokens are four steps.
    assert prompt_seconds(less, 1, 8192) > prompt_seconds(usual, 1, 8192)


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"fraction": 0.0}, "--memory-fraction must be above 0 and at most 1, found 0"),
        ({"fraction": float("nan")}, "--memory-fraction must be above 0 and at most 1, found nan"),
        ({"tokens": 0}, "--step-tokens must be from 1 to 131,072, found 0"),
        ({"requests": 10**7}, "--step-requests must be from 1 to 131,072, found 10,000,000"),
    ],
)
def test_settings_that_no_engine_takes_are_refused(settings: dict[str, float], found: str) -> None:
    with pytest.raises(InputError, match=found):
        EngineSettings(**settings)  # type: ignore[arg-type]


def test_shared_beginnings_are_read_and_kept_once_in_the_static_answer() -> None:
    model, device, request = load_workload("llama3_8b"), load_device("h100"), RequestLengths(8000, 100)
    alone, shared = (
        serve(model, device, Service(request=request, shared=tokens, concurrency=(1, 32))) for tokens in (0, 6000)
    )
    # 2,000 of 8,000 tokens are read, behind the others.
    own_s = prompt_seconds(shared.deployment, 1, 2000, 6000)
    assert shared.points[0].first_s == pytest.approx(own_s)
    assert shared.points[0].first_s < 0.5 * alone.points[0].first_s
    assert shared.points[1].tokens_per_s > 1.5 * alone.points[1].tokens_per_s
    # The cache holds the beginning once: of 8,100 tokens, 2,100 each.
    room = shared.capacity
    assert shared.most_requests == min(int((room.tokens - 6000) / 2100), 256)
    assert shared.most_requests > alone.most_requests


def test_guessed_tokens_make_fewer_and_longer_steps_in_the_static_answer() -> None:
    model, device = load_workload("llama3_8b"), load_device("h100")
    usual, ahead, wrong = (
        serve(model, device, Service(concurrency=(1, 256), speculation=guess))
        for guess in (Speculation(), Speculation(4, 0.8), Speculation(4, 0.0))
    )
    # 4 guesses of which each is right with 0.8 make 3.36 tokens a step; alone, a step waits for the weights.
    assert 0.3 < ahead.points[0].token_s / usual.points[0].token_s < 0.6
    assert wrong.points[0].token_s > usual.points[0].token_s
    # Of many requests, the checking of all guesses computes.
    gain, crowded = (usual.points[at].token_s / ahead.points[at].token_s for at in (0, 1))
    assert crowded < gain


def test_each_guess_is_a_step_of_the_small_model() -> None:
    # Four guesses by a model of a tenth of the size take 0.4 of what a token beside the cache takes; by one of a fifth
    # twice of that. The checks are the same.
    deployment, request = deploy(load_workload("llama3_8b"), load_device("h100"), Service()), RequestLengths(1000, 100)
    numbers = np.array([1.0, 8.0])
    none, tenth, fifth = (
        np.array(decode_steps(deployment, numbers, request, Speculation(4, 0.8, draft))[0]) for draft in (0, 0.1, 0.2)
    )
    one = [step_times(deployment, decoding(number, 1.0)) for number in numbers]
    alone = np.array([float(times.time_s[0] - times.cache_s[0]) for times in one])
    assert tenth - none == pytest.approx(0.4 * alone)
    assert fifth - none == pytest.approx(0.8 * alone)


def test_devices_that_read_prompts_leave_the_others_to_decode() -> None:
    model, device, request = load_workload("llama3_8b"), load_device("h100"), RequestLengths(4000, 100)
    both_kinds = serve(model, device, Service(request=request, concurrency=(1, 16)))
    apart = serve(model, device, Service(request=request, concurrency=(1, 16), prefill_devices=1))
    sent_s = (4000 * apart.capacity.token_bytes) / 450e9
    crowd = apart.points[1]
    decoding_now = 16 * (1 - crowd.first_s / crowd.request_s)
    assert apart.points[0].first_s == pytest.approx(both_kinds.points[0].first_s + sent_s)
    # Of 16 requests, those decode that are not at the readers (Little's law).
    steps = step_times(apart.deployment, decoding(decoding_now, 4000 + np.arange(0.5, 100)))
    assert crowd.token_s == pytest.approx(float(np.mean(steps.time_s)), rel=0.01)
    assert crowd.token_s < 0.8 * both_kinds.points[1].token_s
    # Two devices are paid for.
    price = device.profile.price
    assert price is not None
    assert apart.devices == 2
    assert apart.points[0].cost_usd == pytest.approx(2 * price.usd_per_hour / 3600 / apart.points[0].tokens_per_s * 1e6)


def test_an_engine_of_your_own_is_a_file(tmp_path: Path) -> None:
    own = tmp_path / "fork.yaml"
    head = "name: fork\nkind: engine\ndescription: a fork\nkernel: {gap: 1 us}\nstep: {}\n"
    own.write_text(f"{head}like: vllm\n", encoding="utf-8")
    fork, vllm = load_engine(str(own), "hopper"), load_engine("vllm", "hopper")
    assert fork.gap_s == 1e-6
    assert replace(fork, gap_s=vllm.gap_s, name="vllm", description=vllm.description) == vllm
    circle = tmp_path / "circle.yaml"
    circle.write_text(f"{head}like: {circle}\n", encoding="utf-8")
    with pytest.raises(InputError, match="goes in a circle"):
        load_engine(str(circle))
    with pytest.raises(InputError, match="no such file"):
        load_engine(str(tmp_path / "none.yaml"))


def test_uneven_groups_are_as_full_as_the_fullest() -> None:
    # 32 layers in 3 groups are 11, 11 and 10.
    deployment = deployed(devices=3, stages=3)
    assert deployment.fullest == 11 / 32
    assert capacity(deployment).token_bytes == 11 * 2 * 8 * 128 * 2
    with pytest.raises(InputError, match="at most --pp 32"):
        deployed(devices=40, stages=40)

"""Steps of plans: one device is today's answer, laws, published runs of Megatron-LM, and the way out of memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.device.device import load_device
from simulator.device.link import load_link
from simulator.device.system import Cluster, cluster, cluster_of_system
from simulator.errors import InputError, OutOfMemoryError
from simulator.parallel.plan import Plan
from simulator.pipeline import Options, simulate
from simulator.planned import Planned, Shares, evaluate, simulate_plan
from simulator.workload.importers import Request
from simulator.workload.reading import load_workload
from simulator.workload.workload import Workload

A100 = load_device("a100-sxm4-80gb")
ADAM = Options(precision="bf16", optimizer="adam", ignore_memory=True)


@lru_cache
def load(name: str) -> Workload:
    return load_workload(name, request=Request(attention="fused" if name.startswith(("gpt", "llama")) else None))


def run(name: str, plan: Plan, nodes: int = 1, batch: int = 16, options: Options = ADAM) -> Planned:
    devices = plan.devices
    joined = cluster_of_system("dgx-a100-80gb", nodes, devices)
    return evaluate(load(name), A100, options, joined, plan, batch)


@pytest.mark.parametrize(("name", "precision"), [("resnet50", "fp32"), ("gpt2", "bf16"), ("alexnet", "amp")])
def test_one_device_is_the_answer_of_one_device(name: str, precision: str) -> None:
    options = Options(precision=precision, batch=8, optimizer="adam")
    alone = simulate(load(name), A100, options)
    joined = cluster(1, load_link("nvlink3"))
    planned = simulate_plan(load(name), A100, options, joined, Plan())
    assert planned.step.time_s == pytest.approx(alone.step.time_s, rel=1e-12)
    assert planned.memory.total_bytes == pytest.approx(alone.memory.total_bytes, rel=1e-12)
    assert planned.mfu == pytest.approx(alone.step.mfu, rel=1e-9)


@pytest.mark.parametrize("name", ["resnet50", "vgg16", "gpt2"])
def test_data_parallelism_alone_is_the_answer_of_several_devices(name: str) -> None:
    options = Options(batch=16, precision="amp")
    joined = cluster_of_system("dgx-a100-80gb", 1)
    together = simulate(load(name), A100, options, joined)
    planned = simulate_plan(load(name), A100, options, joined, Plan(data=8))
    # Buckets fill layer by layer here, kernel by kernel there.
    assert planned.step.time_s == pytest.approx(together.step.time_s, rel=0.01)


def test_parts_sum_to_the_step() -> None:
    for plan in (Plan(data=2, tensor=2, pipeline=2, microbatch=1, sequence=True), Plan(data=8, zero=3, microbatch=2)):
        answer = run("llama3_8b", plan)
        assert sum(answer.step.seconds) == pytest.approx(answer.step.time_s)
        assert min(answer.step.seconds) >= 0


def test_stages_hold_the_whole_network() -> None:
    whole, stages = run("llama3_8b", Plan()), run("llama3_8b", Plan(pipeline=4, microbatch=1))
    weights = sum(stage.parameters_bytes for stage in stages.stages)
    assert weights == pytest.approx(whole.memory.parameters_bytes)
    assert sum(stage.optimizer_bytes for stage in stages.stages) == pytest.approx(whole.memory.optimizer_bytes)
    sums = sum(min(gradients for _, gradients in stage.moments) for stage in stages.stages)
    assert sums == pytest.approx(whole.memory.moments[-1][1])  # all that a backward pass ends with


def test_zero_shares_out_one_state_after_the_other() -> None:
    found = [run("llama3_8b", Plan(data=8, zero=zero, microbatch=1)).memory for zero in range(4)]
    by_component = [(m.parameters_bytes, m.gradients_bytes, m.optimizer_bytes) for m in found]
    plain, one, two, three = by_component
    assert one[2] == pytest.approx(plain[2] / 8)
    assert two[1] == pytest.approx(plain[1] / 8)
    assert three[0] < one[0] < plain[0]


MEGATRON = [
    # Korthikanti et al., 2022, arXiv 2205.05198, table 5: devices, blocks, features, heads, tp, pp, pieces, batch,
    # micro-batch, seconds with full recomputation, and with selective recomputation and sequence parallelism.
    (8, 48, 6144, 64, 8, 1, 1, 4, 4, 1.42, 1.10),
    (64, 96, 12288, 96, 8, 8, 3, 64, 1, 18.13, 13.75),
    (280, 105, 20480, 128, 8, 35, 3, 280, 1, 49.05, 37.83),
    (512, 128, 25600, 160, 8, 64, 1, 512, 1, 94.42, 71.49),
]


def gpt(blocks: int, hidden: int, heads: int) -> Workload:
    from simulator.workload.dataset import NO_DATASET
    from simulator.workload.families.decoder import decoder
    from simulator.workload.families.transformer import FeedForward, Heads
    from simulator.workload.workload import Network

    net = Network(((2048,),))
    decoder(
        net,
        depth=blocks,
        hidden=hidden,
        vocabulary=51200,
        heads=Heads(count=heads, joined=True, bias=True, out_bias=True),
        mlp=FeedForward(width=4 * hidden, activation="gelu", gated=False, bias=True),
        norm="layer",
        positions=2048,
        tied=True,
        dropout=0.1,
        attention="eager",
    )
    return Workload(f"gpt-{hidden}", net.inputs, tuple(net.layers), NO_DATASET)


@lru_cache
def megatron() -> tuple[tuple[Planned, float], ...]:
    """Answers and measured seconds of the eight runs."""
    return tuple(_megatron())


def _megatron() -> Iterator[tuple[Planned, float]]:
    options = Options(precision="amp", optimizer="adam", framework="megatron", ignore_memory=True)
    for devices, blocks, hidden, heads, tensor, stages, pieces, batch, size, full, selective in MEGATRON:
        workload, joined = gpt(blocks, hidden, heads), cluster_of_system("dgx-a100-80gb", devices // 8)
        plan = Plan(
            tensor=tensor,
            pipeline=stages,
            microbatch=size,
            virtual=pieces,
            schedule="interleaved" if pieces > 1 else "1f1b",
        )
        for seconds, change in (
            (full, {"recompute": "full"}),
            (selective, {"recompute": "selective", "sequence": True}),
        ):
            yield evaluate(workload, A100, options, joined, replace(plan, **change), batch), seconds


# The same paper, figure 1, GiB a device: parameters and optimizer of an inner stage; activations of the first stage
# with tensor parallelism alone, and with sequence parallelism and selective recomputation.
MEGATRON_GIB = [
    (45.5625, 59.25, 9.5625),
    (45.5625, 66.84375, 12.3515625),
    (31.640625, 114.0234375, 23.076171875),
    (32.958984375, 131.25, 26.5625),
]


@pytest.mark.parametrize(("published_run", "published"), list(zip(MEGATRON, MEGATRON_GIB, strict=True)))
def test_the_published_memory_of_megatron(
    published_run: tuple[float, ...], published: tuple[float, float, float]
) -> None:
    devices, blocks, hidden, heads, tensor, stages, pieces, batch, size = map(int, published_run[:9])
    workload, joined = gpt(blocks, hidden, heads), cluster_of_system("dgx-a100-80gb", devices // 8)
    options = Options(precision="amp", optimizer="adam", framework="megatron", ignore_memory=True)
    schedule = "interleaved" if pieces > 1 else "1f1b"
    plan = Plan(tensor=tensor, pipeline=stages, microbatch=size, virtual=pieces, schedule=schedule)
    for change, activations in (({}, published[1]), ({"recompute": "selective", "sequence": True}, published[2])):
        found = evaluate(workload, A100, options, joined, replace(plan, **change), batch)  # type: ignore[arg-type]
        inner, first = found.stages[min(1, stages - 1)], found.stages[0]
        states = inner.parameters_bytes + inner.gradients_bytes + inner.optimizer_bytes
        assert (states + first.activations_bytes) / 2**30 == pytest.approx(published[0] + activations, rel=0.03)


def test_the_published_runs_of_megatron() -> None:
    errors = [answer.step.time_s / seconds - 1 for answer, seconds in megatron()]
    print(" ".join(f"{error:+.1%}" for error in errors))
    assert sum(map(abs, errors)) / len(errors) < 0.035
    assert max(map(abs, errors)) < 0.08


def test_activations_of_megatrons_formula() -> None:
    # Table 2 and section 4.2.3: a block keeps s b h 34 / t with sequence parallelism and selective recomputation; the
    # first stage of p keeps L / p blocks of p micro-batches, 1 + (p - 1) / (p v) times with v pieces.
    for (answer, _), row in zip(megatron()[1::2], MEGATRON, strict=True):
        _, blocks, hidden, _, tensor, stages, pieces, _, size, _, _ = row
        more = 1 + (stages - 1) / (stages * pieces) if pieces > 1 else 1.0
        formula = 2048 * size * hidden * 34 / tensor * blocks * more
        # Embedding's dropout, logits, and the gradients of the widest layer come on top.
        assert 1 <= answer.stages[0].activations_bytes / formula < 1.06


@settings(max_examples=15, deadline=None)
@given(
    plan=st.sampled_from(
        [
            Plan(data=8, microbatch=1),
            Plan(data=8, zero=3, microbatch=1),
            Plan(data=2, tensor=4, sequence=True, microbatch=1),
            Plan(data=2, pipeline=4, microbatch=1),
            Plan(data=4, context=2, microbatch=1),
        ]
    ),
    factor=st.floats(1.01, 50),
)
def test_a_faster_link_is_never_slower(plan: Plan, factor: float) -> None:
    joined = cluster(8, load_link("nvlink3"))
    link = replace(joined.link, bandwidth_byte_per_s=factor * joined.link.bandwidth_byte_per_s, costs={})
    plain = replace(joined, link=replace(joined.link, costs={}))
    slow, fast = (_at(plan, place) for place in (plain, replace(joined, link=link)))
    assert fast.step.time_s <= slow.step.time_s * (1 + 1e-12)


def _at(plan: Plan, joined: Cluster) -> Planned:
    return evaluate(load("llama3_8b"), A100, ADAM, joined, plan, 16)


def test_a_step_that_does_not_fit_names_what_would() -> None:
    joined = cluster_of_system("dgx-a100-80gb", 1)
    options = Options(precision="bf16", optimizer="adam")
    with pytest.raises(
        OutOfMemoryError, match=r"each device needs .* GiB of the 80.0 GiB.*--zero 3 would fit"
    ) as caught:
        simulate_plan(load("llama3_8b"), A100, options, joined, Plan(data=8, microbatch=1), 8)
    assert "\n" not in str(caught.value)
    with pytest.raises(OutOfMemoryError, match="more devices"):
        simulate_plan(load("llama3_405b"), A100, options, joined, Plan(data=8, microbatch=1), 8)


@pytest.mark.parametrize(
    ("plan", "batch", "words"),
    [
        (Plan(data=8), 12, "does not divide over dp=8; 8 would"),
        (Plan(data=8, microbatch=3), 16, "--microbatch 3 does not divide the 2 samples of a replica; 2 would"),
        (Plan(microbatch=10**18), 6 * 10**12, f"samples of a replica; {6 * 10**12} would"),
        (Plan(microbatch=10**9 + 1), 6 * 10**12, "samples of a replica; 1000000000 would"),
        (Plan(pipeline=8, microbatch=1, virtual=9, schedule="interleaved"), 8, "too few for 72 pieces"),
    ],
)
def test_counts_that_do_not_divide(plan: Plan, batch: int, words: str) -> None:
    with pytest.raises(InputError, match=words):
        run("llama3_8b", plan, batch=batch)


def test_a_share_is_timed_once_for_plans_that_differ_elsewhere() -> None:
    shares = Shares(load("gpt2"), A100, ADAM, cluster_of_system("dgx-a100-80gb", 1))
    first = shares.evaluate(Plan(data=8, microbatch=2), 16)
    second = shares.evaluate(Plan(data=8, microbatch=2, zero=3), 16)
    assert first.share is second.share
    assert shares.evaluate(Plan(data=4, tensor=2, microbatch=2), 16).share is not first.share


def test_inference_is_refused() -> None:
    with pytest.raises(InputError, match="simulate serve"):
        run("gpt2", Plan(data=8), options=Options(task="infer"))

"""What the host's issuing adds to layers of experts."""

from __future__ import annotations

import numpy as np
import pytest

from simulator.device.device import load_device
from simulator.device.framework import load_framework
from simulator.device.system import usual_cluster
from simulator.op.experts import Experts
from simulator.parallel.bound import PlanBound
from simulator.parallel.plan import Plan
from simulator.pipeline import Options
from simulator.planned import Planned, simulate_plan
from simulator.workload.reading import load_workload


def step(framework: str, expert: int, workload: str = "qwen3_30b_a3b") -> Planned:
    device = load_device("gb200")
    options = Options(precision="bf16", optimizer="adam", framework=framework, ignore_memory=True)
    plan = Plan(data=8, expert=expert, microbatch=1)
    return simulate_plan(load_workload(workload), device, options, usual_cluster(device, 8), plan, 16)


def test_each_expert_held_costs_its_calls_by_hand() -> None:
    # 48 layers with 128 / 8 = 16 experts a rank, at 240 us each: 184.32 ms a micro-batch, a third of it forward.
    grouped, single = step("megatron", 8), step("megatron-2025", 8)
    forward, backward = (
        getattr(single.share.seconds, name) - getattr(grouped.share.seconds, name) for name in ("forward", "backward")
    )
    assert forward.sum() == pytest.approx(184.32e-3 / 3)
    assert backward.sum() == pytest.approx(2 * 184.32e-3 / 3)
    routed = np.array([isinstance(layer.op, Experts) for layer in single.share.workload.layers])
    assert not forward[~routed].any()
    apart_s, together_s = (answer.step.seconds[PlanBound.COMPUTE] for answer in (single, grouped))
    assert apart_s - together_s == pytest.approx(2 * 184.32e-3)


def test_fewer_experts_a_rank_cost_less() -> None:
    added = [step("megatron-2025", n).step.time_s - step("megatron", n).step.time_s for n in (2, 4, 8)]
    assert added == sorted(added, reverse=True)


def test_networks_without_experts_are_as_before() -> None:
    assert step("megatron-2025", 1, "gpt2").step.time_s == step("megatron", 1, "gpt2").step.time_s


def test_it_is_a_release_of_megatron() -> None:
    older = load_framework("megatron-2025")
    assert (older.release_of, older.expert_s) == ("megatron", pytest.approx(240e-6))
    assert load_framework("megatron").expert_s == 0

"""Gradients added up over micro-batches: by hand, and what it does to a step and its memory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from simulator.device.device import load_device
from simulator.device.system import cluster_of_system
from simulator.parallel.adding import adding_seconds
from simulator.parallel.plan import Plan
from simulator.parallel.zero import weights_of
from simulator.pipeline import Options
from simulator.planned import Planned, evaluate
from simulator.workload.reading import load_workload

A100 = load_device("a100-sxm4-80gb")
GPT2 = load_workload("gpt2")
OPTIONS = Options(precision="amp", optimizer="adam", ignore_memory=True)


def run(framework: str, plan: Plan, batch: int = 16) -> Planned:
    joined = cluster_of_system("dgx-a100-80gb", 1, plan.devices)
    return evaluate(GPT2, A100, replace(OPTIONS, framework=framework), joined, plan, batch)


def test_a_sum_is_read_and_written_and_the_new_gradient_read() -> None:
    # 3 x 4 bytes of each parameter over the sustained bandwidth.
    setting = OPTIONS.on(A100)
    weights = weights_of(GPT2)
    found = adding_seconds(GPT2, setting, fused=False).sum()
    assert found == pytest.approx(12 * (weights.dense * weights.trained).sum() / setting.bandwidth_byte_per_s)
    assert not adding_seconds(GPT2, setting, fused=True).any()


def test_all_but_the_first_micro_batch_are_added() -> None:
    fused, added = (run(name, Plan(microbatch=4)).step.time_s for name in ("megatron", "megatron-deepspeed"))
    once = float(adding_seconds(GPT2, OPTIONS.on(A100), fused=False).sum())
    assert added - fused == pytest.approx(3 * once)
    alone = [run(name, Plan(microbatch=16)).step.time_s for name in ("megatron", "megatron-deepspeed")]
    assert alone[0] == alone[1]


def test_fully_shared_gradients_are_added_where_they_are_kept() -> None:
    plan = Plan(data=2, zero=3, microbatch=4)
    assert run("megatron", plan).step.time_s == run("megatron-deepspeed", plan).step.time_s


def test_gradients_kept_apart_take_memory_of_their_own() -> None:
    plan = Plan(microbatch=4)
    once, twice = (run(name, plan).memory.gradients_bytes for name in ("megatron", "megatron-deepspeed"))
    assert twice - once == pytest.approx(2 * np.sum(weights_of(GPT2).dense))

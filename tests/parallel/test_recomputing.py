"""What is computed again, by hand and against what it saves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from simulator.device.device import load_device
from simulator.device.system import cluster_of_system
from simulator.parallel.plan import Plan
from simulator.parallel.recomputing import again_seconds, kept_results
from simulator.pipeline import Options
from simulator.planned import Planned, evaluate
from simulator.workload.importers import Request
from simulator.workload.reading import load_workload

LLAMA = load_workload("llama3_8b", request=Request(attention="fused"))
H100 = load_device("h100-sxm5-80gb")
OPTIONS = Options(precision="bf16", optimizer="adam", framework="pytorch-compiled", ignore_memory=True)


def run(plan: Plan, batch: int = 8) -> Planned:
    nodes = max(plan.devices // 8, 1)
    return evaluate(LLAMA, H100, OPTIONS, cluster_of_system("dgx-h100", nodes, plan.devices), plan, batch)


def test_attention_and_every_second_product_are_kept() -> None:
    names = ("attention.query", "attention.value", "attention.scores", "mlp.gate", "mlp.down")
    assert [LLAMA.layers[place].name for place in kept_results(LLAMA)][:5] == [f"layers.0.{name}" for name in names]


def test_what_is_kept_is_not_computed_again() -> None:
    ones = np.ones(len(LLAMA.layers))
    whole = again_seconds(LLAMA, ones, 0 * ones, "full")
    chosen = again_seconds(LLAMA, ones, 0 * ones, "products")
    assert whole.sum() - chosen.sum() == len(kept_results(LLAMA))
    assert not again_seconds(LLAMA, ones, 0 * ones, "none").any()


def test_between_nothing_and_whole_blocks() -> None:
    light, chosen, heavy = (run(Plan(microbatch=1, recompute=kind)) for kind in ("none", "products", "full"))
    assert light.step.time_s < chosen.step.time_s < heavy.step.time_s
    kept = [answer.memory.activations_bytes for answer in (light, chosen, heavy)]
    assert kept[0] > kept[1] > kept[2]


def test_a_pipeline_keeps_the_weights_that_fsdp_gathered() -> None:
    plan = Plan(data=4, pipeline=2, microbatch=1, zero=3)
    fully, states = run(plan), run(replace(plan, zero=1))
    assert fully.step.time_s == states.step.time_s
    assert fully.memory.total_bytes == pytest.approx(states.memory.total_bytes)
    alone = Plan(data=8, microbatch=1, zero=3)
    assert run(alone).memory.parameters_bytes < run(replace(alone, zero=1)).memory.parameters_bytes

"""Memory over a step: a small network by hand, and the fullest moment of shipped ones against their footprints."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from simulator.device.device import load_device
from simulator.device.framework import Reserve
from simulator.device.system import cluster_of_system
from simulator.execution.memory import footprint
from simulator.execution.over_step import NO_LAYER, training_over_step
from simulator.execution.plan_memory import trained_by_layer
from simulator.op.optimizer import OPTIMIZERS
from simulator.parallel.plan import Plan
from simulator.parallel.schedule import TaskKind
from simulator.pipeline import Options, simulate
from simulator.pipeline.over_step import memory_over_step
from simulator.planned import Planned, evaluate
from simulator.planned.over_step import memory_over_step as plan_memory_over_step
from simulator.precision import get_precision
from simulator.workload.importers import Request
from simulator.workload.reading import load_workload, read_workload

FP32 = get_precision("fp32")
SMALL = read_workload(
    {
        "name": "small",
        "input": [2, 4, 4],
        "layers": [
            {"conv": {"name": "a", "out": 3, "kernel": 1}},  # 9 values, output 48
            "relu",
            {"linear": {"out": 5}},  # 48 * 5 + 5 = 245 values
            "loss",
        ],
    },
    "small.yaml",
)
BY_PASS = np.array([[1.0, 1.0, 2.0, 0.5], [3.0, 1.0, 4.0, 0.5], [0.25, 0.0, 0.75, 0.0]])


def test_a_step_by_hand() -> None:
    """Of one sample the image (32), the ReLU's output (48) and the logits (5) are kept.

    With the gradients alive beside them the loss holds 85 + 15, the product 80 + 53, the ReLU 80 + 96, the convolution
    32 + 48 (`test_memory.py`); of weights the product makes 245 gradients and the convolution 9.
    """
    memory = footprint(SMALL, 2, FP32, 1e6, OPTIMIZERS["sgd"], Reserve(context_bytes=100.0))
    over = training_over_step(SMALL, memory, (FP32, 2), BY_PASS, (0.5, 1.0))
    samples = 4 * 2
    forward, backward = [32, 80, 80, 85], [100, 133, 176, 80]
    assert over.activations_bytes.tolist() == [samples * x for x in (0, *forward, *backward, 0, 0, 0, 0, 0)]
    assert over.gradients_bytes.tolist() == [4 * x for x in (*[0] * 5, 0, 245, 245, 254, *[254] * 5)]
    assert over.layers.tolist() == [NO_LAYER, 0, 1, 2, 3, 3, 2, 1, 0, NO_LAYER, 0, 1, 2, 3]
    assert over.edges_s.tolist() == [0, 0.5, 1.5, 2.5, 4.5, 5, 5.5, 9.5, 10.5, 13.5, 14.5, 14.75, 14.75, 15.5, 15.5]
    assert (over.fullest, over.total_bytes[over.fullest]) == (7, memory.total_bytes)
    assert over.parts[:, 7].tolist() == [4 * 254, 4 * 245, 4 * 254, 8 * 176, 100]


def test_gradients_in_one_buffer_are_always_there() -> None:
    memory = footprint(SMALL, 2, FP32, 1e6, OPTIMIZERS["sgd"], Reserve(keeps=("gradients",)))
    over = training_over_step(SMALL, memory, (FP32, 2), BY_PASS, (0.0, 0.0))
    assert set(over.gradients_bytes.tolist()) == {4 * 254}
    assert over.total_bytes.max() == memory.total_bytes


@pytest.mark.parametrize("name", ["senet154", "vgg16", "gpt2", "unet", "mobilenet_v2"])
@pytest.mark.parametrize("task", ["train", "infer"])
def test_the_fullest_moment_is_the_footprint_and_the_end_is_the_steps(name: str, task: str) -> None:
    options = Options(batch=4, task=task, precision="amp", optimizer="adam", ignore_memory=True)
    answer = simulate(load_workload(name), load_device("v100"), options)
    over = memory_over_step(answer)
    assert over.total_bytes.max() == pytest.approx(answer.memory.total_bytes, rel=1e-12)
    assert over.edges_s[-1] == pytest.approx(answer.step.time_s)
    assert (np.diff(over.edges_s) >= 0).all()


A100, BOX = load_device("a100-sxm4-80gb"), cluster_of_system("dgx-a100-80gb", 1)


def planned(plan: Plan, batch: int, framework: str = "pytorch") -> Planned:
    workload = load_workload("gpt2_large", request=Request(attention="fused"))
    return evaluate(workload, A100, Options(precision="bf16", optimizer="adam", framework=framework), BOX, plan, batch)


PIPELINE = Plan(data=2, pipeline=4, microbatch=1)


@pytest.mark.parametrize("framework", ["pytorch", "megatron"])
@pytest.mark.parametrize(
    ("plan", "batch"),
    [
        (Plan(data=8), 16),
        (Plan(data=8, zero=3), 16),
        (Plan(data=8, zero=1, microbatch=2), 64),
        (PIPELINE, 32),
        (replace(PIPELINE, recompute="selective"), 64),
        (Plan(data=2, tensor=2, pipeline=2, microbatch=2, recompute="full", sequence=True), 64),
        (replace(PIPELINE, schedule="zero-bubble"), 32),
        (replace(PIPELINE, schedule="interleaved", virtual=2), 32),
    ],
)
def test_the_fullest_moment_of_the_fullest_stage_is_its_footprint(plan: Plan, batch: int, framework: str) -> None:
    answer = planned(plan, batch, framework)
    assert plan_memory_over_step(answer).total_bytes.max() == pytest.approx(answer.memory.total_bytes, rel=1e-3)


def test_where_a_first_backward_pass_has_no_gradients_yet_less_is_held() -> None:
    """As many micro-batches as are held at once, of which the last is there before any gradient of a weight."""
    answer = planned(Plan(pipeline=8, microbatch=1, schedule="gpipe"), 8)
    over = plan_memory_over_step(answer)
    assert 0.9 * answer.memory.total_bytes < over.total_bytes.max() < answer.memory.total_bytes


def test_a_stage_is_as_long_as_the_step_and_empty_at_both_ends() -> None:
    answer = planned(PIPELINE, 32)
    over = plan_memory_over_step(answer)
    assert over.edges_s[-1] == pytest.approx(answer.step.time_s)
    assert (over.activations_bytes[-1], over.gradients_bytes[0]) == (0, 0)
    assert over.gradients_bytes[-1] > 0
    # What waits while the stage is idle is what micro-batches in flight keep: whole multiples of one's.
    waiting = sorted(set(np.round(over.activations_bytes[over.layers == NO_LAYER])) - {0.0})
    assert np.allclose(waiting, waiting[0] * np.round(np.array(waiting) / waiting[0]), rtol=1e-6)


def test_the_first_micro_batch_makes_the_gradients_that_others_find() -> None:
    answer = planned(Plan(data=8, zero=1, microbatch=2), 64)  # four micro-batches, one after the other
    over, trained = plan_memory_over_step(answer), trained_by_layer(answer.share.workload)
    layers, gradients, kept = over.layers.tolist(), over.gradients_bytes, over.activations_bytes
    count, whole = len(trained), over.gradients_bytes[-1]
    passes = [slice(start, start + count) for start in range(layers.index(0), layers.index(0) + 4 * count, count)]
    forward, backward, again, back_again = passes
    assert [layers[one] for one in passes] == [[*range(count)], [*range(count)][::-1]] * 2
    # Activations come layer by layer, and as many with each micro-batch.
    assert (np.diff(kept[forward]) >= 0).all()
    assert kept[forward][0] >= 0
    assert kept[again] == pytest.approx(kept[forward])
    assert not gradients[forward].any()
    assert gradients[again] == pytest.approx(whole)
    # What the second micro-batch has beside all gradients, the layer's own before it is added, the first has beside
    # those of the layers that ran backward before.
    so_far = np.cumsum(trained[::-1]) / trained.sum()
    assert gradients[backward] - (gradients[back_again] - whole) == pytest.approx(whole * so_far)


def test_gradients_of_weights_that_wait_for_a_gap_keep_their_activations() -> None:
    plain, waiting = (planned(replace(PIPELINE, schedule=schedule), 32) for schedule in ("1f1b", "zero-bubble"))
    kinds = {event.task.kind for event in waiting.step.timeline.events}
    assert TaskKind.WEIGHTS in kinds
    assert plan_memory_over_step(waiting).activations_bytes.max() > plan_memory_over_step(plain).activations_bytes.max()

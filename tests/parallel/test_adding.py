"""Gradients added up over micro-batches: by hand, and what it does to a step and its memory."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from simulator.device.device import load_device
from simulator.device.system import cluster_of_system
from simulator.parallel.adding import adding_seconds
from simulator.parallel.plan import Plan
from simulator.parallel.zero import weights_of
from simulator.pipeline import Options, kernels_of
from simulator.planned import Planned, evaluate
from simulator.roofline.times import kernel_times
from simulator.workload.reading import load_workload

A100 = load_device("a100-sxm4-80gb")
GPT2 = load_workload("gpt2")
OPTIONS = Options(precision="amp", optimizer="adam", ignore_memory=True)
KINDS = ("fused", "added", "copied", "narrow")


@pytest.fixture(scope="module")
def frameworks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Megatron, and what differs from it in how it adds up gradients alone; by that."""
    folder = tmp_path_factory.mktemp("frameworks")
    found = {}
    for kind in KINDS:
        path = folder / f"{kind}.yaml"
        lines = (f"name: {kind}", "kind: framework", "description: a test", "like: megatron")
        path.write_text("\n".join((*lines, f"gradients: {{accumulation: {kind}}}")), encoding="utf-8")
        found[kind] = str(path)
    return found


def run(framework: str, plan: Plan, batch: int = 16) -> Planned:
    joined = cluster_of_system("dgx-a100-80gb", 1, plan.devices)
    return evaluate(GPT2, A100, replace(OPTIONS, framework=framework), joined, plan, batch)


@pytest.mark.parametrize(("kind", "moved"), [("fused", 0), ("added", 12), ("narrow", 6), ("copied", 18)])
def test_a_sum_is_read_and_written_and_the_new_gradient_read(kind: str, moved: int) -> None:
    # 3 x 4 bytes of each parameter over the sustained bandwidth, 3 x 2 in half width. A copy in half width: 2 bytes are
    # set to zero, 3 x 2 to add there, 2 read, and the sum of 4 read and written.
    setting = OPTIONS.on(A100)
    weights = weights_of(GPT2)
    found = adding_seconds(GPT2, setting, kind).sum()
    assert found == pytest.approx(moved * (weights.dense * weights.trained).sum() / setting.bandwidth_byte_per_s)


def test_all_but_the_first_micro_batch_are_added(frameworks: dict[str, str]) -> None:
    fused, added = (run(frameworks[kind], Plan(microbatch=4)).step.time_s for kind in ("fused", "copied"))
    once = float(adding_seconds(GPT2, OPTIONS.on(A100), "copied").sum())
    assert added - fused == pytest.approx(3 * once)
    alone = [run(frameworks[kind], Plan(microbatch=16)).step.time_s for kind in ("fused", "copied")]
    assert alone[0] == alone[1]


def test_fully_shared_gradients_are_added_where_they_are_kept(frameworks: dict[str, str]) -> None:
    plan = Plan(data=2, zero=3, microbatch=4)
    assert run(frameworks["fused"], plan).step.time_s == run(frameworks["copied"], plan).step.time_s


def test_gradients_kept_apart_take_memory_of_their_own(frameworks: dict[str, str]) -> None:
    plan = Plan(microbatch=4)
    once, twice = (run(frameworks[kind], plan).memory.moments[0][1] for kind in ("fused", "copied"))
    assert twice - once == pytest.approx(2 * np.sum(weights_of(GPT2).dense))


def test_a_host_that_waits_for_each_call_adds_its_own_time_to_each() -> None:
    # CUDA_LAUNCH_BLOCKING: every call costs its kernel and the host's issuing, one after the other.
    setting = replace(OPTIONS, framework="megatron-deepspeed").on(A100)
    kernels = kernels_of(GPT2, OPTIONS)
    waiting = kernel_times(kernels, setting, 4.0)
    never = replace(setting.framework, blocking=False, dispatch_s=(0.0,) * 4, step_s=0.0)
    free = kernel_times(kernels, msgspec.structs.replace(setting, framework=never), 4.0)
    dispatch_s = np.where(kernels.dispatch, np.array(setting.framework.dispatch_s)[kernels.phase], 0.0)
    expected = dispatch_s.sum() * A100.host_scale + setting.framework.step_s
    assert waiting.time_s.sum() - free.time_s.sum() == pytest.approx(expected)

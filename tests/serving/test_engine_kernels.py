"""Kernels that engines have and others have not: scores in memory, experts one by one, tiles, products on lanes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from simulator.device.device import load_device
from simulator.serving.engine import ServingEngine, load_engine
from simulator.serving.formats import get_format
from simulator.serving.network import generator_of
from simulator.serving.points import filled
from simulator.serving.static import prompt_seconds
from simulator.serving.step import Deployment, decoding, reading, step_times
from simulator.serving.times import ServingBound
from simulator.workload.reading import load_workload

BASE = load_engine("llama.cpp")


def deployed(workload: str, device: str, engine: ServingEngine, form: str = "f16") -> Deployment:
    return Deployment(load_workload(workload), load_device(device), engine, get_format(form))


def test_scores_pass_through_the_memory_where_attention_is_no_one_kernel() -> None:
    """LLaMA 3 8B, 512 tokens behind 3,584: 32 layers x 32 heads x 512 x 4,096 scores of 200 bytes at 1.008 TB/s."""
    piece = reading(1.0, 512.0, 3584.0)
    fast = replace(BASE, attention=1e6, cache=1e6, unit_bytes=None)
    plain, stored = (deployed("llama3_8b", "rtx-4090", replace(fast, scores=size)) for size in (0.0, 200.0))
    more_s = float((step_times(stored, piece).time_s - step_times(plain, piece).time_s)[0])
    assert more_s == pytest.approx(32 * 32 * 512 * 4096 * 200 / 1.008e12, rel=0.01)


def test_several_kernels_compute_what_one_skips() -> None:
    """Of a first piece of 512 queries, one kernel computes 512 x 513 / 2 pairs and several all 512 x 512."""
    slow = replace(BASE, attention=1e-6, gap_s=0.0, prefill_gap_s=0.0, host_s=0.0)
    plain, stored = (deployed("llama3_8b", "rtx-4090", replace(slow, scores=size)) for size in (0.0, 1e-9))
    times = [float(step_times(one, reading(1.0, 512.0)).time_s[0]) for one in (plain, stored)]
    assert times[1] / times[0] == pytest.approx(512 / 256.5, rel=0.001)


def test_prompts_over_latent_keys_compute_more() -> None:
    """GLM 4.7 Flash: rank 512 and 64 rotary features a head, against 192 + 64 for keys and 256 for values: in the
    products over keys and values 1,088 against 512 multiply-accumulates, beside a softmax of 10 FLOP in each."""
    attending = generator_of(load_workload("glm4_7_flash")).attention[0]
    assert (attending.key_size, attending.value_size) == (576, 512)
    alone, absorbed = attending.prefill_key + attending.prefill_value, attending.absorbed
    assert absorbed.prefill_key + absorbed.prefill_value == 1088 > alone
    assert not absorbed.latent
    slow = replace(BASE, attention=1e-6, scores=0.0)
    times = [
        float(
            step_times(deployed("glm4_7_flash", "rtx-4090", replace(slow, absorbs=on)), reading(1.0, 512.0)).time_s[0]
        )
        for on in (False, True)
    ]
    assert 1.5 < times[1] / times[0] < 1088 / alone * 1.1


def test_experts_that_run_one_by_one_are_launched_one_by_one() -> None:
    """512 tokens of Qwen3 30B meet all 128 experts of 48 layers: 2 products x 3 kernels each instead of one."""
    slow = replace(BASE, prefill_gap_s=1e-3)
    piece = reading(1.0, 512.0)
    apart, joined = (
        float(
            step_times(deployed("qwen3_30b_a3b", "rtx-4090", replace(slow, groups=which)), piece).seconds[
                ServingBound.LAUNCHES, 0
            ]
        )
        for which in ("none", "all")
    )
    assert apart - joined == pytest.approx(1e-3 * 48 * 2 * (3 * 128 - 1), rel=1e-6)


def test_narrow_experts_run_as_one_kernel_where_wide_ones_cannot() -> None:
    engine = load_engine("llama.cpp-rocm-2026", "rdna")
    assert deployed("qwen3_30b_a3b", "radeon-8060s", engine, "q4_k_m").grouped
    assert not deployed("qwen3_30b_a3b", "radeon-8060s", engine, "f16").grouped
    assert deployed("gpt_oss_20b", "radeon-8060s", engine, "mxfp4_moe").grouped


def test_rows_of_experts_fill_tiles() -> None:
    """Half a tile is empty in the mean, and of fewer rows than a tile the rest."""
    assert filled(np.array([0.5, 16.0, 64.0, 512.0]), 64).tolist() == [64.0, 64.0, 96.0, 544.0]
    assert filled(np.array([0.5, 16.0]), None).tolist() == [1.0, 16.0]


def test_products_of_more_than_a_few_rows_fill_a_tile() -> None:
    """16 rows take as long as 32 where kernels have 32; 8 have kernels of their own."""
    engine = replace(load_engine("llama.cpp-flash", "apple"), lanes=1.0)
    plain, tiled = (deployed("qwen2_7b", "m2-ultra", replace(engine, tile=tile), "q8_0") for tile in (None, 32))
    times = [
        step_times(one, decoding(np.array([8.0, 16.0, 32.0]), 1.0)).seconds[ServingBound.COMPUTE]
        for one in (plain, tiled)
    ]
    assert times[0][0] == times[1][0]
    assert times[1][1] == pytest.approx(times[1][2], rel=0.02)
    assert times[0][1] < 0.7 * times[1][1]


def test_weights_of_experts_alone_are_widened_where_others_are_wide() -> None:
    """gpt-oss has 19.1 billion weights of experts in 17 / 32 bytes: read, and written in 2, at 0.85 of 256 GB/s."""
    engine = replace(load_engine("llama.cpp-rocblas", "rdna"), groups="all")
    one, other = (
        deployed("gpt_oss_20b", "radeon-8060s", replace(engine, unpacks_apart=apart, narrow=1.0), "mxfp4_experts")
        for apart in (True, False)
    )
    more_s = prompt_seconds(one, 1.0, 512) - prompt_seconds(other, 1.0, 512)
    assert more_s == pytest.approx(24 * 32 * 3 * 2880 * 2880 * (17 / 32 + 2) / (0.85 * 256e9), rel=0.02)


def test_products_in_bf16_run_on_lanes_where_matrix_units_lack_it() -> None:
    """2 FLOP for each weight but those of the vocabulary, on half of the lanes' 14.85 x 0.8 TFLOP/s."""
    engine = replace(load_engine("llama.cpp-vulkan-2026", "rdna"), scalar=0.5)
    times = {
        form: prompt_seconds(deployed("ministral3_14b", "radeon-8060s", engine, form), 1.0, 512)
        for form in ("bf16", "fp16")
    }
    generator = generator_of(load_workload("ministral3_14b"))
    inside = generator.parameters - 2 * generator.features * generator.layers[generator.head].output[-1]
    assert times["bf16"] == pytest.approx(2 * 512 * inside / (0.5 * 0.8 * 14.85e12), rel=0.1)
    assert times["bf16"] > 2 * times["fp16"]


def test_keys_are_read_again_for_each_tile_of_queries() -> None:
    """LLaMA 2 7B, 32 layers x 32 heads x 256 numbers of 2 bytes: 512 queries, 16 at a time, read keys 31 times more."""
    engine = replace(load_engine("llama.cpp-flash"), attention=1e6, cache=0.5, unit_bytes=None)
    piece = reading(1.0, 512.0, 7680.0)
    once, anew = (deployed("llama2_7b", "rtx-4090", replace(engine, queries=tile)) for tile in (None, 16.0))
    more_s = float((step_times(anew, piece).time_s - step_times(once, piece).time_s)[0])
    assert more_s == pytest.approx(31 * 32 * 32 * 256 * 2 * 8192 / (0.5 * 1.008e12), rel=0.01)


def test_layers_of_experts_launch_kernels_beside_their_products() -> None:
    """Scores, the choice of the best and others: 8 a layer, as under engines that fuse."""
    slow, none = (replace(BASE, gap_s=gap_s, helpers=0.0) for gap_s in (1e-3, 0.0))
    load = decoding(1.0, 128.0)
    mixture = deployed("qwen3_30b_a3b", "rtx-4090", slow)
    gaps_s = float(step_times(mixture, load).seconds[ServingBound.LAUNCHES, 0])
    without_s = float(step_times(replace(mixture, engine=none), load).seconds[ServingBound.LAUNCHES, 0])
    kernels = (gaps_s - without_s) / 1e-3
    counted = sum(
        float(np.broadcast_to(group.number, group.flops.shape)[(group.compute_s + group.memory_s) > 0].sum())
        for group in mixture.lowered.groups(load)
    )
    assert kernels == pytest.approx(counted + 8 * 48)

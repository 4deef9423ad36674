"""Kernels in which each row, or each head of queries, reads by itself what others share."""

from dataclasses import replace

import numpy as np
import pytest

from simulator.calibration.back_ends import back_end
from simulator.calibration.served_rows import _row, deployment_of
from simulator.device.device import load_device
from simulator.serving.engine import ServingEngine, load_engine, release
from simulator.serving.formats import get_format
from simulator.serving.step import Deployment, decoding, reading, step_times
from simulator.workload.reading import load_workload


def deployed(workload: str, device: str, engine: ServingEngine, form: str = "fp16") -> Deployment:
    return Deployment(load_workload(workload), load_device(device), engine, get_format(form))


def seconds(deployment: Deployment, requests: float, context: float = 1024.0) -> float:
    return float(step_times(deployment, decoding(requests, context)).time_s[0])


def test_heads_of_a_group_read_their_keys_again() -> None:
    """LLaMA 3 8B: 32 layers, 8 heads of 128 features for keys and values, two bytes: 131,072 bytes a token. 4 heads of
    queries share each, so that 32 requests of 4,096 tokens are read three more times, at a quarter of 3.35 TB/s."""
    apart = replace(load_engine("tensorrt-llm-2024"), again=0.25)
    together = deployed("llama3_8b", "h100-sxm5-80gb", replace(apart, again=None))
    alone = deployed("llama3_8b", "h100-sxm5-80gb", apart)
    more_s = seconds(alone, 32, 4096.0) - seconds(together, 32, 4096.0)
    assert more_s == pytest.approx(3 * 32 * 4096 * 131_072 / (0.25 * 3.35e12), rel=0.01)
    read = [float(step_times(one, reading(1.0, 512.0)).time_s[0]) for one in (alone, together)]
    assert read[0] == read[1]


def test_where_no_heads_share_keys_nothing_is_read_again() -> None:
    engine = load_engine("tensorrt-llm-2024")
    found = [seconds(deployed("llama2_7b", "a100", replace(engine, again=again)), 16) for again in (None, 0.1)]
    assert found[0] == found[1]


def test_few_rows_on_lanes_take_time_in_proportion() -> None:
    """Slow enough lanes bind from one row on: eight rows take eight times as long, but for what is beside products."""
    engine = replace(load_engine("llama.cpp", "apple"), gap_s=0.0, host_s=0.0, lanes=0.001)
    deployment = deployed("llama2_7b", "apple-m2-ultra", engine, "q8_0")
    times = step_times(deployment, decoding(np.array([1.0, 8.0]), 1.0)).time_s
    assert times[1] / times[0] == pytest.approx(8.0, rel=0.01)


def test_each_row_reads_its_expert_until_kernels_have_tiles() -> None:
    """16 tokens of Qwen3 30B choose 8 of 128 experts each: 128 pairs, of 128 (1 - (15/16)^16) = 82.4 experts."""
    engine = replace(load_engine("llama.cpp", "apple"), lanes=1e6)
    deployment = deployed("qwen3_30b_a3b", "apple-m2-ultra", engine, "q8_0")
    groups = {tokens: deployment.lowered.groups(decoding(float(tokens), 1.0)) for tokens in (16, 32)}
    alone = {tokens: [group.alone for group in found if np.any(group.sparse)] for tokens, found in groups.items()}
    assert np.ravel(alone[16]) == pytest.approx(128 / 82.4, rel=1e-3)
    assert np.ravel(alone[32]) == pytest.approx(1.0)


def test_releases_before_heads_read_together_are_known_by_their_number() -> None:
    line = {
        "workload": "llama2_70b", "profile": "h100-sxm5-80gb", "quantisation": "fp8", "devices": "4", "tp": "4",
        "pp": "", "engine": "TensorRT-LLM", "engine_version": "0.6.1", "batch_or_concurrency": "64",
        "input_len": "128", "output_len": "128", "metric": "output_tok_s", "value": "1000", "year": "2024",
    }  # fmt: skip
    assert deployment_of(_row(line, "table:2")).engine.name == "tensorrt-llm-2023"
    assert deployment_of(_row(line | {"engine_version": "0.9"}, "table:2")).engine.name == "tensorrt-llm-2024"
    assert [release("tensorrt-llm", year) for year in (2022, 2024, 2025)] == [
        "tensorrt-llm-2023", "tensorrt-llm-2024", "tensorrt-llm",
    ]  # fmt: skip


def test_attention_is_one_kernel_by_itself_since_2026() -> None:
    assert back_end("llama.cpp", "llama-batched-bench", 2025) == "llama.cpp"
    assert back_end("llama.cpp", "llama-batched-bench", 2026) == "llama.cpp-flash"
    assert back_end("llama.cpp", "llama-bench; fa=0", 2026) == "llama.cpp"

"""Models by the names that tables give them."""

import pytest

from simulator.calibration.named import workload_named
from simulator.workload.reading import load_workload


@pytest.mark.parametrize(
    ("model", "note", "expected"),
    [
        ("Qwen/Qwen3.5-397B-A17B", "", "qwen3_5_397b"),
        ("qwen35moe 35B.A3B Q4_K - Medium", "", "qwen3_5_35b"),
        ("llama 70B Q4_K - Medium", "", "llama3_70b"),
        ("Qwen3-Coder-30B-A3B-Instruct-Q8_0", "", "qwen3_30b_a3b"),
        ("gpt-oss ?B F16", "llama-bench; weights 13779630336 bytes;", "gpt_oss_20b"),
        ("gpt-oss ?B F16", "llama-bench; weights 65369017728 bytes;", "gpt_oss_120b"),
        ("gpt-oss ?B F16", "llama-bench", ""),
        ("Deci/DeciLM-7B", "", ""),
    ],
)
def test_a_model_is_known_by_its_name_or_by_its_file(model: str, note: str, expected: str) -> None:
    assert workload_named(model, note) == expected


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("qwen3_5_397b", 396.3), ("qwen3_5_122b", 122.1), ("qwen3_5_35b", 34.66), ("qwen3_5_27b", 26.90),
        ("glm4_7_flash", 29.94), ("ministral3_14b", 13.51),
    ],
)  # fmt: skip
def test_networks_have_as_many_weights_as_their_files(name: str, billions: float) -> None:
    """llama.cpp counts 29.94 in GLM 4.7 Flash, 13.51 in Ministral 3, and in Qwen 3.5 35.51 and 27.32 with the layer of
    multi-token prediction, which is not of the language model: 0.85 (experts and attention) and 0.42."""
    parameters = sum(layer.parameters for layer in load_workload(name).layers)
    assert parameters / 1e9 == pytest.approx(billions, rel=5e-4)

"""Workloads of models that a table names by their makers' or by llama.cpp's names."""

from __future__ import annotations

import re

NAMES = {
    r"Qwen/Qwen3\.5-397B": "qwen3_5_397b",
    r"qwen35moe 122B": "qwen3_5_122b",
    r"qwen35moe 35B": "qwen3_5_35b",
    r"qwen35 27B": "qwen3_5_27b",
    r"qwen3moe 235B": "qwen3_235b_a22b",
    r"(Qwen/)?Qwen3-Coder-30B-A3B": "qwen3_30b_a3b",
    r"Qwen2\.5-Coder-7B|qwen2 7B": "qwen2_7b",
    r"deepseek2 30B\.A3B": "glm4_7_flash",
    r"mistral3 14B": "ministral3_14b",
    r"llama4 17Bx16E": "llama4_scout",
    r"llama 70B": "llama3_70b",
}
"""Beginning of a model's name -> the workload of the same shape. Coders are as large as the models that they were
trained on from; LLaMA's 70 billions of either generation differ by their vocabularies alone; llama.cpp calls GLM 4.7
Flash by the network whose code it shares."""

UNSIZED = "gpt-oss ?B"
"""What llama.cpp calls either of OpenAI's two where it does not know the size."""


def workload_named(model: str, note: str) -> str:
    """The workload of a model's name, "" where none is known; a file's size tells models of one name apart."""
    if model.startswith(UNSIZED):
        return _by_size(note)
    return next((workload for name, workload in NAMES.items() if re.match(name, model)), "")


def _by_size(note: str) -> str:
    """One of gpt-oss: 20 billion weights in 4 bits are 13 GB, 120 billion 62."""
    found = re.search(r"\bweights (\d+) bytes", note)
    if found is None:
        return ""
    return "gpt_oss_20b" if int(found[1]) < 30e9 else "gpt_oss_120b"


__all__ = ["workload_named"]

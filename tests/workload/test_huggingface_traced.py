"""Hugging Face types without a rule of ours: built by transformers and traced; each count is worked by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from simulator.errors import UnsupportedError
from simulator.workload.importers import Request
from simulator.workload.importers import huggingface_traced as others
from simulator.workload.reading import load_workload

NEOX = {"model_type": "gpt_neox", "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4,
        "intermediate_size": 32, "vocab_size": 50, "max_position_embeddings": 64, "bos_token_id": 0,
        "eos_token_id": 0}  # fmt: skip
MIXTURE = {"model_type": "olmoe", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
           "intermediate_size": 8, "vocab_size": 50, "num_experts": 4, "num_experts_per_tok": 2, "pad_token_id": 0,
           "bos_token_id": 0, "eos_token_id": 0}  # fmt: skip
BERT = {"model_type": "bert", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 16, "vocab_size": 20, "max_position_embeddings": 32}  # fmt: skip


def written(folder: Path, values: dict[str, Any], **more: Any) -> str:
    (folder / "config.json").write_text(json.dumps({**values, **more}))
    return f"hf:{folder}"


@pytest.fixture(name="transformers")
def transformers_module() -> Any:
    pytest.importorskip("torch")
    return pytest.importorskip("transformers")


def test_without_transformers_the_error_says_how(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(others, "installed", lambda: False)
    with pytest.raises(UnsupportedError, match=r"no rule for the architecture 'gpt_neox'.*\[hf\]"):
        load_workload(written(tmp_path, NEOX))
    with pytest.raises(UnsupportedError, match=r"'LlamaModel'.*\[hf\]"):
        load_workload(written(tmp_path, {"model_type": "llama", "architectures": ["LlamaModel"]}))


def test_a_small_head_is_left_out_and_the_description_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(others, "installed", lambda: False)
    plain = load_workload(written(tmp_path, BERT))
    headed = load_workload(written(tmp_path, BERT, architectures=["BertForSequenceClassification"]))
    assert headed.parameters == plain.parameters
    assert headed.description.endswith("without the head of BertForSequenceClassification")
    masked = load_workload(written(tmp_path, BERT, architectures=["BertLMHeadModel"]))
    # no pooler of 8 x 8 + 8, but a transform of the same size, its norm of 16, and a bias for 20 tokens
    assert masked.parameters - plain.parameters == 16 + 20


def test_a_decoder_is_traced(transformers: Any, tmp_path: Path) -> None:  # noqa: ARG001
    workload = load_workload(written(tmp_path, NEOX), request=Request(sequence=6))
    # a layer: 16 x 48 + 48, 16 x 16 + 16, 16 x 32 + 32, 32 x 16 + 16, two norms of 32; last norm; two tables of 50 x 16
    assert workload.parameters == 2 * (816 + 272 + 544 + 528 + 64) + 32 + 2 * 800
    # 6 tokens by 768 + 256 + 512 + 512 weights, two products of 6 x 6 x 16; the head's 800
    assert workload.macs == 2 * (6 * 2048 + 2 * 576) + 6 * 800
    assert workload.inputs == ((6,),)


def test_experts_route_evenly(transformers: Any, tmp_path: Path) -> None:  # noqa: ARG001
    workload = load_workload(written(tmp_path, MIXTURE), request=Request(sequence=8))
    # attention 4 x 256 and 2 x 8 x 16 a token, router 64, two experts of 3 x 128, head 800
    assert workload.macs == 8 * (1024 + 256 + 64 + 2 * 384 + 800)


def test_the_class_that_the_configuration_names(transformers: Any, tmp_path: Path) -> None:  # noqa: ARG001
    encoder = load_workload(written(tmp_path, NEOX, architectures=["GPTNeoXModel"]), request=Request(sequence=6))
    assert encoder.macs == 2 * (6 * 2048 + 2 * 576)

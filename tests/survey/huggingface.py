"""How many model types of transformers are traced, with the parameters of their modules: needs torch and transformers.

    python tests/survey/huggingface.py [TYPE ...]

Each type that has a causal or masked language model, a text encoder, a sequence-to-sequence model or an image
classifier, at its own default sizes with `LAYERS` layers at most; one line a type, and the share at the end.
"""

from __future__ import annotations

import json
import logging
import signal
import sys
import tempfile
import warnings
from pathlib import Path
from types import FrameType
from typing import Any

HEADS = ("CAUSAL_LM", "MASKED_LM", "TEXT_ENCODING", "SEQ_TO_SEQ_CAUSAL_LM", "IMAGE_CLASSIFICATION")
LAYERS = 4
LIMIT_S = 120
DEPTHS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers", "depth", "encoder_layers", "decoder_layers",
          "num_encoder_layers", "num_decoder_layers")  # fmt: skip
LISTS = ("layer_types", "layers_block_type", "block_types", "mlp_layer_types", "attention_types")

INDEXED = {"indexer_n_heads": 4, "indexer_kv_heads": 1, "indexer_head_dim": 256, "indexer_budget": 512,
           "indexer_compress_ratio": 16}  # fmt: skip
LACKING: dict[str, dict[str, Any]] = {
    "cohere_compass_text": {
        "rope_parameters": {
            name: {"rope_type": "default", "rope_theta": 1e4} for name in ("full_attention", "sliding_attention")
        }
    },
    "dbrx": {"attn_config": {"kv_n_heads": 8, "rope_theta": 1e4, "clip_qkv": 8}},
    "deepseek_v2": {"num_experts_per_tok": 6, "n_group": 1, "topk_group": 1},
    "dots1": {"n_shared_experts": 2, "n_routed_experts": 64, "num_experts_per_tok": 6, "n_group": 1, "topk_group": 1},
    "esm": {"vocab_size": 33, "mask_token_id": 32, "pad_token_id": 1},
    "hunyuan_v1_dense": {"head_dim": 128, "num_key_value_heads": 8},
    "hunyuan_v1_moe": {"head_dim": 128, "num_key_value_heads": 8, "num_experts": 8, "moe_topk": 2},
    "lfm2_moe": {"layer_types": ["conv", "conv", "full_attention", "conv"]},
    "ministral": {"head_dim": 128},
    "nemotron": {"head_dim": 128, "num_key_value_heads": 8},
    "qwen4_exp": {"text_config": INDEXED},
    "qwen4_exp_text": INDEXED,
    "reformer": {"is_decoder": True},
    "xmod": {"default_language": "en_XX"},
    "zamba": {
        "num_hidden_layers": 12,
        "layers_block_type": (["linear_attention"] * 4 + ["hybrid", "linear_attention"]) * 2,
    },
}
"""What a type's own defaults lack, so that its module cannot be built from them."""


def main(types: list[str]) -> None:
    """Print how each type does."""
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    signal.signal(signal.SIGALRM, _late)
    wanted = types or _types()
    exact = sum(_one(kind) for kind in wanted)
    print(f"{exact} of {len(wanted)} exact, {exact / len(wanted):.1%}")


def _types() -> list[str]:
    from transformers.models.auto import modeling_auto

    tables = (getattr(modeling_auto, f"MODEL_FOR_{head}_MAPPING_NAMES", {}) for head in HEADS)
    return sorted({kind for table in tables for kind in table})


def _late(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    raise TimeoutError(f"more than {LIMIT_S} s")


def _one(kind: str) -> bool:
    """Whether a type is traced with the parameters of its module."""
    signal.alarm(LIMIT_S)
    try:
        found, held = _counted(kind)
    except Exception as error:
        print(f"{kind}: {type(error).__name__}: {' '.join(str(error).split())[:160]}", flush=True)
        return False
    finally:
        signal.alarm(0)
    print(f"{kind}: {found:,} parameters" + ("" if found == held else f", of {held:,}"), flush=True)
    return found == held


def _counted(kind: str) -> tuple[int, int]:
    from simulator.workload.importers import Request
    from simulator.workload.importers.huggingface import traced
    from simulator.workload.importers.huggingface.config import read_config

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps({**_values(kind), "model_type": kind}, default=str))
        config = read_config(folder)
        workload = traced.trace(config, kind, Request(), kind)
        module, _ = traced.module_of(config, kind, Request())
    return workload.parameters, sum(parameter.numel() for parameter in module.parameters())


def _values(kind: str) -> dict[str, Any]:
    from transformers import CONFIG_MAPPING

    whole = CONFIG_MAPPING[kind]().to_dict()
    few = _shallow(whole)
    few.pop("architectures", None)
    try:
        CONFIG_MAPPING[kind].from_dict({**few, **LACKING.get(kind, {})})
    except Exception:
        few = {key: value for key, value in whole.items() if key != "architectures"}
    return {**few, **LACKING.get(kind, {})}


def _shallow(values: dict[str, Any]) -> dict[str, Any]:
    """The same with fewer layers, in its parts too."""
    result = {key: _shallow(value) if isinstance(value, dict) else value for key, value in values.items()}
    for key in DEPTHS:
        if type(result.get(key)) is int:
            result[key] = min(result[key], LAYERS)
    depth = result.get("num_hidden_layers")
    for key in LISTS:
        if isinstance(result.get(key), list) and depth:
            result[key] = result[key][:depth]
    return result


if __name__ == "__main__":
    main(sys.argv[1:])

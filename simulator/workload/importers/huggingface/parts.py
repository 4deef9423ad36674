"""Parts of a decoder's parameters that Hugging Face architectures have in common."""

from __future__ import annotations

from typing import Any

from simulator.errors import InputError, UnsupportedError
from simulator.workload.importers.huggingface.config import MAX_SIZE, Config


def base(config: Config, *, tied: bool = False) -> dict[str, Any]:
    """What all decoders have; `tied` is the architecture's default."""
    return {
        "depth": config.depth("num_hidden_layers", "n_layer"),
        "hidden": config.integer("hidden_size", "n_embd"),
        "vocabulary": config.integer("vocab_size"),
        "tied": config.flag("tie_word_embeddings", default=tied),
    }


def all_heads(config: Config, *, bias: bool = False) -> dict[str, Any]:
    """Heads with the rotary embedding, biases everywhere or nowhere."""
    result: dict[str, Any] = {"count": config.integer("num_attention_heads", "n_head"), "rotary": 1.0}
    kv, size = config.optional("num_key_value_heads", "n_head_kv"), config.optional("head_dim")
    result |= {"kv": kv or result["count"], "bias": bias, "out_bias": bias}
    return result | {"size": size} if size else result


def turned(config: Config, heads: dict[str, Any], hidden: int) -> dict[str, Any]:
    """Heads of which a part is rotated."""
    features = config.optional("rotary_dim")
    size = heads.get("size") or max(1, hidden // heads["count"])
    share = min(1.0, features / size) if features else config.rate("partial_rotary_factor", 1.0)
    return heads | {"rotary": share}


def gated_mlp(config: Config, *, bias: bool = False) -> dict[str, Any]:
    """A gated network."""
    activation = config.activation("hidden_act", "hidden_activation", default="silu")
    return {"width": config.integer("intermediate_size"), "activation": activation, "bias": bias}


def plain_mlp(config: Config, hidden: int) -> dict[str, Any]:
    """A network of two biased matrices, four times as wide where nothing is said."""
    width = config.integer("n_inner", "intermediate_size", default=min(4 * hidden, MAX_SIZE))
    activation = config.activation("activation_function", "hidden_act", default="gelu_new")
    return {"width": width, "activation": activation, "gated": False, "bias": True}


def experts(config: Config, count: str, width: str) -> dict[str, Any]:
    """Experts, in every layer or every so many."""
    result = {
        "count": config.integer(count, "num_local_experts", most=2**16),
        "active": config.integer("num_experts_per_tok", "top_k_experts", most=2**16),
        "width": config.integer(width),
        "every": config.integer("decoder_sparse_step", default=1),
    }
    if result["active"] > result["count"]:
        raise InputError(f"{config.where}: {result['active']} experts a token of {result['count']}")
    if config.values.get("mlp_only_layers"):
        raise UnsupportedError(f"{config.where}: no rule for mlp_only_layers")
    return result


def full_every(config: Config) -> int | None:
    """The n where every n-th of `layer_types` sees all positions; None where the list is missing."""
    kinds = config.names("layer_types")
    if not kinds:
        return None
    every = kinds.index("full_attention") + 1 if "full_attention" in kinds else len(kinds) + 1
    if any((kind == "full_attention") != ((number + 1) % every == 0) for number, kind in enumerate(kinds)):
        raise UnsupportedError(f"{config.where}: layer_types is not every so many layers of full_attention")
    return every


def dropout_rate(config: Config, key: str, default: float) -> float:
    """A rate of dropout."""
    return min(config.rate(key, default), 0.999)

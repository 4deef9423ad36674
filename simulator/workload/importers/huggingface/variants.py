"""Hugging Face architectures that differ from others by names of keys, defaults and a few parts, written as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from simulator.errors import UnsupportedError
from simulator.workload.importers.huggingface import models as models
from simulator.workload.importers.huggingface.config import Config
from simulator.workload.importers.huggingface.models import Family, Translate
from simulator.workload.importers.huggingface.parts import all_heads, base, full_every, gated_mlp, plain_mlp, turned


@dataclass(frozen=True, slots=True)
class Variant:
    """One architecture.

    Attributes
    ----------
    like : how the configuration is read once its keys have common names.
    keys : its own name of a key -> the common one. defaults : of keys that a configuration may lack.
    heads, parts : parameters of the family that no key says, of the attention and beside it.
    refused : key -> the one value that is built.
    """

    like: Translate
    keys: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    heads: Mapping[str, Any] = field(default_factory=dict)
    parts: Mapping[str, Any] = field(default_factory=dict)
    refused: Mapping[str, Any] = field(default_factory=dict)


def layered(config: Config) -> Family:
    """Layer normalisation; a gated network where `gated` says so, else a plain one; biases where two flags say so."""
    hidden, bias = config.integer("hidden_size"), config.flag("mlp_bias")
    mlp = gated_mlp(config, bias=bias) if config.flag("gated") else plain_mlp(config, hidden) | {"bias": bias}
    heads = turned(config, all_heads(config, bias=config.flag("attention_bias")), hidden)
    heads |= {"span": config.optional("sliding_window"), "bias": config.flag("qkv_bias", default=heads["bias"])}
    return "decoder", {**base(config), "heads": heads, "mlp": mlp, "norm": "layer"}


def falcon(config: Config) -> Family:
    """Falcon 7B (one key head, one normalisation), 40B and 180B (several, two), or with neither (RW)."""
    wide = config.flag("new_decoder_architecture")
    shared = config.integer("num_kv_heads", default=config.integer("num_attention_heads")) if wide else 1
    own = wide or config.flag("multi_query", default=True)
    values = {"num_key_value_heads": shared} if own else {}
    biased = config.flag("bias")
    values |= {"attention_bias": biased, "mlp_bias": biased}
    family, arguments = layered(Config({**config.values, **values}, config.where))
    arguments["heads"] |= {"joined": True, "rotary": 0.0 if config.flag("alibi") else 1.0}
    two = wide and config.integer("num_ln_in_parallel_attn", default=2) == 2
    side = "apart" if two else "parallel" if wide or config.flag("parallel_attn", default=True) else "before"
    return family, {**arguments, "order": side}


def olmo3(config: Config) -> Family:
    """OLMo 2 and 3: queries and keys are normalised as wholes, branches after they ran; every fourth layer sees all."""
    family, arguments = models.mistral(config)
    seen = full_every(config) or 4 if arguments["heads"]["span"] else 0
    arguments["heads"] |= {"norm": "whole", "full_every": seen}
    return family, {**arguments, "order": "after"}


def olmoe(config: Config) -> Family:
    """OLMoE: queries and keys are normalised as wholes."""
    family, arguments = models.mixtral(config)
    return family, {**arguments, "heads": arguments["heads"] | {"norm": "whole"}}


def glm(config: Config) -> Family:
    """GLM 4: half of each head is rotated."""
    heads = turned(config, all_heads(config), config.integer("hidden_size"))
    heads["bias"] = config.flag("attention_bias")
    return "decoder", {**base(config), "heads": heads, "mlp": gated_mlp(config)}


def phimoe(config: Config) -> Family:
    """Phi 3.5 MoE: layer normalisation, biases of the attention and of the head where two flags say so."""
    family, arguments = models.mixtral(config)
    biased = config.flag("attention_bias")
    heads = arguments["heads"] | {"bias": biased, "out_bias": biased}
    return family, {**arguments, "heads": heads, "norm": "layer", "head_bias": config.flag("lm_head_bias")}


def gpt_bigcode(config: Config) -> Family:
    """StarCoder and SantaCoder: GPT-2 whose heads of queries read one of keys and values."""
    family, arguments = models.gpt2(config)
    return family, {**arguments, "heads": arguments["heads"] | ({"kv": 1} if config.flag("multi_query") else {})}


def gpt_neox(config: Config) -> Family:
    """GPT-NeoX and Pythia: a normalisation for each of two branches side by side."""
    family, arguments = layered(config)
    side = "apart" if config.flag("use_parallel_residual", default=True) else "before"
    return family, {**arguments, "order": side}


_TIED = {"tie_word_embeddings": True}
_HALF = {"partial_rotary_factor": 0.5, "attention_bias": True, "head_dim": 128, "num_key_value_heads": 2}
_BIASED = {"attention_bias": True, "mlp_bias": True}

VARIANTS: dict[str, Variant] = {
    "bloom": Variant(
        layered,
        {"n_embed": "hidden_size"},
        {**_TIED, **_BIASED, "hidden_act": "gelu_new"},
        {"joined": True, "rotary": 0.0},
        {"embedding_norm": True},
    ),
    "camembert": Variant(models.bert),
    "ernie4_5": Variant(models.llama, {"use_bias": "attention_bias"}, {**_TIED, "head_dim": 128}),
    "falcon": Variant(falcon, {"ffn_hidden_size": "intermediate_size", "activation": "hidden_act"},
                      {**_TIED, "hidden_act": "gelu"}),
    "glm": Variant(glm, {}, _HALF),
    "glm4": Variant(glm, {}, _HALF, {}, {"order": "both"}),
    "gpt_bigcode": Variant(gpt_bigcode, {}, {**_TIED, "multi_query": True, "activation_function": "gelu_pytorch_tanh"}),
    "gpt_neox": Variant(gpt_neox, {"rotary_pct": "partial_rotary_factor"},
                        {**_BIASED, "hidden_act": "gelu", "partial_rotary_factor": 0.25}, {"joined": True}),
    "granite": Variant(models.llama),
    "granitemoe": Variant(models.mixtral, {}, {"num_local_experts": 8, "num_experts_per_tok": 2}, {}, {},
                          {"attention_bias": False}),
    "helium": Variant(models.llama),
    "mt5": Variant(models.t5, {}, {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False,
                                   "vocab_size": 250112}),
    "olmo2": Variant(olmo3),
    "olmo3": Variant(olmo3, {}, {"sliding_window": 4096}),
    "olmoe": Variant(olmoe, {"num_experts": "num_local_experts"}, {"num_local_experts": 64, "num_experts_per_tok": 8},
                     {}, {}, {"attention_bias": False}),
    "phimoe": Variant(phimoe),
    "roberta": Variant(models.bert),
    "seed_oss": Variant(models.llama, {"residual_dropout": "resid_pdrop"}, {"attention_bias": True, "head_dim": 128},
                        {"out_bias": False}, {}, {"attention_out_bias": False}),
    "smollm3": Variant(models.llama, {}, _TIED, {"rotary_skip": 4}, {}, {"use_sliding_window": False}),
    "stablelm": Variant(layered, {"use_qkv_bias": "qkv_bias"},
                        {"gated": True, "qkv_bias": False, "partial_rotary_factor": 0.25}, {}, {},
                        {"use_parallel_residual": False, "qk_layernorm": False}),
    "starcoder2": Variant(layered, {}, {**_TIED, **_BIASED, "hidden_act": "gelu_pytorch_tanh"}, {}, {},
                          {"use_bias": True}),
    "xlm-roberta": Variant(models.bert),
}  # fmt: skip
"""`model_type` -> how it differs."""


def _read(variant: Variant, config: Config) -> Family:
    for key, only in variant.refused.items():
        if config.values.get(key, only) not in (only, None):
            raise UnsupportedError(f"{config.where}: built with {key} {only} alone, found {config.values[key]!r:.40}")
    given = {variant.keys.get(key, key): value for key, value in config.values.items() if value is not None}
    family, arguments = variant.like(Config({**variant.defaults, **given}, config.where))
    arguments |= variant.parts
    if variant.heads:
        arguments["heads"] = arguments["heads"] | variant.heads
    return family, arguments


TRANSLATIONS: dict[str, Translate] = {kind: partial(_read, variant) for kind, variant in VARIANTS.items()}
"""`model_type` -> how its configuration is read."""

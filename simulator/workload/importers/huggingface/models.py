"""Hugging Face architectures: the keys of their configurations -> parameters of our families.

Each function takes a configuration and returns (family, its parameters). Names of keys and their defaults are those of
the transformers library, version 5.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from simulator.errors import UnsupportedError
from simulator.workload.importers.huggingface.config import MAX_LAYERS, Config
from simulator.workload.importers.huggingface.parts import (
    all_heads,
    base,
    dropout_rate,
    experts,
    full_every,
    gated_mlp,
    plain_mlp,
    turned,
)

BUILT = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration", "ForImageClassification", "ForMaskedLM",
         "ForPreTraining", "BertModel", "RobertaModel",
         "CamembertModel", "GPT2Model", "T5Model", "WithLMHead", "MarianMTModel", "CLIPModel")  # fmt: skip
"""Ends of the names of classes that our rules build."""


SMALL_HEADS = ("ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering")
"""Ends of classes that a few classes' head sets apart from what our rules build."""


def nearly_built(config: Config) -> str:
    """The class that the configuration names, where our rules build all but its small head; else nothing."""
    return next((name for name in config.names("architectures") if name.endswith(SMALL_HEADS)), "")


def builds(config: Config) -> bool:
    """Whether our rules build the class that the configuration names, if it names one."""
    names = config.names("architectures")
    return not names or any(name.endswith(BUILT) for name in names)


Family = tuple[str, dict[str, Any]]
Translate = Callable[[Config], Family]


def bert(config: Config) -> Family:
    """BERT's encoder with the head that `architectures` names; task heads of a few classes are left out."""
    head = "pooler"
    for name in config.names("architectures"):
        head = (
            "masked_lm" if "MaskedLM" in name or "LMHead" in name else "pretraining" if "PreTraining" in name else head
        )
    if config.text("hidden_act", default="gelu") != "gelu":
        raise UnsupportedError(f"{config.where}: bert is built with hidden_act gelu alone")
    return "bert", {
        "depth": config.depth("num_hidden_layers"),
        "hidden": config.integer("hidden_size"),
        "heads": config.integer("num_attention_heads"),
        "intermediate": config.integer("intermediate_size"),
        "vocabulary": config.integer("vocab_size"),
        "positions": config.integer("max_position_embeddings", default=512),
        "types": config.integer("type_vocab_size", default=2),
        "head": head,
        "dropout": dropout_rate(config, "hidden_dropout_prob", 0.1),
    }


def vit(config: Config) -> Family:
    """ViTForImageClassification."""
    labels = len(config.part("id2label").values) or 2
    return "vit", {
        "depth": config.depth("num_hidden_layers"),
        "hidden": config.integer("hidden_size"),
        "heads": config.integer("num_attention_heads"),
        "intermediate": config.integer("intermediate_size"),
        "patch": config.integer("patch_size", default=16),
        "joined": False,
        "bias": config.flag("qkv_bias", default=True),
        "classes": config.integer("num_labels", default=labels),
        "dropout": dropout_rate(config, "hidden_dropout_prob", 0.0),
    }


def t5(config: Config) -> Family:
    """T5, version 1.0 (relu) and 1.1 (gated gelu, untied head)."""
    name = config.text("feed_forward_proj", default="relu")
    gated, activation = name.startswith("gated-"), name.removeprefix("gated-")
    if activation not in ("relu", "gelu", "silu"):
        raise UnsupportedError(f"{config.where}: no cost rule for feed_forward_proj {name[:40]!r}; relu or gated-gelu")
    return "t5", {
        "depth": config.depth("num_layers"),
        "decoder_depth": config.optional("num_decoder_layers", most=MAX_LAYERS),
        "hidden": config.integer("d_model"),
        "heads": config.integer("num_heads"),
        "size": config.integer("d_kv", default=64),
        "intermediate": config.integer("d_ff"),
        "vocabulary": config.integer("vocab_size", default=32128),
        "buckets": config.integer("relative_attention_num_buckets", default=32),
        "activation": "gelu_tanh" if gated and activation == "gelu" else activation,
        "gated": gated,
        "tied": config.flag("tie_word_embeddings", default=True),
        "dropout": dropout_rate(config, "dropout_rate", 0.1),
    }


def gpt2(config: Config) -> Family:
    """GPT-2: one projection for queries, keys and values, trained positions."""
    hidden = config.integer("n_embd", "hidden_size")
    return "decoder", {
        **base(config, tied=True),
        "heads": {**all_heads(config, bias=True), "joined": True, "rotary": 0.0},
        "mlp": plain_mlp(config, hidden),
        "norm": "layer",
        "positions": config.integer("n_positions", "max_position_embeddings"),
        "dropout": dropout_rate(config, "resid_pdrop", 0.1),
    }


def gptj(config: Config) -> Family:
    """GPT-J: attention and feed-forward network side by side, a biased head."""
    hidden = config.integer("n_embd", "hidden_size")
    return "decoder", {
        **base(config, tied=False),
        "heads": turned(config, all_heads(config), hidden),
        "mlp": plain_mlp(config, hidden),
        "norm": "layer",
        "order": "parallel",
        "head_bias": True,
        "dropout": dropout_rate(config, "resid_pdrop", 0.0),
    }


def phi(config: Config) -> Family:
    """Phi-1 to Phi-2: as GPT-J, with biases everywhere."""
    hidden = config.integer("hidden_size", "n_embd")
    return "decoder", {
        **base(config, tied=False),
        "heads": turned(config, all_heads(config, bias=True), hidden),
        "mlp": plain_mlp(config, hidden),
        "norm": "layer",
        "order": "parallel",
        "head_bias": True,
        "dropout": dropout_rate(config, "resid_pdrop", 0.0),
    }


def opt(config: Config) -> Family:
    """OPT, whose table of positions has two more than it uses."""
    hidden = config.integer("hidden_size")
    projected = config.integer("word_embed_proj_dim", default=hidden) != hidden
    if projected or not config.flag("do_layer_norm_before", default=True):
        raise UnsupportedError(f"{config.where}: OPT with projected embeddings or late normalisation (opt-350m)")
    width = config.integer("ffn_dim")
    activation = config.activation("activation_function", default="relu")
    return "decoder", {
        **base(config, tied=True),
        "heads": {
            **all_heads(config, bias=True),
            "rotary": 0.0,
            "dropout": dropout_rate(config, "attention_dropout", 0.0),
            "clipped": True,
            "scale": "queries",
        },
        "mlp": {"width": width, "activation": activation, "gated": False, "bias": True},
        "norm": "layer",
        "positions": config.integer("max_position_embeddings", default=2048) + 2,
        "dropout": dropout_rate(config, "dropout", 0.1),
    }


def llama(config: Config) -> Family:
    """LLaMA 1 to 3 and what copies it."""
    heads = all_heads(config, bias=config.flag("attention_bias"))
    return "decoder", {**base(config), "heads": heads, "mlp": gated_mlp(config, bias=config.flag("mlp_bias"))}


def phi3(config: Config) -> Family:
    """Phi-3 and Phi-4-mini: one projection for queries, keys and values."""
    heads = {**turned(config, all_heads(config), config.integer("hidden_size")), "joined": True}
    dropout = dropout_rate(config, "resid_pdrop", 0.0)
    return "decoder", {**base(config), "heads": heads, "mlp": gated_mlp(config), "dropout": dropout}


def mistral(config: Config) -> Family:
    """Mistral: a sliding window over the keys."""
    span = config.optional("sliding_window", "sliding_window_size")
    return "decoder", {**base(config), "heads": {**all_heads(config), "span": span}, "mlp": gated_mlp(config)}


def mixtral(config: Config) -> Family:
    """Mixtral: every layer's network is a mixture."""
    mixture = experts(config, "num_local_experts", "intermediate_size")
    span = config.optional("sliding_window")
    return "decoder", {**base(config), "heads": {**all_heads(config), "span": span}, "mixture": mixture}


def qwen2(config: Config) -> Family:
    """Qwen 1.5 and 2: biases of queries, keys and values alone."""
    heads = {**all_heads(config), "bias": True}
    return "decoder", {**base(config), "heads": heads, "mlp": gated_mlp(config)}


def qwen2_moe(config: Config) -> Family:
    """Qwen 1.5 and 2 with experts, and one gated expert for all positions."""
    mixture = experts(config, "num_experts", "moe_intermediate_size")
    mixture |= {"shared": config.integer("shared_expert_intermediate_size"), "shared_gate": True}
    return "decoder", {**qwen2(config)[1], "mixture": mixture}


def qwen3(config: Config) -> Family:
    """Qwen 3: normalised queries and keys."""
    heads = {**all_heads(config, bias=config.flag("attention_bias")), "norm": "trained"}
    heads.setdefault("size", 128)
    return "decoder", {**base(config), "heads": heads, "mlp": gated_mlp(config)}


def qwen3_moe(config: Config) -> Family:
    """Qwen 3 with experts."""
    return "decoder", {**qwen3(config)[1], "mixture": experts(config, "num_experts", "moe_intermediate_size")}


def gemma(config: Config) -> Family:
    """Gemma: the head is tied, heads are wider than hidden size / heads."""
    return "decoder", {
        **base(config, tied=True),
        "heads": {"size": 256, **all_heads(config, bias=config.flag("attention_bias"))},
        "mlp": {**gated_mlp(config), "activation": "gelu_tanh"},
    }


def gemma2(config: Config) -> Family:
    """Gemma 2: normalised before and after each branch, capped scores and logits, every second layer sees all."""
    family, arguments = gemma(config)
    cap = config.rate("attn_logit_softcapping", 50.0, most=1e6) > 0
    windowed = {"span": config.integer("sliding_window", default=4096), "full_every": 2, "softcap": cap}
    final = config.rate("final_logit_softcapping", 30.0, most=1e6) > 0
    return family, {**arguments, "heads": arguments["heads"] | windowed, "order": "both", "cap_logits": final}


def gemma3(config: Config) -> Family:
    """Gemma 3's language model: normalised queries and keys, every sixth layer sees all."""
    family, arguments = gemma(config)
    every = config.integer("sliding_window_pattern", "_sliding_window_pattern", default=full_every(config) or 6)
    windowed = {"span": config.integer("sliding_window", default=4096), "full_every": every, "norm": "trained"}
    final = config.rate("final_logit_softcapping", 0.0, most=1e6) > 0
    return family, {**arguments, "heads": arguments["heads"] | windowed, "order": "both", "cap_logits": final}

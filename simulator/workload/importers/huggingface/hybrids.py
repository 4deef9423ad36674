"""Hugging Face architectures with state-space or linear-attention layers; see `models`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simulator.errors import InputError, UnsupportedError
from simulator.workload.importers.huggingface.config import MAX_LAYERS, Config
from simulator.workload.importers.huggingface.models import Family, Translate
from simulator.workload.importers.huggingface.parts import all_heads, base, experts, gated_mlp, turned

MAMBA_KEYS = {
    "mamba_n_heads": "num_heads",
    "mamba_d_head": "head_dim",
    "mamba_d_state": "state_size",
    "mamba_n_groups": "n_groups",
    "mamba_d_conv": "conv_kernel",
    "mamba_conv_bias": "use_conv_bias",
    "mamba_proj_bias": "use_bias",
    "mamba_chunk_size": "chunk_size",
    "mamba_expand": "expand",
}
"""Names of the state-space layer's keys among others' -> Mamba 2's own."""

MAMBA2 = {"num_heads": 128, "head_dim": 64, "state_size": 128, "n_groups": 8}
AMONG_OTHERS = {"num_heads": 128, "state_size": 256, "n_groups": 1}
"""Defaults of Mamba 2, and of Bamba and Granite 4, whose heads' features follow from their number."""


def mamba2(config: Config) -> Family:
    """Mamba 2: state-space layers alone."""
    _refuse(config, "hidden_act", "silu")
    arguments = base(Config({"num_hidden_layers": 64, "hidden_size": 4096, "vocab_size": 32768} | config.values,
                            config.where))  # fmt: skip
    space = _space(config, MAMBA2, arguments["hidden"])
    return "hybrid", {**arguments, "pattern": [["state_space"]], "space": space}


def _space(config: Config, defaults: Mapping[str, int], hidden: int) -> dict[str, Any]:
    """The state-space layer; its heads' features fill `expand` times the hidden size."""
    given = {key: value for key, value in config.values.items() if value is not None and value != "auto"}
    mixing = Config({**defaults, **given}, config.where)
    heads, inner = mixing.integer("num_heads"), mixing.integer("expand", default=2) * hidden
    size = mixing.integer("head_dim", default=max(inner // heads, 1))
    if heads * size != inner:
        raise InputError(f"{config.where}: {heads} heads of {size} are not expand x hidden_size = {inner} features")
    return {
        "heads": heads,
        "size": size,
        "state": mixing.integer("state_size"),
        "groups": mixing.integer("n_groups"),
        "conv": mixing.integer("conv_kernel", default=4),
        "conv_bias": mixing.flag("use_conv_bias", default=True),
        "chunk": mixing.integer("chunk_size", default=256),
        "bias": mixing.flag("use_bias"),
    }


def _among_others(config: Config, hidden: int) -> dict[str, Any]:
    """The state-space layer under the names that hybrids give its keys."""
    values = {name: config.values[key] for key, name in MAMBA_KEYS.items() if key in config.values}
    return _space(Config(values, config.where), AMONG_OTHERS, hidden)


def _refuse(config: Config, key: str, only: str) -> None:
    if config.text(key, default=only) != only:
        raise UnsupportedError(f"{config.where}: built with {key} {only} alone")


ATTENTION_NAMES = {"full_attention", "attention"}
STATE_NAMES = {"linear_attention", "mamba"}
"""Names of layers in `layer_types` and `layers_block_type`, those of the library's earlier versions too."""


def _attends(config: Config, key: str, depth: int) -> list[bool] | None:
    """Whether each layer is one of attention; None where the list is missing."""
    names = config.names(key)
    if not names:
        return None
    if len(names) != depth or not set(names) <= ATTENTION_NAMES | STATE_NAMES:
        known = ", ".join(sorted(ATTENTION_NAMES | STATE_NAMES))
        raise InputError(f"{config.where}: {key} must name one of {known} for each of {depth} layers")
    return [name in ATTENTION_NAMES for name in names]


def qwen3_next(config: Config) -> Family:
    """Qwen3-Next: three of four layers follow the gated delta rule, the fourth is gated attention; experts."""
    _refuse(config, "hidden_act", "silu")
    arguments = base(config)
    every = config.integer("full_attention_interval", default=4)
    default = [(number + 1) % every == 0 for number in range(arguments["depth"])]
    attends = _attends(config, "layer_types", arguments["depth"]) or default
    mixture = _qwen3_experts(config)
    behind = [["experts" if mixture and (n + 1) % mixture["every"] == 0 else "mlp"] for n in range(arguments["depth"])]
    arguments |= {
        "pattern": [["attention" if own else "delta", *after] for own, after in zip(attends, behind, strict=True)],
        "heads": _qwen3_heads(config),
        "delta": _delta(config),
        "mlp": gated_mlp(Config({"intermediate_size": 5632} | config.values, config.where)),
    }
    return "hybrid", arguments | ({"mixture": mixture} if mixture else {})


def _qwen3_heads(config: Config) -> dict[str, Any]:
    defaults = {"num_attention_heads": 16, "num_key_value_heads": 2, "head_dim": 256, "partial_rotary_factor": 0.25}
    rope = config.part("rope_parameters").values
    given = {key: value for key, value in (rope | config.values).items() if value is not None}
    full = Config(defaults | given, config.where)
    heads = turned(full, all_heads(full, bias=config.flag("attention_bias")), config.integer("hidden_size"))
    return heads | {"norm": "trained", "gate": True}


def _qwen3_experts(config: Config) -> dict[str, Any]:
    """Experts with a gated one for all positions; nothing where there are none."""
    defaults = {"num_experts": 512, "num_experts_per_tok": 10, "moe_intermediate_size": 512}
    full = Config(defaults | config.values, config.where)
    if not full.integer("num_experts", least=0):
        return {}
    mixture = experts(full, "num_experts", "moe_intermediate_size")
    shared = config.integer("shared_expert_intermediate_size", default=512, least=0)
    return mixture | {"shared": shared, "shared_gate": shared > 0}


def _delta(config: Config) -> dict[str, Any]:
    return {
        "heads": config.integer("linear_num_value_heads", default=32),
        "key_heads": config.integer("linear_num_key_heads", default=16),
        "size": config.integer("linear_value_head_dim", default=128),
        "key_size": config.integer("linear_key_head_dim", default=128),
        "conv": config.integer("linear_conv_kernel_dim", default=4),
    }


def bamba(config: Config) -> Family:
    """Bamba: state-space layers, a few of attention, each with a gated network."""
    arguments = base(config)
    chosen = config.values.get("attn_layer_indices") or []
    if not isinstance(chosen, list) or not all(isinstance(place, int) for place in chosen):
        raise InputError(f"{config.where}: attn_layer_indices must be a list of layers")
    heads = all_heads(Config({"num_key_value_heads": 8} | config.values, config.where),
                      bias=config.flag("attention_bias")) | {"rotary": 0.5}  # fmt: skip
    arguments |= {
        "pattern": [["attention" if n in chosen else "state_space", "mlp"] for n in range(arguments["depth"])],
        "heads": heads,
        "space": _among_others(config, arguments["hidden"]),
        "mlp": gated_mlp(config, bias=config.flag("mlp_bias")),
    }
    return "hybrid", arguments


FALCON_H1 = {
    **{"vocab_size": 128000, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32},
    **{"num_attention_heads": 32, "num_key_value_heads": 8, "mamba_n_heads": 128, "mamba_d_ssm": 1024},
}
"""Defaults of Falcon-H1; a null `mamba_d_ssm` is `mamba_expand` times the hidden size."""


def falcon_h1(config: Config) -> Family:
    """Falcon-H1: each layer has attention and a state-space layer side by side, then a gated network.

    Its constants are counted but for those of keys and gates, as if they were in the weights.
    """
    full = Config(FALCON_H1 | config.values, config.where)
    arguments = base(full)
    inner = full.optional("mamba_d_ssm") or full.integer("mamba_expand", default=2) * arguments["hidden"]
    values = {name: full.values[key] for key, name in MAMBA_KEYS.items() if key in full.values} | {"expand": 1}
    space = _space(Config(values, config.where), AMONG_OTHERS, inner)
    arguments |= {
        "pattern": [["both", "mlp"]],
        "heads": all_heads(full, bias=config.flag("attention_bias")),
        "space": space | {"norm": config.flag("mamba_rms_norm"), "out_bias": config.flag("projectors_bias")},
        "mlp": gated_mlp(full, bias=config.flag("mlp_bias")),
        "factors": True,
    }
    return "hybrid", arguments


def granite_hybrid(config: Config) -> Family:
    """Granite 4: state-space layers, a few of attention; a gated network, beside experts where there are any."""
    arguments = base(config)
    attends = _attends(config, "layer_types", arguments["depth"])
    attends = attends or _attends(config, "layers_block_type", arguments["depth"]) or [False] * arguments["depth"]
    heads = all_heads(config, bias=config.flag("attention_bias"))
    heads["rotary"] = 1.0 if config.text("position_embedding_type") == "rope" else 0.0
    width = config.integer("shared_intermediate_size", default=1024)
    after = "experts" if config.integer("num_local_experts", default=8, least=0) else "mlp"
    arguments |= {
        "pattern": [["attention" if own else "state_space", after] for own in attends],
        "heads": heads,
        "space": _among_others(config, arguments["hidden"]),
        "mlp": gated_mlp(config) | {"width": width},
    }
    if after == "experts":
        defaults = {"num_local_experts": 8, "num_experts_per_tok": 2}
        full = Config(defaults | config.values, config.where)
        arguments["mixture"] = experts(full, "num_local_experts", "intermediate_size") | {"shared": width}
    return "hybrid", arguments


LETTERS = {"M": "state_space", "*": "attention", "-": "mlp", "E": "experts"}
"""What a letter of `hybrid_override_pattern` stands for."""
KINDS = {
    "linear_attention": "state_space",
    "mamba": "state_space",
    "full_attention": "attention",
    "attention": "attention",
    "mlp": "mlp",
    "moe": "experts",
}
"""Names of `layers_block_type` -> branches."""

NEMOTRON_KEYS = {"mamba_num_heads": "num_heads", "mamba_head_dim": "head_dim", "ssm_state_size": "state_size"}
NEMOTRON = {
    **{"mamba_num_heads": 128, "mamba_head_dim": 64, "ssm_state_size": 128, "n_groups": 8, "chunk_size": 128},
    **{"num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "mlp_hidden_act": "relu2"},
    **{"intermediate_size": 21504, "n_routed_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 7688},
    **{"moe_shared_expert_intermediate_size": 7688, "hidden_size": 4096, "vocab_size": 131072},
}
"""Defaults of Nemotron-H."""


def nemotron_h(config: Config) -> Family:
    """Nemotron-H: each layer is one branch, a state-space layer, attention without positions, a network or experts."""
    if config.has("moe_latent_size"):
        raise UnsupportedError(f"{config.where}: no rule for moe_latent_size")
    full = Config(NEMOTRON | {key: value for key, value in config.values.items() if value is not None}, config.where)
    branches = _branches(full)
    arguments = base(Config(full.values | {"num_hidden_layers": len(branches)}, config.where))
    activation = full.activation("mlp_hidden_act", default="relu2")
    arguments |= {
        "pattern": [[branch] for branch in branches],
        "heads": all_heads(full) | {"rotary": 0.0},
        "space": _nemotron_space(full),
        "mlp": {"width": full.integer("intermediate_size"), "activation": activation, "gated": False,
                "bias": full.flag("mlp_bias")},
    }  # fmt: skip
    if "experts" in branches:
        shared = full.integer("moe_shared_expert_intermediate_size")
        mixture = experts(full, "n_routed_experts", "moe_intermediate_size")
        arguments["mixture"] = mixture | {"shared": shared, "gated": False}
    return "hybrid", arguments


def _nemotron_space(config: Config) -> dict[str, Any]:
    """The state-space layer, whose heads need not fill twice the hidden size."""
    mixing = {NEMOTRON_KEYS.get(key, MAMBA_KEYS.get(key, key)): value for key, value in config.values.items()
              if key not in ("expand", "mamba_expand", "head_dim", "mamba_proj_bias")}  # fmt: skip
    inner = config.integer("mamba_num_heads") * config.integer("mamba_head_dim")
    return _space(Config(mixing | {"expand": 1}, config.where), {}, inner)


def _branches(config: Config) -> list[str]:
    """Each layer's branch, by the list of names or the pattern of letters."""
    names = config.names("layers_block_type") or config.names("layer_types")
    letters = config.text("hybrid_override_pattern")
    unknown = (set(names) - KINDS.keys()) or (set(letters) - LETTERS.keys() if not names else set())
    if unknown:
        raise InputError(f"{config.where}: no rule for a layer {min(unknown)[:40]!r}; known: {', '.join(KINDS)}")
    if not names and not letters:
        return ["state_space", "experts", "attention", "mlp"]
    if len(names or letters) > MAX_LAYERS:
        raise InputError(f"{config.where}: more than {MAX_LAYERS} layers")
    return [KINDS[name] for name in names] if names else [LETTERS[letter] for letter in letters]


TRANSLATIONS: dict[str, Translate] = {
    "bamba": bamba,
    "falcon_h1": falcon_h1,
    "granitemoehybrid": granite_hybrid,
    "mamba2": mamba2,
    "nemotron_h": nemotron_h,
    "qwen3_next": qwen3_next,
}
"""`model_type` -> how its configuration is read."""

"""Hugging Face architectures with selective scans (Mamba 1), alone or among attention; see `models`."""

from __future__ import annotations

from typing import Any

from simulator.errors import InputError, UnsupportedError
from simulator.workload.importers.huggingface.config import Config
from simulator.workload.importers.huggingface.models import Family, Translate
from simulator.workload.importers.huggingface.parts import all_heads, base, experts, gated_mlp

JAMBA_KEYS = {
    "mamba_d_state": "state_size",
    "mamba_d_conv": "conv_kernel",
    "mamba_expand": "expand",
    "mamba_dt_rank": "time_step_rank",
    "mamba_conv_bias": "use_conv_bias",
    "mamba_proj_bias": "use_bias",
}
"""Names of the selective scan's keys in Jamba -> Mamba's own."""

JAMBA = {
    **{"vocab_size": 65536, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32},
    **{"num_attention_heads": 32, "num_key_value_heads": 8, "num_experts_per_tok": 2, "num_experts": 16},
    **{"expert_layer_period": 2, "expert_layer_offset": 1, "attn_layer_period": 8, "attn_layer_offset": 4},
}
"""Defaults of Jamba."""

RANK_SHARE = 16
"""Features of the hidden size for each that the steps come from, where the rank is "auto"."""


def mamba(config: Config) -> Family:
    """Mamba: selective scans alone."""
    return _alone(config, "none")


def falcon_mamba(config: Config) -> Family:
    """Falcon-Mamba: what the steps come from, B and C are normalised, without trained scales."""
    return _alone(config, "plain")


def _alone(config: Config, norm: str) -> Family:
    defaults = {"num_hidden_layers": 32, "hidden_size": 768, "vocab_size": 50280}
    arguments = base(Config(defaults | config.values, config.where), tied=True)
    scan = _scan(config, arguments["hidden"]) | {"norm": norm}
    scan["inner"] = config.integer("intermediate_size", default=scan["inner"])
    return "hybrid", {**arguments, "pattern": [["selective"]], "selective": scan}


def _scan(config: Config, hidden: int) -> dict[str, Any]:
    """The selective scan, whose channels are `expand` times the hidden size."""
    if config.text("hidden_act", default="silu") != "silu":
        raise UnsupportedError(f"{config.where}: built with hidden_act silu alone")
    given = Config({key: value for key, value in config.values.items() if value != "auto"}, config.where)
    return {
        "inner": given.integer("expand", default=2) * hidden,
        "rank": given.integer("time_step_rank", default=-(-hidden // RANK_SHARE)),
        "state": given.integer("state_size", default=16),
        "conv": given.integer("conv_kernel", default=4),
        "conv_bias": given.flag("use_conv_bias", default=True),
        "bias": given.flag("use_bias"),
    }


def jamba(config: Config) -> Family:
    """Jamba: selective scans, every so many layers attention without positions; a network or experts behind each."""
    full = Config(JAMBA | {key: value for key, value in config.values.items() if value is not None}, config.where)
    arguments = base(full)
    renamed = {JAMBA_KEYS.get(key, key): value for key, value in config.values.items()}
    attends, chooses = _turns(full, "attn_layer"), _turns(full, "expert_layer")
    among = full.integer("num_experts", "num_local_experts") > 1
    arguments |= {
        "pattern": [
            [
                "attention" if number % attends[0] == attends[1] else "selective",
                "experts" if among and number % chooses[0] == chooses[1] else "mlp",
            ]
            for number in range(arguments["depth"])
        ],
        "heads": all_heads(full) | {"rotary": 0.0},
        "selective": _scan(Config(renamed, config.where), arguments["hidden"]) | {"norm": "trained"},
        "mlp": gated_mlp(full),
    }
    return "hybrid", arguments | ({"mixture": experts(full, "num_experts", "intermediate_size")} if among else {})


def _turns(config: Config, name: str) -> tuple[int, int]:
    """Every so many layers, and the first of them."""
    period, offset = config.integer(f"{name}_period"), config.integer(f"{name}_offset", least=0)
    if offset >= period:
        raise InputError(f"{config.where}: {name}_offset {offset} must be below {name}_period {period}")
    return period, offset


TRANSLATIONS: dict[str, Translate] = {"falcon_mamba": falcon_mamba, "jamba": jamba, "mamba": mamba}
"""`model_type` -> how its configuration is read."""

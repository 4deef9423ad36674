"""Hugging Face architectures with experts or layers of several kinds; see `models`."""

from __future__ import annotations

from simulator.errors import UnsupportedError
from simulator.workload.importers.huggingface.config import Config
from simulator.workload.importers.huggingface.models import Family, gemma3
from simulator.workload.importers.huggingface.parts import all_heads, base, experts, full_every, gated_mlp, turned


def gemma4(config: Config) -> Family:
    """Gemma 4's language model: layers that see all have heads of their own; experts beside the network."""
    if config.integer("hidden_size_per_layer_input", default=256, least=0):
        raise UnsupportedError(f"{config.where}: no cost rule for Gemma 4 with embeddings of each layer")
    if config.integer("num_kv_shared_layers", default=0, least=0) or config.flag("use_double_wide_mlp"):
        raise UnsupportedError(
            f"{config.where}: no cost rule for Gemma 4 with keys shared by layers or double networks"
        )
    family, arguments = gemma3(config)
    local = arguments["heads"] | {"value_norm": True, "full_every": full_every(config) or 6}
    shared = config.flag("attention_k_eq_v")
    kv = config.integer("num_global_key_value_heads", default=local["kv"]) if shared else local["kv"]
    wide = local | {"size": config.integer("global_head_dim", default=512), "kv": kv, "value_from_key": shared}
    arguments |= {"heads": local, "full_heads": wide | {"span": None, "full_every": 0}}
    if config.flag("enable_moe_block"):
        mixture = experts(config, "num_experts", "moe_intermediate_size")
        arguments["mixture"] = mixture | {"beside": True}
    return family, arguments


QUERY_RANK = 1536
"""The `q_lora_rank` of a configuration that lacks the key; null is no narrow projection."""


def deepseek(config: Config) -> Family:
    """DeepSeek V2, V3 and V3.2: latent attention, experts after the first layers."""
    if config.integer("moe_layer_freq", default=1) != 1:
        raise UnsupportedError(f"{config.where}: moe_layer_freq other than 1")
    direct = "q_lora_rank" in config.values and not config.has("q_lora_rank")
    latent = {
        "query_rank": 0 if direct else config.integer("q_lora_rank", default=QUERY_RANK, least=0),
        "key_rank": config.integer("kv_lora_rank"),
        "plain": config.integer("qk_nope_head_dim"),
        "rotary": config.integer("qk_rope_head_dim"),
        "value": config.integer("v_head_dim"),
    }
    if config.has("index_n_heads"):
        latent |= {
            "index_heads": config.integer("index_n_heads"),
            "index_size": config.integer("index_head_dim"),
            "index_top": config.integer("index_topk"),
        }
    mixture = experts(config, "n_routed_experts", "moe_intermediate_size")
    shared = config.integer("n_shared_experts", default=0, least=0) * mixture["width"]
    mixture |= {"shared": shared, "dense_first": config.integer("first_k_dense_replace", default=0, least=0)}
    heads = {"count": config.integer("num_attention_heads")}
    return "decoder", {**base(config), "heads": heads, "mlp": gated_mlp(config), "latent": latent, "mixture": mixture}


def glm4_moe(config: Config) -> Family:
    """GLM 4.5 to 4.7: half of each head is rotated, experts with shared ones after the first layers."""
    hidden = config.integer("hidden_size")
    heads = turned(config, all_heads(config), hidden) | {"bias": config.flag("attention_bias")}
    heads["norm"] = "trained" if config.flag("use_qk_norm") else "none"
    mixture = experts(config, "n_routed_experts", "moe_intermediate_size")
    shared = config.integer("n_shared_experts", default=1, least=0) * mixture["width"]
    mixture |= {"shared": shared, "dense_first": config.integer("first_k_dense_replace", default=1, least=0)}
    return "decoder", {**base(config), "heads": heads, "mlp": gated_mlp(config), "mixture": mixture}


OWN_KEYS = {
    "dim": "hidden_size",
    "inter_dim": "intermediate_size",
    "moe_inter_dim": "moe_intermediate_size",
    "n_layers": "num_hidden_layers",
    "n_dense_layers": "first_k_dense_replace",
    "n_heads": "num_attention_heads",
    "n_activated_experts": "num_experts_per_tok",
}
"""DeepSeek's own inference configurations -> the keys of transformers."""


def deepseek_own(config: Config) -> Family:
    """DeepSeek's own inference configuration."""
    values = {OWN_KEYS.get(key, key): value for key, value in config.values.items()}
    values.setdefault("q_lora_rank", 0)
    return deepseek(Config(values, config.where))


def llama4(config: Config) -> Family:
    """LLaMA 4's language model: experts every so many layers, each with a shared one; every fourth layer unrotated."""
    heads = all_heads(config, bias=config.flag("attention_bias"))
    heads |= {"norm": "plain" if config.flag("use_qk_norm", default=True) else "none", "rotary_skip": 4}
    heads |= {"span": config.optional("attention_chunk_size"), "full_every": 4}
    mlp = {**gated_mlp(config), "width": config.integer("intermediate_size_mlp", default=16384)}
    mixture = experts(config, "num_local_experts", "intermediate_size")
    mixture |= {"shared": mixture["width"], "every": config.integer("interleave_moe_layer_step", default=1)}
    return "decoder", {**base(config), "heads": heads, "mlp": mlp, "mixture": mixture}


def gpt_oss(config: Config) -> Family:
    """GPT-OSS: biases, sinks, every second layer sees all."""
    heads = all_heads(config, bias=config.flag("attention_bias", default=True))
    heads |= {"sinks": True, "span": config.integer("sliding_window", default=128)}
    mixture = experts(config, "num_local_experts", "intermediate_size") | {"bias": True}
    heads["full_every"] = full_every(config) or 2
    return "decoder", {**base(config), "heads": heads, "mixture": mixture}

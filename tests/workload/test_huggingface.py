"""Hugging Face configurations: a small one of each architecture, published ones where at hand, and hostile ones."""

from __future__ import annotations

import csv
import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.errors import InputError, SimulatorError, UnsupportedError
from simulator.op.attention import Attention
from simulator.workload.importers import Request, load
from simulator.workload.importers.huggingface import TRANSLATIONS, traced
from simulator.workload.importers.huggingface.hybrids import TRANSLATIONS as HYBRIDS
from simulator.workload.importers.huggingface.selective import TRANSLATIONS as SELECTIVE
from simulator.workload.importers.huggingface.two_sided import TRANSLATIONS as TWO_SIDED_RULES
from simulator.workload.importers.huggingface.variants import VARIANTS
from simulator.workload.lowering import lower
from simulator.workload.workload import Workload

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared"

# Two layers of 8 features, 2 heads of 4 (one of keys and values), 16 inner features, 32 words, 64 positions.
BASE = {
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 4,
    "intermediate_size": 16,
    "vocab_size": 32,
    "max_position_embeddings": 64,
}
OLD = {"n_embd": 8, "n_layer": 2, "n_head": 2, "vocab_size": 32, "n_positions": 64}
BERT = {key: BASE[key] for key in BASE if key not in ("num_key_value_heads", "head_dim")}
T5 = {"d_model": 8, "d_kv": 4, "d_ff": 16, "num_layers": 2, "num_heads": 2, "vocab_size": 32}
EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 16}
LATENT = {"q_lora_rank": 6, "kv_lora_rank": 5, "qk_nope_head_dim": 4, "qk_rope_head_dim": 2, "v_head_dim": 4}
ROUTED = {**EXPERTS, "n_routed_experts": 4, "n_shared_experts": 1, "first_k_dense_replace": 1}

WORDS = 32 * 8  # an embedding, or an untied head
ATTENTION = 8 * 8 + 2 * 8 * 4 + 8 * 8  # queries, keys and values of one head of 4, output
SQUARE = 4 * 8 * 8  # the same with two heads of keys and values
GATED, PLAIN = 3 * 8 * 16, 2 * 8 * 16 + 16 + 8  # feed-forward networks; the plain one with biases
WIDE = 2 * 8 * 32 + 32 + 8  # a plain one four times as wide as its input
LAYER_NORM = 16
LLAMA = 2 * WORDS + 8 + 2 * (ATTENTION + GATED + 16)
QWEN3 = LLAMA + 2 * 2 * 4
BERT_ENCODER = WORDS + 64 * 8 + 2 * 8 + LAYER_NORM + 2 * (SQUARE + 32 + PLAIN + 2 * LAYER_NORM)
T5_PARAMETERS = WORDS + 2 * 2 * 32 + 2 * 8 + 2 * (SQUARE + 256 + 16) + 2 * (2 * SQUARE + 256 + 24)
# queries through 6; keys through 5, their rotary part 2; 2 heads of 4 plain and 2 rotary features, values 4
LATENT_ATTENTION = 8 * 6 + 6 + 6 * 12 + 8 * (5 + 2) + 5 + 5 * (8 + 8) + 8 * 8
DEEPSEEK = 2 * WORDS + 8 + 2 * (LATENT_ATTENTION + 16) + GATED + (5 * GATED + 8 * 4)
# small heads: 2 of 3 from the queries' 6, a key of 3 (normalised), weights
INDEX = 6 * 6 + 8 * 3 + 6 + 8 * 2
GEMMA = WORDS + 8 + 2 * (ATTENTION + GATED + 16)
# Gemma 4: one layer of windows, one that sees all with a head of 6 for keys, which are values too; in each: dense
# network, 4 experts, router with a norm and a factor an expert, and three more norms beside the four of Gemma 2
GEMMA4_LAYER = GATED + 4 * GATED + 8 * 4 + 8 + 4 + 7 * 8
GEMMA4 = WORDS + 8 + 2 * GEMMA4_LAYER + (ATTENTION + 8) + (8 * 12 + 8 * 6 + 12 * 8 + 12)

LLAMA4_TEXT = {
    **BASE,
    **{"num_local_experts": 4, "num_experts_per_tok": 1, "intermediate_size_mlp": 32, "interleave_moe_layer_step": 2},
}
GEMMA4_TEXT = {
    **{**BASE, **EXPERTS, "num_experts": 4, "enable_moe_block": True, "attention_k_eq_v": True},
    **{"global_head_dim": 6, "num_global_key_value_heads": 1, "hidden_size_per_layer_input": 0},
    "layer_types": ["sliding_attention", "full_attention"],
}
LLAMA4 = LLAMA + GATED + (4 * GATED + 8 * 4)

# Small towers: one layer of 8 features, 2 heads of 4 (Gemma: 6), 16 patches of 2 x 2 x 3 in an image, joined by fours.
TOWER = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "patch_size": 2}
LLAMA4_SMALL = {
    **{**TOWER, "intermediate_size": 32, "image_size": 8},
    **{"projector_input_dim": 6, "projector_output_dim": 6, "vision_output_dim": 6},
}
GEMMA4_SMALL = {
    **{**TOWER, "intermediate_size": 16, "num_key_value_heads": 2, "head_dim": 6, "standardize": True},
    **{"pooling_kernel_size": 2, "position_embedding_size": 20},
}
SEEING_LLAMA4 = {"text_config": LLAMA4_TEXT, "vision_config": LLAMA4_SMALL}
# five tokens allowed: a square of four
SEEING_GEMMA4 = {"text_config": GEMMA4_TEXT, "vision_config": GEMMA4_SMALL, "vision_soft_tokens_per_image": 5}
# class token and 17 positions, two norms, the layer, 4 x 8 features to 6, 6 to 6, 6 to the text's 8
LLAMA4_TOWER = 12 * 8 + 8 + 17 * 8 + 2 * 16 + (SQUARE + 32 + WIDE + 2 * 16) + 32 * 6 + 6 * 6 + 6 * 8
# two tables of 20 positions, the layer with norms of heads and four of its own, 8 features to the text's 8
GEMMA4_TOWER = 12 * 8 + 2 * 20 * 8 + (4 * 8 * 12 + 2 * 6 + GATED + 4 * 8) + 8 * 8
# patches; projections, network and (queries times keys, probabilities times values) over 17 or 16 positions; 4 tokens
LLAMA4_TOWER_MACS = 16 * 12 * 8 + 17 * (SQUARE + 2 * 8 * 32) + 2 * 17 * 17 * 8 + 4 * (32 * 6 + 6 * 6 + 6 * 8)
GEMMA4_TOWER_MACS = 16 * 12 * 8 + 16 * (4 * 8 * 12 + GATED) + 2 * 16 * 16 * 12 + 4 * 8 * 8

ARCHITECTURES: list[tuple[str, dict[str, Any], int]] = [
    ("bert", BERT, BERT_ENCODER + 72),
    ("bert", {**BERT, "architectures": ["BertForMaskedLM"]}, BERT_ENCODER + 72 + LAYER_NORM + 32),
    ("gpt2", OLD, WORDS + 64 * 8 + LAYER_NORM + 2 * (SQUARE + 32 + WIDE + 2 * LAYER_NORM)),
    ("gptj", {**OLD, "rotary_dim": 2}, 2 * WORDS + 32 + LAYER_NORM + 2 * (SQUARE + WIDE + LAYER_NORM)),
    ("phi", BASE, 2 * WORDS + 32 + LAYER_NORM + 2 * (ATTENTION + 24 + PLAIN + LAYER_NORM)),
    ("phi-msft", {**OLD, "rotary_dim": 2}, 2 * WORDS + 32 + LAYER_NORM + 2 * (SQUARE + 32 + WIDE + LAYER_NORM)),
    ("phi3", BASE, LLAMA),
    (
        "opt",
        {**BERT, "ffn_dim": 16},
        WORDS + 66 * 8 + LAYER_NORM + 2 * (SQUARE + 32 + PLAIN + 2 * LAYER_NORM),
    ),
    ("llama", BASE, LLAMA),
    ("llama", {**BASE, "tie_word_embeddings": True}, LLAMA - WORDS),
    ("llama", {**BASE, "attention_bias": True, "mlp_bias": True}, LLAMA + 2 * (8 + 4 + 4 + 8 + 40)),
    ("mistral", {**BASE, "sliding_window": 16}, LLAMA),
    (
        "mixtral",
        {**BASE, "num_local_experts": 4, "num_experts_per_tok": 2},
        LLAMA + 2 * (3 * GATED + 8 * 4),
    ),
    ("qwen2", BASE, LLAMA + 2 * 16),
    (
        "qwen2_moe",
        {**BASE, **EXPERTS, "num_experts": 4, "shared_expert_intermediate_size": 32},
        LLAMA + 2 * 16 + 2 * (3 * GATED + 8 * 4 + 2 * GATED + 8),
    ),
    ("qwen3", BASE, QWEN3),
    ("qwen3_moe", {**BASE, **EXPERTS, "num_experts": 4}, QWEN3 + 2 * (3 * GATED + 8 * 4)),
    ("gemma", BASE, GEMMA),
    ("gemma2", BASE, GEMMA + 2 * 16),
    ("gemma3_text", BASE, GEMMA + 2 * (16 + 8)),
    ("gemma3", {"text_config": BASE}, GEMMA + 2 * (16 + 8)),
    ("gemma4", {"text_config": GEMMA4_TEXT}, GEMMA4),
    ("gemma4", SEEING_GEMMA4, GEMMA4 + GEMMA4_TOWER),
    ("deepseek_v2", {**BASE, **LATENT, **ROUTED}, DEEPSEEK),
    ("deepseek_v3", {**BASE, **LATENT, **ROUTED}, DEEPSEEK),
    ("kimi_k2", {**BASE, **LATENT, **ROUTED}, DEEPSEEK),
    (
        "deepseek_v3",
        {**BASE, **LATENT, **ROUTED, "q_lora_rank": None},
        DEEPSEEK + 2 * (8 * 12 - 8 * 6 - 6 - 6 * 12),
    ),
    (
        "deepseek_v32",
        {**BASE, **LATENT, **ROUTED, "index_n_heads": 2, "index_head_dim": 3, "index_topk": 16},
        DEEPSEEK + 2 * INDEX,
    ),
    (
        "gpt_oss",
        {**BASE, "num_local_experts": 4, "num_experts_per_tok": 2},
        LLAMA + 2 * (3 * GATED + 4 * 40 + 8 * 4 + 4) + 2 * (24 + 2),
    ),
    ("llama4", LLAMA4_TEXT, LLAMA4),
    ("llama4", SEEING_LLAMA4, LLAMA4 + LLAMA4_TOWER),
    ("t5", T5, T5_PARAMETERS),
    (
        "t5",
        {**T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
        T5_PARAMETERS + 4 * 128 + WORDS,
    ),
    (
        "vit",
        {**BERT, "image_size": 32, "patch_size": 16, "num_labels": 10},
        768 * 8 + 8 + 8 + 5 * 8 + LAYER_NORM + 90 + 2 * (SQUARE + 32 + PLAIN + 2 * LAYER_NORM),
    ),
]

# Towers of published configurations, without their projection to the text's features: LLaMA 4's as the library's
# defaults say (34 layers of 768), Gemma 4's of 26 billion (27 layers of 1152). Sums of matrices, norms and tables.
LLAMA4_VISION = (
    34 * (4 * (768 * 768 + 768) + 2 * 768 * 5632 + 5632 + 768 + 4 * 768)
    + 588 * 768  # patches of 3 x 14 x 14
    + (1 + 1 + 32 * 32) * 768  # class token, positions
    + 4 * 768  # two norms
    + 5632 * 4096
    + 4096 * 4096  # after the pixel shuffle
)
GEMMA4_VISION = 27 * (4 * 1152 * 1152 + 2 * 72 + 3 * 1152 * 4304 + 4 * 1152) + 768 * 1152 + 2 * 10240 * 1152
GEMMA4_TOWER_26B = {
    **{"hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27, "num_attention_heads": 16},
    **{"num_key_value_heads": 16, "head_dim": 72},
}


def write(folder: Path, config: object) -> str:
    path = folder / "config.json"
    path.write_text(config if isinstance(config, str) else json.dumps(config))
    return str(path)


def imported(folder: Path, config: object, **asked: Any) -> Workload:
    return load("hf", write(folder, config), Request(**asked))


@pytest.mark.parametrize(("kind", "config", "parameters"), ARCHITECTURES)
def test_architectures(tmp_path: Path, kind: str, config: dict[str, Any], parameters: int) -> None:
    workload = imported(tmp_path, {"model_type": kind, **config})
    assert workload.parameters == parameters
    assert workload.macs > 0
    assert workload.coverage == 1
    assert len(lower(workload)) > len(workload.layers)


def test_every_architecture_is_tested() -> None:
    tested = {kind for kind, _, _ in ARCHITECTURES} | {"deepseek (own)", "gemma4_text", "llama4_text"}
    elsewhere = {*VARIANTS, *TWO_SIDED_RULES, "clip", "glm4_moe"}  # in test_huggingface_traced
    assert tested == set(TRANSLATIONS) - elsewhere - {*HYBRIDS, *SELECTIVE}  # in test_huggingface_hybrids


def test_deepseeks_own_keys(tmp_path: Path) -> None:
    own = {
        **{"dim": 8, "inter_dim": 16, "moe_inter_dim": 16, "n_layers": 2, "n_dense_layers": 1, "n_heads": 2},
        **{"n_routed_experts": 4, "n_shared_experts": 1, "n_activated_experts": 2, "vocab_size": 32, **LATENT},
    }
    assert imported(tmp_path, own).parameters == DEEPSEEK


def test_a_configuration_without_model_type(tmp_path: Path) -> None:
    assert imported(tmp_path, {**BERT, "type_vocab_size": 2}).parameters == BERT_ENCODER + 72


def test_a_folder_gives_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "tiny-llama"
    folder.mkdir()
    write(folder, {"model_type": "llama", **BASE})
    assert load("hf", str(folder), Request()).name == "tiny-llama"
    assert load("hf", str(folder / "config.json"), Request()).name == "tiny-llama"


def test_sequence(tmp_path: Path) -> None:
    long = {"model_type": "llama", **BASE, "max_position_embeddings": 131072}
    assert imported(tmp_path, {"model_type": "llama", **BASE}).inputs == ((64,),)
    assert imported(tmp_path, long).inputs == ((2048,),)
    assert imported(tmp_path, long, sequence=4096).inputs == ((4096,),)
    assert imported(tmp_path, {"model_type": "t5", **T5}).inputs == ((512,), (128,))
    assert imported(tmp_path, {"model_type": "t5", **T5}, sequence=32).inputs == ((32,), (32,))


def test_the_corpus_is_cut_into_sequences(tmp_path: Path) -> None:
    config = {"model_type": "llama", **BASE}
    short, long = (imported(tmp_path, config, sequence=length).dataset for length in (128, 2048))
    assert short.samples == pytest.approx(16 * long.samples)
    assert long.samples == 156_000_000_000 // 2048


def test_attention_mode(tmp_path: Path) -> None:
    for mode in ("eager", "fused"):
        workload = imported(tmp_path, {"model_type": "llama", **BASE}, attention=mode)
        kinds = {layer.op.kind for layer in workload.layers if isinstance(layer.op, Attention)}
        assert kinds == {"attention" if mode == "eager" else "fused_attention"}


def test_windows_alternate(tmp_path: Path) -> None:
    workload = imported(tmp_path, {"model_type": "gemma2", **BASE, "sliding_window": 16})
    assert [layer.op.span for layer in workload.layers if isinstance(layer.op, Attention)] == [16, None]


def test_published_towers(tmp_path: Path) -> None:
    llama = imported(tmp_path, {"model_type": "llama4", "text_config": LLAMA4_TEXT})
    assert llama.parameters == LLAMA4 + LLAMA4_VISION + 7680 * 8
    assert llama.inputs == ((64,), (3, 448, 448))
    gemma = {"model_type": "gemma4", "text_config": GEMMA4_TEXT, "vision_config": GEMMA4_TOWER_26B}
    workload = imported(tmp_path, gemma)
    assert workload.parameters == GEMMA4 + GEMMA4_VISION + 1152 * 8
    assert workload.inputs == ((64,), (3, 768, 768))


@pytest.mark.parametrize("attention", ["eager", "fused"])
@pytest.mark.parametrize(
    ("kind", "config", "macs"),
    [("llama4", SEEING_LLAMA4, LLAMA4_TOWER_MACS), ("gemma4", SEEING_GEMMA4, GEMMA4_TOWER_MACS)],
)
def test_products_of_a_tower(tmp_path: Path, kind: str, config: dict[str, Any], macs: int, attention: str) -> None:
    workload = imported(tmp_path, {"model_type": kind, **config}, attention=attention)
    pairs = zip(workload.layers, workload.counts, strict=True)
    assert sum(count.macs for layer, count in pairs if layer.name.startswith("vision.")) == macs


@pytest.mark.parametrize(("kind", "config"), [("llama4", SEEING_LLAMA4), ("gemma4", SEEING_GEMMA4)])
def test_image_tokens_stand_before_the_text(tmp_path: Path, kind: str, config: dict[str, Any]) -> None:
    workload = imported(tmp_path, {"model_type": kind, **config}, sequence=32)
    layers = {layer.name: layer for layer in workload.layers}
    assert workload.inputs == ((32,), (3, 8, 8))
    assert layers["vision.patches"].sources == (-2,)
    assert layers["embedding"].sources == (-1,)
    assert layers["vision.join"].inputs == ((4, 8), (32, 8))
    first = layers["layers.0.attention.norm"]
    assert [workload.layers[source].name for source in first.sources] == ["vision.join"]
    assert layers["head"].output == (36, 32)
    assert "one image of 8 x 8 a sample, its 4 tokens" in workload.description


def test_image_size_of_a_tower(tmp_path: Path) -> None:
    workload = imported(tmp_path, {"model_type": "gemma4", **SEEING_GEMMA4}, image_size=4)
    assert workload.inputs == ((64,), (3, 4, 4))
    assert "its 1 tokens" in workload.description


def test_gemma_3_sees(tmp_path: Path) -> None:
    """As transformers 5.24 builds it: 112 / 14 = 8 x 8 patches, of which 2 x 2 become one of 16 tokens."""
    text = {"hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "vocab_size": 512, "head_dim": 16}
    text |= {"intermediate_size": 96, "num_key_value_heads": 2}
    vision = {"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 80}
    vision |= {"image_size": 112, "patch_size": 14, "vision_use_head": False}
    config = {"model_type": "gemma3", "text_config": text, "vision_config": vision, "mm_tokens_per_image": 16}
    workload = imported(tmp_path, config)
    assert workload.parameters == 243_648
    # a patch's 3 x 14 x 14 x 48, three layers of 4 x 48 x 48 + 2 x 48 x 80 + 2 x 64 x 48, 16 tokens of 48 x 64
    tower = 64 * (28_224 + 3 * (9_216 + 7_680 + 6_144)) + 16 * 3_072
    layers = zip(workload.layers, workload.counts, strict=True)
    assert sum(count.macs for layer, count in layers if layer.name.startswith("vision")) == tower
    with pytest.raises(UnsupportedError, match="vision_use_head"):
        imported(tmp_path, {**config, "vision_config": {**vision, "vision_use_head": True}})
    with pytest.raises(InputError, match="2 patches a side are fewer than 4 tokens"):
        imported(tmp_path, config, image_size=28)


def test_the_language_model_alone(tmp_path: Path) -> None:
    for kind, text in (("gemma4", GEMMA4_TEXT), ("gemma3", BASE)):
        workload = imported(tmp_path, {"model_type": kind, "text_config": text})
        assert workload.inputs == ((64,),)
        assert workload.description.endswith("the language model alone")


@pytest.mark.parametrize(
    ("kind", "changed", "message"),
    [
        ("llama4", {"intermediate_size": 16}, "intermediate_size must be 32, as wide as what comes in, found 16"),
        ("llama4", {"vision_output_dim": 7}, "vision_output_dim must be 6"),
        ("llama4", {"pixel_shuffle_ratio": 0}, "pixel_shuffle_ratio must be one over a whole number, found 0"),
        ("llama4", {"pixel_shuffle_ratio": 0.4}, "pixel_shuffle_ratio must be one over"),
        ("llama4", {"image_size": 10}, "5 x 5 patches do not divide into groups of 2 x 2"),
        ("llama4", {"image_size": 1}, "vision.patches"),
        ("llama4", {"num_attention_heads": 3}, "8 features do not divide into 3 heads"),
        ("llama4", {"num_hidden_layers": 10**6}, "vision_config: num_hidden_layers must be a whole number 1 to 10000"),
        ("gemma4", {"position_embedding_size": 15}, "longer than 15 positions"),
        ("gemma4", {"hidden_size": "8"}, "vision_config: hidden_size must be a whole number"),
        ("gemma4", {"use_clipped_linears": True}, "no cost rule for use_clipped_linears"),
    ],
)
def test_towers_that_do_not_fit(tmp_path: Path, kind: str, changed: dict[str, Any], message: str) -> None:
    config = SEEING_LLAMA4 if kind == "llama4" else SEEING_GEMMA4
    vision = {**config["vision_config"], **changed}
    with pytest.raises(SimulatorError, match=message) as caught:
        imported(tmp_path, {"model_type": kind, **config, "vision_config": vision})
    assert "\n" not in str(caught.value)


LLAMA_CONFIG = {"model_type": "llama", **BASE}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({**LLAMA_CONFIG, "hidden_size": -8}, "hidden_size must be a whole number 1 to"),
        ({**LLAMA_CONFIG, "hidden_size": "8"}, "hidden_size must be a whole number"),
        ({**LLAMA_CONFIG, "hidden_size": True}, "hidden_size must be a whole number"),
        ({**LLAMA_CONFIG, "hidden_size": 8.5}, "hidden_size must be a whole number"),
        ({**LLAMA_CONFIG, "hidden_size": [8]}, "found a list"),
        ({**LLAMA_CONFIG, "num_hidden_layers": 10**9}, "num_hidden_layers must be a whole number 1 to 10000"),
        ({**LLAMA_CONFIG, "num_hidden_layers": 10**400}, "more than 30 digits"),
        ({**LLAMA_CONFIG, "num_hidden_layers": 0}, "num_hidden_layers"),
        ({**LLAMA_CONFIG, "tie_word_embeddings": "yes"}, "tie_word_embeddings must be true or false"),
        ({**LLAMA_CONFIG, "num_key_value_heads": 3}, "3 key and value heads"),
        ({**LLAMA_CONFIG, "vocab_size": 2**30, "hidden_size": 2**30}, "larger than any memory"),
        ({**LLAMA_CONFIG, "num_hidden_layers": 9999, "intermediate_size": 2**28, "hidden_size": 2**12}, "parameters"),
        ({key: LLAMA_CONFIG[key] for key in LLAMA_CONFIG if key != "vocab_size"}, "the key vocab_size is missing"),
        ({**LLAMA_CONFIG, "model_type": 5}, "model_type must be text"),
        ({"hidden_size": 8}, "model_type is missing"),
        ({"model_type": "llama4", "text_config": [1]}, "text_config must be a mapping"),
        ({"model_type": "mixtral", **BASE, "num_local_experts": 2, "num_experts_per_tok": 3}, "3 experts a token of 2"),
        ([1, 2], "expected a mapping"),
        ("{", "not valid JSON"),
        ({**LLAMA_CONFIG, "hidden_size": float("nan")}, "hidden_size must be a whole number 1 to .*, found nan"),
        ({**LLAMA_CONFIG, "hidden_size": float("inf")}, "hidden_size must be a whole number 1 to .*, found inf"),
        ('{"model_type": "gpt2", "resid_pdrop": -1, "n_embd": 8, "n_positions": 4}', "missing|resid_pdrop"),
        ("[" * 100_000, "not valid JSON"),
        ('{"a":' * 100_000, "not valid JSON"),
        ('{"a": ' + "1" * 100_000 + "}", "not valid JSON|model_type"),
        (" " * (2**20 + 1), "larger than 1048576 bytes"),
    ],
)
def test_hostile_values_are_one_line(tmp_path: Path, config: object, message: str) -> None:
    start = time.process_time()
    with pytest.raises(InputError, match=message) as caught:
        imported(tmp_path, config)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400 + len(str(tmp_path))
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "lama", **BASE}, "no rule for the architecture 'lama'; did you mean 'llama'"),
        ({"model_type": "rwkv", **BASE}, "no rule for the architecture 'rwkv'"),
        ({**LLAMA_CONFIG, "hidden_act": "gelu_nwe"}, "did you mean 'gelu_new'"),
        ({"model_type": "opt", **BERT, "ffn_dim": 16, "word_embed_proj_dim": 4}, "opt-350m"),
        ({"model_type": "t5", **T5, "feed_forward_proj": "gated-sine"}, "gated-sine"),
    ],
)
def test_what_has_no_rule_without_transformers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: dict[str, Any], message: str
) -> None:
    monkeypatch.setattr(traced, "installed", lambda: False)
    with pytest.raises(UnsupportedError, match=message):
        imported(tmp_path, config)


def test_the_longest_context_is_the_configurations(tmp_path: Path) -> None:
    assert imported(tmp_path, {**LLAMA_CONFIG, "max_position_embeddings": 64}).context == 64
    without = {key: value for key, value in LLAMA_CONFIG.items() if key != "max_position_embeddings"}
    assert imported(tmp_path, without).context is None


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a file"):
        load("hf", str(tmp_path), Request())
    with pytest.raises(InputError, match="not a file"):
        load("hf", str(tmp_path / "none.json"), Request())


def test_an_image_size_for_tokens(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="image size"):
        imported(tmp_path, LLAMA_CONFIG, image_size=224)


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 10**12),
    st.floats(),
    st.text(max_size=5),
    st.lists(st.integers(), max_size=2),
)
MIXED = {**BASE, **EXPERTS, **LATENT, **ROUTED, "num_experts": 4, "num_local_experts": 4, "depth": 3, "ffn_dim": 16}


@given(
    kind=st.sampled_from(sorted(TRANSLATIONS)),
    changed=st.dictionaries(st.sampled_from(sorted({*MIXED, *OLD, *T5, "tie_word_embeddings"})), VALUES, max_size=3),
)
def test_any_value_gives_a_workload_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, kind: str, changed: dict[str, Any]
) -> None:
    folder = tmp_path_factory.mktemp("configuration")
    config = json.dumps({"model_type": kind, **MIXED, **OLD, **T5, **changed})
    try:
        workload = imported(folder, config, sequence=8)
    except SimulatorError as error:
        lines = str(error).splitlines()
    else:
        lines = [workload.name]
        assert workload.macs > 0
    assert len(lines) == 1


@given(
    kind=st.sampled_from(["gemma4", "llama4"]),
    changed=st.dictionaries(st.sampled_from(sorted({*LLAMA4_SMALL, *GEMMA4_SMALL})), VALUES, max_size=3),
)
def test_any_value_of_a_tower_gives_a_workload_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, kind: str, changed: dict[str, Any]
) -> None:
    config = SEEING_LLAMA4 if kind == "llama4" else SEEING_GEMMA4
    vision = {**config["vision_config"], **changed}
    values = json.dumps({"model_type": kind, **config, "vision_config": vision})
    try:
        lines = [imported(tmp_path_factory.mktemp("tower"), values, sequence=8).name]
    except SimulatorError as error:
        lines = str(error).splitlines()
    assert len(lines) == 1


def published() -> list[tuple[str, str, int]]:
    """(file, class, its parameters) of the configurations at hand."""
    table = SHARED / "facts" / "model_totals.csv"
    if not table.is_file():
        return []
    rows = {}
    with table.open() as stream:
        for row in csv.DictReader(stream):
            _, arrow, built = row["source_path"].partition("-> ")
            if arrow:
                rows[row["model"].removeprefix("hf/")] = built, int(row["params"])
    files = sorted((SHARED / "hf_configs").glob("*.json"))
    names = {file.name: file.name.split(".config")[0].split(".bert_config")[0].removesuffix(".json") for file in files}
    return [(file, *rows[name]) for file, name in names.items() if name in rows]


@pytest.mark.parametrize(("file", "built", "parameters"), published())
def test_published_configurations(tmp_path: Path, file: str, built: str, parameters: int) -> None:
    config = json.loads((SHARED / "hf_configs" / file).read_text())
    workload = imported(tmp_path, {**config, "architectures": [built]})
    assert workload.parameters == parameters
    assert len(lower(workload)) > 0


# Published totals of configurations in DeepSeek's own keys, and of Phi-2, whose checkpoint has code of its own.
@pytest.mark.parametrize(
    ("file", "parameters"),
    [
        ("deepseek_own_config_16B.json", 15_706_484_224),
        ("deepseek_own_config_236B.json", 235_741_434_880),
        ("deepseek_own_config_671B.json", 671_026_404_352),
        ("phi-2.config.json", 2_779_683_840),
    ],
)
def test_configurations_of_their_own(file: str, parameters: int) -> None:
    path = SHARED / "hf_configs" / file
    if not path.is_file():
        pytest.skip("the configurations are not at hand")
    assert load("hf", str(path), Request()).parameters == parameters

"""Hugging Face types without a rule of ours: built by transformers and traced; each count is worked by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from simulator.errors import InputError, UnsupportedError
from simulator.workload.importers import Request, huggingface
from simulator.workload.importers.huggingface import traced as others
from simulator.workload.importers.huggingface.config import read_config
from simulator.workload.importers.huggingface.two_sided import TRANSLATIONS as TWO_SIDED_RULES
from simulator.workload.importers.huggingface.variants import VARIANTS
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


@pytest.fixture(name="unruled")
def without_a_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if nobody had written a rule for GPT-NeoX."""
    monkeypatch.delitem(huggingface.TRANSLATIONS, "gpt_neox")


@pytest.mark.usefixtures("unruled")
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


@pytest.mark.usefixtures("unruled")
def test_a_decoder_is_traced(transformers: Any, tmp_path: Path) -> None:  # noqa: ARG001
    workload = load_workload(written(tmp_path, NEOX), request=Request(sequence=6))
    # a layer: 16 x 48 + 48, 16 x 16 + 16, 16 x 32 + 32, 32 x 16 + 16, two norms of 32; last norm; two tables of 50 x 16
    assert workload.parameters == 2 * (816 + 272 + 544 + 528 + 64) + 32 + 2 * 800
    # 6 tokens by 768 + 256 + 512 + 512 weights, two products of 6 x 6 x 16; the head's 800
    assert workload.macs == 2 * (6 * 2048 + 2 * 576) + 6 * 800
    assert workload.inputs == ((6,),)


@pytest.mark.usefixtures("unruled")
def test_more_modules_than_are_traced_in_seconds_are_refused(transformers: Any, tmp_path: Path) -> None:  # noqa: ARG001
    with pytest.raises(InputError, match=r"config.json: more than 20 modules to trace; --max-layers allows more$"):
        load_workload(written(tmp_path, NEOX), request=Request(sequence=6, max_layers=20))
    assert load_workload(written(tmp_path, NEOX), request=Request(sequence=6, max_layers=40)).parameters
    with pytest.raises(InputError, match="more than 10,000 modules"):
        load_workload(written(tmp_path, NEOX, num_hidden_layers=1000))


@pytest.mark.usefixtures("unruled")
def test_a_depth_that_no_network_has_is_refused(transformers: Any, tmp_path: Path) -> None:  # noqa: ARG001
    with pytest.raises(InputError, match="num_hidden_layers must be a whole number 0 to 10000, found 1000000000"):
        load_workload(written(tmp_path, NEOX, num_hidden_layers=10**9))
    with pytest.raises(InputError, match="text_config: num_hidden_layers must be a whole number"):
        load_workload(written(tmp_path, NEOX, text_config={"num_hidden_layers": 10**9}))


def test_experts_route_evenly(transformers: Any, tmp_path: Path) -> None:  # noqa: ARG001
    workload = load_workload(written(tmp_path, MIXTURE), request=Request(sequence=8))
    # attention 4 x 256 and 2 x 8 x 16 a token, router 64, two experts of 3 x 128, head 800
    assert workload.macs == 8 * (1024 + 256 + 64 + 2 * 384 + 800)


def test_the_class_that_the_configuration_names(transformers: Any, tmp_path: Path) -> None:  # noqa: ARG001
    encoder = load_workload(written(tmp_path, NEOX, architectures=["GPTNeoXModel"]), request=Request(sequence=6))
    assert encoder.macs == 2 * (6 * 2048 + 2 * 576)


SMALL = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 512}
WIDE = {**SMALL, "intermediate_size": 96, "pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0}
SHARED = {**WIDE, "num_key_value_heads": 2}
CHOSEN = {**SHARED, "head_dim": 16, "moe_intermediate_size": 32, "num_experts_per_tok": 2}
TWO_SIDED = {"d_model": 64, "d_kv": 16, "d_ff": 96, "num_layers": 2, "num_heads": 4, "vocab_size": 512}
SIDES = {"d_model": 64, "encoder_layers": 2, "decoder_layers": 3, "encoder_attention_heads": 4, "vocab_size": 512,
         "decoder_attention_heads": 2, "encoder_ffn_dim": 96, "decoder_ffn_dim": 80, "pad_token_id": 0,
         "bos_token_id": 0, "eos_token_id": 0, "decoder_start_token_id": 0, "forced_eos_token_id": 0}  # fmt: skip
PLACED = {**SIDES, "max_position_embeddings": 64}
HEARD = {**SIDES, "max_source_positions": 50, "max_target_positions": 64, "num_mel_bins": 20, "suppress_tokens": None,
         "begin_suppress_tokens": None}  # fmt: skip
FOUR = {**SHARED, "num_hidden_layers": 4}
ROUTED = {**FOUR, "num_experts_per_tok": 2}
CODE = {"n_embd": 64, "n_layer": 4, "n_head": 4, "vocab_size": 512, "n_positions": 64}
OWN: list[tuple[str, dict[str, Any], int, int]] = [
    ("bloom", {"hidden_size": 64, "n_layer": 2, "n_head": 4, "vocab_size": 512}, 132992, 4456448),
    ("falcon", SMALL, 119168, 4063232),
    ("falcon", {**SMALL, "new_decoder_architecture": True, "num_kv_heads": 2}, 123520, 4194304),
    ("falcon", {**SMALL, "multi_query": False, "alibi": True, "bias": True, "parallel_attn": False}, 132864, 4456448),
    ("gpt_neox", WIDE, 124352, 3145728),
    ("gpt_neox", {**WIDE, "use_parallel_residual": False}, 124352, 3145728),
    ("granite", SHARED, 127296, 3276800),
    ("granite", {**SHARED, "attention_bias": True, "mlp_bias": True}, 128192, 3276800),
    ("smollm3", SHARED, 94528, 3276800),
    ("stablelm", SHARED, 127616, 3276800),
    ("stablelm", {**SHARED, "use_qkv_bias": True}, 127872, 3276800),
    ("starcoder2", SHARED, 83264, 2883584),
    ("roberta", {**WIDE, "max_position_embeddings": 66, "architectures": ["RobertaForMaskedLM"]}, 100736, 3276800),
    ("camembert", {**WIDE, "architectures": ["CamembertForMaskedLM"]}, 129280, 3276800),
    ("xlm-roberta", {**WIDE, "architectures": ["XLMRobertaForMaskedLM"]}, 129280, 3276800),
    ("mt5", {**TWO_SIDED, "tie_word_embeddings": True}, 205824, 7340032),
    ("glm4_moe", {**CHOSEN, "n_routed_experts": 8, "use_qk_norm": True, "attention_bias": True}, 164992, 3293184),
    ("qwen3_moe", {**CHOSEN, "num_local_experts": 8}, 189824, 2916352),
    ("olmo2", FOUR, 189376, 5505024),
    ("olmo3", FOUR, 189376, 5505024),
    ("olmoe", {**ROUTED, "num_experts": 8}, 707520, 7929856),
    ("glm", FOUR, 537152, 20185088),
    ("glm4", FOUR, 537664, 20185088),
    ("phimoe", {**ROUTED, "num_local_experts": 8, "lm_head_bias": True, "attention_bias": True}, 708992, 7929856),
    ("granitemoe", {**ROUTED, "num_local_experts": 8}, 707136, 7929856),
    ("ernie4_5", FOUR, 500288, 20185088),
    ("helium", {**FOUR, "head_dim": 16}, 188992, 5505024),
    ("seed_oss", FOUR, 537152, 20185088),
    ("gpt_bigcode", CODE, 211968, 7077888),
    ("gpt_bigcode", {**CODE, "multi_query": False}, 236928, 7864320),
    ("bart", PLACED, 232304, 8060928),
    ("mbart", PLACED, 232560, 8060928),
    ("marian", PLACED, 231792, 8060928),
    ("pegasus", PLACED, 232048, 8060928),
    ("m2m_100", {**PLACED, "encoder_layerdrop": 0.0, "decoder_layerdrop": 0.0}, 223856, 8060928),  # else by chance
    ("blenderbot", PLACED, 232048, 8060928),
    ("blenderbot-small", PLACED, 232048, 8060928),
    ("whisper", HEARD, 246896, 11132928),
]
"""Type, configuration, and what the modules of transformers 5.24 hold and do at 32 tokens, counted by the trace."""


@pytest.mark.parametrize(("kind", "values", "parameters", "macs"), OWN)
def test_own_rules_are_what_transformers_builds(
    kind: str, values: dict[str, Any], parameters: int, macs: int, tmp_path: Path
) -> None:
    asked = Request(sequence=32, attention="eager")
    workload = load_workload(written(tmp_path, {"model_type": kind, **values}), request=asked)
    assert (workload.parameters, workload.macs) == (parameters, macs)


@pytest.mark.usefixtures("transformers")
@pytest.mark.parametrize(("kind", "values"), [row[:2] for row in OWN])
def test_traces_find_what_own_rules_say(
    kind: str, values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, name = Request(sequence=32, attention="eager"), written(tmp_path, {"model_type": kind, **values})
    own = load_workload(name, request=asked)
    monkeypatch.delitem(huggingface.TRANSLATIONS, kind)
    traced = load_workload(name, request=asked)
    assert (own.parameters, own.macs) == (traced.parameters, traced.macs)


def test_mt5_small_is_as_published(tmp_path: Path) -> None:
    """300 M with a head of its own: Xue et al., "mT5", NAACL 2021, arXiv 2010.11934, table 2."""
    small = {"d_model": 512, "d_ff": 1024, "num_layers": 8, "num_heads": 6, "d_kv": 64}
    workload = load_workload(written(tmp_path, {"model_type": "mt5", **small}))
    # tables 2 x 250,112 x 512; 8 + 8 layers of 3 x 512 x 1024; 8 + 2 x 8 attentions of 4 x 512 x 384; norms, positions
    assert workload.parameters == 256_114_688 + 25_165_824 + 18_874_368 + 42 * 512 + 2 * 32 * 6


def test_every_variant_is_tested() -> None:
    assert {kind for kind, *_ in OWN} >= {*VARIANTS, *TWO_SIDED_RULES, "glm4_moe"}


def test_what_a_rule_does_not_build_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="use_parallel_residual False alone, found True"):
        load_workload(written(tmp_path, {"model_type": "stablelm", **SHARED, "use_parallel_residual": True}))


CLIP = {
    "model_type": "clip",
    "architectures": ["CLIPModel"],
    "projection_dim": 48,
    "text_config": {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96,
                    "vocab_size": 512, "max_position_embeddings": 40, "eos_token_id": 2},
    "vision_config": {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 80,
                      "image_size": 64, "patch_size": 16},
}  # fmt: skip


def test_clip_base_is_as_published(tmp_path: Path) -> None:
    """The library's defaults are ViT-B/32's: 151,277,313 parameters, the temperature among them."""
    workload = load_workload(written(tmp_path, {"model_type": "clip", "architectures": ["CLIPModel"]}))
    assert workload.parameters == 151_277_313
    assert workload.inputs == ((77,), (3, 224, 224))


@pytest.mark.usefixtures("transformers")
def test_clip_is_what_transformers_builds_but_for_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, name = Request(sequence=32, attention="eager"), written(tmp_path, CLIP)
    own = load_workload(name, request=asked)
    monkeypatch.delitem(huggingface.TRANSLATIONS, "clip")
    traced = load_workload(name, request=asked)
    # each text meets the images of 32 samples, 48 MACs a pair
    assert (traced.parameters, traced.macs - own.macs) == (own.parameters, 32 * 48)
    assert "counted as in a batch of 32" in traced.description


TINY = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 48, "vocab_size": 60,
        "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}  # fmt: skip
KINDS: list[tuple[str, dict[str, Any]]] = [
    ("layoutlm", TINY),  # looks for padding at places of a list
    ("switch_transformers", {"d_model": 32, "d_kv": 16, "d_ff": 48, "num_layers": 2, "num_heads": 2, "num_experts": 2,
                             "vocab_size": 60}),  # names experts by numbers of tensors
    ("qwen2_moe", {**TINY, "num_experts": 3, "num_experts_per_tok": 2, "moe_intermediate_size": 16,
                   "num_key_value_heads": 2, "shared_expert_intermediate_size": 16}),  # a third of rows an expert
    ("perceiver", {"d_model": 32, "d_latents": 32, "num_latents": 8, "num_blocks": 1, "vocab_size": 60,
                   "num_self_attends_per_block": 1, "num_self_attention_heads": 2, "num_cross_attention_heads": 2,
                   "max_position_embeddings": 16, "qk_channels": 16, "v_channels": 32}),  # calls its words inputs
    ("emu3", {"text_config": {**TINY, "num_key_value_heads": 2}}),  # its language model takes a part
    ("afmoe", {**TINY, "num_key_value_heads": 2, "head_dim": 16, "num_experts": 4, "num_experts_per_tok": 2,
               "moe_intermediate_size": 16, "num_hidden_layers": 4, "num_dense_layers": 1}),  # frozen weights
    ("siglip2", {"architectures": ["Siglip2ForImageClassification"], "vision_config": {**TINY, "num_patches": 16,
                 "patch_size": 4}, "text_config": {**TINY, "projection_size": 32}}),  # patches, and their grid apart
    ("musicgen", {"architectures": ["MusicgenForCausalLM"], "decoder": {
        "model_type": "musicgen_decoder", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
        "ffn_dim": 48, "vocab_size": 60, "max_position_embeddings": 16, "num_codebooks": 3},
        "text_encoder": {"model_type": "t5"}, "audio_encoder": {"model_type": "encodec"}}),  # several tokens a position
    ("prophetnet", {"hidden_size": 32, "encoder_ffn_dim": 48, "num_encoder_layers": 1, "num_encoder_attention_heads": 2,
                    "decoder_ffn_dim": 48, "num_decoder_layers": 1, "num_decoder_attention_heads": 2, "vocab_size": 60,
                    "max_position_embeddings": 16}),  # two positions fewer than its table
]  # fmt: skip
"""A type for each thing that networks of the library do and traces had to learn."""


@pytest.mark.usefixtures("transformers")
@pytest.mark.parametrize(("kind", "values"), KINDS)
def test_parameters_are_those_of_the_module(
    kind: str, values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(huggingface.TRANSLATIONS, kind, raising=False)
    config = read_config(written(tmp_path, {"model_type": kind, **values}).removeprefix("hf:"))
    workload = others.trace(config, kind, Request(), kind)
    module, _ = others.module_of(config, kind, Request())
    assert workload.parameters == sum(parameter.numel() for parameter in module.parameters())
    assert workload.macs > 0


def test_infinity_in_a_configuration_is_read(tmp_path: Path) -> None:
    workload = load_workload(written(tmp_path, BERT, time_step_limit=[0.0, float("inf")]))
    assert workload.parameters == load_workload(written(tmp_path, BERT)).parameters

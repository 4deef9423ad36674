"""Hugging Face types with state-space or linear-attention layers: parameters and products as transformers has them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from simulator.errors import InputError, UnsupportedError
from simulator.op.gated_delta import GatedDelta
from simulator.op.mixer import Mixer
from simulator.op.selective_scan import CausalConvolution, SelectiveScan
from simulator.op.state_space import StateSpace
from simulator.workload.importers import Request, huggingface
from simulator.workload.importers.huggingface.hybrids import TRANSLATIONS
from simulator.workload.importers.huggingface.selective import TRANSLATIONS as SELECTIVE
from simulator.workload.lowering import lower
from simulator.workload.reading import load_workload
from simulator.workload.workload import Workload

SMALL = {"hidden_size": 64, "num_hidden_layers": 2, "vocab_size": 512, "pad_token_id": 0, "bos_token_id": 0,
         "eos_token_id": 0}  # fmt: skip
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2}
MAMBA2 = {**SMALL, "num_heads": 8, "head_dim": 16, "state_size": 16, "n_groups": 2}
AMONG = {**SMALL, **HEADS, "intermediate_size": 96, "mamba_n_heads": 8, "mamba_d_state": 16}
GRANITE = {**AMONG, "intermediate_size": 32, "shared_intermediate_size": 48}
NEXT = {**SMALL, **HEADS, "num_hidden_layers": 4, "head_dim": 16, "intermediate_size": 96, "num_experts": 8,
        "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8, "linear_value_head_dim": 16,
        "num_experts_per_tok": 2, "moe_intermediate_size": 32, "shared_expert_intermediate_size": 48}  # fmt: skip

NEMOTRON = {**{key: value for key, value in SMALL.items() if key != "num_hidden_layers"}, **HEADS, "head_dim": 16,
            "intermediate_size": 96, "mamba_num_heads": 6, "mamba_head_dim": 16, "ssm_state_size": 16,
            "n_groups": 2}  # fmt: skip

JAMBA = {**SMALL, **HEADS, "intermediate_size": 96, "mamba_d_state": 8}
H1 = {**SMALL, **HEADS, "intermediate_size": 96, "mamba_n_heads": 8, "mamba_d_state": 16}

OWN: list[tuple[str, dict[str, Any], int, int]] = [
    ("mamba2", MAMBA2, 126320, 2916352),
    ("mamba2", {**MAMBA2, "use_bias": True, "use_conv_bias": False, "tie_word_embeddings": True}, 93952, 2916352),
    ("qwen3_next", NEXT, 364072, 5955584),
    ("qwen3_next", {**NEXT, "num_experts": 0, "layer_types": ["full_attention", "linear_attention"] * 2,
                    "attention_bias": True}, 203696, 5668864),
    ("bamba", {**AMONG, "attn_layer_indices": [1]}, 143096, 3620864),
    ("granitemoehybrid", {**GRANITE, "layer_types": ["mamba", "attention"], "num_local_experts": 4,
                          "num_experts_per_tok": 2}, 174328, 3833856),
    ("granitemoehybrid", {**GRANITE, "layer_types": ["linear_attention", "full_attention"], "num_local_experts": 0,
                          "position_embedding_type": "rope", "tie_word_embeddings": True}, 91896, 3031040),
    ("nemotron_h", {**NEMOTRON, "hybrid_override_pattern": "M-*M"}, 138084, 3432448),
    ("nemotron_h", {**NEMOTRON, "layers_block_type": ["mamba", "moe", "attention", "moe"], "n_routed_experts": 8,
                    "moe_intermediate_size": 32, "moe_shared_expert_intermediate_size": 48, "mamba_num_heads": 8},
     187288, 3457024),
    ("mamba", {**SMALL, "state_size": 8}, 92096, 2818048),
    ("mamba", {**SMALL, "use_bias": True, "use_conv_bias": False, "tie_word_embeddings": False, "time_step_rank": 6,
               "expand": 3, "conv_kernel": 3}, 165312, 3948544),
    ("falcon_mamba", {**SMALL, "expand": 3, "intermediate_size": 128}, 98240, 2949120),
    ("jamba", {**JAMBA, "num_hidden_layers": 4, "attn_layer_period": 4, "attn_layer_offset": 2, "num_experts": 4},
     351996, 7782400),
    ("jamba", {**JAMBA, "num_experts": 1, "attn_layer_period": 2, "attn_layer_offset": 1, "mamba_proj_bias": True,
               "mamba_dt_rank": 8, "mamba_d_state": 16}, 149032, 3735552),
    ("falcon_h1", {**H1, "mamba_d_ssm": 64}, 158000, 4227072),
    ("falcon_h1", {**H1, "mamba_d_ssm": None, "mamba_n_groups": 2, "mamba_rms_norm": True, "projectors_bias": True,
                   "attention_bias": True, "mlp_bias": True}, 188912, 5144576),
]  # fmt: skip
"""Type, configuration, what the modules of transformers 5.24 hold, and MACs at 32 tokens outside the scans."""


def written(folder: Path, values: dict[str, Any], **more: Any) -> str:
    (folder / "config.json").write_text(json.dumps({**values, **more}))
    return f"hf:{folder}"


def outside(workload: Workload) -> int:
    """MACs of all layers but those that carry a state."""
    counts = zip(workload.layers, workload.counts, strict=True)
    return sum(count.macs for layer, count in counts if not isinstance(layer.op, Mixer))


@pytest.mark.parametrize(("kind", "values", "parameters", "macs"), OWN)
def test_own_rules_are_what_transformers_builds(
    kind: str, values: dict[str, Any], parameters: int, macs: int, tmp_path: Path
) -> None:
    asked = Request(sequence=32, attention="eager")
    workload = load_workload(written(tmp_path, {"model_type": kind, **values}), request=asked)
    assert (workload.parameters, outside(workload)) == (parameters, macs)
    assert len(lower(workload)) > len(workload.layers)


def test_every_type_is_tested() -> None:
    assert {kind for kind, *_ in OWN} == {*TRANSLATIONS, *SELECTIVE}


def chunk_products(op: Mixer, positions: int) -> int:
    """Products of transformers' own path, which pads the sequence to whole chunks and has C B' for each head.

    Mamba 2: Q Q (state + size) and 2 size * state a position; states are passed on as a product of (chunks + 1)^2.
    Gated delta rule: two squares by keys, one by values, three products with the state; the triangle is solved apart.
    The convolution slides over `conv` - 1 positions more. Selective scan: the state times C, position by position.
    """
    if isinstance(op, SelectiveScan):
        return positions * op.heads * op.state
    chunks = -(-positions // op.chunk)
    square = chunks * op.chunk**2
    slid = (positions + op.conv - 1) * op.convolved * op.conv
    if isinstance(op, CausalConvolution):
        return slid
    if isinstance(op, StateSpace):
        whole = op.heads * (square * (op.state + op.size) + 2 * chunks * op.chunk * op.state * op.size)
        return slid + whole + op.heads * (chunks + 1) ** 2 * op.state * op.size
    assert isinstance(op, GatedDelta)
    whole = square * (2 * op.key_size + op.size) + 3 * chunks * op.chunk * op.key_size * op.size
    return slid + op.heads * whole


@pytest.mark.parametrize(("kind", "values"), [row[:2] for row in OWN])
def test_traces_find_what_own_rules_say(
    kind: str, values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    asked, name = Request(sequence=32, attention="eager"), written(tmp_path, {"model_type": kind, **values})
    own = load_workload(name, request=asked)
    monkeypatch.delitem(huggingface.TRANSLATIONS, kind)
    traced = load_workload(name, request=asked)
    scans = sum(chunk_products(layer.op, 32) for layer in own.layers if isinstance(layer.op, Mixer))
    assert (traced.parameters, traced.macs) == (own.parameters, outside(own) + scans)


def test_mamba2_is_as_published(tmp_path: Path) -> None:
    """2.7 B, by the name of mamba2-2.7b, whose table of 50,288 words is tied."""
    sizes = {"hidden_size": 2560, "num_heads": 80, "head_dim": 64, "state_size": 128, "n_groups": 1}
    config = {"model_type": "mamba2", "vocab_size": 50288, "tie_word_embeddings": True, **sizes}
    workload = load_workload(written(tmp_path, config))
    # A layer: 2560 x (2 x 5120 + 2 x 128 + 80) and back 5120 x 2560, convolution of 5376 by 4 with bias, three numbers
    # a head, scale 5120, norm 2560.
    layer = 2560 * 10576 + 5120 * 2560 + 5376 * 5 + 3 * 80 + 5120 + 2560
    assert workload.parameters == 64 * layer + 50288 * 2560 + 2560
    assert workload.parameters == 2_702_599_680
    assert workload.inputs == ((512,),)


PUBLISHED = [
    ({"model_type": "mamba", "hidden_size": 2560, "num_hidden_layers": 64, "vocab_size": 50280}, 2_768_345_600),
    ({"model_type": "falcon_mamba", "hidden_size": 4096, "intermediate_size": 8192, "expand": 16, "vocab_size": 65024,
      "time_step_rank": 256, "num_hidden_layers": 64, "tie_word_embeddings": False}, 7_272_665_088),
    ({"model_type": "jamba"}, 51_570_323_328),
]  # fmt: skip
"""Configurations of mamba-2.8b, falcon-mamba-7b and Jamba-v0.1, and the numbers in their published weights."""


@pytest.mark.parametrize(("config", "parameters"), PUBLISHED)
def test_selective_scans_are_as_published(config: dict[str, Any], parameters: int, tmp_path: Path) -> None:
    assert load_workload(written(tmp_path, config)).parameters == parameters


def test_qwen3_next_is_as_published(tmp_path: Path) -> None:
    """80 B with 3 B active, by the name of Qwen3-Next-80B-A3B; sizes are the library's defaults."""
    config = {"model_type": "qwen3_next", "hidden_size": 2048, "num_hidden_layers": 48, "vocab_size": 151936}
    workload = load_workload(written(tmp_path, config))
    delta = 2048 * (2 * 2048 + 2 * 4096) + 2048 * 64 + 8192 * 4 + 64 + 128 + 4096 * 2048
    attention = 2048 * (2 * 4096 + 2 * 512) + 4096 * 2048 + 2 * 256
    experts = 512 * 3 * 2048 * 512 + 2048 * 512 + 3 * 2048 * 512 + 2048
    whole = 36 * delta + 12 * attention + 48 * (experts + 2 * 2048) + 2 * 151936 * 2048 + 2048
    assert workload.parameters == whole
    assert 79e9 < whole < 81e9


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    mamba2 = {"model_type": "mamba2", **MAMBA2}
    with pytest.raises(InputError, match="8 heads of 12 are not expand x hidden_size = 128"):
        load_workload(written(tmp_path, mamba2, head_dim=12))
    with pytest.raises(UnsupportedError, match="hidden_act silu alone"):
        load_workload(written(tmp_path, mamba2, hidden_act="gelu"))
    with pytest.raises(InputError, match="8 heads do not share 3 groups"):
        load_workload(written(tmp_path, mamba2, n_groups=3))
    with pytest.raises(InputError, match=r"layer_types must name one of .* for each of 4 layers"):
        load_workload(written(tmp_path, {"model_type": "qwen3_next", **NEXT}, layer_types=["sliding_attention"] * 4))
    nemotron = {"model_type": "nemotron_h", **NEMOTRON}
    with pytest.raises(InputError, match="no rule for a layer 'X'; known: linear_attention"):
        load_workload(written(tmp_path, nemotron, hybrid_override_pattern="MX"))
    with pytest.raises(UnsupportedError, match="no rule for moe_latent_size"):
        load_workload(written(tmp_path, nemotron, moe_latent_size=8))
    with pytest.raises(InputError, match="attn_layer_offset 8 must be below attn_layer_period 8"):
        load_workload(written(tmp_path, {"model_type": "jamba", **JAMBA}, attn_layer_offset=8))
    with pytest.raises(UnsupportedError, match="hidden_act silu alone"):
        load_workload(written(tmp_path, {"model_type": "mamba", **SMALL}, hidden_act="gelu"))
    with pytest.raises(InputError, match="attn_layer_indices must be a list"):
        load_workload(written(tmp_path, {"model_type": "bamba", **AMONG}, attn_layer_indices=3))


def test_a_branch_needs_its_shape(tmp_path: Path) -> None:
    text = "family: hybrid\ndepth: 2\nhidden: 8\nvocabulary: 32\npattern: [[delta]]\ninput: [16]\nbatch: 1\n"
    (tmp_path / "net.yaml").write_text("name: net\n" + text)
    with pytest.raises(InputError, match="layer 0 has a branch delta and the model no `delta`"):
        load_workload(str(tmp_path / "net.yaml"))

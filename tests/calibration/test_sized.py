"""Networks of training tables: named, cut, or by the sizes of a note."""

from __future__ import annotations

import pytest

from simulator.calibration.sized import network_of
from simulator.errors import UnsupportedError
from simulator.op.fused_attention import FusedAttention

NOTE = "NHIDDEN=14336 / NLAYERS=72; seq 2048, vocabulary 250k; NHEADS=64"


def test_a_gpt_by_its_sizes() -> None:
    # 12 x 14336^2 a layer and 13 vectors of 14336 beside them, a table of 250,000 tokens, 2,048 positions, a last norm.
    network = network_of("", "GPT (sizing) 181B", 2048, "PyTorch 1.11", NOTE)
    vectors = 72 * 13 * 14336 + 2 * 14336
    assert network.parameters == 72 * 12 * 14336**2 + vectors + (250_000 + 2048) * 14336
    assert network.inputs == ((2048,),)
    assert not any(isinstance(layer.op, FusedAttention) for layer in network.layers)


def test_layers_follow_from_the_parameters() -> None:
    said = network_of("", "GPT 181B", 2048, "NeMo", NOTE)
    unsaid = network_of("", "GPT 181B", 2048, "NeMo", NOTE.replace(" / NLAYERS=72", ""))
    assert unsaid.parameters == said.parameters
    assert any(isinstance(layer.op, FusedAttention) for layer in said.layers)


@pytest.mark.parametrize(
    ("model", "note", "words"),
    [
        ("GPT 181B", "", "does not say the workload"),
        ("GPT 181B", NOTE.replace("NHEADS", "DROPOUT"), "not its heads"),
        ("GPT 20B", NOTE, "make 181e9 parameters"),
        ("deepseek_v3 (4 layers)", "", "which of its unlike layers"),
    ],
)
def test_what_is_not_said_is_refused(model: str, note: str, words: str) -> None:
    with pytest.raises(UnsupportedError, match=words):
        network_of("", model, 2048, "NeMo", note)


def test_a_network_cut_to_fewer_layers() -> None:
    # A block of LLaMA 3 8B: queries, output 2 x 4096^2, keys, values 2 x 4096 x 1024, three of 4096 x 14336, two norms.
    block = 2 * 4096**2 + 2 * 4096 * 1024 + 3 * 4096 * 14336 + 2 * 4096
    whole = network_of("llama3_8b", "Llama 3 8B", 0, "NeMo", "")
    cut = network_of("", "llama3-8b (12 layers)", 4096, "NeMo", "")
    assert whole.parameters - cut.parameters == 20 * block
    assert cut.inputs == ((4096,),)


def test_a_mixture_is_cut_where_its_dense_layers_are_known() -> None:
    # One dense layer and three of 256 experts of 3 x 7168 x 2048 with a shared one, and 256 x 7168 of the router each:
    # 55 of these fewer than the whole has, and two dense ones.
    whole = network_of("deepseek_v3", "DeepSeekV3", 4096, "NeMo", "")
    cut = network_of("deepseek_v3", "deepseekv3 (4 layers)", 4096, "Megatron-LM 23e00ed, TE 2.11", "")
    expert, dense = 3 * 7168 * 2048, 3 * 7168 * 18432
    attention = (whole.parameters - 2 * 129280 * 7168 - 7168 - 58 * (257 * expert + 256 * 7168) - 3 * dense) / 61
    mixed = 257 * expert + 256 * 7168
    assert whole.parameters - cut.parameters == pytest.approx(57 * attention + 55 * mixed + 2 * dense, rel=1e-4)

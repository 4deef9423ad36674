"""Sharding: every rank's share by hand, and laws that all networks keep."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.errors import InputError, UnsupportedError
from simulator.op.attention import Attention
from simulator.op.base import Site
from simulator.op.experts import Experts
from simulator.op.transfer import Transfer
from simulator.parallel.shard import shard
from simulator.workload.importers import Request
from simulator.workload.reading import load_workload
from simulator.workload.workload import Workload

DENSE = ("gpt2", "llama3_8b", "bert_large", "t5_small", "gptj_6b", "gemma2_2b")


def load(name: str) -> Workload:
    return load_workload(name, request=Request(attention="fused"))


def transfers(workload: Workload) -> Counter[tuple[str, str]]:
    ops = [layer.op for layer in workload.layers if isinstance(layer.op, Transfer)]
    return Counter((op.sent, op.returned) for op in ops)


def test_one_rank_is_the_network_itself() -> None:
    whole = load("gpt2")
    assert shard(whole, 1, 1, 1, sequence=False) is whole


def test_megatrons_layer_by_hand() -> None:
    # GPT-2 has 12 blocks of 12 heads, 768 features; over 4: 3 heads, queries, keys and values of 3 x 64 each.
    share = shard(load("gpt2"), 4, 1, 1, sequence=False)
    by_name = {layer.name: layer for layer in share.layers}
    assert by_name["layers.0.attention.qkv"].output == (1024, 3 * 3 * 64)
    assert by_name["layers.0.mlp.up"].output == (1024, 3072 // 4)
    assert by_name["layers.0.mlp.down"].inputs == ((1024, 3072 // 4),)
    scores = by_name["layers.0.attention.scores"].op
    assert isinstance(scores, Attention)
    assert scores.heads == 3
    # A sum after attention and after the feed-forward network of each block, and after the embedding; backward, before
    # each of the two, and before the head.
    assert transfers(share) == {("all_reduce", ""): 25, ("", "all_reduce"): 25}


def test_the_stream_behind_a_split_embedding_is_each_ranks_own() -> None:
    # LLaMA 3 8B, 32 blocks of 4096 features at 8192 positions; over 4 ranks: 2048 positions. Each block's two products
    # are exchanged, and the embedding, before they meet the stream: 65 times.
    share = shard(load("llama3_8b"), 4, 1, 1, sequence=True)
    by_name = {layer.name: layer for layer in share.layers}
    assert by_name["layers.5.attention.output.scatter"].inputs == ((8192, 4096),)
    assert by_name["layers.5.attention.add"].inputs == ((2048, 4096), (2048, 4096))
    assert by_name["layers.5.mlp.add"].output == (2048, 4096)
    assert transfers(share) == {("reduce_scatter", "all_gather"): 65, ("all_gather", "reduce_scatter"): 65}


def test_sequence_parallel_ranks_share_out_positions() -> None:
    share = shard(load("gpt2"), 4, 1, 1, sequence=True)
    by_name = {layer.name: layer for layer in share.layers}
    assert by_name["layers.3.mlp.norm"].output == (256, 768)
    assert by_name["layers.3.mlp.up"].output == (1024, 768)
    assert by_name["layers.3.mlp.add"].output == (256, 768)
    assert transfers(share) == {("reduce_scatter", "all_gather"): 25, ("all_gather", "reduce_scatter"): 25}
    scatter = by_name["layers.3.mlp.down.scatter"].op
    assert isinstance(scatter, Transfer)
    assert scatter.message == scatter.answer == 1024 * 768


def test_a_transfer_computes_nothing() -> None:
    op = Transfer(group="tensor", shape=(4, 2), sent="all_reduce", message=8)
    site = Site(((4, 2),), (4, 2))
    assert op.output_shape(site.inputs) == (4, 2)
    assert op.forward(site) == op.backward(site) == []
    assert op.counts(site) == (0, 0)


def test_context_parallel_ranks_see_all_positions_in_attention_alone() -> None:
    share = shard(load("llama3_8b"), 1, 4, 1, sequence=False)
    by_name = {layer.name: layer for layer in share.layers}
    positions = load("llama3_8b").inputs[0][0]
    assert by_name["layers.0.mlp.up"].output[0] == positions // 4
    assert by_name["layers.0.attention.scores"].output == (positions, 8 * 128)
    ring = by_name["layers.0.attention.scores.key_ring"].op
    assert isinstance(ring, Transfer)
    # Keys and values of 8 heads of 128 features at all positions; backward their gradients too.
    assert (ring.message, ring.answer) == (positions * 2 * 1024, 2 * positions * 2 * 1024)


def test_experts_stay_whole_and_positions_travel() -> None:
    whole, share = load("mixtral_8x7b"), shard(load("mixtral_8x7b"), 1, 1, 4, sequence=False)
    experts = [layer for layer in share.layers if isinstance(layer.op, Experts)]
    assert {layer.op.held for layer in experts} == {2}  # type: ignore[attr-defined]
    assert sum(layer.parameters for layer in experts) * 4 == sum(
        layer.parameters for layer in whole.layers if isinstance(layer.op, Experts)
    )
    assert share.macs == whole.macs
    assert transfers(share) == {("dispatch", "dispatch"): 2 * 32}


def test_experts_held_by_hand() -> None:
    # 4 experts of which 2 are here: 6 positions choose 2 each, so that 6 rows come to each expert of this device.
    op = Experts(count=4, active=2, width=8, held=2)
    site = Site(((6, 16), (6, 2)), (6, 16))
    product = op.forward(site)[1].gemm
    assert product is not None
    assert (product.m.per_sample, product.groups) == (6, 2)
    assert sum(op.parameter_sizes(site.inputs)) == 2 * 3 * 8 * 16
    with pytest.raises(InputError, match="1 to 4"):
        Experts(count=4, active=2, width=8, held=5).output_shape(site.inputs)


@given(name=st.sampled_from(DENSE), ways=st.sampled_from([2, 4]), sequence=st.booleans())
def test_shares_make_up_the_whole(name: str, ways: int, sequence: bool) -> None:
    whole = load(name)
    share = shard(whole, ways, 1, 1, sequence=sequence)
    assert ways * share.macs == pytest.approx(whole.macs, rel=2e-3)
    assert whole.parameters <= ways * share.parameters <= 1.05 * whole.parameters  # norms, positions


@pytest.mark.parametrize(
    ("name", "degrees", "words"),
    [
        ("gpt2", (5, 1, 1), "12 heads do not divide over tp x cp = 5; 1, 2, 3, 4, 6, 12 would"),
        ("mixtral_8x7b", (1, 1, 3), "8 experts do not divide over ep=3"),
        ("llama3_8b", (1, 3, 1), "do not divide"),
    ],
)
def test_what_does_not_divide_names_what_would(name: str, degrees: tuple[int, int, int], words: str) -> None:
    with pytest.raises(InputError, match=words):
        shard(load(name), *degrees, sequence=False)


@pytest.mark.parametrize("degrees", [(2, 1, 1), (1, 1, 2)])
def test_a_network_without_heads_or_experts_says_so(degrees: tuple[int, int, int]) -> None:
    with pytest.raises(UnsupportedError, match="resnet50 has no"):
        shard(load_workload("resnet50"), *degrees, sequence=False)

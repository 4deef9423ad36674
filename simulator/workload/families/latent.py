"""Latent attention: queries and keys through narrow projections."""

from __future__ import annotations

import msgspec

from simulator.op.elementwise import JoinHeads, Rotary
from simulator.op.key_selection import KeySelection
from simulator.op.layer_norm import LayerNorm, RmsNorm
from simulator.op.linear import Linear
from simulator.workload.families.ranges import Count, Size
from simulator.workload.families.transformer import Style, attention_rule
from simulator.workload.workload import Network


class Latent(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Latent attention: queries and keys through narrow projections, and a rotary part that all key heads share.

    `query_rank` 0 projects the queries directly. `plain`, `rotary` and `value` are features of a head. `index_heads`
    small heads choose the `index_top` keys that each query attends to.
    Source: DeepSeek-AI, "DeepSeek-V2", 2024, arXiv 2405.04434, section 2.1; "DeepSeek-V3.2", 2025, section 2.1.
    """

    query_rank: Count = 0
    key_rank: Size
    plain: Size
    rotary: Size
    value: Size
    index_heads: Count = 0
    index_size: Size = 128
    index_top: Size = 2048


def latent_attention(net: Network, latent: Latent, shape: tuple[int, Style], entry: int, prefix: str) -> int:
    """Queries, keys and values through their ranks; the rotary part of the keys is one for all heads.

    `shape` is the number of heads and the style of the network.
    """
    count, style = shape
    narrow_query = _narrow(net, entry, latent.query_rank, f"{prefix}.query")
    query = _linear(net, narrow_query, count * (latent.plain + latent.rotary), f"{prefix}.query")
    query = net.add(Rotary(rotated=count * latent.rotary), query, name=f"{prefix}.query_rotary")
    shared = net.add(Rotary(), _linear(net, entry, latent.rotary, f"{prefix}.key_shared"), name=f"{prefix}.key_rotary")
    narrow = _narrow(net, entry, latent.key_rank, f"{prefix}.key_value")
    key = _linear(net, narrow, count * latent.plain, f"{prefix}.key")
    key = net.add(JoinHeads(heads=count), key, shared, name=f"{prefix}.key_join")
    value = _linear(net, narrow, count * latent.value, f"{prefix}.value")
    seen = latent.index_top if latent.index_heads else None
    if latent.index_heads:
        _choose_keys(net, latent, entry, narrow_query, f"{prefix}.index")
    op = attention_rule(style.mode)(heads=count, causal=True, span=seen, dropout=style.dropout)
    mixed = net.add(op, query, key, value, name=f"{prefix}.scores")
    return _linear(net, mixed, style.hidden, f"{prefix}.output")


def _choose_keys(net: Network, latent: Latent, entry: int, narrow_query: int, prefix: str) -> None:
    """The small heads that choose each query's keys; attention over so many keys costs as a window of that length."""
    query = _linear(net, narrow_query, latent.index_heads * latent.index_size, f"{prefix}.query")
    key = net.add(LayerNorm(), _linear(net, entry, latent.index_size, f"{prefix}.key"), name=f"{prefix}.key_norm")
    weights = _linear(net, entry, latent.index_heads, f"{prefix}.weights")
    op = KeySelection(heads=latent.index_heads, top=latent.index_top)
    net.add(op, query, key, weights, name=f"{prefix}.choose")


def _narrow(net: Network, source: int, rank: int, prefix: str) -> int:
    """A projection to `rank` features, normalised; the source itself for rank 0."""
    if not rank:
        return source
    return net.add(RmsNorm(), _linear(net, source, rank, f"{prefix}_down"), name=f"{prefix}_norm")


def _linear(net: Network, source: int, out: int, name: str) -> int:
    return net.add(Linear(out=out, bias=False), source, name=name)

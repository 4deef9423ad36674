"""Pieces that transformer families share: projections, attention, feed-forward networks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from simulator.errors import InputError
from simulator.op.activation import Dropout, Sigmoid
from simulator.op.base import Op
from simulator.op.combine import Add
from simulator.op.eager_attention import EagerAttention
from simulator.op.elementwise import Multiply, Rotary
from simulator.op.experts import ACTIVATIONS, ActivationName
from simulator.op.fused_attention import FusedAttention
from simulator.op.layer_norm import LayerNorm, RmsNorm
from simulator.op.linear import Linear
from simulator.workload.families.ranges import Rate, Share, Size
from simulator.workload.workload import Network

Mode = Literal["eager", "fused"]
"""How attention runs: kernels with the scores in memory, or one kernel."""

NormName = Literal["rms", "layer"]


class Heads(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Shape of an attention.

    Attributes
    ----------
    count, kv : heads of the queries, and of keys and values (as many if unsaid).
    size : features of a head; hidden size / heads if unsaid.
    rotary : share of each head's features that the rotary embedding turns.
    rotary_skip : every so many layers have no rotary embedding.
    joined : queries, keys and values come from one projection.
    bias, out_bias : biases of the projections to, and from, the heads; with `key_bias` false, of the keys' not.
    norm : root-mean-square normalisation of each query and key head, trained or plain, or of all as one ("whole").
    value_norm : plain normalisation of each value head.
    gate : what attention yields is weighted by the sigmoid of one more projection.
    value_from_key : the keys' projection serves as values too.
    sinks, softcap : as in the `attention` operation.
    span : sliding window of the keys; every `full_every`-th layer sees all.
    dropout : rate on the probabilities, the network's if unsaid.
    padded, clipped, scale : as in the `attention` operation.
    """

    count: Size
    kv: Size | None = None
    size: Size | None = None
    rotary: Share = 0.0
    rotary_skip: Annotated[int, Meta(ge=0)] = 0
    joined: bool = False
    bias: bool = False
    out_bias: bool = False
    key_bias: bool = True
    norm: Literal["none", "trained", "plain", "whole"] = "none"
    value_norm: bool = False
    gate: bool = False
    value_from_key: bool = False
    sinks: bool = False
    softcap: bool = False
    span: Size | None = None
    full_every: Annotated[int, Meta(ge=0)] = 0
    dropout: Rate | None = None
    padded: bool = False
    clipped: bool = False
    scale: Literal["scores", "queries", "none"] = "scores"

    def width(self, hidden: int) -> int:
        """Features of one head."""
        if self.size is None and hidden % self.count:
            raise InputError(f"{hidden} features do not divide into {self.count} heads")
        return self.size or hidden // self.count

    @property
    def shared(self) -> int:
        """Heads of keys and values."""
        return self.kv or self.count


class FeedForward(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Shape of a feed-forward network: `width` inner features, gated (three matrices) or not (two)."""

    width: Size
    activation: ActivationName = "silu"
    gated: bool = True
    bias: bool = False


@dataclass(frozen=True, slots=True)
class Style:
    """What all layers of a network share."""

    hidden: int
    norm: NormName
    dropout: float
    mode: Mode


def attention_rule(mode: Mode) -> type[FusedAttention | EagerAttention]:
    """The attention operation of a mode."""
    return FusedAttention if mode == "fused" else EagerAttention


def norm_op(name: NormName, features: int | None = None, *, affine: bool = True) -> Op:
    """A normalisation of each position, or of runs of `features`."""
    return (RmsNorm if name == "rms" else LayerNorm)(features=features, affine=affine)


def dropped(net: Network, source: int, rate: float, name: str) -> int:
    """Dropout where there is any."""
    return net.add(Dropout(rate=rate), source, name=name) if rate else source


def residual(net: Network, source: int, branch: int, prefix: str) -> int:
    """The branch added to what entered it."""
    return net.add(Add(), source, branch, name=f"{prefix}.add")


def feed_forward(net: Network, mlp: FeedForward, hidden: int, source: int, prefix: str) -> int:
    """Two matrices with an activation between, or three where one gates another."""
    rule = ACTIVATIONS[mlp.activation]()
    inner = Linear(out=mlp.width, bias=mlp.bias)
    if mlp.gated:
        gate = net.add(rule, net.add(inner, source, name=f"{prefix}.gate"), name=f"{prefix}.activation")
        up = net.add(inner, source, name=f"{prefix}.up")
        middle = net.add(Multiply(), gate, up, name=f"{prefix}.multiply")
    else:
        middle = net.add(rule, net.add(inner, source, name=f"{prefix}.up"), name=f"{prefix}.activation")
    return net.add(Linear(out=hidden, bias=mlp.bias), middle, name=f"{prefix}.down")


def self_attention(net: Network, heads: Heads, style: Style, source: int, place: tuple[str, int, bool]) -> int:
    """Projections, normalisation and rotation of queries and keys, attention, projection.

    `place` is the layers' name prefix, the layer's number and whether later positions are hidden.
    """
    prefix, number, causal = place
    inputs = _joined(net, heads, style, source, place) if heads.joined else _separate(net, heads, style, source, place)
    seen = None if heads.full_every and (number + 1) % heads.full_every == 0 else heads.span
    op = attention_rule(style.mode)(
        heads=heads.count,
        kv_heads=heads.kv,
        causal=causal,
        span=seen,
        sinks=heads.sinks,
        softcap=heads.softcap,
        dropout=style.dropout if heads.dropout is None else heads.dropout,
        padded=heads.padded,
        clipped=heads.clipped,
        scale=heads.scale,
    )
    mixed = net.add(op, *inputs, name=f"{prefix}.scores")
    if heads.gate:
        gate = net.add(Linear(out=net.shape(mixed)[1], bias=heads.bias), source, name=f"{prefix}.gate")
        mixed = net.add(Multiply(), mixed, net.add(Sigmoid(), gate, name=f"{prefix}.sigmoid"), name=f"{prefix}.gated")
    return net.add(Linear(out=style.hidden, bias=heads.out_bias), mixed, name=f"{prefix}.output")


def _turned(heads: Heads, number: int, size: int) -> int:
    """Features of one head that the rotary embedding turns in this layer."""
    if heads.rotary_skip and (number + 1) % heads.rotary_skip == 0:
        return 0
    return round(heads.rotary * size)


def _joined(net: Network, heads: Heads, style: Style, source: int, place: tuple[str, int, bool]) -> tuple[int, ...]:
    """One projection, whose output attention reads as a whole."""
    prefix, number, _ = place
    if heads.norm != "none":
        raise InputError("joined projections and normalised heads exclude each other")
    size = heads.width(style.hidden)
    out = (heads.count + 2 * heads.shared) * size
    joined = net.add(Linear(out=out, bias=heads.bias), source, name=f"{prefix}.qkv")
    turned = _turned(heads, number, size) * (heads.count + heads.shared)
    return (net.add(Rotary(rotated=turned), joined, name=f"{prefix}.rotary") if turned else joined,)


def _separate(net: Network, heads: Heads, style: Style, source: int, place: tuple[str, int, bool]) -> tuple[int, ...]:
    """Queries, keys and values by a projection each, or keys and values by one."""
    prefix, number, _ = place
    size = heads.width(style.hidden)
    wide, narrow = (Linear(out=count * size, bias=heads.bias) for count in (heads.count, heads.shared))
    query = net.add(wide, source, name=f"{prefix}.query")
    projection = Linear(out=narrow.out, bias=heads.bias and heads.key_bias)
    key = net.add(projection, source, name=f"{prefix}.key")
    value = key if heads.value_from_key else net.add(narrow, source, name=f"{prefix}.value")
    query = _finish(net, heads, style, query, (f"{prefix}.query", number))
    key = _finish(net, heads, style, key, (f"{prefix}.key", number))
    if heads.value_norm:
        value = net.add(RmsNorm(features=size, affine=False), value, name=f"{prefix}.value_norm")
    return query, key, value


def _finish(net: Network, heads: Heads, style: Style, handle: int, place: tuple[str, int]) -> int:
    """Normalisation and rotation of queries or keys."""
    name, number = place
    size = heads.width(style.hidden)
    if heads.norm != "none":
        row = None if heads.norm == "whole" else size
        handle = net.add(RmsNorm(features=row, affine=heads.norm != "plain"), handle, name=f"{name}_norm")
    share = _turned(heads, number, size)
    rotated = share * (net.shape(handle)[1] // size)
    return net.add(Rotary(rotated=rotated), handle, name=f"{name}_rotary") if share else handle

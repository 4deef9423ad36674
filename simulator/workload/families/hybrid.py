"""Language models of state-space and linear-attention layers, alone, among or beside attention: Mamba, Qwen3-Next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from simulator.errors import InputError
from simulator.op.activation import CrossEntropyLoss
from simulator.op.combine import Add
from simulator.op.gated_delta import GatedDelta
from simulator.op.linear import Linear
from simulator.op.rearrange import FeatureSlice
from simulator.op.selective_scan import CausalConvolution, SelectiveScan
from simulator.op.sequence import Embedding, TiedLinear
from simulator.op.state_space import StateSpace
from simulator.op.tensor import Unary
from simulator.workload.families import family
from simulator.workload.families.mixture import Mixture, experts
from simulator.workload.families.ranges import Depth, Rate, Size
from simulator.workload.families.transformer import (
    FeedForward,
    Heads,
    Mode,
    Style,
    dropped,
    feed_forward,
    norm_op,
    residual,
    self_attention,
)
from simulator.workload.workload import INPUT, Network

BranchName = Literal["state_space", "selective", "delta", "attention", "both", "mlp", "experts"]
"""What a branch of a layer does: mix positions by a state or by attention, or each position by itself.

`both` is the sum of a state-space layer and attention that read the same.
"""

Branches = Annotated[tuple[BranchName, ...], Meta(min_length=1, max_length=4)]


class Space(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Shape of a state-space layer: `heads` of `size` features, a state of `state` for each of these, as the operation.

    `bias`, `out_bias`: of the projections before it and, as before it if unsaid, after it.
    """

    heads: Size
    size: Size = 64
    state: Size = 128
    groups: Size = 1
    conv: Size = 4
    conv_bias: bool = True
    chunk: Size = 256
    norm: bool = True
    bias: bool = False
    out_bias: bool | None = None


class Selective(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Shape of a selective scan: `inner` channels, a state of `state` for each; steps from `rank` features.

    `bias`: of the projections before and after it. `norm`: root-mean-square normalisation of what the steps come from
    and of B and C, with a trained scale or without.
    """

    inner: Size
    rank: Size
    state: Size = 16
    conv: Size = 4
    conv_bias: bool = True
    bias: bool = False
    norm: Literal["none", "plain", "trained"] = "none"


class Delta(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Shape of a gated delta layer: `heads` of values and `key_heads` of queries and keys, with features of each."""

    heads: Size
    key_heads: Size
    size: Size = 128
    key_size: Size = 128
    conv: Size = 4
    chunk: Size = 64


@dataclass(frozen=True, slots=True)
class BranchParts:
    """What the branches of all layers are made from."""

    style: Style
    heads: Heads | None
    space: Space | None
    selective: Selective | None
    delta: Delta | None
    mlp: FeedForward | None
    mixture: Mixture | None
    factors: bool


@family("hybrid")
def hybrid(
    net: Network,
    *,
    depth: Depth,
    hidden: Size,
    vocabulary: Size,
    pattern: Annotated[tuple[Branches, ...], Meta(min_length=1, max_length=10_000)],
    heads: Heads | None = None,
    space: Space | None = None,
    selective: Selective | None = None,
    delta: Delta | None = None,
    mlp: FeedForward | None = None,
    mixture: Mixture | None = None,
    factors: bool = False,
    tied: bool = False,
    dropout: Rate = 0.0,
    attention: Mode = "eager",
) -> None:
    """Embedding, layers of the branches that `pattern` lists, normalisation, projection to the vocabulary.

    Each branch is normalised before and added to what entered it. The pattern is repeated up to `depth` layers:
    one entry of `[state_space]` is Mamba 2, one of `[selective]` Mamba, three of `[delta, experts]` and one of
    `[attention, experts]` Qwen3-Next. With `factors`, constants scale what the two mixers of `both` read and give, what
    the network gives, the embedding and the logits (Falcon-H1).
    Source: Gu, Dao, "Mamba", arXiv 2312.00752, section 3.4; Dao, Gu, "Transformers are SSMs", ICML 2024, arXiv
    2405.21060, section 7; Yang et al., "Gated Delta Networks", ICLR 2025, arXiv 2412.06464, section 3.4.
    """
    parts = BranchParts(Style(hidden, "rms", dropout, attention), heads, space, selective, delta, mlp, mixture, factors)
    state = net.add(Embedding(vocabulary=vocabulary, features=hidden), INPUT, name="embedding")
    state = _scaled(net, parts, state, "embedding.factor")
    state = dropped(net, state, dropout, "dropout")
    for number in range(depth):
        for branch in pattern[number % len(pattern)]:
            state = _branch(net, parts, branch, number, state)
    state = net.add(norm_op("rms"), state, name="norm")
    head = TiedLinear(out=vocabulary, bias=False) if tied else Linear(out=vocabulary, bias=False)
    logits = _scaled(net, parts, net.add(head, state, name="head"), "head.factor")
    net.add(CrossEntropyLoss(), logits, name="loss")


def _scaled(net: Network, parts: BranchParts, source: int, name: str) -> int:
    """The source times a constant, where the model has such."""
    return net.add(Unary(function="multiply"), source, name=name) if parts.factors else source


def _branch(net: Network, parts: BranchParts, branch: BranchName, number: int, state: int) -> int:
    """Normalisation, the branch, dropout, the sum."""
    prefix = f"layers.{number}.{'mixture' if branch == 'experts' else branch}"
    entry = net.add(norm_op("rms"), state, name=f"{prefix}.norm")
    out = dropped(net, _inside(net, parts, branch, entry, (prefix, number)), parts.style.dropout, f"{prefix}.dropout")
    return residual(net, state, out, prefix)


def _inside(net: Network, parts: BranchParts, branch: BranchName, entry: int, place: tuple[str, int]) -> int:
    prefix, number = place
    match branch:
        case "state_space" if parts.space:
            return _state_space(net, parts, parts.space, entry, prefix)
        case "selective" if parts.selective:
            return _selective(net, parts.selective, parts.style.hidden, entry, prefix)
        case "both" if parts.space and parts.heads:
            return _both(net, parts, entry, place)
        case "delta" if parts.delta:
            return _gated_delta(net, parts.delta, parts.style.hidden, entry, prefix)
        case "attention" if parts.heads:
            return self_attention(net, parts.heads, parts.style, entry, (prefix, number, True))
        case "mlp" if parts.mlp:
            out = feed_forward(net, parts.mlp, parts.style.hidden, entry, prefix)
            return _scaled(net, parts, out, f"{prefix}.factor")
        case "experts" if parts.mixture:
            shape = (parts.style.hidden, parts.mlp.activation if parts.mlp else "silu")
            return experts(net, parts.mixture, shape, (entry, entry), f"layers.{number}.experts")
    keys = {"state_space": "space", "attention": "heads", "experts": "mixture", "both": "space` and `heads"}
    key = keys.get(branch, branch)
    raise InputError(f"layer {number} has a branch {branch} and the model no `{key}`")


def _both(net: Network, parts: BranchParts, entry: int, place: tuple[str, int]) -> int:
    """A state-space layer and attention beside each other, added."""
    prefix, number = place
    assert parts.space  # noqa: S101 - the caller looked
    assert parts.heads  # noqa: S101 - the caller looked
    mixed = _state_space(net, parts, parts.space, entry, f"{prefix}.state_space")
    seen = _scaled(net, parts, entry, f"{prefix}.attention.input_factor")
    seen = self_attention(net, parts.heads, parts.style, seen, (f"{prefix}.attention", number, True))
    seen = _scaled(net, parts, seen, f"{prefix}.attention.factor")
    return net.add(Add(), mixed, seen, name=f"{prefix}.sum")


def _state_space(net: Network, parts: BranchParts, space: Space, entry: int, prefix: str) -> int:
    """One projection to all that the scan reads, the scan, and one back."""
    sides = msgspec.structs.asdict(space)
    out_bias = sides.pop("out_bias")
    bias = sides.pop("bias")
    op = StateSpace(**sides)
    entry = _scaled(net, parts, entry, f"{prefix}.input_factor")
    projected = net.add(Linear(out=op.columns(0), bias=bias), entry, name=f"{prefix}.input")
    projected = _scaled(net, parts, projected, f"{prefix}.scan_factor")
    mixed = net.add(op, projected, name=f"{prefix}.scan")
    back = Linear(out=parts.style.hidden, bias=bias if out_bias is None else out_bias)
    return _scaled(net, parts, net.add(back, mixed, name=f"{prefix}.output"), f"{prefix}.factor")


def _selective(net: Network, selective: Selective, hidden: int, entry: int, prefix: str) -> int:
    """A projection to values and gate, convolution, selection, steps of each channel, scan, a projection back."""
    rank, state = selective.rank, selective.state
    wide = net.add(Linear(out=2 * selective.inner, bias=selective.bias), entry, name=f"{prefix}.input")
    conv = CausalConvolution(heads=selective.inner, conv=selective.conv, bias=selective.conv_bias)
    values = net.add(conv, wide, name=f"{prefix}.conv")
    chosen = net.add(Linear(out=rank + 2 * state, bias=False), values, name=f"{prefix}.selection")
    steps = _chosen(net, selective, chosen, (0, rank), f"{prefix}.rank")
    of_inputs = _chosen(net, selective, chosen, (rank, state), f"{prefix}.b")
    of_outputs = _chosen(net, selective, chosen, (rank + state, state), f"{prefix}.c")
    steps = net.add(Linear(out=selective.inner, bias=False), steps, name=f"{prefix}.steps")
    scan = SelectiveScan(heads=selective.inner, state=state)
    mixed = net.add(scan, values, steps, of_inputs, of_outputs, wide, name=f"{prefix}.scan")
    return net.add(Linear(out=hidden, bias=selective.bias), mixed, name=f"{prefix}.output")


def _chosen(net: Network, selective: Selective, chosen: int, place: tuple[int, int], name: str) -> int:
    """So many features of the selection from a place on, normalised where they are."""
    part = net.add(FeatureSlice(start=place[0], stop=sum(place), split=True), chosen, name=name)
    if selective.norm == "none":
        return part
    return net.add(norm_op("rms", affine=selective.norm == "trained"), part, name=f"{name}_norm")


def _gated_delta(net: Network, delta: Delta, hidden: int, entry: int, prefix: str) -> int:
    """A projection to queries, keys, values and gates, one to steps and decays, the rule, and one back."""
    op = GatedDelta(**msgspec.structs.asdict(delta))
    wide = net.add(Linear(out=op.columns(0), bias=False), entry, name=f"{prefix}.input")
    steps = net.add(Linear(out=op.columns(1), bias=False), entry, name=f"{prefix}.steps")
    mixed = net.add(op, wide, steps, name=f"{prefix}.rule")
    return net.add(Linear(out=hidden, bias=False), mixed, name=f"{prefix}.output")

"""Language models of state-space and linear-attention layers, alone or among attention: Mamba 2, Qwen3-Next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from simulator.errors import InputError
from simulator.op.activation import CrossEntropyLoss
from simulator.op.gated_delta import GatedDelta
from simulator.op.linear import Linear
from simulator.op.sequence import Embedding, TiedLinear
from simulator.op.state_space import StateSpace
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

BranchName = Literal["state_space", "delta", "attention", "mlp", "experts"]
"""What a branch of a layer does: mix positions by a state or by attention, or each position by itself."""

Branches = Annotated[tuple[BranchName, ...], Meta(min_length=1, max_length=4)]


class Space(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Shape of a state-space layer: `heads` of `size` features, a state of `state` for each of these, as the operation.

    `bias`: of the projections before and after it.
    """

    heads: Size
    size: Size = 64
    state: Size = 128
    groups: Size = 1
    conv: Size = 4
    conv_bias: bool = True
    chunk: Size = 256
    bias: bool = False


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
    delta: Delta | None
    mlp: FeedForward | None
    mixture: Mixture | None


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
    delta: Delta | None = None,
    mlp: FeedForward | None = None,
    mixture: Mixture | None = None,
    tied: bool = False,
    dropout: Rate = 0.0,
    attention: Mode = "eager",
) -> None:
    """Embedding, layers of the branches that `pattern` lists, normalisation, projection to the vocabulary.

    Each branch is normalised before and added to what entered it. The pattern is repeated up to `depth` layers:
    one entry of `[state_space]` is Mamba 2, three of `[delta, experts]` and one of `[attention, experts]` Qwen3-Next.
    Source: Dao, Gu, "Transformers are SSMs", ICML 2024, arXiv 2405.21060, section 7; Yang et al., "Gated Delta
    Networks", ICLR 2025, arXiv 2412.06464, section 3.4.
    """
    parts = BranchParts(Style(hidden, "rms", dropout, attention), heads, space, delta, mlp, mixture)
    state = net.add(Embedding(vocabulary=vocabulary, features=hidden), INPUT, name="embedding")
    state = dropped(net, state, dropout, "dropout")
    for number in range(depth):
        for branch in pattern[number % len(pattern)]:
            state = _branch(net, parts, branch, number, state)
    state = net.add(norm_op("rms"), state, name="norm")
    head = TiedLinear(out=vocabulary, bias=False) if tied else Linear(out=vocabulary, bias=False)
    net.add(CrossEntropyLoss(), net.add(head, state, name="head"), name="loss")


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
            return _state_space(net, parts.space, parts.style.hidden, entry, prefix)
        case "delta" if parts.delta:
            return _gated_delta(net, parts.delta, parts.style.hidden, entry, prefix)
        case "attention" if parts.heads:
            return self_attention(net, parts.heads, parts.style, entry, (prefix, number, True))
        case "mlp" if parts.mlp:
            return feed_forward(net, parts.mlp, parts.style.hidden, entry, prefix)
        case "experts" if parts.mixture:
            shape = (parts.style.hidden, parts.mlp.activation if parts.mlp else "silu")
            return experts(net, parts.mixture, shape, (entry, entry), f"layers.{number}.experts")
    key = {"state_space": "space", "attention": "heads", "experts": "mixture"}.get(branch, branch)
    raise InputError(f"layer {number} has a branch {branch} and the model no `{key}`")


def _state_space(net: Network, space: Space, hidden: int, entry: int, prefix: str) -> int:
    """One projection to all that the scan reads, the scan, and one back."""
    sides = msgspec.structs.asdict(space)
    del sides["bias"]
    op = StateSpace(**sides)
    projected = net.add(Linear(out=op.columns(0), bias=space.bias), entry, name=f"{prefix}.input")
    mixed = net.add(op, projected, name=f"{prefix}.scan")
    return net.add(Linear(out=hidden, bias=space.bias), mixed, name=f"{prefix}.output")


def _gated_delta(net: Network, delta: Delta, hidden: int, entry: int, prefix: str) -> int:
    """A projection to queries, keys, values and gates, one to steps and decays, the rule, and one back."""
    op = GatedDelta(**msgspec.structs.asdict(delta))
    wide = net.add(Linear(out=op.columns(0), bias=False), entry, name=f"{prefix}.input")
    steps = net.add(Linear(out=op.columns(1), bias=False), entry, name=f"{prefix}.steps")
    mixed = net.add(op, wide, steps, name=f"{prefix}.rule")
    return net.add(Linear(out=hidden, bias=False), mixed, name=f"{prefix}.output")

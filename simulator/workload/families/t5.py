"""T5: encoder and decoder with relative positions."""

from __future__ import annotations

from dataclasses import dataclass, replace

from simulator.errors import InputError
from simulator.op.activation import CrossEntropyLoss
from simulator.op.experts import ActivationName
from simulator.op.layer_norm import RmsNorm
from simulator.op.linear import Linear
from simulator.op.sequence import Embedding, TiedLinear
from simulator.workload.families import family
from simulator.workload.families.ranges import Depth, Rate, Size
from simulator.workload.families.transformer import (
    FeedForward,
    Mode,
    Style,
    attention_rule,
    dropped,
    feed_forward,
    residual,
)
from simulator.workload.workload import INPUT, Network

BUCKETS = 32
"""Distances that have a trained number of their own. Source: Raffel et al., 2020, section 2.1."""


@dataclass(frozen=True, slots=True)
class Stack:
    """Encoder or decoder: names start with `prefix`; `memory` is the encoder's output, which a decoder attends to."""

    prefix: str
    style: Style
    heads: int
    size: int
    buckets: int
    mlp: FeedForward
    memory: int | None = None


@family("t5")
def t5(
    net: Network,
    *,
    depth: Depth,
    hidden: Size,
    heads: Size,
    intermediate: Size,
    size: Size = 64,
    decoder_depth: Depth | None = None,
    vocabulary: Size = 32128,
    buckets: Size = BUCKETS,
    activation: ActivationName = "relu",
    gated: bool = False,
    tied: bool = True,
    dropout: Rate = 0.1,
    attention: Mode = "eager",
) -> None:
    """Encoder over the first input, decoder over the second, each layer normalised before its branches.

    The first layer of each stack has the table of relative positions that all its layers add to their scores; attention
    over the encoder's output has none. Both stacks read one embedding, as does the tied head.
    Source: Raffel et al., "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer", JMLR
    2020, section 2.1.
    """
    if len(net.inputs) != 2:
        raise InputError("t5 needs two inputs, of the encoder and the decoder: `input: [[512], [128]]`")
    mlp = FeedForward(width=intermediate, activation=activation, gated=gated)
    encoder = Stack("encoder", Style(hidden, "rms", dropout, attention), heads, size, buckets, mlp)
    words = net.add(Embedding(vocabulary=vocabulary, features=hidden), INPUT, name="encoder.embedding")
    memory = _stack(net, encoder, depth, words)
    words = net.add(Embedding(vocabulary=vocabulary, features=hidden, tied=True), INPUT - 1, name="decoder.embedding")
    state = _stack(net, replace(encoder, prefix="decoder", memory=memory), decoder_depth or depth, words)
    head = TiedLinear(out=vocabulary) if tied else Linear(out=vocabulary, bias=False)
    net.add(CrossEntropyLoss(), net.add(head, state, name="head"), name="loss")


def _stack(net: Network, stack: Stack, depth: int, state: int) -> int:
    state = dropped(net, state, stack.style.dropout, f"{stack.prefix}.dropout")
    for number in range(depth):
        prefix = f"{stack.prefix}.layers.{number}"
        table = stack.buckets if number == 0 else 0
        state = _attend(net, stack, state, f"{prefix}.attention", table)
        if stack.memory is not None:
            state = _attend(net, stack, state, f"{prefix}.cross_attention", None)
        entry = net.add(RmsNorm(), state, name=f"{prefix}.mlp.norm")
        out = feed_forward(net, stack.mlp, stack.style.hidden, entry, f"{prefix}.mlp")
        state = _close(net, stack, state, out, f"{prefix}.mlp")
    state = net.add(RmsNorm(), state, name=f"{stack.prefix}.norm")
    return dropped(net, state, stack.style.dropout, f"{stack.prefix}.dropout_after")


def _attend(net: Network, stack: Stack, state: int, prefix: str, table: int | None) -> int:
    """Attention to the stack itself, with a `table` of relative positions, or (None) to the encoder's output."""
    entry = net.add(RmsNorm(), state, name=f"{prefix}.norm")
    cross = table is None and stack.memory is not None
    source = stack.memory if cross and stack.memory is not None else entry
    projection = Linear(out=stack.heads * stack.size, bias=False)
    query = net.add(projection, entry, name=f"{prefix}.query")
    key = net.add(projection, source, name=f"{prefix}.key")
    value = net.add(projection, source, name=f"{prefix}.value")
    causal = stack.memory is not None and not cross
    dropout = stack.style.dropout
    op = attention_rule(stack.style.mode)(
        heads=stack.heads, causal=causal, relative_positions=table, dropout=dropout, scale="none"
    )
    mixed = net.add(op, query, key, value, name=f"{prefix}.scores")
    out = net.add(Linear(out=stack.style.hidden, bias=False), mixed, name=f"{prefix}.output")
    return _close(net, stack, state, out, prefix)


def _close(net: Network, stack: Stack, state: int, out: int, prefix: str) -> int:
    return residual(net, state, dropped(net, out, stack.style.dropout, f"{prefix}.dropout"), prefix)

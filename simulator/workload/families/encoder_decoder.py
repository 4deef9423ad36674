"""Encoders with a decoder that attends to them: BART, Marian, Pegasus, mBART, M2M-100, Blenderbot, Whisper."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from simulator.errors import InputError
from simulator.op.activation import CrossEntropyLoss
from simulator.op.convolution import Convolution
from simulator.op.experts import ActivationName
from simulator.op.gelu import Gelu
from simulator.op.layer_norm import LayerNorm
from simulator.op.linear import Linear
from simulator.op.reshape import Reshape
from simulator.op.sequence import Embedding, FixedPositions, PositionEmbedding, TiedLinear, Tokens
from simulator.workload.families import family
from simulator.workload.families.ranges import Depth, Rate, Size
from simulator.workload.families.transformer import (
    FeedForward,
    Heads,
    Mode,
    Style,
    attention_rule,
    dropped,
    feed_forward,
    residual,
    self_attention,
)
from simulator.workload.workload import INPUT, Network


class CoderSizes(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Encoder or decoder.

    Attributes
    ----------
    depth, heads, width : layers, heads of each attention, inner features of each feed-forward network.
    positions : length of the table of positions.
    fixed : the positions are waves, kept as weights that nothing trains ("stored") or worked out ("computed").
    """

    depth: Depth
    heads: Size
    width: Size
    positions: Size
    fixed: Literal["no", "stored", "computed"] = "no"


@dataclass(frozen=True, slots=True)
class CoderStyle:
    """What both sides share."""

    style: Style
    activation: ActivationName
    after: bool
    entry_norm: bool
    end_norm: bool
    key_bias: bool


@family("encoder_decoder")
def encoder_decoder(
    net: Network,
    *,
    encoder: CoderSizes,
    decoder: CoderSizes,
    hidden: Size,
    vocabulary: Size,
    activation: ActivationName = "gelu",
    sound: bool = False,
    after: bool = False,
    entry_norm: bool = False,
    end_norm: bool = True,
    key_bias: bool = True,
    dropout: Annotated[Rate, Meta(description="of embeddings and branches")] = 0.0,
    attention: Mode = "eager",
) -> None:
    """Encoder over the first input, decoder over the second; words are embedded by one table, as is the tied head.

    `sound`: the first input is a spectrum of (bands, frames), which two convolutions halve (Whisper). `after`:
    normalisation after each branch, else before it. `entry_norm`, `end_norm`: one after the embedding, and after the
    last layer. `key_bias`: whether the projections to the keys have biases as the others have.
    Source: Lewis et al., "BART", ACL 2020, arXiv 1910.13461, section 2; Junczys-Dowmunt et al., "Marian", ACL 2018;
    Zhang et al., "PEGASUS", ICML 2020, arXiv 1912.08777; Radford et al., "Robust Speech Recognition via Large-Scale
    Weak Supervision", 2022, arXiv 2212.04356, section 2.2.
    """
    if len(net.inputs) != 2:
        raise InputError("encoder_decoder needs two inputs, of the encoder and the decoder: `input: [[512], [128]]`")
    shape = CoderStyle(Style(hidden, "layer", dropout, attention), activation, after, entry_norm, end_norm, key_bias)
    if sound:
        state = _sound(net, hidden)
    else:
        state = net.add(Embedding(vocabulary=vocabulary, features=hidden), INPUT, name="encoder.embedding")
    memory = _stack(net, shape, encoder, ("encoder", state, None))
    words = Embedding(vocabulary=vocabulary, features=hidden, tied=not sound)
    state = _stack(net, shape, decoder, ("decoder", net.add(words, INPUT - 1, name="decoder.embedding"), memory))
    net.add(CrossEntropyLoss(), net.add(TiedLinear(out=vocabulary), state, name="head"), name="loss")


def _sound(net: Network, hidden: int) -> int:
    """A spectrum through two convolutions along time, the second of stride 2, as positions."""
    if len(net.inputs[0]) != 2:
        raise InputError(f"sound is a spectrum of (bands, frames), found {list(net.inputs[0])}")
    bands, frames = net.inputs[0]
    state = net.add(Reshape(shape=(bands, 1, frames)), INPUT, name="encoder.spectrum")
    for number, stride in enumerate((1, 2), start=1):
        op = Convolution(out=hidden, kernel=(1, 3), padding=(0, 1), stride=(1, stride))
        state = net.add(op, state, name=f"encoder.conv{number}")
        state = net.add(Gelu(), state, name=f"encoder.conv{number}.activation")
    return net.add(Tokens(), state, name="encoder.tokens")


def _stack(net: Network, shape: CoderStyle, side: CoderSizes, place: tuple[str, int, int | None]) -> int:
    """`place` is the layers' name prefix, the embedded input and the encoder's output, which a decoder attends to."""
    prefix, state, memory = place
    positions = (
        PositionEmbedding(positions=side.positions)
        if side.fixed == "no"
        else FixedPositions(positions=side.positions, stored=side.fixed == "stored")
    )
    state = net.add(positions, state, name=f"{prefix}.positions")
    state = _norm(net, state, f"{prefix}.entry_norm", wanted=shape.entry_norm)
    state = dropped(net, state, shape.style.dropout, f"{prefix}.dropout")
    mlp = FeedForward(width=side.width, activation=shape.activation, gated=False, bias=True)
    heads = Heads(count=side.heads, bias=True, key_bias=shape.key_bias, out_bias=True)
    for number in range(side.depth):
        layer = f"{prefix}.layers.{number}"
        entry = _norm(net, state, f"{layer}.attention.norm", wanted=not shape.after)
        out = self_attention(net, heads, shape.style, entry, (f"{layer}.attention", number, memory is not None))
        state = _close(net, shape, (state, out), f"{layer}.attention")
        if memory is not None:
            entry = _norm(net, state, f"{layer}.cross_attention.norm", wanted=not shape.after)
            out = _cross_attention(net, heads, shape.style, (entry, memory), f"{layer}.cross_attention")
            state = _close(net, shape, (state, out), f"{layer}.cross_attention")
        entry = _norm(net, state, f"{layer}.mlp.norm", wanted=not shape.after)
        out = feed_forward(net, mlp, shape.style.hidden, entry, f"{layer}.mlp")
        state = _close(net, shape, (state, out), f"{layer}.mlp")
    return _norm(net, state, f"{prefix}.norm", wanted=shape.end_norm)


def _norm(net: Network, state: int, name: str, *, wanted: bool) -> int:
    return net.add(LayerNorm(), state, name=name) if wanted else state


def _close(net: Network, shape: CoderStyle, ends: tuple[int, int], prefix: str) -> int:
    """Dropout and sum after a branch, and normalisation where it comes after; `ends`: what entered, what came out."""
    state = residual(net, ends[0], dropped(net, ends[1], shape.style.dropout, f"{prefix}.dropout"), prefix)
    return _norm(net, state, f"{prefix}.norm", wanted=shape.after)


def _cross_attention(net: Network, heads: Heads, style: Style, ends: tuple[int, int], prefix: str) -> int:
    """Attention of the decoder's positions (`ends[0]`) to the encoder's (`ends[1]`)."""
    entry, memory = ends
    wide = Linear(out=style.hidden, bias=heads.bias)
    query = net.add(wide, entry, name=f"{prefix}.query")
    projection = Linear(out=style.hidden, bias=heads.bias and heads.key_bias)
    key = net.add(projection, memory, name=f"{prefix}.key")
    value = net.add(wide, memory, name=f"{prefix}.value")
    op = attention_rule(style.mode)(heads=heads.count, dropout=style.dropout)
    mixed = net.add(op, query, key, value, name=f"{prefix}.scores")
    return net.add(Linear(out=style.hidden, bias=heads.out_bias), mixed, name=f"{prefix}.output")

"""CLIP: a text's encoder and an image's, whose vectors are compared."""

from __future__ import annotations

import msgspec

from simulator.errors import InputError
from simulator.op.convolution import Convolution
from simulator.op.experts import ActivationName
from simulator.op.layer_norm import LayerNorm
from simulator.op.linear import Linear
from simulator.op.sequence import Embedding, First, PositionEmbedding, Tokens
from simulator.op.tensor import Binary
from simulator.workload.families import family
from simulator.workload.families.ranges import Depth, Rate, Size
from simulator.workload.families.transformer import (
    FeedForward,
    Heads,
    Mode,
    Style,
    feed_forward,
    residual,
    self_attention,
)
from simulator.workload.workload import INPUT, Network

IMAGE = INPUT - 1
"""The handle of the image, the second input."""


class ClipEncoder(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One side: layers, features, heads, inner features of the feed-forward networks, dropout of the attention."""

    depth: Depth
    hidden: Size
    heads: Size
    width: Size
    activation: ActivationName = "quick_gelu"
    dropout: Rate = 0.0


@family("clip")
def clip(
    net: Network,
    *,
    text: ClipEncoder,
    vision: ClipEncoder,
    vocabulary: Size = 49408,
    positions: Size = 77,
    patch: Size = 32,
    projection: Size = 512,
    attention: Mode = "eager",
) -> None:
    """Causal encoder over the words, encoder over the patches with a class token, a projection of one vector of each.

    The products between the vectors of a batch's samples, `projection` MACs a pair, are left out. `positions` is the
    length of the text's table.
    Source: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021, arXiv
    2103.00020, section 2.4.
    """
    if len(net.inputs) != 2:
        raise InputError("clip needs two inputs, words and an image: `input: [[77], [3, 224, 224]]`")
    state = net.add(Embedding(vocabulary=vocabulary, features=text.hidden), INPUT, name="text.embedding")
    state = net.add(PositionEmbedding(positions=positions), state, name="text.positions")
    state = net.add(LayerNorm(), _layers(net, text, attention, ("text", state, True)), name="text.norm")
    net.add(Linear(out=projection, bias=False), net.add(First(), state, name="text.last"), name="text.projection")
    net.add(Binary(function="multiply", constant=1, trained=True), name="temperature")
    op = Convolution(out=vision.hidden, kernel=patch, stride=patch, bias=False)
    state = net.add(Tokens(prefix=1), net.add(op, IMAGE, name="vision.patches"), name="vision.tokens")
    state = net.add(LayerNorm(), net.add(PositionEmbedding(), state, name="vision.positions"), name="vision.entry_norm")
    state = net.add(First(), _layers(net, vision, attention, ("vision", state, False)), name="vision.first")
    state = net.add(LayerNorm(), state, name="vision.norm")
    net.add(Linear(out=projection, bias=False), state, name="vision.projection")


def _layers(net: Network, side: ClipEncoder, mode: Mode, place: tuple[str, int, bool]) -> int:
    """Layers normalised before each branch; `place`: their prefix, what enters, whether later positions are hidden."""
    prefix, state, causal = place
    style = Style(side.hidden, "layer", side.dropout, mode)
    heads = Heads(count=side.heads, bias=True, out_bias=True)
    mlp = FeedForward(width=side.width, activation=side.activation, gated=False, bias=True)
    for number in range(side.depth):
        layer = f"{prefix}.layers.{number}"
        entry = net.add(LayerNorm(), state, name=f"{layer}.attention.norm")
        out = self_attention(net, heads, style, entry, (f"{layer}.attention", number, causal))
        state = residual(net, state, out, f"{layer}.attention")
        entry = net.add(LayerNorm(), state, name=f"{layer}.mlp.norm")
        state = residual(net, state, feed_forward(net, mlp, side.hidden, entry, f"{layer}.mlp"), f"{layer}.mlp")
    return state

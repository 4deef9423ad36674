"""Vision transformer: an encoder over the patches of an image."""

from __future__ import annotations

from simulator.errors import InputError
from simulator.op.convolution import Convolution
from simulator.op.layer_norm import LayerNorm
from simulator.op.sequence import First, PositionEmbedding, Tokens
from simulator.workload.families import family
from simulator.workload.families.blocks import classifier
from simulator.workload.families.ranges import Depth, Rate, Size
from simulator.workload.families.transformer import (
    FeedForward,
    Heads,
    Mode,
    Style,
    dropped,
    feed_forward,
    residual,
    self_attention,
)
from simulator.workload.workload import INPUT, Network


@family("vit")
def vit(
    net: Network,
    *,
    depth: Depth,
    hidden: Size,
    heads: Size,
    intermediate: Size,
    patch: Size = 16,
    joined: bool = True,
    bias: bool = True,
    classes: Size = 1000,
    dropout: Rate = 0.0,
    attention: Mode = "eager",
) -> None:
    """Patches by a convolution, a class token, positions, encoder layers normalised before each branch, a classifier.

    Source: Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021, arXiv 2010.11929, section 3.1, table 1.
    """
    side = net.inputs[0][1:]
    if len(side) != 2 or any(length % patch for length in side):
        raise InputError(f"an input of {list(net.inputs[0])} does not divide into patches of {patch}")
    style = Style(hidden, "layer", dropout, attention)
    shape = Heads(count=heads, bias=bias, out_bias=True, joined=joined, scale="queries")
    mlp = FeedForward(width=intermediate, activation="gelu", gated=False, bias=True)
    net.add(Convolution(out=hidden, kernel=patch, stride=patch), INPUT, name="patches")
    net.add(Tokens(prefix=1), name="tokens")
    state = dropped(net, net.add(PositionEmbedding(), name="positions"), dropout, "dropout")
    for number in range(depth):
        prefix = f"layers.{number}"
        entry = net.add(LayerNorm(), state, name=f"{prefix}.attention.norm")
        out = self_attention(net, shape, style, entry, (f"{prefix}.attention", number, False))
        out = dropped(net, out, dropout, f"{prefix}.attention.dropout")
        state = residual(net, state, out, f"{prefix}.attention")
        entry = net.add(LayerNorm(), state, name=f"{prefix}.mlp.norm")
        out = feed_forward(net, mlp, hidden, entry, f"{prefix}.mlp")
        state = residual(net, state, dropped(net, out, dropout, f"{prefix}.mlp.dropout"), f"{prefix}.mlp")
    net.add(First(), net.add(LayerNorm(), state, name="norm"), name="first")
    classifier(net, classes, "head")

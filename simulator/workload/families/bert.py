"""BERT: a bidirectional encoder, normalised after each branch."""

from __future__ import annotations

from typing import Literal

from simulator.op.activation import CrossEntropyLoss, Tanh
from simulator.op.combine import Add
from simulator.op.gelu import Gelu
from simulator.op.layer_norm import LayerNorm
from simulator.op.linear import Linear
from simulator.op.sequence import Embedding, First, PositionEmbedding, TiedLinear
from simulator.workload.families import family
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


@family("bert")
def bert(
    net: Network,
    *,
    depth: Depth,
    hidden: Size,
    heads: Size,
    intermediate: Size,
    vocabulary: Size = 30522,
    positions: Size = 512,
    types: Size = 2,
    head: Literal["pooler", "masked_lm", "pretraining"] = "pooler",
    dropout: Rate = 0.1,
    attention: Mode = "eager",
) -> None:
    """Three embeddings, encoder layers, and a head.

    `head`: "pooler" ends with the first position's vector through a layer and tanh, as the published encoder is
    counted; "masked_lm" predicts the vocabulary at every position through the tied embedding; "pretraining" does both,
    with the next-sentence classifier on the pooled vector.
    Source: Devlin et al., "BERT", NAACL 2019, arXiv 1810.04805, section 3 and appendix A.2.
    """
    style = Style(hidden, "layer", dropout, attention)
    shape = Heads(count=heads, bias=True, out_bias=True, padded=True)
    mlp = FeedForward(width=intermediate, activation="gelu", gated=False, bias=True)
    state = _embeddings(net, style, (vocabulary, types, positions))
    for number in range(depth):
        prefix = f"layers.{number}"
        out = self_attention(net, shape, style, state, (f"{prefix}.attention", number, False))
        state = _close(net, style, state, out, f"{prefix}.attention")
        out = feed_forward(net, mlp, hidden, state, f"{prefix}.mlp")
        state = _close(net, style, state, out, f"{prefix}.mlp")
    if head != "masked_lm":
        _pooler(net, hidden, state, classify=head == "pretraining")
    if head != "pooler":
        _masked_lm(net, hidden, vocabulary, state)


def _embeddings(net: Network, style: Style, sizes: tuple[int, int, int]) -> int:
    vocabulary, types, positions = sizes
    words = net.add(Embedding(vocabulary=vocabulary, features=style.hidden), INPUT, name="embeddings.words")
    kinds = net.add(Embedding(vocabulary=types, features=style.hidden), INPUT, name="embeddings.types")
    state = net.add(Add(), words, kinds, name="embeddings.add")
    state = net.add(PositionEmbedding(positions=positions), state, name="embeddings.positions")
    state = net.add(LayerNorm(), state, name="embeddings.norm")
    return dropped(net, state, style.dropout, "embeddings.dropout")


def _close(net: Network, style: Style, state: int, out: int, prefix: str) -> int:
    """Dropout, sum and normalisation after a branch."""
    out = dropped(net, out, style.dropout, f"{prefix}.dropout")
    return net.add(LayerNorm(), residual(net, state, out, prefix), name=f"{prefix}.norm")


def _pooler(net: Network, hidden: int, state: int, *, classify: bool) -> None:
    net.add(First(), state, name="pooler.first")
    net.add(Linear(out=hidden), name="pooler.dense")
    net.add(Tanh(), name="pooler.tanh")
    if classify:
        net.add(Linear(out=2), name="next_sentence")
        net.add(CrossEntropyLoss(), name="next_sentence_loss")


def _masked_lm(net: Network, hidden: int, vocabulary: int, state: int) -> None:
    net.add(Linear(out=hidden), state, name="head.dense")
    net.add(Gelu(), name="head.activation")
    net.add(LayerNorm(), name="head.norm")
    net.add(TiedLinear(out=vocabulary, bias=True), name="head.vocabulary")
    net.add(CrossEntropyLoss(), name="loss")

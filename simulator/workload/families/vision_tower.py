"""Vision towers of language models that see: an encoder over an image's patches, its tokens as wide as the text's."""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt

from simulator.errors import InputError
from simulator.op.activation import Dropout
from simulator.op.base import Op, Shape
from simulator.op.combine import Concat
from simulator.op.convolution import Convolution
from simulator.op.gelu import Gelu
from simulator.op.layer_norm import LayerNorm, RmsNorm
from simulator.op.linear import Linear
from simulator.op.rearrange import ChannelSlice
from simulator.op.reshape import Reduce
from simulator.op.sequence import Embedding, PositionEmbedding, Reorder, Tokens
from simulator.op.tensor import Binary, Unary
from simulator.workload.families.transformer import (
    FeedForward,
    Heads,
    Style,
    feed_forward,
    norm_op,
    residual,
    self_attention,
)
from simulator.workload.workload import Network

IMAGE = -2
"""The handle of the image, the second input; the text is the first."""
PREFIX = "vision"
PERMUTATIONS = 2
"""Copies of a pixel shuffle: rows, then columns, are gathered."""


@dataclass(frozen=True, slots=True)
class Encoder:
    """Layers over the patches.

    `both`: a normalisation before each branch and after it, else before it alone. `patch_bias`: of the patches.
    """

    depth: int
    patch: int
    style: Style
    heads: Heads
    mlp: FeedForward
    both: bool = False
    patch_bias: bool = False


@dataclass(frozen=True, slots=True)
class Shuffle:
    """LLaMA 4's adapter: `factor` x `factor` neighbours side by side, two matrices, one to the text's features.

    `inner`, `first`, `second`, `third`: what the first matrix reads and gives, what the second reads and gives, what
    the last reads. Where one is wider or narrower than what comes in, zeros fill it up or the rest is cut.
    """

    factor: int
    inner: int
    first: int
    second: int
    third: int
    dropout: float


@dataclass(frozen=True, slots=True)
class Pool:
    """Gemma 4's end: the average of `side` x `side` neighbours, scaled, by stored numbers too where `standardized`.

    `positions` is the length of the two tables of positions, along the image's width and height.
    """

    side: int
    positions: int
    standardized: bool


@dataclass(frozen=True, slots=True)
class Averaged:
    """Gemma 3's end: the average of `side` x `side` neighbours, normalised."""

    side: int


@dataclass(frozen=True, slots=True)
class Tower:
    """The encoder, how its output becomes the text's positions, the image and the text's features."""

    encoder: Encoder
    end: Shuffle | Pool | Averaged
    image: Shape
    features: int


@dataclass
class SeeingNetwork(Network):
    """A network whose embedded text follows the image's tokens: a family's layers after the embedding read both."""

    seen: int = IMAGE

    def add(self, op: Op, *sources: int, name: str = "") -> int:
        """As a network's; the handle of an embedding is that of the joined sequence."""
        handle = super().add(op, *sources, name=name)
        return super().add(Concat(), self.seen, handle, name=f"{PREFIX}.join") if isinstance(op, Embedding) else handle


def build(net: SeeingNetwork, tower: Tower) -> None:
    """The layers of a tower; what the network embeds afterwards is joined to its output.

    Attention sees all patches. Source: the transformers library, version 5.23, `modeling_llama4.py`,
    `modeling_gemma4.py` and `modeling_gemma3.py`.
    """
    match tower.end:
        case Shuffle() as end:
            state = _shuffled(net, tower, end)
        case Pool() as end:
            state = _pooled(net, tower, end)
        case Averaged() as end:
            state = _averaged(net, tower, end)
    net.seen = net.add(Linear(out=tower.features, bias=False), state, name=f"{PREFIX}.projector")


def _grid(net: Network, encoder: Encoder, factor: int) -> tuple[int, int]:
    """(handle of the patches as an image, its patches, of which `factor` x `factor` neighbours are joined)."""
    op = Convolution(out=encoder.style.hidden, kernel=encoder.patch, stride=encoder.patch, bias=encoder.patch_bias)
    patches = net.add(op, IMAGE, name=f"{PREFIX}.patches")
    _, height, width = net.shape(patches)
    if height % factor or width % factor:
        raise InputError(f"{height} x {width} patches do not divide into groups of {factor} x {factor}")
    return patches, height * width


def _shuffled(net: Network, tower: Tower, end: Shuffle) -> int:
    """A class token, positions, the encoder between two normalisations, the patches alone, the adapter."""
    encoder, hidden = tower.encoder, tower.encoder.style.hidden
    patches, count = _grid(net, encoder, end.factor)
    state = net.add(Tokens(prefix=1), patches, name=f"{PREFIX}.tokens")
    state = net.add(PositionEmbedding(), state, name=f"{PREFIX}.positions")
    state = _encode(net, encoder, net.add(LayerNorm(), state, name=f"{PREFIX}.norm_before"))
    state = net.add(LayerNorm(), state, name=f"{PREFIX}.norm")
    state = net.add(ChannelSlice(start=1, stop=count + 1), state, name=f"{PREFIX}.drop_class")
    area = end.factor**2
    op = Reorder(positions=count // area, features=hidden * area, copies=PERMUTATIONS)
    return _adapter(net, end, net.add(op, state, name=f"{PREFIX}.shuffle"))


def _adapter(net: Network, end: Shuffle, state: int) -> int:
    """Two matrices, an activation after each."""
    prefix = f"{PREFIX}.adapter"
    state = _fit(net, state, end.inner, f"{prefix}.fit_up")
    state = net.add(Linear(out=end.first, bias=False), state, name=f"{prefix}.up")
    state = net.add(Gelu(), state, name=f"{prefix}.activation")
    if end.dropout:
        state = net.add(Dropout(rate=end.dropout), state, name=f"{prefix}.dropout")
    state = _fit(net, state, end.second, f"{prefix}.fit_down")
    state = net.add(Linear(out=end.second, bias=False), state, name=f"{prefix}.down")
    state = net.add(Gelu(), state, name=f"{prefix}.activation_after")
    return _fit(net, state, end.third, f"{PREFIX}.fit_projector")


def _fit(net: Network, state: int, features: int, name: str) -> int:
    """The state with so many features, a copy with zeros where it has fewer."""
    positions, found = net.shape(state)
    return state if found == features else net.add(Reorder(positions=positions, features=features), state, name=name)


def _pooled(net: Network, tower: Tower, end: Pool) -> int:
    """Positions along both sides, the encoder, averages over neighbours, normalised."""
    encoder, hidden = tower.encoder, tower.encoder.style.hidden
    patches, count = _grid(net, encoder, end.side)
    state = net.add(Tokens(), patches, name=f"{PREFIX}.tokens")
    for side in ("width", "height"):
        state = net.add(PositionEmbedding(positions=end.positions), state, name=f"{PREFIX}.positions_{side}")
    state = _encode(net, encoder, state)
    state = net.add(Reduce(shape=(count // end.side**2, hidden)), state, name=f"{PREFIX}.pool")
    state = net.add(Unary(function="multiply"), state, name=f"{PREFIX}.scale")
    if end.standardized:
        state = net.add(Binary(function="subtract", constant=hidden), state, name=f"{PREFIX}.standard_shift")
        state = net.add(Binary(function="multiply", constant=hidden), state, name=f"{PREFIX}.standard_scale")
    return net.add(RmsNorm(affine=False), state, name=f"{PREFIX}.norm")


def _averaged(net: Network, tower: Tower, end: Averaged) -> int:
    """Positions, the encoder and its normalisation, averages over neighbours, normalised."""
    encoder = tower.encoder
    patches, count = _grid(net, encoder, end.side)
    state = net.add(Tokens(), patches, name=f"{PREFIX}.tokens")
    state = _encode(net, encoder, net.add(PositionEmbedding(), state, name=f"{PREFIX}.positions"))
    state = net.add(LayerNorm(), state, name=f"{PREFIX}.norm_after")
    state = net.add(Reduce(shape=(count // end.side**2, encoder.style.hidden)), state, name=f"{PREFIX}.pool")
    return net.add(RmsNorm(), state, name=f"{PREFIX}.norm")


def _encode(net: Network, encoder: Encoder, state: int) -> int:
    for number in range(encoder.depth):
        for name in ("attention", "mlp"):
            state = _branch(net, encoder, state, (number, name))
    return state


def _branch(net: Network, encoder: Encoder, state: int, place: tuple[int, str]) -> int:
    """Normalisation, attention or feed-forward network, the sum."""
    number, name = place
    prefix, style = f"{PREFIX}.layers.{number}.{name}", encoder.style
    entry = net.add(norm_op(style.norm), state, name=f"{prefix}.norm")
    if name == "attention":
        out = self_attention(net, encoder.heads, style, entry, (prefix, number, False))
    else:
        out = feed_forward(net, encoder.mlp, style.hidden, entry, prefix)
    if encoder.both:
        out = net.add(norm_op(style.norm), out, name=f"{prefix}.norm_after")
    return residual(net, state, out, prefix)


def square(tokens: int, multiple: int) -> int:
    """Side of the largest square image of at most so many tokens of `multiple` x `multiple` pixels. [pixels]"""
    return isqrt(tokens) * multiple

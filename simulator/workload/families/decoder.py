"""Decoder language models: GPT, OPT, LLaMA, Mistral, Qwen, Gemma, Phi, mixtures of experts, latent attention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from simulator.errors import InputError
from simulator.op.activation import CrossEntropyLoss
from simulator.op.combine import Add
from simulator.op.elementwise import Softcap
from simulator.op.experts import ActivationName
from simulator.op.linear import Linear
from simulator.op.sequence import Embedding, PositionEmbedding, TiedLinear
from simulator.workload.families import family
from simulator.workload.families.latent import Latent, latent_attention
from simulator.workload.families.mixture import Mixture, experts
from simulator.workload.families.ranges import Depth, Rate, Size
from simulator.workload.families.transformer import (
    FeedForward,
    Heads,
    Mode,
    NormName,
    Style,
    dropped,
    feed_forward,
    norm_op,
    residual,
    self_attention,
)
from simulator.workload.workload import INPUT, Network

Order = Literal["before", "after", "both", "parallel", "apart"]


@dataclass(frozen=True, slots=True)
class Block:
    """One layer's shape."""

    style: Style
    heads: Heads
    mlp: FeedForward | None
    latent: Latent | None
    mixture: Mixture | None
    order: Order
    full_heads: Heads | None

    @property
    def activation(self) -> ActivationName:
        """The experts' activation function, that of the dense layers where there are any."""
        return self.mlp.activation if self.mlp else "silu"

    def heads_at(self, number: int) -> Heads:
        """The heads of a layer: those of layers that see all positions may differ."""
        full = self.heads.full_every and (number + 1) % self.heads.full_every == 0
        return self.full_heads if full and self.full_heads else self.heads


@family("decoder")
def decoder(
    net: Network,
    *,
    depth: Depth,
    hidden: Size,
    vocabulary: Size,
    heads: Heads,
    full_heads: Heads | None = None,
    mlp: FeedForward | None = None,
    latent: Latent | None = None,
    mixture: Mixture | None = None,
    norm: NormName = "rms",
    order: Order = "before",
    positions: Size | Literal["input"] | None = None,
    embedding_norm: bool = False,
    tied: bool = False,
    head_bias: bool = False,
    cap_logits: bool = False,
    dropout: Rate = 0.0,
    attention: Mode = "eager",
) -> None:
    """Embedding, layers of causal attention and feed-forward network, normalisation, projection to the vocabulary.

    `order`: normalisation before each branch, after it (OLMo 2), before and after it ("both", Gemma 2), or before two
    branches side by side, once ("parallel", GPT-J) or each its own ("apart", GPT-NeoX). `embedding_norm`: after the
    embedding too (BLOOM). `positions`: length of a trained table of positions, or as long as the input. `full_heads`:
    heads of the layers that `heads.full_every` names, where they differ. The loss is over the vocabulary at every
    position.
    Source: Radford et al., "Language Models are Unsupervised Multitask Learners", 2019; Touvron et al., "LLaMA", 2023,
    arXiv 2302.13971, section 2.2; Jiang et al., "Mixtral of Experts", 2024, arXiv 2401.04088.
    """
    block = Block(Style(hidden, norm, dropout, attention), heads, mlp, latent, mixture, order, full_heads)
    state = net.add(Embedding(vocabulary=vocabulary, features=hidden), INPUT, name="embedding")
    if positions is not None:
        length = None if positions == "input" else positions
        state = net.add(PositionEmbedding(positions=length), state, name="positions")
    if embedding_norm:
        state = net.add(norm_op(norm), state, name="embedding_norm")
    state = dropped(net, state, dropout, "dropout")
    for number in range(depth):
        state = _layer(net, block, number, state)
    state = net.add(norm_op(norm), state, name="norm")
    head = TiedLinear(out=vocabulary, bias=head_bias) if tied else Linear(out=vocabulary, bias=head_bias)
    logits = net.add(head, state, name="head")
    if cap_logits:
        logits = net.add(Softcap(), logits, name="softcap")
    net.add(CrossEntropyLoss(), logits, name="loss")


def _layer(net: Network, block: Block, number: int, state: int) -> int:
    prefix = f"layers.{number}"
    if block.order in ("parallel", "apart"):
        entry = net.add(norm_op(block.style.norm), state, name=f"{prefix}.norm")
        first = _attention(net, block, number, entry)
        if block.order == "apart":
            entry = net.add(norm_op(block.style.norm), state, name=f"{prefix}.mlp.norm")
        second = _feed_forward(net, block, number, entry)
        return net.add(Add(), first, second, state, name=f"{prefix}.add")
    middle = _branch(net, block, number, state, "attention")
    return _branch(net, block, number, middle, "mlp")


def _branch(net: Network, block: Block, number: int, state: int, name: str) -> int:
    """Normalisation, the branch, dropout, the sum."""
    prefix, style = f"layers.{number}.{name}", block.style
    before = block.order != "after"
    entry = net.add(norm_op(style.norm), state, name=f"{prefix}.norm") if before else state
    if name == "attention":
        out = _attention(net, block, number, entry)
    elif block.mixture is not None and block.mixture.beside:
        out = _beside(net, block, number, (state, entry))
    else:
        out = _feed_forward(net, block, number, entry)
    if block.order in ("both", "after"):
        out = net.add(norm_op(style.norm), out, name=f"{prefix}.norm_after")
    out = dropped(net, out, style.dropout, f"{prefix}.dropout")
    return residual(net, state, out, prefix)


def _attention(net: Network, block: Block, number: int, entry: int) -> int:
    prefix = f"layers.{number}.attention"
    if block.latent is not None:
        return latent_attention(net, block.latent, (block.heads.count, block.style), entry, prefix)
    return self_attention(net, block.heads_at(number), block.style, entry, (prefix, number, True))


def _feed_forward(net: Network, block: Block, number: int, entry: int) -> int:
    prefix, hidden = f"layers.{number}.mlp", block.style.hidden
    if block.mixture is not None and block.mixture.at(number):
        return experts(net, block.mixture, (hidden, block.activation), (entry, entry), f"layers.{number}.experts")
    if block.mlp is None:
        raise InputError(f"layer {number} has neither experts nor `mlp`")
    return feed_forward(net, block.mlp, hidden, entry, prefix)


def _beside(net: Network, block: Block, number: int, entries: tuple[int, int]) -> int:
    """Feed-forward network and experts, from the same state, each with its normalisations."""
    prefix, norm = f"layers.{number}", norm_op(block.style.norm)
    state, entry = entries
    if block.mlp is None or block.mixture is None:
        raise InputError("experts beside a feed-forward network need `mlp`")
    dense = feed_forward(net, block.mlp, block.style.hidden, entry, f"{prefix}.mlp")
    dense = net.add(norm, dense, name=f"{prefix}.mlp.norm_dense")
    entry = net.add(norm, state, name=f"{prefix}.experts.norm")
    chooser = net.add(norm, state, name=f"{prefix}.experts.router_norm")
    shape = (block.style.hidden, block.activation)
    routed = experts(net, block.mixture, shape, (entry, chooser), f"{prefix}.experts")
    routed = net.add(norm, routed, name=f"{prefix}.experts.norm_after")
    return net.add(Add(), dense, routed, name=f"{prefix}.mlp.join")

"""Mixture of experts in place of a feed-forward network."""

from __future__ import annotations

import msgspec

from simulator.op.activation import Sigmoid
from simulator.op.combine import Add
from simulator.op.elementwise import Multiply
from simulator.op.experts import ActivationName, Experts, Route
from simulator.op.linear import Linear
from simulator.workload.families.ranges import Count, Size
from simulator.workload.families.transformer import FeedForward, feed_forward
from simulator.workload.workload import Network


class Mixture(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Experts in place of the feed-forward network.

    Attributes
    ----------
    count, active, width : experts, those that a position passes, inner features of each.
    shared : inner features of the experts that all positions pass; 0 for none.
    shared_gate : the shared experts' output is weighted by a trained gate.
    dense_first, every : the first layers have none, then every so many layers have them.
    bias : biases of experts and router.
    gated : three matrices an expert, one of which gates another; else two.
    beside : the feed-forward network runs too, its output and the experts' each normalised and added (Gemma 4).
    """

    count: Size
    active: Size
    width: Size
    shared: Count = 0
    shared_gate: bool = False
    dense_first: Count = 0
    every: Size = 1
    bias: bool = False
    gated: bool = True
    beside: bool = False

    def at(self, number: int) -> bool:
        """Whether a layer has experts."""
        return number >= self.dense_first and (number + 1) % self.every == 0


def experts(
    net: Network, mixture: Mixture, shape: tuple[int, ActivationName], entries: tuple[int, int], prefix: str
) -> int:
    """Router, experts, and those that all positions pass.

    `shape` is the hidden size and the activation; `entries` what the experts read and what the router reads.
    """
    hidden, activation = shape
    entry, chooser = entries
    scores = net.add(Linear(out=mixture.count, bias=mixture.bias), chooser, name=f"{prefix}.router")
    weights = net.add(Route(active=mixture.active, scaled=mixture.beside), scores, name=f"{prefix}.route")
    op = Experts(
        count=mixture.count,
        active=mixture.active,
        width=mixture.width,
        gated=mixture.gated,
        bias=mixture.bias,
        activation=activation,
    )
    routed = net.add(op, entry, weights, name=f"{prefix}.routed")
    if not mixture.shared:
        return routed
    dense = FeedForward(width=mixture.shared, activation=activation, gated=mixture.gated)
    shared = feed_forward(net, dense, hidden, entry, f"{prefix}.shared")
    if mixture.shared_gate:
        gate = net.add(Linear(out=1, bias=False), entry, name=f"{prefix}.shared_gate")
        gate = net.add(Sigmoid(), gate, name=f"{prefix}.shared_sigmoid")
        shared = net.add(Multiply(), shared, gate, name=f"{prefix}.shared_multiply")
    return net.add(Add(), routed, shared, name=f"{prefix}.add")

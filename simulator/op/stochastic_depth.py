"""Stochastic depth: residual branches dropped whole, a sample at a time."""

from __future__ import annotations

from simulator.op.base import Op, Site, elements, elementwise, operation
from simulator.op.kernel import Kernel, Phase, Role


@operation("drop_path")
class DropPath(Op, frozen=True):
    """A branch times zero or 1 / (1 - rate), drawn for each sample: one product an element; nothing at inference.

    The rate changes no cost: frameworks compute the branch and then multiply it by zero.
    Source: Huang et al., "Deep Networks with Stochastic Depth", ECCV 2016, section 3.
    """

    rate: float = 0.1

    def forward(self, site: Site) -> list[Kernel]:
        """One pass."""
        size = elements(site.output)
        if not site.training:
            return []
        return [elementwise(Phase.FORWARD, size, {Role.ACTIVATION: size}, {Role.ACTIVATION: size})]

    def backward(self, site: Site) -> list[Kernel]:
        """The same product for the gradient."""
        size = elements(site.output)
        if not site.input_gradient:
            return []
        return [elementwise(Phase.INPUT_GRADIENT, size, {Role.GRADIENT: size}, {Role.GRADIENT: size})]

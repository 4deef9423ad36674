"""GELU as GPT-2's source writes it: eight operations that eager software runs one by one."""

from __future__ import annotations

from typing import ClassVar

from simulator.op.activation import Activation
from simulator.op.base import Site, elements, elementwise, operation
from simulator.op.kernel import Kernel, Phase, Role

GELU_LINES = ((2, 1), (1, 1), (1, 2), (1, 1), (5, 1), (1, 1), (1, 1), (1, 2))
"""FLOP and values read, for each value that a line of GPT-2's GELU writes."""

GELU_GRADIENT_LINES = (
    *((1, 1, 1), (1, 1, 1), (1, 0, 1)),  # the product's two factors, the half
    *((3, 1, 1), (1, 0, 1), (1, 0, 1)),  # tangent, both constants
    *((1, 1, 0), (1, 0, 1), (1, 0, 2)),  # the cube: square, times three, times the gradient
    *((1, 0, 2), (1, 0, 2)),  # sums of what reaches x
)
"""FLOP, kept values and gradients read, for each gradient that is written."""


@operation("gelu_new")
class GeluNew(Activation, frozen=True):
    """GELU by a hyperbolic tangent, written out as GPT-2's source has it, which eager software runs line by line.

    Forward: cube, product, sum, product, tangent, sum with one, half of x, product: 18 values moved for each. Backward:
    the gradient of each line, and the sums of those that reach x: 28. As one kernel it is `gelu_tanh`, whose memory is
    counted for both.
    Source: openai/gpt-2, src/model.py, gelu; Hugging Face's transformers, NewGELUActivation (`gelu_new`).
    """

    forward_flops: ClassVar[int] = 13
    backward_flops: ClassVar[int] = 21
    saves_input: ClassVar[bool] = True

    def forward(self, site: Site) -> list[Kernel]:
        """A pass, or one for each line."""
        size = elements(site.output)
        if site.whole:
            return super().forward(site)
        return [
            elementwise(Phase.FORWARD, flops * size, {Role.ACTIVATION: reads * size}, {Role.ACTIVATION: size})
            for flops, reads in GELU_LINES
        ]

    def backward(self, site: Site) -> list[Kernel]:
        """A pass, or one for each line's gradient and each sum of gradients."""
        size = elements(site.output)
        if site.whole or not site.input_gradient:
            return super().backward(site)
        return [
            elementwise(
                Phase.INPUT_GRADIENT,
                flops * size,
                {Role.ACTIVATION: saved * size, Role.GRADIENT: gradients * size},
                {Role.GRADIENT: size},
            )
            for flops, saved, gradients in GELU_GRADIENT_LINES
        ]

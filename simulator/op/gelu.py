"""GELU, as one kernel or as its formula's operations one by one."""

from __future__ import annotations

from typing import ClassVar

from simulator.op.activation import Activation
from simulator.op.base import Site, elements, elementwise, operation
from simulator.op.kernel import Kernel, Phase, Role

Lines = tuple[tuple[int, int], ...]
"""FLOP and values read, for each value that a line of a formula writes."""

GradientLines = tuple[tuple[int, int, int], ...]
"""FLOP, kept values and gradients read, for each gradient that a line writes."""


class Formula(Activation, frozen=True):
    """An activation that software may run as its formula is written, a kernel for each line and for its gradient."""

    lines: ClassVar[Lines] = ()
    gradient_lines: ClassVar[GradientLines] = ()

    def by_line(self, site: Site) -> bool:
        """Whether the software where it stands runs it so."""
        return not site.whole

    def forward(self, site: Site) -> list[Kernel]:
        """A pass, or one for each line."""
        size = elements(site.output)
        if not self.by_line(site):
            return super().forward(site)
        return [
            elementwise(Phase.FORWARD, flops * size, {Role.ACTIVATION: reads * size}, {Role.ACTIVATION: size})
            for flops, reads in self.lines
        ]

    def backward(self, site: Site) -> list[Kernel]:
        """A pass, or one for each line's gradient and each sum of gradients."""
        size = elements(site.output)
        if not self.by_line(site) or not site.input_gradient:
            return super().backward(site)
        return [
            elementwise(
                Phase.INPUT_GRADIENT,
                flops * size,
                {Role.ACTIVATION: saved * size, Role.GRADIENT: gradients * size},
                {Role.GRADIENT: size},
            )
            for flops, saved, gradients in self.gradient_lines
        ]


@operation("gelu")
class Gelu(Formula, frozen=True):
    """x * P(x) with P = (1 + erf(x / sqrt 2)) / 2, the normal distribution: 5 FLOP.

    Gradient g * (P + x * p) with the density p = exp(-x * x / 2) / sqrt(2 pi): 4 for P, 4 for p, 3 to join them.
    Written out, half of x, quotient, error function, sum with one, product: 11 values moved for each, 24 backward.
    Source: Hendrycks, Gimpel, "Gaussian Error Linear Units", 2016, arXiv 1606.08415, section 2; written out: NVIDIA's
    examples, PyTorch/LanguageModeling/BERT/modeling.py of 2019 and 2020, gelu.
    """

    forward_flops: ClassVar[int] = 5
    backward_flops: ClassVar[int] = 11
    saves_input: ClassVar[bool] = True
    lines: ClassVar[Lines] = ((1, 1), (1, 1), (1, 1), (1, 1), (1, 2))
    gradient_lines: ClassVar[GradientLines] = (
        *((1, 1, 1), (1, 1, 1)),  # the product's two factors
        *((1, 1, 0), (1, 0, 1), (1, 0, 1), (1, 0, 1), (1, 0, 2)),  # error function: exp of -x * x, times the gradient
        *((1, 0, 1), (1, 0, 1), (1, 0, 2)),  # quotient, half, sum of what reaches x
    )

    def by_line(self, site: Site) -> bool:
        """Where software has no kernel for it."""
        return site.written_out


@operation("gelu_new")
class GeluNew(Formula, frozen=True):
    """GELU by a hyperbolic tangent, written out as GPT-2's source has it, which eager software runs line by line.

    Forward: cube, product, sum, product, tangent, sum with one, half of x, product: 18 values moved for each. Backward:
    the gradient of each line, and the sums of those that reach x: 28. As one kernel it is `gelu_tanh`, whose memory is
    counted for both.
    Source: openai/gpt-2, src/model.py, gelu; Hugging Face's transformers, NewGELUActivation (`gelu_new`).
    """

    forward_flops: ClassVar[int] = 13
    backward_flops: ClassVar[int] = 21
    saves_input: ClassVar[bool] = True
    lines: ClassVar[Lines] = ((2, 1), (1, 1), (1, 2), (1, 1), (5, 1), (1, 1), (1, 1), (1, 2))
    gradient_lines: ClassVar[GradientLines] = (
        *((1, 1, 1), (1, 1, 1), (1, 0, 1)),  # the product's two factors, the half
        *((3, 1, 1), (1, 0, 1), (1, 0, 1)),  # tangent, both constants
        *((1, 1, 0), (1, 0, 1), (1, 0, 2)),  # the cube: square, times three, times the gradient
        *((1, 0, 2), (1, 0, 2)),  # sums of what reaches x
    )


@operation("quick_gelu")
class QuickGelu(Formula, frozen=True):
    """x * sigmoid(1.702 * x): SiLU and a product more each way; eager software runs its three operations one by one.

    Source: Hendrycks, Gimpel, 2016, section 2; Hugging Face's transformers, QuickGELUActivation.
    """

    forward_flops: ClassVar[int] = 6
    backward_flops: ClassVar[int] = 10
    saves_input: ClassVar[bool] = True
    lines: ClassVar[Lines] = ((1, 1), (4, 1), (1, 2))
    gradient_lines: ClassVar[GradientLines] = (
        *((1, 1, 1), (1, 1, 1)),  # the product's two factors
        *((3, 1, 1), (1, 0, 1), (1, 0, 2)),  # sigmoid, constant, sum of what reaches x
    )

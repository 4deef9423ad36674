"""Batch normalisation and local response normalisation."""

from __future__ import annotations

from typing import ClassVar

from simulator.errors import InputError
from simulator.op.base import Op, Shapes, Site, elements, elementwise, operation
from simulator.op.kernel import Affine, Kernel, OpClass, Phase, Role, each


@operation("batch_norm")
class BatchNorm(Op, frozen=True):
    """Batch normalisation over the channels (the first side of an image, the last of anything else).

    Training needs the statistics of the whole batch before the first output: two passes over the input. The backward
    pass likewise reduces over the whole batch before the first input gradient. At inference it is a scale and shift,
    folded into a convolution or linear layer before it where there is one.

    FLOPs an element: statistics 3 (sum, square, sum), normalise 2; backward 5 (two sums, of the gradient and of the
    gradient times the normalised input) and 4.
    Source: Ioffe, Szegedy, "Batch Normalization", 2015, arXiv 1502.03167, algorithms 1 and 2.
    """

    affine: bool = True

    saves_input: ClassVar[bool] = True
    folds: ClassVar[bool] = True

    def parameter_sizes(self, inputs: Shapes) -> tuple[int, ...]:
        """Scale and shift a channel."""
        shape = inputs[0]
        channels = shape[0] if len(shape) == 3 else shape[-1]
        return (channels, channels) if self.affine else ()

    def forward(self, site: Site) -> list[Kernel]:
        """Statistics and normalisation in training; one scale and shift at inference."""
        size = elements(site.output)
        scale = elementwise(
            Phase.FORWARD, 2 * size, {Role.ACTIVATION: size}, {Role.ACTIVATION: size}, OpClass.NORMALIZATION
        )
        if not site.training:
            return [scale]
        statistics = elementwise(Phase.FORWARD, 3 * size, {Role.ACTIVATION: size}, {}, OpClass.NORMALIZATION)
        return [statistics, scale]

    def backward(self, site: Site) -> list[Kernel]:
        """Two sums over the batch, then the input gradient."""
        size = elements(site.output)
        reads = {Role.ACTIVATION: size, Role.GRADIENT: size}
        sums = elementwise(Phase.WEIGHT_GRADIENT, 5 * size, reads, {}, OpClass.NORMALIZATION)
        if not site.input_gradient:
            return [sums]
        return [
            sums,
            elementwise(Phase.INPUT_GRADIENT, 4 * size, reads, {Role.GRADIENT: size}, OpClass.NORMALIZATION),
        ]


@operation("lrn")
class LocalResponseNorm(Op, frozen=True):
    """Local response normalisation across `size` channels: x / (k + alpha/n * sum of squares) ** beta.

    FLOPs an element: square 1, sum `size`, scale and shift 2, power 1, product 1; backward about twice that.
    Source: Krizhevsky, Sutskever, Hinton, "ImageNet classification with deep convolutional neural networks", 2012, 3.3.
    """

    size: int = 5

    saves_input: ClassVar[bool] = True
    saves_output: ClassVar[bool] = True

    def _flops(self) -> int:
        if self.size < 1:
            raise InputError(f"lrn: size must be at least 1, found {self.size}")
        return self.size + 5

    def forward(self, site: Site) -> list[Kernel]:
        """One pass; training also writes the denominators, which the backward pass reads."""
        size = elements(site.output)
        written = 2 * size if site.training else size
        return [
            elementwise(
                Phase.FORWARD,
                self._flops() * size,
                {Role.ACTIVATION: size},
                {Role.ACTIVATION: written},
                OpClass.NORMALIZATION,
            )
        ]

    def backward(self, site: Site) -> list[Kernel]:
        """One pass over input, output, denominators and output gradient."""
        size = elements(site.output)
        if not site.input_gradient:
            return []
        return [
            elementwise(
                Phase.INPUT_GRADIENT,
                2 * self._flops() * size,
                {Role.ACTIVATION: 3 * size, Role.GRADIENT: size},
                {Role.GRADIENT: size},
                OpClass.NORMALIZATION,
            )
        ]

    def saved(self, site: Site) -> tuple[tuple[Role, Affine], ...]:
        """The denominators."""
        return ((Role.ACTIVATION, each(elements(site.output))),)

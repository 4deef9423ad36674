"""Batch normalisation, trained scale and shift, and local response normalisation."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from simulator.errors import InputError
from simulator.op.base import Op, Shape, Shapes, Site, elements, elementwise, operation
from simulator.op.kernel import Affine, Kernel, OpClass, Phase, Role, each, once


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
        return (_channels(inputs[0]),) * 2 if self.affine else ()

    def forward(self, site: Site) -> list[Kernel]:
        """Statistics and normalisation in training; one scale and shift at inference."""
        size = elements(site.output)
        scale = elementwise(
            Phase.FORWARD, 2 * size, {Role.ACTIVATION: size}, {Role.ACTIVATION: size}, OpClass.NORMALIZATION
        )
        if not site.training:
            return [scale]
        if site.persistent:
            return [replace(scale, flops=each(5 * size))]
        statistics = elementwise(Phase.FORWARD, 3 * size, {Role.ACTIVATION: size}, {}, OpClass.NORMALIZATION)
        return [statistics, scale]

    def backward(self, site: Site) -> list[Kernel]:
        """Two sums over the batch, then the input gradient."""
        size = elements(site.output)
        reads = {Role.ACTIVATION: size, Role.GRADIENT: size}
        sums = elementwise(Phase.WEIGHT_GRADIENT, 5 * size, reads, {}, OpClass.NORMALIZATION)
        if not site.input_gradient:
            return [sums]
        gradient = elementwise(Phase.INPUT_GRADIENT, 4 * size, reads, {Role.GRADIENT: size}, OpClass.NORMALIZATION)
        return [replace(gradient, flops=each(9 * size))] if site.persistent else [sums, gradient]


@operation("channel_affine")
class ChannelAffine(Op, frozen=True):
    """Trained scale and shift of each channel (the first side of an image, the last of anything else).

    Caffe's Scale layer; with `shift` alone a bias, with `scale` alone the layer scale of ConvNeXt and CaiT. FLOPs an
    element: one for each of the two; the scale's gradient sums gradient times input (2), the shift's the gradient (1).
    Source: Touvron et al., "Going deeper with Image Transformers", ICCV 2021, equation 2.
    """

    scale: bool = True
    shift: bool = True

    folds: ClassVar[bool] = True
    saves_input: ClassVar[bool] = True
    full_width: ClassVar[bool] = True

    def output_shape(self, inputs: Shapes) -> Shape:
        """The input's shape."""
        if not self.scale and not self.shift:
            raise InputError("channel_affine: scale and shift are both off")
        return inputs[0]

    def parameter_sizes(self, inputs: Shapes) -> tuple[int, ...]:
        """Scale and shift a channel, those that are on."""
        return (_channels(inputs[0]),) * (self.scale + self.shift)

    def forward(self, site: Site) -> list[Kernel]:
        """One pass."""
        size = elements(site.output)
        weights = (Role.WEIGHT, once(sum(self.parameter_sizes(site.inputs))))
        reads = ((Role.ACTIVATION, each(size)), weights)
        flops = each((self.scale + self.shift) * size)
        return [Kernel(OpClass.ELEMENTWISE, Phase.FORWARD, flops, reads, ((Role.ACTIVATION, each(size)),))]

    def backward(self, site: Site) -> list[Kernel]:
        """The scaled gradient (a shift alone passes it on), then the sums that are the parameters' gradients."""
        size, channels = elements(site.output), _channels(site.inputs[0])
        gradient = (Role.GRADIENT, each(size))
        result = []
        if site.input_gradient and self.scale:
            reads = (gradient, (Role.WEIGHT, once(channels)))
            result.append(Kernel(OpClass.ELEMENTWISE, Phase.INPUT_GRADIENT, each(size), reads, (gradient,)))
        sums = (gradient, (Role.ACTIVATION, each(size))) if self.scale else (gradient,)
        flops = each((2 * self.scale + self.shift) * size)
        writes = ((Role.WEIGHT_GRADIENT, once(sum(self.parameter_sizes(site.inputs)))),)
        return [*result, Kernel(OpClass.REDUCTION, Phase.WEIGHT_GRADIENT, flops, sums, writes)]


def _channels(shape: Shape) -> int:
    return shape[0] if len(shape) == 3 else shape[-1]


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

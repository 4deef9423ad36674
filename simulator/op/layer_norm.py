"""Normalisations whose statistics belong to one sample: layer, root-mean-square and group normalisation."""

from __future__ import annotations

from typing import ClassVar

from simulator.errors import InputError
from simulator.op.base import Op, Shape, Shapes, Site, elements, image, operation
from simulator.op.kernel import Affine, Kernel, OpClass, Phase, Role, each, once

ROW_LIMIT = 2**14
"""Longest row that stays on chip between its statistics and its normalisation: 64 KiB in fp32, about the shared memory
or first-level cache of one processor. A longer row is read twice. [elements]"""


class RowNorm(Op, frozen=True):
    """A normalisation of rows, each by its own statistics.

    Forward: one pass, the row being held on chip (`ROW_LIMIT`); training also writes the row's statistics. Backward:
    one pass for the input gradient, one for the sums over all rows that are the parameters' gradients.
    """

    affine: bool = True

    statistics: ClassVar[int] = 1
    """Numbers kept for each row."""
    trained: ClassVar[int] = 1
    """Trained tensors of an affine normalisation."""
    forward_flops: ClassVar[int] = 0
    backward_flops: ClassVar[int] = 0
    gradient_flops: ClassVar[int] = 0
    saves_input: ClassVar[bool] = True
    full_width: ClassVar[bool] = True
    computes_wide: ClassVar[bool] = True

    def row(self, shape: Shape) -> int:
        """Elements normalised together."""
        raise NotImplementedError

    def width(self, shape: Shape) -> int:
        """Elements of each trained tensor."""
        return self.row(shape)

    def output_shape(self, inputs: Shapes) -> Shape:
        """The input's shape."""
        self.row(inputs[0])
        return inputs[0]

    def parameter_sizes(self, inputs: Shapes) -> tuple[int, ...]:
        """Scale, and shift where the normalisation has one."""
        return (self.width(inputs[0]),) * self.trained if self.affine else ()

    def _kept(self, site: Site) -> int:
        return self.statistics * (elements(site.output) // self.row(site.inputs[0]))

    def saved(self, site: Site) -> tuple[tuple[Role, Affine], ...]:
        """The rows' statistics."""
        return ((Role.ACTIVATION, each(self._kept(site))),)

    def forward(self, site: Site) -> list[Kernel]:
        """Statistics and normalisation in one pass."""
        size = elements(site.output)
        passes = 1 if self.row(site.inputs[0]) <= ROW_LIMIT else 2
        reads = ((Role.ACTIVATION, each(passes * size)), *self._weights(site))
        written = size + (self._kept(site) if site.training else 0)
        flops = (self.forward_flops + (self.trained if self.affine else 0)) * size
        return [
            Kernel(OpClass.NORMALIZATION, Phase.FORWARD, each(flops), reads, ((Role.ACTIVATION, each(written)),)),
        ]

    def _weights(self, site: Site) -> tuple[tuple[Role, Affine], ...]:
        sizes = self.parameter_sizes(site.inputs)
        return ((Role.WEIGHT, once(sum(sizes))),) if sizes else ()

    def backward(self, site: Site) -> list[Kernel]:
        """The input gradient of each row, then the parameters' gradients, sums over all rows."""
        result = [self._input_gradient(site)] if site.input_gradient else []
        if self.affine:
            result.append(self._weight_gradient(site))
        return result

    def _input_gradient(self, site: Site) -> Kernel:
        size = elements(site.output)
        passes = 1 if self.row(site.inputs[0]) <= ROW_LIMIT else 2
        flops = (self.backward_flops + (1 if self.affine else 0)) * size
        scale = self.parameter_sizes(site.inputs)[:1]
        reads = [(Role.ACTIVATION, each(passes * size + self._kept(site))), (Role.GRADIENT, each(passes * size))]
        reads += [(Role.WEIGHT, once(width)) for width in scale]
        writes = ((Role.GRADIENT, each(size)),)
        return Kernel(OpClass.NORMALIZATION, Phase.INPUT_GRADIENT, each(flops), tuple(reads), writes)

    def _weight_gradient(self, site: Site) -> Kernel:
        size = elements(site.output)
        reads = ((Role.ACTIVATION, each(size + self._kept(site))), (Role.GRADIENT, each(size)))
        writes = ((Role.WEIGHT_GRADIENT, once(sum(self.parameter_sizes(site.inputs)))),)
        return Kernel(OpClass.NORMALIZATION, Phase.WEIGHT_GRADIENT, each(self.gradient_flops * size), reads, writes)


@operation("layer_norm")
class LayerNorm(RowNorm, frozen=True):
    """(x - mean) / sqrt(variance + epsilon) * scale + shift, over the features of each position.

    A row is the last side of a sequence or vector, the channels at one pixel of an image (channels, height, width), or
    runs of `features` of the last side (each head on its own).

    FLOPs an element: statistics 3 (sum, square, sum), normalise 2, scale and shift 2. Input gradient: normalised input
    2, scale 1, two means 3, combine 4. Parameter gradients: normalised input 2, scale 2, shift 1.
    Source: Ba, Kiros, Hinton, "Layer Normalization", 2016, arXiv 1607.06450.
    """

    features: int | None = None

    statistics: ClassVar[int] = 2
    trained: ClassVar[int] = 2
    forward_flops: ClassVar[int] = 5
    backward_flops: ClassVar[int] = 9
    gradient_flops: ClassVar[int] = 5

    def row(self, shape: Shape) -> int:
        """Features of one position, or of one head."""
        return _features(self.kind, shape, self.features)


@operation("rms_norm")
class RmsNorm(RowNorm, frozen=True):
    """x / sqrt(mean of squares + epsilon) * scale, over the features of each position; rows as in `layer_norm`.

    FLOPs an element: square and sum 2, normalise 1, scale 1. Input gradient: normalised input 1, scale 1, mean 2,
    combine 3. Parameter gradient: normalised input 1, product and sum 2.
    Source: Zhang, Sennrich, "Root Mean Square Layer Normalization", NeurIPS 2019, arXiv 1910.07467, equation 4.
    """

    features: int | None = None

    forward_flops: ClassVar[int] = 3
    backward_flops: ClassVar[int] = 6
    gradient_flops: ClassVar[int] = 3

    def row(self, shape: Shape) -> int:
        """Features of one position, or of one head."""
        return _features(self.kind, shape, self.features)


@operation("group_norm")
class GroupNorm(RowNorm, frozen=True):
    """Normalisation of an image's channels in `groups`, each over all its pixels; a scale and shift for each channel.

    FLOPs as `layer_norm`.
    Source: Wu, He, "Group Normalization", ECCV 2018, arXiv 1803.08494, equation 7.
    """

    groups: int = 32

    statistics: ClassVar[int] = 2
    trained: ClassVar[int] = 2
    forward_flops: ClassVar[int] = 5
    backward_flops: ClassVar[int] = 9
    gradient_flops: ClassVar[int] = 5

    def row(self, shape: Shape) -> int:
        """Pixels of one group of channels."""
        channels, height, width = image(shape, self.kind)
        if self.groups < 1 or channels % self.groups:
            raise InputError(f"group_norm: {channels} channels do not divide into {self.groups} groups")
        return channels // self.groups * height * width

    def width(self, shape: Shape) -> int:
        """The channels."""
        return shape[0]


def _features(kind: str, shape: Shape, features: int | None) -> int:
    """Length of a row: the channels of an image, else the last side, or a divisor of it."""
    side = shape[0] if len(shape) == 3 else shape[-1]
    if features is None:
        return side
    if features < 1 or side % features:
        raise InputError(f"{kind}: {side} features do not divide into rows of {features}")
    return features

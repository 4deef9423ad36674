"""Pooling: maximum, average, global; rounding down or up, as frameworks differ."""

from __future__ import annotations

from typing import ClassVar

from simulator.op.base import Counts, Op, Pair, Shape, Shapes, Site, elements, elementwise, image, operation, pair
from simulator.op.convolution import Padding, padding_sides, slide
from simulator.op.kernel import Affine, Kernel, OpClass, Phase, Role, Window, each


class Pooling(Op, frozen=True):
    """A sliding window without weights, its stride the kernel's if unsaid; `ceil` rounds the output up as in Caffe.

    Libraries' backward passes take the input again, though what they read of it may be its shape alone (PyTorch's
    `max_pool2d_with_indices_backward`, `avg_pool2d_backward`), so that it stays.
    """

    saves_input: ClassVar[bool] = True

    kernel: Pair
    stride: Pair | None = None
    padding: Padding = 0
    ceil: bool = False

    def window(self, inputs: Shapes) -> Window:  # noqa: ARG002
        """Kernel and stride."""
        kernel = pair(self.kernel, "kernel")
        return Window(kernel, kernel if self.stride is None else pair(self.stride, "stride"))

    def output_shape(self, inputs: Shapes) -> Shape:
        """Sides rounded down, or up with `ceil`; a window that would start in the padding is left out."""
        channels, height, width = image(inputs[0], self.kind)
        window = self.window(inputs)
        top, bottom, left, right = padding_sides(self.padding, window, (height, width))
        return (
            channels,
            self._side(height, top, bottom, window.kernel[0], window.stride[0]),
            self._side(width, left, right, window.kernel[1], window.stride[1]),
        )

    def _side(self, size: int, before: int, after: int, kernel: int, stride: int) -> int:
        positions = slide(size + before + after, kernel, stride, ceil=self.ceil)
        if self.ceil and (positions - 1) * stride >= size + before:
            positions -= 1
        return positions

    def _area(self, site: Site) -> int:
        kernel = self.window(site.inputs).kernel
        return kernel[0] * kernel[1]

    def article_counts(self, site: Site) -> Counts:
        """One comparison for each input value."""
        return Counts(0, elements(site.inputs[0]))


@operation("max_pool")
class MaxPool(Pooling, frozen=True):
    """Maximum: kernel area comparisons an output; training also writes the position of each maximum."""

    def forward(self, site: Site) -> list[Kernel]:
        """One pass."""
        outputs = elements(site.output)
        writes: dict[Role, float] = {Role.ACTIVATION: outputs}
        if site.training:
            writes[Role.INDEX] = outputs
        return [
            elementwise(
                Phase.FORWARD,
                self._area(site) * outputs,
                {Role.ACTIVATION: elements(site.inputs[0])},
                writes,
                OpClass.POOLING,
            )
        ]

    def backward(self, site: Site) -> list[Kernel]:
        """Each output gradient is added at its maximum's position."""
        if not site.input_gradient:
            return []
        outputs = elements(site.output)
        return [
            elementwise(
                Phase.INPUT_GRADIENT,
                outputs,
                {Role.GRADIENT: outputs, Role.INDEX: outputs},
                {Role.GRADIENT: elements(site.inputs[0])},
                OpClass.POOLING,
            )
        ]

    def saved(self, site: Site) -> tuple[tuple[Role, Affine], ...]:
        """The positions of the maxima."""
        return ((Role.INDEX, each(elements(site.output))),)


@operation("avg_pool")
class AveragePool(Pooling, frozen=True):
    """Average: kernel area operations an output (the last one divides), forward and backward."""

    def forward(self, site: Site) -> list[Kernel]:
        """One pass."""
        return [
            elementwise(
                Phase.FORWARD,
                self._area(site) * elements(site.output),
                {Role.ACTIVATION: elements(site.inputs[0])},
                {Role.ACTIVATION: elements(site.output)},
                OpClass.POOLING,
            )
        ]

    def backward(self, site: Site) -> list[Kernel]:
        """Each output gradient is spread over its window."""
        if not site.input_gradient:
            return []
        return [
            elementwise(
                Phase.INPUT_GRADIENT,
                self._area(site) * elements(site.output),
                {Role.GRADIENT: elements(site.output)},
                {Role.GRADIENT: elements(site.inputs[0])},
                OpClass.POOLING,
            )
        ]


class Reduction(Op, frozen=True):
    """Sums or averages of an input: one operation an input value; backward, each gradient is spread over its inputs."""

    def forward(self, site: Site) -> list[Kernel]:
        """One reduction."""
        size = elements(site.inputs[0])
        writes = {Role.ACTIVATION: elements(site.output)}
        return [elementwise(Phase.FORWARD, size, {Role.ACTIVATION: size}, writes, OpClass.REDUCTION)]

    def backward(self, site: Site) -> list[Kernel]:
        """One pass that spreads the gradient."""
        if not site.input_gradient:
            return []
        size = elements(site.inputs[0])
        reads = {Role.GRADIENT: elements(site.output)}
        return [elementwise(Phase.INPUT_GRADIENT, size, reads, {Role.GRADIENT: size})]


@operation("global_pool")
class GlobalPool(Reduction, frozen=True):
    """The average of each channel, (channels, height, width) -> (channels, 1, 1): one operation an input."""

    def window(self, inputs: Shapes) -> Window:
        """The whole image."""
        _, height, width = image(inputs[0], self.kind)
        return Window((height, width), (1, 1))

    def output_shape(self, inputs: Shapes) -> Shape:
        """(channels, 1, 1)."""
        return (image(inputs[0], self.kind)[0], 1, 1)


@operation("adaptive_pool")
class AdaptiveAveragePool(Op, frozen=True):
    """Averages on a grid of `out` cells, whatever the input's size; nothing to do where the sizes agree.

    Cell i of n covers floor(i * size / n) up to ceil((i + 1) * size / n), one operation an element covered.
    """

    saves_input: ClassVar[bool] = True

    out: Pair

    def window(self, inputs: Shapes) -> Window:
        """The widest cell and the least step between cells."""
        axes = [(size, cells, max(1, size // cells)) for size, cells in self._axes(inputs)]
        kernel = [max(1, size - (cells - 1) * step) for size, cells, step in axes]
        return Window((kernel[0], kernel[1]), (axes[0][2], axes[1][2]))

    def _axes(self, inputs: Shapes) -> list[tuple[int, int]]:
        """(input size, cells) of height and width."""
        _, height, width = image(inputs[0], self.kind)
        cells = pair(self.out, "out")
        return [(height, cells[0]), (width, cells[1])]

    def output_shape(self, inputs: Shapes) -> Shape:
        """(channels, *out)."""
        return (image(inputs[0], self.kind)[0], *pair(self.out, "out"))

    def _flops(self, site: Site) -> int:
        covered = [
            sum(-(-(cell + 1) * size // cells) - cell * size // cells for cell in range(cells))
            for size, cells in self._axes(site.inputs)
        ]
        return site.output[0] * covered[0] * covered[1]

    def forward(self, site: Site) -> list[Kernel]:
        """One pass."""
        if site.inputs[0] == site.output:
            return []
        reads, writes = {Role.ACTIVATION: elements(site.inputs[0])}, {Role.ACTIVATION: elements(site.output)}
        return [elementwise(Phase.FORWARD, self._flops(site), reads, writes, OpClass.POOLING)]

    def backward(self, site: Site) -> list[Kernel]:
        """Each output gradient is spread over its cell."""
        if not site.input_gradient or site.inputs[0] == site.output:
            return []
        reads, writes = {Role.GRADIENT: elements(site.output)}, {Role.GRADIENT: elements(site.inputs[0])}
        return [elementwise(Phase.INPUT_GRADIENT, self._flops(site), reads, writes, OpClass.POOLING)]

"""Operations that join or reshape tensors: add, concat, scale, flatten."""

from __future__ import annotations

from typing import ClassVar

from simulator.errors import InputError
from simulator.op.base import Op, Shape, Shapes, Site, elements, elementwise, operation
from simulator.op.kernel import Kernel, OpClass, Phase, Role


@operation("add")
class Add(Op, frozen=True):
    """The sum of tensors of one shape; every input's gradient is the output's, so that backward moves nothing."""

    arity: ClassVar[tuple[int, int | None]] = (2, None)

    def output_shape(self, inputs: Shapes) -> Shape:
        """The common shape."""
        if len(set(inputs)) > 1:
            raise InputError(f"add needs inputs of one shape, found {_shapes(inputs)}")
        return inputs[0]

    def forward(self, site: Site) -> list[Kernel]:
        """One pass over all inputs."""
        size, count = elements(site.output), len(site.inputs)
        return [
            elementwise(Phase.FORWARD, (count - 1) * size, {Role.ACTIVATION: count * size}, {Role.ACTIVATION: size})
        ]


@operation("concat")
class Concat(Op, frozen=True):
    """Tensors side by side along the channels: a copy forward, a copy of each part's gradient backward."""

    arity: ClassVar[tuple[int, int | None]] = (2, None)

    def output_shape(self, inputs: Shapes) -> Shape:
        """The channels summed, all other sides equal."""
        if len({shape[1:] for shape in inputs}) > 1:
            raise InputError(f"concat needs inputs that differ in channels alone, found {_shapes(inputs)}")
        return (sum(shape[0] for shape in inputs), *inputs[0][1:])

    def forward(self, site: Site) -> list[Kernel]:
        """One copy."""
        size = elements(site.output)
        return [elementwise(Phase.FORWARD, 0, {Role.ACTIVATION: size}, {Role.ACTIVATION: size}, OpClass.COPY)]

    def backward(self, site: Site) -> list[Kernel]:
        """One copy."""
        if not site.input_gradient:
            return []
        size = elements(site.output)
        return [elementwise(Phase.INPUT_GRADIENT, 0, {Role.GRADIENT: size}, {Role.GRADIENT: size}, OpClass.COPY)]


@operation("scale")
class Scale(Op, frozen=True):
    """Each channel of an image times one number, (channels, h, w) and (channels, 1, 1), as squeeze-and-excitation ends.

    Backward: the image's gradient is the output's times the number; the number's is a sum over the image.
    Source: Hu, Shen, Sun, "Squeeze-and-Excitation Networks", CVPR 2018, equation 4.
    """

    arity: ClassVar[tuple[int, int | None]] = (2, 2)
    saves_input: ClassVar[bool] = True

    def output_shape(self, inputs: Shapes) -> Shape:
        """The image's shape."""
        if elements(inputs[1]) != inputs[0][0]:
            raise InputError(f"scale needs one number a channel, found {_shapes(inputs)}")
        return inputs[0]

    def forward(self, site: Site) -> list[Kernel]:
        """One product an element."""
        size, channels = elements(site.output), site.output[0]
        return [elementwise(Phase.FORWARD, size, {Role.ACTIVATION: size + channels}, {Role.ACTIVATION: size})]

    def backward(self, site: Site) -> list[Kernel]:
        """The image's gradient, then the numbers'."""
        if not site.input_gradient:
            return []
        size, channels = elements(site.output), site.output[0]
        image_reads = {Role.GRADIENT: size, Role.ACTIVATION: channels}
        scale_reads = {Role.GRADIENT: size, Role.ACTIVATION: size}
        return [
            elementwise(Phase.INPUT_GRADIENT, size, image_reads, {Role.GRADIENT: size}),
            elementwise(Phase.INPUT_GRADIENT, 2 * size, scale_reads, {Role.GRADIENT: channels}, OpClass.REDUCTION),
        ]


@operation("flatten")
class Flatten(Op, frozen=True):
    """The same memory as a vector: no kernel."""

    view: ClassVar[bool] = True

    def output_shape(self, inputs: Shapes) -> Shape:
        """(elements,)."""
        return (elements(inputs[0]),)

    def forward(self, site: Site) -> list[Kernel]:  # noqa: ARG002
        """Nothing moves."""
        return []


def _shapes(inputs: Shapes) -> str:
    return " and ".join(str(list(shape)) for shape in inputs)

"""Tensors under another shape, cut out of another, or summed up along sides."""

from __future__ import annotations

from simulator.errors import InputError
from simulator.op.base import Op, Shape, Shapes, Site, elements, elementwise, operation
from simulator.op.kernel import Kernel, OpClass, Phase, Role
from simulator.op.pooling import Reduction
from simulator.op.rearrange import View


@operation("reshape")
class Reshape(View, frozen=True):
    """The same memory under another `shape`: no kernel."""

    shape: tuple[int, ...]

    def output_shape(self, inputs: Shapes) -> Shape:
        """The shape asked for."""
        if elements(self.shape) != elements(inputs[0]):
            raise InputError(f"reshape: {list(inputs[0])} does not hold as many elements as {list(self.shape)}")
        return self.shape


@operation("cut")
class Cut(Op, frozen=True):
    """A part of a tensor, of `shape`, copied out; the gradient is copied back into zeros.

    split : one part of a tensor that others of the kind share out between them: their gradients are put side by side,
        without zeros and not added.
    """

    shape: tuple[int, ...]
    split: bool = False

    def output_shape(self, inputs: Shapes) -> Shape:
        """The part's shape."""
        whole = inputs[0]
        if len(self.shape) != len(whole) or any(part > side for part, side in zip(self.shape, whole, strict=True)):
            raise InputError(f"cut: no part of {list(self.shape)} in {list(whole)}")
        return self.shape

    def forward(self, site: Site) -> list[Kernel]:
        """One copy of the part."""
        size = elements(site.output)
        return [elementwise(Phase.FORWARD, 0, {Role.ACTIVATION: size}, {Role.ACTIVATION: size}, OpClass.COPY)]

    def backward(self, site: Site) -> list[Kernel]:
        """The part's gradient, and zeros around it."""
        if not site.input_gradient or self.split:
            return []
        reads, writes = {Role.GRADIENT: elements(site.output)}, {Role.GRADIENT: elements(site.inputs[0])}
        return [elementwise(Phase.INPUT_GRADIENT, 0, reads, writes, OpClass.COPY)]


@operation("reduce")
class Reduce(Reduction, frozen=True):
    """A tensor summed, averaged or searched for its maximum along some sides, which leaves `shape`.

    One operation an input, forward and (the gradient spread over what was joined) backward.
    """

    shape: tuple[int, ...]

    def output_shape(self, inputs: Shapes) -> Shape:
        """The shape asked for."""
        if not self.shape or min(self.shape) < 1 or elements(self.shape) > elements(inputs[0]):
            raise InputError(f"reduce: {list(inputs[0])} does not reduce to {list(self.shape)}")
        return self.shape

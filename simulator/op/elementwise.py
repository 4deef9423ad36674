"""Element-wise operations of transformers: products, rotary positions, capped logits, keys that heads share."""

from __future__ import annotations

from typing import ClassVar

from simulator.errors import InputError
from simulator.op.activation import Activation
from simulator.op.base import Op, Shape, Shapes, Site, elements, elementwise, operation
from simulator.op.kernel import Kernel, OpClass, Phase, Role


@operation("multiply")
class Multiply(Op, frozen=True):
    """The product of two tensors, the gate of a gated MLP; the second may be one number a position, (positions, 1).

    Backward: each input's gradient is the output's times the other input.
    Source: Shazeer, "GLU Variants Improve Transformer", 2020, arXiv 2002.05202, equation 5.
    """

    arity: ClassVar[tuple[int, int | None]] = (2, 2)
    saves_input: ClassVar[bool] = True

    def output_shape(self, inputs: Shapes) -> Shape:
        """The first input's shape."""
        if inputs[1] not in (inputs[0], (*inputs[0][:-1], 1)):
            raise InputError(f"multiply needs inputs of one shape, found {list(inputs[0])} and {list(inputs[1])}")
        return inputs[0]

    def forward(self, site: Site) -> list[Kernel]:
        """One product an element."""
        size, both = elements(site.output), sum(elements(shape) for shape in site.inputs)
        return [elementwise(Phase.FORWARD, size, {Role.ACTIVATION: both}, {Role.ACTIVATION: size})]

    def backward(self, site: Site) -> list[Kernel]:
        """Two products an element; one more addition where the second input is summed over the features."""
        if not site.input_gradient:
            return []
        size, both = elements(site.output), sum(elements(shape) for shape in site.inputs)
        flops = 2 * size if site.inputs[0] == site.inputs[1] else 3 * size
        reads = {Role.ACTIVATION: both, Role.GRADIENT: size}
        return [elementwise(Phase.INPUT_GRADIENT, flops, reads, {Role.GRADIENT: both})]


@operation("relu_squared")
class ReluSquared(Activation, frozen=True):
    """max(x, 0) ** 2: comparison, product; gradient 2 * g * max(x, 0): comparison and two products.

    Source: So et al., "Primer", NeurIPS 2021, arXiv 2109.08668, section 3.
    """

    forward_flops: ClassVar[int] = 2
    backward_flops: ClassVar[int] = 3
    saves_input: ClassVar[bool] = True


@operation("softcap")
class Softcap(Activation, frozen=True):
    """c * tanh(x / c): quotient, tanh (5), product; gradient g * (1 - t * t): 3.

    Source: Gemma team, "Gemma 2", 2024, arXiv 2408.00118, section 2.
    """

    forward_flops: ClassVar[int] = 7
    backward_flops: ClassVar[int] = 3
    saves_output: ClassVar[bool] = True


@operation("rotary")
class Rotary(Op, frozen=True):
    """Rotary position embedding: pairs of features turned by an angle of their position, in place.

    `rotated` features of each position are turned (None: all): two products and a sum each, forward and, by the
    opposite angle, backward. Sine and cosine tables, one for all heads and samples, stay on chip.
    Source: Su et al., "RoFormer", 2021, arXiv 2104.09864, equation 34.
    """

    rotated: int | None = None

    view: ClassVar[bool] = True

    def output_shape(self, inputs: Shapes) -> Shape:
        """The input's shape."""
        if len(inputs[0]) != 2 or not 0 < self._width(inputs[0]) <= inputs[0][1]:
            raise InputError(f"rotary: cannot rotate {self.rotated} features of each position of {list(inputs[0])}")
        return inputs[0]

    def _width(self, shape: Shape) -> int:
        return shape[1] if self.rotated is None else self.rotated

    def forward(self, site: Site) -> list[Kernel]:
        """One pass over the rotated features."""
        size = site.output[0] * self._width(site.output)
        return [elementwise(Phase.FORWARD, 3 * size, {Role.ACTIVATION: size}, {Role.ACTIVATION: size})]

    def backward(self, site: Site) -> list[Kernel]:
        """The opposite rotation of the gradient."""
        if not site.input_gradient:
            return []
        size = site.output[0] * self._width(site.output)
        return [elementwise(Phase.INPUT_GRADIENT, 3 * size, {Role.GRADIENT: size}, {Role.GRADIENT: size})]


@operation("join_heads")
class JoinHeads(Op, frozen=True):
    """Features that all heads share, set behind those of each head.

    (positions, heads * a) and (positions, b) -> (positions, heads * (a + b)): a copy forward; backward a copy, the
    shared part summed over the heads.
    The rotary part of the keys in latent attention. Source: DeepSeek-AI, "DeepSeek-V2", 2024, arXiv 2405.04434, eq. 17.
    """

    heads: int

    arity: ClassVar[tuple[int, int | None]] = (2, 2)

    def output_shape(self, inputs: Shapes) -> Shape:
        """(positions, heads * (a + b))."""
        own, shared = inputs
        if len(own) != 2 or len(shared) != 2 or own[0] != shared[0] or self.heads < 1 or own[1] % self.heads:
            raise InputError(f"join_heads: {list(own)} and {list(shared)} do not join over {self.heads} heads")
        return own[0], own[1] + self.heads * shared[1]

    def forward(self, site: Site) -> list[Kernel]:
        """One copy."""
        reads = {Role.ACTIVATION: sum(elements(shape) for shape in site.inputs)}
        return [elementwise(Phase.FORWARD, 0, reads, {Role.ACTIVATION: elements(site.output)}, OpClass.COPY)]

    def backward(self, site: Site) -> list[Kernel]:
        """One copy with the sum over the heads."""
        if not site.input_gradient:
            return []
        writes = {Role.GRADIENT: sum(elements(shape) for shape in site.inputs)}
        summed = self.heads * elements(site.inputs[1])
        reads = {Role.GRADIENT: elements(site.output)}
        return [elementwise(Phase.INPUT_GRADIENT, summed, reads, writes, OpClass.COPY)]

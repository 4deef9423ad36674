"""General tensor operations, as graph formats have them: functions of one and two tensors, copies."""

from __future__ import annotations

from typing import ClassVar, Literal, NamedTuple

from simulator.errors import InputError, UnknownNameError
from simulator.op.base import Op, Shape, Shapes, Site, elements, elementwise, operation
from simulator.op.kernel import Affine, Kernel, OpClass, Phase, Role, each, once
from simulator.op.rearrange import Copy


class ElementWork(NamedTuple):
    """FLOPs an element, forward and backward, and whether the backward pass reads input or output."""

    forward: int
    backward: int
    saves: Literal["input", "output", "nothing"] = "nothing"


UNARY = {
    "add": ElementWork(1, 0),
    "cast": ElementWork(0, 0),
    "ceil": ElementWork(1, 0),
    "compare": ElementWork(1, 0),
    "cos": ElementWork(1, 2, "input"),
    "cumulative_sum": ElementWork(1, 1),
    "divide": ElementWork(1, 1),
    "erf": ElementWork(1, 4, "input"),
    "floor": ElementWork(1, 0),
    "maximum": ElementWork(1, 1, "input"),
    "multiply": ElementWork(1, 1),
    "negate": ElementWork(1, 1),
    "power": ElementWork(1, 3, "input"),
    "quantize": ElementWork(4, 0),
    "reciprocal": ElementWork(1, 3, "output"),
    "round": ElementWork(1, 0),
    "select": ElementWork(0, 1),
    "sin": ElementWork(1, 1, "input"),
    "softsign": ElementWork(3, 4, "input"),
    "sqrt": ElementWork(1, 2, "output"),
    "trigonometric": ElementWork(1, 3, "input"),
}
"""Functions of one tensor, numbers that are not tensors left aside: x + 2 is `add`.

Gradients: erf g * c * exp(-x * x); power g * n * x ** (n - 1); reciprocal -g * y * y; softsign x / (1 + |x|) gives
g / (1 + |x|) squared; sqrt g / (2 y). `quantize` divides, rounds, adds and limits; `trigonometric` stands for the rarer
ones."""


@operation("unary")
class Unary(Op, frozen=True):
    """A function of each element: one pass; backward one pass over the gradient and what was saved."""

    function: str = "negate"

    def output_shape(self, inputs: Shapes) -> Shape:
        """The input's shape."""
        _known(self.function, UNARY)
        return inputs[0]

    def forward(self, site: Site) -> list[Kernel]:
        """One pass."""
        size = elements(site.output)
        flops = UNARY[self.function].forward * size
        op_class = OpClass.CAST if self.function == "cast" else OpClass.ELEMENTWISE
        return [elementwise(Phase.FORWARD, flops, {Role.ACTIVATION: size}, {Role.ACTIVATION: size}, op_class)]

    def backward(self, site: Site) -> list[Kernel]:
        """One pass, if there is a gradient that is not the output's own."""
        work, size = UNARY[self.function], elements(site.output)
        if not site.input_gradient or not work.backward:
            return []
        reads = {Role.GRADIENT: size} if work.saves == "nothing" else {Role.GRADIENT: size, Role.ACTIVATION: size}
        return [elementwise(Phase.INPUT_GRADIENT, work.backward * size, reads, {Role.GRADIENT: size})]

    def saved(self, site: Site) -> tuple[tuple[Role, Affine], ...]:
        """Input or output, where the gradient needs it."""
        needed = UNARY[self.function].saves != "nothing"
        return ((Role.ACTIVATION, each(elements(site.output))),) if needed else ()


BINARY = {
    "add": ElementWork(1, 0),
    "compare": ElementWork(1, 0),
    "divide": ElementWork(1, 4, "input"),
    "maximum": ElementWork(1, 1, "input"),
    "multiply": ElementWork(1, 1, "input"),
    "power": ElementWork(1, 3, "input"),
    "select": ElementWork(1, 1, "input"),
    "subtract": ElementWork(1, 1),
}
"""Functions of two tensors; the backward FLOPs are those of one input's gradient."""


@operation("binary")
class Binary(Op, frozen=True):
    """A function of two tensors, or of one tensor and `constant` elements of a stored one, each side repeated to fit.

    One pass forward. Backward: for each input a pass over the output's gradient and what the function saved; the sum's
    gradients are the output's own. Where an input was repeated, its gradient is summed: one addition an element more. A
    `trained` constant has a gradient, summed over the batch.
    """

    function: str = "add"
    constant: int = 0
    trained: bool = False

    arity: ClassVar[tuple[int, int | None]] = (1, 3)

    def output_shape(self, inputs: Shapes) -> Shape:
        """The shape into which all inputs fit, sides compared from the last."""
        _known(self.function, BINARY)
        result: list[int] = []
        for place in range(1, max(len(shape) for shape in inputs) + 1):
            sides = {shape[-place] for shape in inputs if len(shape) >= place} - {1}
            if len(sides) > 1:
                raise InputError(f"binary: {' and '.join(str(list(shape)) for shape in inputs)} do not fit together")
            result.append(sides.pop() if sides else 1)
        return tuple(reversed(result))

    def parameter_sizes(self, inputs: Shapes) -> tuple[int, ...]:  # noqa: ARG002
        """The trained constant."""
        return (self.constant,) if self.trained and self.constant else ()

    def forward(self, site: Site) -> list[Kernel]:
        """One pass over all inputs."""
        size = elements(site.output)
        reads = [(Role.ACTIVATION, each(sum(elements(shape) for shape in site.inputs)))]
        if self.constant:
            reads.append((self._stored, once(self.constant)))
        flops = each(BINARY[self.function].forward * size)
        written = ((Role.ACTIVATION, each(size)),)
        return [Kernel(OpClass.ELEMENTWISE, Phase.FORWARD, flops, tuple(reads), written)]

    @property
    def _stored(self) -> Role:
        return Role.WEIGHT if self.trained else Role.ACTIVATION

    def backward(self, site: Site) -> list[Kernel]:
        """One pass for each input, and one for the trained constant."""
        if self.function == "compare":
            return []
        result = []
        if site.input_gradient:
            result += [kernel for shape in site.inputs if (kernel := self._gradient(site, shape))]
        if self.parameter_sizes(site.inputs):
            size, read = elements(site.output), self._read(site)
            flops = (BINARY[self.function].backward + 1) * size
            written = ((Role.WEIGHT_GRADIENT, once(self.constant)),)
            result.append(Kernel(OpClass.REDUCTION, Phase.WEIGHT_GRADIENT, each(flops), read, written))
        return result

    def _read(self, site: Site) -> tuple[tuple[Role, Affine], ...]:
        """The output's gradient and, where the function saves them, the inputs but one."""
        gradient = ((Role.GRADIENT, each(elements(site.output))),)
        if BINARY[self.function].saves == "nothing":
            return gradient
        return (*gradient, (Role.ACTIVATION, each(max(elements(shape) for shape in site.inputs))))

    def _gradient(self, site: Site, shape: Shape) -> Kernel | None:
        """The gradient of one input, or None where it is the output's."""
        work, size, own = BINARY[self.function], elements(site.output), elements(shape)
        if not work.backward and own == size:
            return None
        flops, written = each((work.backward + (own < size)) * size), ((Role.GRADIENT, each(own)),)
        op_class = OpClass.REDUCTION if own < size else OpClass.ELEMENTWISE
        return Kernel(op_class, Phase.INPUT_GRADIENT, flops, self._read(site), written)

    def saved(self, site: Site) -> tuple[tuple[Role, Affine], ...]:
        """The inputs, where the gradients need them."""
        if BINARY[self.function].saves == "nothing":
            return ()
        return ((Role.ACTIVATION, each(sum(elements(shape) for shape in site.inputs))),)


@operation("move")
class Move(Copy, frozen=True):
    """The elements in another order, repeated, padded or picked, as a tensor of `shape`: one copy each way."""

    shape: tuple[int, ...] = ()

    arity: ClassVar[tuple[int, int | None]] = (1, 2)

    def output_shape(self, inputs: Shapes) -> Shape:
        """The shape asked for, or the input's."""
        return self.shape or inputs[0]


def _known(function: str, table: dict[str, ElementWork]) -> None:
    if function not in table:
        raise UnknownNameError("function", function, table)

"""Products of two activations, or of an activation and a trained matrix for each of many groups."""

from __future__ import annotations

from typing import ClassVar

from simulator.errors import InputError
from simulator.op.base import Counts, Op, Shape, Shapes, Site, elements, operation
from simulator.op.kernel import Affine, Gemm, Kernel, OpClass, Phase, Role, each, once
from simulator.units import FLOPS_PER_MAC


@operation("matmul")
class Matmul(Op, frozen=True):
    """The product of two activations, (groups, m, k) by (groups, k, n) -> (groups, m, n).

    The second may be one matrix for all groups, or, `trained`, a parameter of (groups, k, n), as the weights of many
    heads or experts. MACs = groups * m * n * k forward and for each of the two gradients.
    """

    trained: bool = False
    columns: int = 0

    arity: ClassVar[tuple[int, int | None]] = (1, 2)
    saves_input: ClassVar[bool] = True

    def _sides(self, inputs: Shapes) -> tuple[int, int, int, int]:
        """Groups, m, n, k."""
        if any(len(shape) != 3 for shape in inputs) or len(inputs) != (1 if self.trained else 2):
            raise InputError(f"matmul needs inputs of (groups, rows, columns), found {[list(s) for s in inputs]}")
        groups, rows, depth = inputs[0]
        if self.trained:
            return groups, rows, self.columns, depth
        if inputs[1][1] != depth or inputs[1][0] not in (1, groups):
            raise InputError(f"matmul: {list(inputs[0])} and {list(inputs[1])} do not fit together")
        return groups, rows, inputs[1][2], depth

    def output_shape(self, inputs: Shapes) -> Shape:
        """(groups, m, n)."""
        groups, rows, columns, _ = self._sides(inputs)
        return groups, rows, columns

    def parameter_sizes(self, inputs: Shapes) -> tuple[int, ...]:
        """The trained operand."""
        groups, _, columns, depth = self._sides(inputs)
        return (groups * depth * columns,) if self.trained else ()

    def counts(self, site: Site) -> Counts:
        """MACs = groups * m * n * k."""
        groups, rows, columns, depth = self._sides(site.inputs)
        macs = groups * rows * columns * depth
        return Counts(macs, FLOPS_PER_MAC * macs)

    def _operand(self, site: Site, role: Role) -> tuple[Role, Affine]:
        """The second operand, or its gradient."""
        if not self.trained:
            return role, each(elements(site.inputs[1]))
        weight = Role.WEIGHT if role == Role.ACTIVATION else Role.WEIGHT_GRADIENT
        return weight, once(self.parameter_sizes(site.inputs)[0])

    def forward(self, site: Site) -> list[Kernel]:
        """One batched product."""
        groups, rows, columns, depth = self._sides(site.inputs)
        read = ((Role.ACTIVATION, each(elements(site.inputs[0]))), self._operand(site, Role.ACTIVATION))
        written = (Role.ACTIVATION, each(elements(site.output)))
        return [_product(Phase.FORWARD, (groups, rows, columns, depth), read, written)]

    def backward(self, site: Site) -> list[Kernel]:
        """The gradients dC * B' and A' * dC."""
        groups, rows, columns, depth = self._sides(site.inputs)
        left, gradient = each(elements(site.inputs[0])), (Role.GRADIENT, each(elements(site.output)))
        result = []
        if site.input_gradient:
            read = (gradient, self._operand(site, Role.ACTIVATION))
            sides = (groups, rows, depth, columns)
            result.append(_product(Phase.INPUT_GRADIENT, sides, read, (Role.GRADIENT, left)))
        if site.input_gradient or self.trained:
            phase = Phase.WEIGHT_GRADIENT if self.trained else Phase.INPUT_GRADIENT
            read = ((Role.ACTIVATION, left), gradient)
            result.append(_product(phase, (groups, depth, columns, rows), read, self._operand(site, Role.GRADIENT)))
        return result


def _product(
    phase: Phase, sides: tuple[int, int, int, int], read: tuple[tuple[Role, Affine], ...], written: tuple[Role, Affine]
) -> Kernel:
    """A batched product of sides (groups, m, n, k); the batch multiplies m, or the summed k of a weight's gradient."""
    groups, rows, columns, depth = sides
    summed = phase == Phase.WEIGHT_GRADIENT
    return Kernel(
        OpClass.GEMM,
        phase,
        each(FLOPS_PER_MAC * groups * rows * columns * depth),
        read,
        (written,),
        Gemm(once(rows) if summed else each(rows), once(columns), each(depth) if summed else once(depth), groups),
        streamed=each(groups * rows * depth),
        reuse=columns,
    )

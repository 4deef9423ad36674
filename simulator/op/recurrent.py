"""Recurrent layers: LSTM, GRU and the plain recurrent network, over all positions of a sequence."""

from __future__ import annotations

from typing import ClassVar, Literal

from simulator.errors import InputError
from simulator.op.base import Counts, Op, Shape, Shapes, Site, elements, elementwise, operation
from simulator.op.kernel import Affine, Gemm, Kernel, OpClass, Phase, Role, each, once
from simulator.units import FLOPS_PER_MAC

GATES = {"rnn": 1, "gru": 3, "lstm": 4}
CELL_FLOPS = {"rnn": 6, "gru": 21, "lstm": 30}
"""FLOPs of a hidden unit beside its products: sums of both products, sigmoids (4) and hyperbolic tangents (5).

LSTM: 4 sums, 3 sigmoids, tanh, 3 for the cell, tanh and product for the state. GRU: 3 sums, 2 sigmoids, reset product,
tanh, 4 for the mix. Plain: sum, tanh."""
MAX_POSITIONS = 2**14


@operation("recurrent")
class Recurrent(Op, frozen=True):
    """A recurrent layer, (positions, features) -> (positions, directions * hidden).

    MACs of a position and direction: gates * hidden * (features + hidden); 4 gates LSTM, 3 GRU, 1 plain. The products
    with the inputs of all positions are one GEMM; those with the state are one small GEMM a position, each of which
    reads the recurrent weights again: a sequence is slow since its steps wait for each other.
    Source: Hochreiter, Schmidhuber, 1997; Cho et al., 2014, arXiv 1406.1078; Appleyard et al., 2016, arXiv 1604.01946.
    """

    cell: Literal["lstm", "gru", "rnn"] = "lstm"
    hidden: int = 128
    directions: int = 1
    biases: int = 2

    saves_input: ClassVar[bool] = True
    saves_output: ClassVar[bool] = True

    def output_shape(self, inputs: Shapes) -> Shape:
        """(positions, directions * hidden)."""
        if len(inputs[0]) != 2 or min(self.hidden, self.directions) < 1 or not 0 <= self.biases <= 2:
            raise InputError(f"recurrent needs (positions, features) and positive sides, found {list(inputs[0])}")
        if inputs[0][0] > MAX_POSITIONS:
            raise InputError(f"recurrent: more than {MAX_POSITIONS} positions")
        return inputs[0][0], self.directions * self.hidden

    @property
    def _width(self) -> int:
        """Gate rows of one direction."""
        return GATES[self.cell] * self.hidden

    def parameter_sizes(self, inputs: Shapes) -> tuple[int, ...]:
        """Input weights, recurrent weights and biases of all directions."""
        rows = self.directions * self._width
        bias = (self.biases * rows,) if self.biases else ()
        return (rows * inputs[0][1], rows * self.hidden, *bias)

    def counts(self, site: Site) -> Counts:
        """By the formula above."""
        positions, features = site.inputs[0]
        macs = positions * self.directions * self._width * (features + self.hidden)
        cell = CELL_FLOPS[self.cell] * positions * self.directions * self.hidden
        return Counts(macs, FLOPS_PER_MAC * macs + cell)

    def forward(self, site: Site) -> list[Kernel]:
        """The product of all inputs, then a product and the cell for each position and direction."""
        inputs = self._inputs(site, Phase.FORWARD)
        turns = site.inputs[0][0] * self.directions
        flops = CELL_FLOPS[self.cell] * self.hidden
        reads, writes = {Role.ACTIVATION: 2 * self._width + self.hidden}, {Role.ACTIVATION: 2 * self.hidden}
        step = self._step(Phase.FORWARD, Role.ACTIVATION)
        return [inputs, *[step, elementwise(Phase.FORWARD, flops, reads, writes)] * turns]

    def backward(self, site: Site) -> list[Kernel]:
        """For each position the cell's and the state's gradients; then the weights' over all positions at once.

        Where the input needs no gradient, the steps back through the positions serve the weights alone.
        """
        phase = Phase.INPUT_GRADIENT if site.input_gradient else Phase.WEIGHT_GRADIENT
        turns = site.inputs[0][0] * self.directions
        reads = {Role.GRADIENT: 2 * self.hidden, Role.ACTIVATION: self._width + 2 * self.hidden}
        flops = CELL_FLOPS[self.cell] * self.hidden
        cell = elementwise(phase, flops, reads, {Role.GRADIENT: self._width + self.hidden})
        result = [cell, self._step(phase, Role.GRADIENT)] * turns
        if site.input_gradient:
            result.append(self._inputs(site, Phase.INPUT_GRADIENT))
        features = site.inputs[0][1]
        return [*result, *(self._weights(site, columns) for columns in (features, self.hidden))]

    def _inputs(self, site: Site, phase: Phase) -> Kernel:
        """Inputs times weights, or gates' gradients times weights."""
        positions, features = site.inputs[0]
        rows = self.directions * self._width
        forward = phase == Phase.FORWARD
        role = Role.ACTIVATION if forward else Role.GRADIENT
        sides = (rows, features) if forward else (features, rows)
        return Kernel(
            OpClass.GEMM,
            phase,
            each(FLOPS_PER_MAC * positions * rows * features),
            ((role, each(positions * sides[1])), (Role.WEIGHT, once(self.parameter_sizes(site.inputs)[0]))),
            ((role, each(positions * sides[0])),),
            Gemm(each(positions), once(sides[0]), once(sides[1])),
            streamed=each(positions * sides[1]),
            reuse=sides[0],
        )

    def _step(self, phase: Phase, role: Role) -> Kernel:
        """The state of one position times the recurrent weights of one direction."""
        sides = (self._width, self.hidden) if phase == Phase.FORWARD else (self.hidden, self._width)
        return Kernel(
            OpClass.GEMM,
            phase,
            each(FLOPS_PER_MAC * self._width * self.hidden),
            ((role, each(sides[1])), (Role.WEIGHT, once(self._width * self.hidden))),
            ((role, each(sides[0])),),
            Gemm(each(1), once(sides[0]), once(sides[1])),
            streamed=each(sides[1]),
            reuse=sides[0],
        )

    def _weights(self, site: Site, columns: int) -> Kernel:
        """Gates' gradients times inputs or states, over all positions."""
        positions, rows = site.inputs[0][0], self.directions * self._width
        return Kernel(
            OpClass.GEMM,
            Phase.WEIGHT_GRADIENT,
            each(FLOPS_PER_MAC * positions * rows * columns),
            ((Role.ACTIVATION, each(positions * columns)), (Role.GRADIENT, each(positions * rows))),
            ((Role.WEIGHT_GRADIENT, once(rows * columns)),),
            Gemm(once(rows), once(columns), each(positions)),
            streamed=each(positions * rows),
            reuse=columns,
        )

    def saved(self, site: Site) -> tuple[tuple[Role, Affine], ...]:
        """Gates and cell states."""
        positions = site.inputs[0][0]
        return ((Role.ACTIVATION, each(positions * self.directions * self._width + elements(site.output))),)

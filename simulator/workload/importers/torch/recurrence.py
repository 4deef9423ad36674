"""Cost rules of recurrent networks that a library runs in one call: all inputs at once, then step by step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from simulator.op.kernel import OpClass, Phase
from simulator.op.recurrent import CELL_FLOPS, GATES
from simulator.units import FLOPS_PER_MAC
from simulator.workload.importers.torch.calls import Call, Kind, Tensor
from simulator.workload.importers.torch.rules import Draft, Moved, rule

CELLS = ("rnn", "rnn", "lstm", "gru")
"""Cells by cuDNN's number of them: ReLU, hyperbolic tangent, LSTM, GRU."""


class _Layer(NamedTuple):
    """One layer, of one or two directions: rows of all positions, those of one, and its sides."""

    cell: str
    rows: int
    samples: int
    features: int
    hidden: int
    directions: int

    @property
    def gates(self) -> int:
        return GATES[self.cell] * self.hidden

    @property
    def turns(self) -> int:
        return self.rows // self.samples * self.directions

    @property
    def cell_flops(self) -> int:
        return CELL_FLOPS[self.cell] * self.samples * self.hidden


def _layers(call: Call, first: int) -> Iterator[_Layer]:
    """The layers of a call whose number of the cell stands at position `first` of its arguments."""
    source: Tensor = call.args[0]
    mode, hidden, _, layers, _, _, _, two_ways = call.args[first : first + 8]
    directions, samples = (2 if two_ways else 1), call.args[4].shape[1]
    rows = source.shape[0] * source.shape[1]
    for number in range(layers):
        features = directions * hidden if number else source.shape[-1]
        yield _Layer(CELLS[mode], rows, samples, features, hidden, directions)


def _product(rows: int, columns: int, depth: int, reads: Moved, writes: Moved, phase: Phase | None = None) -> Draft:
    flops = FLOPS_PER_MAC * rows * columns * depth
    gemm = (rows, columns, depth, 1)
    return Draft(OpClass.GEMM, flops, reads, writes, gemm, streamed=rows * depth, reuse=columns, phase=phase)


@rule("_cudnn_rnn")
def _forward(call: Call) -> list[Draft]:
    """Of each layer the product of all inputs, then a product and the cell for each position and direction."""
    result: list[Draft] = []
    for layer in _layers(call, 6):
        gates, hidden, samples = layer.gates, layer.hidden, layer.samples
        columns = layer.directions * gates
        reads = (_value(layer.rows * layer.features), (Kind.WEIGHT, columns * layer.features))
        result.append(_product(layer.rows, columns, layer.features, reads, (_value(layer.rows * columns),)))
        state = (_value(samples * hidden), (Kind.WEIGHT, gates * hidden))
        step = _product(samples, gates, hidden, state, (_value(samples * gates),))
        read, written = samples * (2 * gates + hidden), samples * 2 * hidden
        cell = Draft(OpClass.ELEMENTWISE, layer.cell_flops, (_value(read),), (_value(written),))
        result += [step, cell] * layer.turns
    return result


@rule("_cudnn_rnn_backward")
def _backward(call: Call) -> list[Draft]:
    """Back through the positions, then the gradients of inputs, where wanted, and weights over all of them at once."""
    result: list[Draft] = []
    for number, layer in enumerate(_layers(call, 10)):
        wanted = bool(number or call.args[-1][0])
        phase = Phase.INPUT_GRADIENT if wanted else Phase.WEIGHT_GRADIENT
        columns = layer.directions * layer.gates
        gates = _gradient(layer.rows * columns)
        result += _steps_back(layer, phase)
        if wanted:
            given, inputs = (gates, (Kind.WEIGHT, columns * layer.features)), _gradient(layer.rows * layer.features)
            result.append(_product(layer.rows, layer.features, columns, given, (inputs,), phase))
        for side in (layer.features, layer.hidden):
            weights = ((Kind.WEIGHT_GRADIENT, columns * side),)
            pair = (_value(layer.rows * side), gates)
            result.append(_product(columns, side, layer.rows, pair, weights, Phase.WEIGHT_GRADIENT))
    return result


def _steps_back(layer: _Layer, phase: Phase) -> list[Draft]:
    """The cell's gradients and the state's, position by position."""
    gates, hidden, samples = layer.gates, layer.hidden, layer.samples
    read = (_gradient(2 * samples * hidden), _value(samples * (gates + 2 * hidden)))
    written = (_gradient(samples * (gates + hidden)),)
    cell = Draft(OpClass.ELEMENTWISE, layer.cell_flops, read, written, phase=phase)
    state = (_gradient(samples * gates), (Kind.WEIGHT, gates * hidden))
    step = _product(samples, hidden, gates, state, (_gradient(samples * hidden),), phase)
    return [cell, step] * layer.turns


def _value(size: int) -> tuple[Kind, int]:
    return Kind.ACTIVATION, size


def _gradient(size: int) -> tuple[Kind, int]:
    return Kind.GRADIENT, size

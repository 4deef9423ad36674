"""Recurrent layers and rotary positions."""

from __future__ import annotations

from typing import Literal

from simulator.errors import InputError
from simulator.op.base import Shape
from simulator.op.elementwise import Rotary
from simulator.op.recurrent import GATES, Recurrent
from simulator.workload.importers.onnx.builder import GraphTensor, LayerPlan, NodeCall, operator, product

CELLS: dict[str, Literal["lstm", "gru", "rnn"]] = {"LSTM": "lstm", "GRU": "gru", "RNN": "rnn"}


@operator("LSTM", "GRU", "RNN")
def recurrent(call: NodeCall) -> list[GraphTensor]:
    """X (positions, batch, features), W, R, B, lengths, first state; a fourth weight P joins gates and cell."""
    data, weight, state = call.first, call.input(1), call.input(2)
    cell = CELLS[call.node.op]
    if len(data.shape) != 3 or len(weight.shape) != 3 or len(state.shape) != 3 or not weight.constant:
        raise InputError(
            f"{call.node.op} of {list(data.shape)} with weights {list(weight.shape)} and {list(state.shape)}"
        )
    batch_first = bool(call.node.integer("layout", 0))
    positions, batch = data.shape[:2] if not batch_first else (data.shape[1], data.shape[0])
    directions, rows, features = weight.shape
    hidden = state.shape[2]
    if rows != GATES[cell] * hidden or data.shape[2] != features or state.shape[:2] != (directions, rows):
        raise InputError(
            f"{call.node.op} of {list(data.shape)} with weights {list(weight.shape)} and {list(state.shape)}"
        )
    sequences = call.builder.leading(batch)
    bias = call.optional(3)
    op = Recurrent(cell=cell, hidden=hidden, directions=directions, biases=0 if bias is None else 2)
    inputs: tuple[Shape, ...] = ((positions * sequences, features),)
    sample = op.output_shape(inputs)
    output = (positions, directions, batch, hidden) if not batch_first else (batch, positions, directions, hidden)
    weights = tuple(tensor for tensor in (weight, state, bias, call.optional(7)) if tensor is not None)
    result = call.add(op, [data], LayerPlan(output, data.kind, inputs, sample, weights))
    last = (directions, batch, hidden) if not batch_first else (batch, directions, hidden)
    return [result, call.view(result, last), call.view(result, last)][: max(1, len(call.node.outputs))]


@operator("RotaryEmbedding")
def rotary(call: NodeCall) -> GraphTensor:
    """Pairs of features turned by an angle of their position."""
    first = call.first
    size = product(call.builder.sample(first.shape))
    width = first.shape[-1] if first.shape else 1
    shape = (size // width, width)
    return call.add(Rotary(), [first], LayerPlan(first.shape, first.kind, (shape,), shape))

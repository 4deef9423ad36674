"""Recurrent networks in one call of the library: PyTorch takes them apart, position by position, on meta tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from simulator.op.recurrent import GATES
from simulator.workload.importers.torch.recurrence import CELLS

aten: Any = torch.ops.aten

MODES = {"rnn_relu": 0, "rnn_tanh": 1, "lstm": 2, "gru": 3}
"""cuDNN's numbers of the cells, by PyTorch's functions.
Source: PyTorch 2.13, `aten/src/ATen/native/cudnn/RNN.cpp`."""


def recurrent_calls() -> dict[Any, Callable[..., Any]]:
    """Functions that `torch.nn`'s recurrent modules call -> those that make one call of the library."""
    calls = {name: getattr(torch, name) for name in MODES}
    return {call: _in_one(call, MODES[name]) for name, call in calls.items()}


def _in_one(call: Callable[..., Any], mode: int) -> Callable[..., Any]:
    """In one call where sequences are as long as each other and states as wide as outputs; else as PyTorch has it."""

    def run(*args: Any) -> Any:
        source, states, weights = args[:3]
        if not isinstance(weights, (list, tuple)) or not isinstance(args[3], bool):  # packed sequences
            return call(*args)
        biased, layers, dropout, training, two_ways, batch_first = args[3:]
        hidden, cells = states if isinstance(states, (list, tuple)) else (states, None)
        each = 4 if biased else 2
        if len(weights) != each * layers * (1 + two_ways) or source.dim() != 3:  # projected states
            return call(*args)
        if batch_first:  # the library wants positions first
            source = source.transpose(0, 1).contiguous()
        places = (source, list(weights), each, source.new_empty(0), hidden, cells)
        options: tuple[Any, ...] = (mode, hidden.shape[-1], 0, layers, False, dropout, training, two_ways, [], None)
        output, last, last_cells, *_ = aten._cudnn_rnn(*places, *options)
        output = output.transpose(0, 1) if batch_first else output
        return (output, last) if cells is None else (output, last, last_cells)

    return run


def outputs(source: Any, _: Any, __: Any, buffer: Any, hidden: Any, cells: Any, *options: Any) -> Any:
    """Output, last states and what the backward pass keeps: gates and states of all positions in training."""
    mode, width, _, layers, _, _, training, two_ways = options[:8]
    rows, ways = source.shape[:2], 1 + two_ways
    kept = (GATES[CELLS[mode]] + 1) * width * ways * layers if training else 0
    return (
        source.new_empty((*rows, ways * width)),
        torch.empty_like(hidden),
        source.new_empty(0) if cells is None else torch.empty_like(cells),
        source.new_empty((*rows, kept)),
        buffer.new_empty(0),
    )


def gradients(source: Any, weights: Any, _: Any, __: Any, hidden: Any, cells: Any, *___: Any) -> Any:
    """Gradients of the input, the states and the weights."""
    states = torch.empty_like(hidden), None if cells is None else torch.empty_like(cells)
    return (torch.empty_like(source), *states, [torch.empty_like(weight) for weight in weights])

"""Tensors of a graph as far as they are known before a run: sides, element type, where they come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from simulator.op.base import Shape
from simulator.workload.importers.onnx.messages import FLOATS
from simulator.workload.importers.onnx.values import Array


@dataclass(frozen=True, slots=True)
class GraphTensor:
    """A tensor of the graph.

    Attributes
    ----------
    shape : all sides, the batch among them as its stand-in.
    kind : element type.
    handle : the layer whose output it is or is a view of, negative for an input of the network; None for a constant.
    stored : names of the file's tensors that a constant is made of.
    value : the numbers, if known.
    quantized : an integer form of a tensor that has just been quantised.
    items : the tensors of a sequence, None for one whose sides are known only in a run.
    """

    shape: Shape
    kind: int
    handle: int | None = None
    stored: tuple[str, ...] = ()
    value: Array | None = None
    quantized: bool = False
    items: tuple[GraphTensor | None, ...] | None = None

    @property
    def constant(self) -> bool:
        """Whether it depends on no input."""
        return self.handle is None

    @property
    def is_float(self) -> bool:
        """Whether its elements are floating-point numbers."""
        return self.kind in FLOATS

    @property
    def size(self) -> int:
        """Elements, batch included."""
        return product(self.shape)


def product(sides: Sequence[int]) -> int:
    """The product of the sides."""
    result = 1
    for side in sides:
        result *= side
    return result

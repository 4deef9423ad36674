"""From nodes to layers: the table of tensors, which of them are constant, where the batch is, and who reads what.

The batch has no number in a file with an open batch side. A large prime stands for it, so that shape arithmetic runs
on plain integers and a side carries the batch if the prime divides it: windows of an image, (B * 64, 49, 96), are 64 of
49 positions a sample. In a file with a fixed batch the leading side is divided by it, where it can be.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from simulator.errors import InputError, UnsupportedError
from simulator.op.base import Op, Shape
from simulator.workload.importers import Request
from simulator.workload.importers.onnx.messages import BOOL, INT64, STRING, Function, Model, Node, Stored
from simulator.workload.importers.onnx.tensors import GraphTensor, product
from simulator.workload.importers.onnx.values import fold, read_values
from simulator.workload.importers.onnx.wire import Wire
from simulator.workload.workload import Layer

BATCH = 65521
"""The stand-in for an open batch: the largest prime below 2**16, which no width or length is a multiple of."""

MAX_ACTIVATION = 2**42
"""Elements of the largest tensor of one sample."""
MAX_WEIGHT = 2**36
"""Elements of the largest stored tensor."""


class UnknownNumbersError(InputError):
    """Numbers that only a run computes."""


class Mark(NamedTuple):
    """How far a builder had come."""

    layers: int
    names: dict[str, int]
    counted: set[str]
    remarks: dict[str, None]


@dataclass
class GraphBuilder:
    """Layers in the making, for one file."""

    wire: Wire
    model: Model
    request: Request
    batch: int
    """The stand-in for an open batch, or the file's fixed batch."""
    open_batch: bool
    root: GraphTensor
    """The first input, which layers without an input of their own read nothing of."""
    layers: list[Layer] = field(default_factory=list)
    stored: dict[str, Stored] = field(default_factory=dict)
    counted: set[str] = field(default_factory=set)
    names: dict[str, int] = field(default_factory=dict)
    """Names of layers, and how often each was asked for."""
    symbols: dict[str, int] = field(default_factory=dict)
    remarks: dict[str, None] = field(default_factory=dict)
    """What a reader has to know of how the counts came about, in order, each once."""

    # ---- attempts

    def mark(self) -> Mark:
        """Where the layers stand."""
        return Mark(len(self.layers), dict(self.names), set(self.counted), dict(self.remarks))

    def reset(self, mark: Mark) -> None:
        """Forget the layers after a mark."""
        del self.layers[mark.layers :]
        self.names, self.counted, self.remarks = dict(mark.names), set(mark.counted), dict(mark.remarks)

    # ---- constants

    def load(self, stored: Stored, *, trainable: bool = True) -> GraphTensor:
        """A stored tensor; one of rank 0 is a number, long integers are shapes, and neither is a parameter."""
        if product(stored.dims) > MAX_WEIGHT:
            raise InputError(f"the tensor {stored.name!r} of {list(stored.dims)} is larger than any memory")
        name = stored.name or f"constant {len(self.stored)}"
        self.stored[name] = stored
        own = (name,) if trainable and stored.dims and stored.kind not in (INT64, STRING, BOOL) else ()
        return GraphTensor(stored.dims, stored.kind, None, own, read_values(self.wire, stored))

    def parameters(self, weights: Sequence[GraphTensor]) -> int:
        """Elements of the stored tensors that make these up and have not been counted before."""
        new = {name for weight in weights for name in weight.stored} - self.counted
        self.counted |= new
        return sum(product(self.stored[name].dims) for name in new)

    def shared(self, weight: GraphTensor) -> bool:
        """Whether an earlier layer has counted the weight."""
        return bool(weight.stored) and all(name in self.counted for name in weight.stored)

    # ---- shapes

    def sample(self, shape: Shape) -> Shape:
        """The shape of one sample: without the batch, and (1,) for a number."""
        result = self._open_sample(shape) if self.open_batch else self._fixed_sample(shape)
        if product(result) > MAX_ACTIVATION or any(side < 1 for side in result):
            raise InputError(f"a tensor of {list(result)} elements a sample is empty or larger than any memory")
        return result or (1,)

    def _open_sample(self, shape: Shape) -> Shape:
        carriers = [axis for axis, side in enumerate(shape) if side and side % self.batch == 0]
        if not carriers:
            return shape
        if len(carriers) > 1 or shape[carriers[0]] % self.batch**2 == 0:
            raise UnsupportedError(
                "a tensor grows with the square of the batch, which no step that is linear in it has"
            )
        axis, side = carriers[0], shape[carriers[0]] // self.batch
        return shape[:axis] + ((side,) if side > 1 else ()) + shape[axis + 1 :]

    def _fixed_sample(self, shape: Shape) -> Shape:
        if not shape or not shape[0] or shape[0] % self.batch:
            return shape
        side = shape[0] // self.batch
        return ((side,) if side > 1 else ()) + shape[1:]

    def leading(self, side: int) -> int:
        """What a leading side, such as the number of images, is for one sample."""
        return side // self.batch if side % self.batch == 0 and side else side

    # ---- layers

    def add(self, op: Op, node: Node, sources: Sequence[GraphTensor], plan: LayerPlan) -> GraphTensor:
        """Append a layer that reads `sources`; of constants alone it makes another constant."""
        live = [tensor for tensor in sources if tensor.handle is not None]
        every = tuple(name for tensor in (*sources, *plan.weights) for name in tensor.stored)
        if not live:
            return GraphTensor(plan.output, plan.kind, None, tuple(dict.fromkeys(every)))
        inputs = plan.inputs or tuple(self.sample(tensor.shape) for tensor in live)
        handles = tuple(tensor.handle for tensor in live if tensor.handle is not None)
        output = plan.sample or self.sample(plan.output)
        self.layers.append(Layer(self._name(node), op, handles, inputs, output, self.parameters(plan.weights)))
        return GraphTensor(plan.output, plan.kind, len(self.layers) - 1)

    def _name(self, node: Node) -> str:
        label, number = node.label, self.names.get(node.label, 0) + 1
        while label in self.names:
            label = f"{node.label}#{number}"
            number += 1
        self.names[node.label] = number - 1 if label != node.label else 1
        self.names.setdefault(label, 1)
        return label


@dataclass(frozen=True, slots=True)
class LayerPlan:
    """How a layer is written down.

    Attributes
    ----------
    output, kind : shape with the batch, and element type, of the output.
    inputs, sample : shapes of one sample as the operation wants them, instead of the tensors' own; as many elements.
    weights : constants that it trains.
    """

    output: Shape
    kind: int
    inputs: tuple[Shape, ...] = ()
    sample: Shape | None = None
    weights: tuple[GraphTensor, ...] = ()


@dataclass
class NodeCall:
    """A node about to become layers."""

    node: Node
    inputs: list[GraphTensor | None]
    builder: GraphBuilder
    scope: GraphScope

    @property
    def opset(self) -> int:
        """The version of the operator set."""
        return self.builder.model.opset

    @property
    def first(self) -> GraphTensor:
        """The first input."""
        return self.input(0)

    def input(self, position: int) -> GraphTensor:
        """An input that must be there."""
        tensor = self.optional(position)
        if tensor is None:
            raise InputError(f"{self.node.op} has no input {position}")
        return tensor

    def optional(self, position: int) -> GraphTensor | None:
        """An input, or None where it is left out."""
        return self.inputs[position] if position < len(self.inputs) else None

    @property
    def given(self) -> list[GraphTensor]:
        """All inputs that are there."""
        return [tensor for tensor in self.inputs if tensor is not None]

    def numbers(self, position: int) -> tuple[int, ...] | None:
        """The integers of an input, None where it is left out; an `InputError` where they are not known."""
        tensor = self.optional(position)
        if tensor is None:
            return None
        if tensor.value is None or tensor.value.dtype.kind not in "iufb":
            raise UnknownNumbersError(f"the numbers of input {position} of {self.node.op} are not known before a run")
        return tuple(int(value) for value in tensor.value.ravel())

    def axis(self, default: int, rank: int | None = None) -> int:
        """The attribute `axis`, counted from the front."""
        sides = len(self.first.shape) if rank is None else rank
        axis = self.node.integer("axis", default)
        if not -sides <= axis < max(sides, 1):
            raise InputError(f"{self.node.op} has no axis {axis} in {sides} sides")
        return axis % max(sides, 1)

    def axes(self, position: int = 1) -> tuple[int, ...] | None:
        """Axes from the attribute, or from an input in newer operator sets; as they are written."""
        given = self.node.integers("axes")
        return self.numbers(position) if given is None else given

    def add(self, op: Op, sources: Sequence[GraphTensor], plan: LayerPlan) -> GraphTensor:
        """Append a layer."""
        return self.builder.add(op, self.node, sources, plan)

    def view(self, tensor: GraphTensor, shape: Shape, kind: int | None = None) -> GraphTensor:
        """The same memory under another shape."""
        return GraphTensor(shape, tensor.kind if kind is None else kind, tensor.handle, tensor.stored)

    def remark(self, text: str) -> None:
        """Say something of this node's counts beside the network."""
        self.builder.remarks[text] = None


Handler = Callable[[NodeCall], Any]
"""Turns a call into its output or outputs."""

_handlers: dict[str, Handler] = {}


def operator(*names: str) -> Callable[[Handler], Handler]:
    """Register the rule for operators, `domain.name` outside the standard set; a second for one name is an error."""

    def register(handler: Handler) -> Handler:
        for name in names:
            if name in _handlers:
                raise ValueError(f"operator {name!r} has two rules")
            _handlers[name] = handler
        return handler

    return register


def handler(node: Node) -> Handler | None:
    """The rule for a node, if there is one."""
    return _handlers.get(f"{node.domain}.{node.op}" if node.domain else node.op)


def operators() -> list[str]:
    """Names of all operators with a rule."""
    return sorted(_handlers)


@dataclass
class GraphScope:
    """Names in sight: those of the graph, or of a function's body."""

    tensors: MutableMapping[str, GraphTensor]
    readers: dict[str, list[Node]]
    merged: dict[int, GraphTensor] = field(default_factory=dict)
    """Nodes that an earlier layer has swallowed, by identity."""

    def sole_reader(self, name: str) -> Node | None:
        """The only node that reads a tensor, or None."""
        readers = self.readers.get(name, [])
        return readers[0] if len(readers) == 1 else None


__all__ = [
    "BATCH",
    "Function",
    "GraphBuilder",
    "GraphScope",
    "GraphTensor",
    "LayerPlan",
    "NodeCall",
    "UnknownNumbersError",
    "fold",
    "handler",
    "operator",
    "product",
]

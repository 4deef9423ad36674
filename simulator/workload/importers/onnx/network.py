"""A model to the layers of a workload: inputs, stored tensors, nodes, and the loss behind the last."""

from __future__ import annotations

from simulator.errors import InputError
from simulator.op.activation import CrossEntropyLoss, Softmax
from simulator.op.base import Shapes
from simulator.workload.importers import Request
from simulator.workload.importers.onnx.builder import Builder, Plan, Scope, Tensor
from simulator.workload.importers.onnx.inputs import Inputs, read_inputs
from simulator.workload.importers.onnx.messages import Model, Node
from simulator.workload.importers.onnx.run import Runner, scope_of
from simulator.workload.importers.onnx.wire import Wire
from simulator.workload.workload import INPUT, Layer


def build(wire: Wire, model: Model, request: Request) -> tuple[Shapes, tuple[Layer, ...]]:
    """Shapes of one sample of the inputs, and the layers.

    Raises
    ------
    InputError, UnsupportedError
        See `load`.
    """
    inputs = read_inputs(model.graph, request)
    builder = Builder(wire, model, request, inputs.batch, inputs.open_batch, symbols=inputs.symbols)
    runner = Runner(builder)
    runner.check_operators(model.graph.nodes)
    scope = scope_of(model.graph, _given(builder, inputs))
    runner.run(model.graph.nodes, scope)
    if not builder.layers:
        raise InputError("no node depends on the inputs")
    _add_loss(builder, scope)
    return tuple(builder.sample(shape) for shape in inputs.shapes), tuple(builder.layers)


def _given(builder: Builder, inputs: Inputs) -> dict[str, Tensor]:
    """Stored tensors and inputs by name."""
    graph = builder.model.graph
    tensors = {name: builder.load(stored) for name, stored in graph.initializers.items()}
    for position, (value, shape) in enumerate(zip(inputs.values, inputs.shapes, strict=True)):
        tensors[value.name] = Tensor(shape, value.kind, INPUT - position)
    return tensors


def _add_loss(builder: Builder, scope: Scope) -> None:
    """Cross-entropy over the first output, where it is numbers for classes and its last layer no softmax."""
    first = builder.model.graph.outputs[0].name if builder.model.graph.outputs else ""
    tensor = scope.tensors.get(first)
    if tensor is None or tensor.handle is None or tensor.handle < 0 or not tensor.is_float:
        return
    shape = builder.sample(tensor.shape)
    if len(shape) > 2 or shape[-1] < 2 or isinstance(builder.layers[tensor.handle].op, Softmax):
        return
    builder.add(CrossEntropyLoss(), Node(name="loss"), [tensor], Plan((1,), tensor.kind, (shape,), (1,)))

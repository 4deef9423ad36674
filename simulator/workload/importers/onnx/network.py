"""A model to the layers of a workload: inputs, stored tensors, nodes, and the loss behind the last."""

from __future__ import annotations

from simulator.op.activation import CrossEntropyLoss, Softmax
from simulator.op.base import Shapes
from simulator.op.reshape import Reshape
from simulator.workload.importers import Request
from simulator.workload.importers.onnx.builder import GraphBuilder, GraphScope, GraphTensor, LayerPlan
from simulator.workload.importers.onnx.inputs import Inputs, read_inputs
from simulator.workload.importers.onnx.messages import Model, Node
from simulator.workload.importers.onnx.run import Runner
from simulator.workload.importers.onnx.wire import Wire
from simulator.workload.workload import INPUT


def build(wire: Wire, model: Model, request: Request) -> tuple[Shapes, GraphBuilder]:
    """Shapes of one sample of the inputs, and the layers with what is to be said of them.

    Raises
    ------
    InputError, UnsupportedError
        See `load`.
    """
    inputs = read_inputs(model.graph, request)
    root = GraphTensor(inputs.shapes[0], inputs.values[0].kind, INPUT)
    builder = GraphBuilder(wire, model, request, inputs.batch, inputs.open_batch, root, symbols=inputs.symbols)
    runner = Runner(builder)
    runner.check_operators(model.graph.nodes)
    scope = runner.scope_of(model.graph, given_tensors(builder, inputs))
    runner.run(model.graph.nodes, scope)
    if not builder.layers:
        _add_view(builder)
    else:
        _add_loss(builder, scope)
    _name_unread(builder, inputs)
    return tuple(builder.sample(shape) for shape in inputs.shapes), builder


def given_tensors(builder: GraphBuilder, inputs: Inputs) -> dict[str, GraphTensor]:
    """Stored tensors and inputs by name."""
    graph = builder.model.graph
    tensors = {name: builder.load(stored) for name, stored in graph.initializers.items()}
    for position, (value, shape) in enumerate(zip(inputs.values, inputs.shapes, strict=True)):
        tensors[value.name] = GraphTensor(shape, value.kind, INPUT - position)
    return tensors


def _add_view(builder: GraphBuilder) -> None:
    """The one layer of a network that only renames elements, or computes nothing from its input: a view of it."""
    tensor = builder.root
    name = builder.model.graph.outputs[0].name if builder.model.graph.outputs else "output"
    builder.add(
        Reshape(shape=builder.sample(tensor.shape)), Node(name=name), [tensor], LayerPlan(tensor.shape, tensor.kind)
    )


def _name_unread(builder: GraphBuilder, inputs: Inputs) -> None:
    """Say which inputs no layer reads."""
    read = {source for layer in builder.layers for source in layer.sources}
    unread = [value.name for position, value in enumerate(inputs.values) if INPUT - position not in read]
    if unread:
        builder.remarks[
            f"no layer reads {'the input' if len(unread) == 1 else 'the inputs'} {', '.join(unread[:8])}"
        ] = None


def _add_loss(builder: GraphBuilder, scope: GraphScope) -> None:
    """Cross-entropy over the first output, where it is numbers for classes and its last layer no softmax."""
    first = builder.model.graph.outputs[0].name if builder.model.graph.outputs else ""
    tensor = scope.tensors.get(first)
    if tensor is None or tensor.handle is None or tensor.handle < 0 or not tensor.is_float:
        return
    shape = builder.sample(tensor.shape)
    if len(shape) > 2 or shape[-1] < 2 or isinstance(builder.layers[tensor.handle].op, Softmax):
        return
    builder.add(CrossEntropyLoss(), Node(name="loss"), [tensor], LayerPlan((1,), tensor.kind, (shape,), (1,)))

"""Shapes of operators without a rule: as the file declares them, else by the `onnx` library."""

from __future__ import annotations

from typing import Any

from simulator.errors import InputError, UnsupportedError
from simulator.op.base import Shape
from simulator.op.tensor import Move
from simulator.workload.importers.onnx.builder import GraphBuilder, GraphTensor, LayerPlan, NodeCall, product
from simulator.workload.importers.onnx.decode import read_value
from simulator.workload.importers.onnx.messages import Stored, Value


def output_types(call: NodeCall) -> list[tuple[Shape, int]]:
    """(shape, element type) of each output of a node without a rule.

    Raises
    ------
    UnsupportedError
        If the file does not declare them and the `onnx` library is absent or does not know the operator either.
    """
    result = []
    inferred: dict[str, tuple[Shape, int]] | None = None
    for name in call.node.outputs:
        known = _declared(call, name)
        if known is None:
            inferred = _inferred(call) if inferred is None else inferred
            known = inferred.get(name)
        if known is None:
            raise UnsupportedError(f"{call.node.op} has no rule here, and the file does not give the shape of {name!r}")
        result.append(known)
    return result


def declared_names(builder: GraphBuilder) -> set[str]:
    """Tensors whose shapes the file states."""
    graph = builder.model.graph
    return {value.name for value in graph.outputs} | {read_value(builder.wire, span).name for span in graph.declared}


SIZED_BY_NUMBERS = {"Expand", "Reshape", "Tile", "Slice", "Pad", "Range", "ConstantOfShape", "OneHot"}
"""Operators that move elements into a shape that numbers say."""


def declared_outputs(call: NodeCall, error: InputError) -> GraphTensor:
    """An output whose sides only a run computes, of the sides that the file states: a copy, or a view if as many.

    Raises
    ------
    InputError
        The `error`, with a way out, where the file does not state them, or the operator computes.
    """
    found = _declared(call, call.node.outputs[0]) if call.node.op in SIZED_BY_NUMBERS and call.node.outputs else None
    if found is None:
        raise type(error)(f"{error}, and the file does not state the output's sides; a file for fixed shapes does")
    shape, kind = found
    first = call.first
    if first.constant or (call.node.op != "OneHot" and product(shape) == first.size):
        return call.view(first, shape, kind)
    return call.add(Move(shape=call.builder.sample(shape)), [first], LayerPlan(shape, kind))


def _declared(call: NodeCall, name: str) -> tuple[Shape, int] | None:
    model = call.builder.model
    for value in model.graph.outputs:
        if value.name == name:
            return _closed(call, value)
    for span in model.graph.declared:
        value = read_value(call.builder.wire, span)
        if value.name == name:
            return _closed(call, value)
    return None


def _closed(call: NodeCall, value: Value) -> tuple[Shape, int] | None:
    """The shape with its symbols replaced; None if one has no known size."""
    sides = [call.builder.symbols.get(side) if isinstance(side, str) else side for side in value.sides or (None,)]
    shape = tuple(side for side in sides if side is not None)
    return (shape, value.kind) if len(shape) == len(sides) and min(shape, default=1) > 0 else None


def _inferred(call: NodeCall) -> dict[str, tuple[Shape, int]]:
    """What the library says of a model of this one node."""
    try:
        import onnx
    except ImportError:
        raise UnsupportedError(
            f"the shape of {call.node.op} needs the onnx library: pip install roofline-simulator[onnx]"
        ) from None
    try:
        return _infer(onnx, call)
    except Exception as error:  # the library raises its own kinds
        text = " ".join(str(error).split())[:120]
        raise UnsupportedError(f"{call.node.op} has no rule here, and its shape cannot be inferred: {text}") from None


def _infer(onnx: Any, call: NodeCall) -> dict[str, tuple[Shape, int]]:
    helper = onnx.helper
    inputs = [
        helper.make_tensor_value_info(name, tensor.kind, list(tensor.shape))
        for name, tensor in zip(call.node.inputs, call.inputs, strict=True)
        if tensor is not None and tensor.value is None
    ]
    constants = [
        onnx.numpy_helper.from_array(tensor.value, name)
        for name, tensor in zip(call.node.inputs, call.inputs, strict=True)
        if tensor is not None and tensor.value is not None
    ]
    attributes = {
        key: value
        for key, value in call.node.attributes.items()
        if isinstance(value, (int, float, str, list)) and not isinstance(value, Stored)
    }
    node = helper.make_node(
        call.node.op, call.node.inputs, call.node.outputs, domain=call.node.domain or None, **attributes
    )
    outputs = [helper.make_empty_tensor_value_info(name) for name in call.node.outputs]
    graph = helper.make_graph([node], "one", inputs, outputs, constants)
    opsets = [helper.make_opsetid(domain, version) for domain, version in call.builder.model.domains.items()]
    model = onnx.shape_inference.infer_shapes(helper.make_model(graph, opset_imports=opsets))
    result = {}
    for value in model.graph.output:
        tensor_type = value.type.tensor_type
        sides = [side.dim_value for side in tensor_type.shape.dim]
        if tensor_type.HasField("shape") and all(side > 0 for side in sides):
            result[value.name] = tuple(sides), tensor_type.elem_type
    return result

"""From the bytes of an ONNX file to its messages.

Field numbers are those of onnx.proto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
"""

from __future__ import annotations

from typing import Any

from simulator.errors import InputError
from simulator.workload.importers.onnx.messages import (
    ITEM_BITS,
    MAX_LIST,
    SMALL_BYTES,
    Function,
    Graph,
    Model,
    Node,
    Reference,
    Stored,
    Value,
)
from simulator.workload.importers.onnx.wire import FIXED32, MAX_TEXT, VARINT, Field, Span, Wire, signed


def read_model(wire: Wire) -> Model:
    """The model, weights left where they are.

    Raises
    ------
    InputError
        If the bytes are no ONNX model.
    """
    model, graph = Model(), None
    for item in wire.fields(wire.whole):
        if item.number == 7 and item.wire == 2:
            graph = read_graph(wire, item.span)
        elif item.number == 8:
            domain, version = _opset(wire, item.span)
            model.domains["" if domain == "ai.onnx" else domain] = version
        elif item.number == 25:
            function = _function(wire, item.span)
            model.functions[function.domain, function.name] = function
    if graph is None or not graph.nodes:
        raise InputError(f"{wire.where}: not an ONNX model: it holds no graph of nodes")
    model.graph, model.opset = graph, model.domains.get("", 0)
    return model


def read_graph(wire: Wire, span: Span) -> Graph:
    """A graph or subgraph."""
    graph = Graph()
    for item in wire.fields(span):
        if item.number == 1:
            graph.nodes.append(_node(wire, item.span))
        elif item.number == 5:
            stored = read_tensor(wire, item.span)
            graph.initializers[stored.name] = stored
        elif item.number == 11:
            graph.inputs.append(read_value(wire, item.span))
        elif item.number == 12:
            graph.outputs.append(read_value(wire, item.span))
        elif item.number == 13:
            graph.declared.append(item.span)
        elif item.number == 15:
            stored = _sparse(wire, item.span)
            graph.initializers[stored.name] = stored
    return graph


def _opset(wire: Wire, span: Span) -> tuple[str, int]:
    domain, version = "", 0
    for item in wire.fields(span):
        if item.number == 1:
            domain = wire.text(item)
        elif item.number == 2:
            version = signed(item.value)
    return domain, version


def _function(wire: Wire, span: Span) -> Function:
    function = Function()
    for item in wire.fields(span):
        if item.number == 1:
            function.name = wire.text(item)
        elif item.number == 4:
            function.inputs.append(wire.text(item))
        elif item.number == 5:
            function.outputs.append(wire.text(item))
        elif item.number == 7:
            function.nodes.append(_node(wire, item.span))
        elif item.number == 10:
            function.domain = wire.text(item)
        elif item.number == 11:
            name, value = _attribute(wire, item.span)
            function.defaults[name] = value
    return function


def _node(wire: Wire, span: Span) -> Node:
    node = Node()
    for item in wire.fields(span):
        if item.number == 1:
            node.inputs.append(wire.text(item))
        elif item.number == 2:
            node.outputs.append(wire.text(item))
        elif item.number == 3:
            node.name = wire.text(item)
        elif item.number == 4:
            node.op = wire.text(item)
        elif item.number == 5:
            name, value = _attribute(wire, item.span)
            node.attributes[name] = value
        elif item.number == 7:
            node.domain = wire.text(item)
    node.domain = "" if node.domain == "ai.onnx" else node.domain
    return node


_DEFAULTS: dict[int, Any] = {1: 0.0, 2: 0, 3: "", 6: [], 7: [], 8: []}
"""Attribute type -> what it is when the file leaves the value out."""


def _attribute(wire: Wire, span: Span) -> tuple[str, Any]:
    name, kind = "", 0
    value: Any = None
    for item in wire.fields(span):
        if item.number == 1:
            name = wire.text(item)
        elif item.number == 20:
            kind = item.value
        elif item.number == 21:
            value = Reference(wire.text(item))
        else:
            value = _attribute_value(wire, item, value)
    if value is None:
        value = [] if kind in (6, 7, 8) else _DEFAULTS.get(kind)
    return name, value


def _attribute_value(wire: Wire, item: Field, known: Any) -> Any:
    """The value with one more field of it read."""
    items = known if isinstance(known, list) else []
    if item.number == 2:
        return wire.real(item)
    if item.number == 3:
        return signed(item.value)
    if item.number == 4:
        return wire.text(item._replace(span=Span(item.span.start, min(item.span.stop, item.span.start + MAX_TEXT))))
    if item.number == 5:
        return read_tensor(wire, item.span)
    if item.number == 6:
        return item.span
    if item.number == 7:
        items.extend(wire.reals(item, MAX_LIST - len(items)))
        return items
    if item.number == 8:
        items.extend(wire.integers(item, MAX_LIST - len(items)))
        return items
    if item.number == 9:
        items.append(wire.text(item))
        return items
    return known


def read_value(wire: Wire, span: Span) -> Value:
    """A declared tensor."""
    value = Value()
    for item in wire.fields(span):
        if item.number == 1:
            value.name = wire.text(item)
        elif item.number == 2:
            for kind in wire.fields(item.span):
                if kind.number == 1:
                    _tensor_type(wire, kind.span, value)
    return value


def _tensor_type(wire: Wire, span: Span, value: Value) -> None:
    for item in wire.fields(span):
        if item.number == 1:
            value.kind = item.value
        elif item.number == 2:
            value.sides = tuple(_side(wire, side.span) for side in wire.fields(item.span) if side.number == 1)


def _side(wire: Wire, span: Span) -> int | str | None:
    side: int | str | None = None
    for item in wire.fields(span):
        if item.number == 1:
            side = signed(item.value)
        elif item.number == 2:
            side = wire.text(item) or None
    return side


def read_tensor(wire: Wire, span: Span) -> Stored:
    """A tensor's sides and type; values only where they are small."""
    stored, dims = Stored(), []
    for item in wire.fields(span):
        if item.number == 1:
            dims += wire.integers(item, MAX_LIST)
        elif item.number == 2:
            stored.kind = item.value
        elif item.number == 8:
            stored.name = wire.text(item)
        elif item.number == 9:
            stored.raw = item.span
        elif item.number == 10:
            stored.doubles = item.span
        elif item.number == 14:
            stored.external = item.value == 1
        elif item.number in (5, 7, 11):
            stored.numbers += wire.integers(item, MAX_LIST - len(stored.numbers))
        elif item.number == 4 and item.wire != VARINT:
            limit = MAX_LIST - len(stored.reals) if item.wire == FIXED32 or item.span.size <= SMALL_BYTES else 0
            stored.reals += wire.reals(item, limit)
    stored.dims = tuple(dims)
    _check(wire, stored)
    return stored


def _check(wire: Wire, stored: Stored) -> None:
    """Refuse sides below zero, and raw values that are fewer or more than the sides say."""
    if len(stored.dims) > 16 or any(side < 0 for side in stored.dims):
        raise InputError(f"{wire.where}: the tensor {stored.name!r} has the sides {list(stored.dims)[:16]}")
    if stored.raw is None or stored.kind not in ITEM_BITS or stored.external:
        return
    count = 1
    for side in stored.dims:
        count *= side
    if stored.raw.size and -(-count * ITEM_BITS[stored.kind] // 8) != stored.raw.size:
        text = f"{list(stored.dims)} elements in {stored.raw.size} bytes"
        raise InputError(f"{wire.where}: the tensor {stored.name!r} has {text}")


def _sparse(wire: Wire, span: Span) -> Stored:
    """A sparse tensor as the dense one that it stands for, its values left out."""
    stored, dims = Stored(), []
    for item in wire.fields(span):
        if item.number == 1:
            values = read_tensor(wire, item.span)
            stored.name, stored.kind = values.name, values.kind
        elif item.number == 3:
            dims += wire.integers(item, MAX_LIST)
    stored.dims = tuple(dims)
    _check(wire, stored)
    return stored

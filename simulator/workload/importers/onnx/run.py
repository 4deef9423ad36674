"""Runs through a graph's nodes in order: known values computed, functions and branches entered, layers added."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from simulator.errors import InputError, SimulatorError, UnsupportedError
from simulator.op.unknown import Unknown
from simulator.workload.importers.onnx import (  # noqa: F401 - registers the rules
    convolution,
    elementwise,
    movement,
    normalization,
    product,
    quantized,
    recurrence,
    resize,
    selection,
)
from simulator.workload.importers.onnx.builder import Builder, Call, Plan, Scope, Tensor, handler
from simulator.workload.importers.onnx.decode import read_graph
from simulator.workload.importers.onnx.messages import Function, Graph, Node, Stored
from simulator.workload.importers.onnx.values import KINDS, fold
from simulator.workload.importers.onnx.wire import Span

MAX_DEPTH = 12
"""Functions in functions and branches in branches."""
MAX_NODES = 200_000

CONTROL = {"If", "Constant", "ConstantOfShape"}
"""Operators with a rule here."""


def scope_of(graph: Graph, tensors: dict[str, Tensor]) -> Scope:
    """The names of a graph, with who reads each; a graph's output has a reader outside."""
    scope = Scope(tensors, readers(graph.nodes))
    for value in graph.outputs:
        scope.readers.setdefault(value.name, []).append(Node(op="output"))
    return scope


def readers(nodes: list[Node]) -> dict[str, list[Node]]:
    """The nodes that read each name."""
    result: dict[str, list[Node]] = {}
    for node in nodes:
        for name in node.inputs:
            result.setdefault(name, []).append(node)
    return result


@dataclass
class Runner:
    """What goes along: the layers and how many nodes have run."""

    builder: Builder
    left: int = MAX_NODES

    def check_operators(self, nodes: list[Node]) -> None:
        """Refuse a graph with operators that have no rule, all of them in one line, unless the user allows them."""
        unknown = [node for node in self._all(nodes) if not self.knows(node)]
        missing = Counter(f"{node.domain}.{node.op}" if node.domain else node.op for node in unknown)
        if missing and not self.builder.request.allow_unknown:
            counts = [f"{name} ({count})" for name, count in missing.most_common(8)]
            rest = f" and {len(missing) - 8} more" if len(missing) > 8 else ""
            names = ", ".join(counts) + rest
            raise UnsupportedError(f"no cost rule for the operators {names}; {self._way_out(unknown)}")

    def _way_out(self, unknown: list[Node]) -> str:
        """What --allow-unknown does for operators: nothing where nobody knows the shapes of their outputs."""
        from simulator.workload.importers.onnx.inference import declared_names

        known = declared_names(self.builder)
        if all(name in known for node in unknown for name in node.outputs if name):
            return "--allow-unknown leaves them uncounted"
        return "the file does not state the shapes of all their outputs, which --allow-unknown would need"

    def _all(self, nodes: list[Node]) -> list[Node]:
        """The nodes, and those of the functions of the file that are called."""
        result, queue, entered = list(nodes), list(nodes), set()
        while queue:
            key = (queue[-1].domain, queue[-1].op)
            queue.pop()
            if key in self.builder.model.functions and key not in entered:
                entered.add(key)
                result += self.builder.model.functions[key].nodes
                queue += self.builder.model.functions[key].nodes
        return result

    def knows(self, node: Node) -> bool:
        """Whether a node has a rule."""
        own = not node.domain and node.op in CONTROL
        return own or (node.domain, node.op) in self.builder.model.functions or handler(node) is not None

    def run(self, nodes: list[Node], scope: Scope, depth: int = 0) -> None:
        """All nodes, in order; errors name the node."""
        if depth > MAX_DEPTH:
            raise InputError(f"functions or branches are nested deeper than {MAX_DEPTH}")
        for node in nodes:
            self.left -= 1
            if self.left < 0:
                raise InputError(f"more than {MAX_NODES} nodes")
            try:
                outputs = self._outputs(node, scope, depth)
            except SimulatorError as error:
                text = str(error)
                raise error if text.startswith("node ") else type(error)(f"node {node.label!r}: {text}") from None
            for name, tensor in zip(node.outputs, outputs, strict=False):
                if name:
                    scope.tensors[name] = tensor

    def _outputs(self, node: Node, scope: Scope, depth: int) -> list[Tensor]:
        if id(node) in scope.merged:
            return [scope.merged[id(node)]]
        inputs = [_lookup(name, scope) for name in node.inputs]
        function = self.builder.model.functions.get((node.domain, node.op))
        if function is not None:
            return self._call(function, node, inputs, depth)
        if not node.domain and node.op == "Constant":
            return [self._constant(node)]
        if not node.domain and node.op == "If":
            return self._branch(node, inputs, scope, depth)
        known = self._fold(node, inputs)
        if known is not None:
            return known
        rule = handler(node)
        call = Call(node, inputs, self.builder, scope)
        if rule is None and not (not node.domain and node.op == "ConstantOfShape"):
            return self._unknown(call)
        result = _filled(call) if rule is None else rule(call)
        return result if isinstance(result, list) else [result]

    def _fold(self, node: Node, inputs: list[Tensor | None]) -> list[Tensor] | None:
        """Constants computed from constants."""
        values = [None if tensor is None else tensor.value for tensor in inputs]
        if not inputs or any(tensor is not None and tensor.value is None for tensor in inputs):
            return None
        if node.op == "ConstantOfShape" and isinstance(node.attributes.get("value"), Stored):
            filler = self.builder.load(node.attributes["value"], trainable=False).value
            node.attributes["filler"] = filler
        arrays = fold(node, values, self.builder.model.opset)
        if arrays is None:
            return None
        stored = tuple(dict.fromkeys(name for tensor in inputs if tensor is not None for name in tensor.stored))
        return [Tensor(array.shape, KINDS[array.dtype], None, stored, array) for array in arrays]

    def _constant(self, node: Node) -> Tensor:
        """A tensor or numbers written into a node."""
        import numpy as np

        for key in ("value", "sparse_value"):
            if isinstance(node.attributes.get(key), Stored):
                stored: Stored = node.attributes[key]
                stored.name = node.label
                return self.builder.load(stored)
        for key, dtype in (
            ("value_int", "<i8"),
            ("value_ints", "<i8"),
            ("value_float", "<f4"),
            ("value_floats", "<f4"),
        ):
            if key in node.attributes:
                array = np.array(node.attributes[key], dtype=dtype)
                return Tensor(array.shape, KINDS[array.dtype], None, (), array)
        return Tensor((), 8)

    def _call(self, function: Function, node: Node, inputs: list[Tensor | None], depth: int) -> list[Tensor]:
        """The body of a function of the file."""
        body = [item.bound(_with_defaults(node, function)) for item in function.nodes]
        given = {name: tensor for name, tensor in zip(function.inputs, inputs, strict=False) if tensor is not None}
        inner = Scope(given, readers(body))
        for name in function.outputs:
            inner.readers.setdefault(name, []).append(Node(op="output"))
        self.run(body, inner, depth + 1)
        return [_found(name, inner) for name in function.outputs]

    def _branch(self, node: Node, inputs: list[Tensor | None], scope: Scope, depth: int) -> list[Tensor]:
        """The branch that a known condition takes."""
        condition = inputs[0].value if inputs and inputs[0] is not None else None
        if condition is None or condition.size != 1:
            raise UnsupportedError("If: which branch is taken is known only in a run")
        span = node.attributes.get("then_branch" if bool(condition.ravel()[0]) else "else_branch")
        if not isinstance(span, Span):
            raise InputError("If without its branches")
        graph = read_graph(self.builder.wire, span)
        inner = scope_of(graph, scope.tensors)
        scope.tensors.update({name: self.builder.load(stored) for name, stored in graph.initializers.items()})
        self.check_operators(graph.nodes)
        self.run(graph.nodes, inner, depth + 1)
        return [_found(value.name, inner) for value in graph.outputs]

    def _unknown(self, call: Call) -> list[Tensor]:
        """A layer that is listed and costs nothing, for each output."""
        from simulator.workload.importers.onnx.inference import output_types

        results = []
        for shape, kind in output_types(call):
            op = Unknown(name=call.node.op, shape=self.builder.sample(shape))
            results.append(call.add(op, call.given, Plan(shape, kind)))
        return results


def _with_defaults(node: Node, function: Function) -> Node:
    return Node(attributes={**function.defaults, **node.attributes})


def _filled(call: Call) -> Tensor:
    """A constant of a shape, too large to write out."""
    return Tensor(call.numbers(0) or (), 1)


def _lookup(name: str, scope: Scope) -> Tensor | None:
    return _found(name, scope) if name else None


def _found(name: str, scope: Scope) -> Tensor:
    if name not in scope.tensors:
        raise InputError(f"nobody writes {name!r} before it is read (a cycle, or a file cut short)")
    return scope.tensors[name]

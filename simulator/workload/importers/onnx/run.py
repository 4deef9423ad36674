"""Runs through a graph's nodes in order: known values computed, functions and branches entered, layers added."""

from __future__ import annotations

from collections import Counter
from collections.abc import MutableMapping
from dataclasses import dataclass

from simulator.errors import InputError, SimulatorError, UnsupportedError
from simulator.op.unknown import Unknown
from simulator.workload.importers.onnx import (  # noqa: F401 - registers the rules
    attention,
    chance,
    choice,
    contrib,
    control,
    convolution,
    einsum,
    elementwise,
    losses,
    movement,
    normalization,
    product,
    quantized,
    recurrence,
    resize,
    sampling,
    selection,
    sequences,
    signal,
)
from simulator.workload.importers.onnx.builder import (
    GraphBuilder,
    GraphScope,
    GraphTensor,
    LayerPlan,
    NodeCall,
    UnknownNumbersError,
    handler,
)
from simulator.workload.importers.onnx.control import found
from simulator.workload.importers.onnx.decode import read_graph
from simulator.workload.importers.onnx.inference import declared_names, declared_outputs, output_types
from simulator.workload.importers.onnx.messages import Function, Graph, Node, Stored
from simulator.workload.importers.onnx.sequences import SEQUENCES
from simulator.workload.importers.onnx.values import KINDS, fold
from simulator.workload.importers.onnx.wire import Span

MAX_DEPTH = 12
"""Functions in functions and branches in branches."""
MAX_NODES = 200_000

CONTROL = {*control.RULES, "Constant", "ConstantOfShape"}
"""Operators with a rule here."""

_TEXT = "text has no arithmetic to count: cut the graph behind its tokens"
_TRAINING = "gradients and updates are added here: give the graph of the forward pass"
_SEARCH = "a whole generation inside a node is a question for `simulate serve`: give the decoder's own file"
REASONS = {
    **dict.fromkeys(("StringConcat", "StringNormalizer", "StringSplit", "RegexFullMatch", "TfIdfVectorizer"), _TEXT),
    **{f"ai.onnx.preview.training.{name}": _TRAINING for name in ("Adagrad", "Adam", "Gradient", "Momentum")},
    **dict.fromkeys(("com.microsoft.GreedySearch", "com.microsoft.BeamSearch", "com.microsoft.Sampling"), _SEARCH),
    "ImageDecoder": "a file's decoding belongs to the input: give the graph behind it",
}
"""Operators that no network's layers hold -> why."""


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

    builder: GraphBuilder
    left: int = MAX_NODES

    def scope_of(self, graph: Graph, tensors: MutableMapping[str, GraphTensor]) -> GraphScope:
        """The names of a graph, with who reads each; outputs have a reader outside, names read by inner graphs one."""
        scope = GraphScope(tensors, readers(graph.nodes))
        outside = [value.name for value in graph.outputs] + [name for node in graph.nodes for name in self._inner(node)]
        for name in outside:
            scope.readers.setdefault(name, []).append(Node(op="outside"))
        return scope

    def _inner(self, node: Node) -> list[str]:
        """The names that the graphs inside a node read or pass on."""
        spans = [value for value in node.attributes.values() if isinstance(value, Span)]
        graphs = [read_graph(self.builder.wire, span) for span in spans]
        passed = [value.name for graph in graphs for value in graph.outputs]
        return passed + [
            name for graph in graphs for item in graph.nodes for name in (*item.inputs, *self._inner(item))
        ]

    def check_operators(self, nodes: list[Node]) -> None:
        """Refuse a graph with operators that have no rule, all of them in one line, unless the user allows them."""
        unknown = [node for node in self._all(nodes) if not self.knows(node)]
        missing = Counter(f"{node.domain}.{node.op}" if node.domain else node.op for node in unknown)
        if missing and not self.builder.request.allow_unknown:
            counts = [f"{name} ({count})" for name, count in missing.most_common(8)]
            rest = f" and {len(missing) - 8} more" if len(missing) > 8 else ""
            names = ", ".join(counts) + rest
            reasons = sorted({REASONS[name] for name in missing if name in REASONS})
            raise UnsupportedError(
                "; ".join([f"no cost rule for the operators {names}", *reasons, self._way_out(unknown)])
            )

    def _way_out(self, unknown: list[Node]) -> str:
        """What --allow-unknown does for operators: nothing where nobody knows the shapes of their outputs."""
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

    def run(self, nodes: list[Node], scope: GraphScope, depth: int = 0) -> None:
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

    def _outputs(self, node: Node, scope: GraphScope, depth: int) -> list[GraphTensor]:
        if id(node) in scope.merged:
            return [scope.merged[id(node)]]
        inputs = [_lookup(name, scope) for name in node.inputs]
        function = self.builder.model.functions.get((node.domain, node.op))
        if function is not None:
            return self._call(function, node, inputs, depth)
        if not node.domain and node.op == "Constant":
            return [self._constant(node)]
        if not node.domain and node.op in control.RULES:
            return control.RULES[node.op](self, node, inputs, scope, depth)
        if node.op not in SEQUENCES and any(tensor is not None and tensor.items is not None for tensor in inputs):
            raise InputError(f"{node.op} of a sequence")
        known = self._fold(node, inputs)
        if known is not None:
            return known
        rule = handler(node)
        call = NodeCall(node, inputs, self.builder, scope)
        if rule is None and not (not node.domain and node.op == "ConstantOfShape"):
            return self._unknown(call)
        try:
            result = _filled(call) if rule is None else rule(call)
        except UnknownNumbersError as error:
            result = declared_outputs(call, error)
        except (IndexError, ValueError, ZeroDivisionError):
            sides = ", ".join(str(list(tensor.shape)) for tensor in call.given[:4])
            raise InputError(f"{node.op} of tensors of {sides} that do not fit it") from None
        return result if isinstance(result, list) else [result]

    def _fold(self, node: Node, inputs: list[GraphTensor | None]) -> list[GraphTensor] | None:
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
        return [GraphTensor(array.shape, KINDS[array.dtype], None, stored, array) for array in arrays]

    def _constant(self, node: Node) -> GraphTensor:
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
                return GraphTensor(array.shape, KINDS[array.dtype], None, (), array)
        return GraphTensor((), 8)

    def _call(self, function: Function, node: Node, inputs: list[GraphTensor | None], depth: int) -> list[GraphTensor]:
        """The body of a function of the file."""
        body = [item.bound(_with_defaults(node, function)) for item in function.nodes]
        given = {name: tensor for name, tensor in zip(function.inputs, inputs, strict=False) if tensor is not None}
        inner = GraphScope(given, readers(body))
        for name in function.outputs:
            inner.readers.setdefault(name, []).append(Node(op="output"))
        self.run(body, inner, depth + 1)
        return [found(name, inner) for name in function.outputs]

    def _unknown(self, call: NodeCall) -> list[GraphTensor]:
        """A layer that is listed and costs nothing, for each output."""
        results = []
        for shape, kind in output_types(call):
            op = Unknown(name=call.node.op, shape=self.builder.sample(shape))
            results.append(call.add(op, call.given, LayerPlan(shape, kind)))
        return results


def _with_defaults(node: Node, function: Function) -> Node:
    return Node(attributes={**function.defaults, **node.attributes})


def _filled(call: NodeCall) -> GraphTensor:
    """A constant of a shape, too large to write out."""
    return GraphTensor(call.numbers(0) or (), 1)


def _lookup(name: str, scope: GraphScope) -> GraphTensor | None:
    return found(name, scope) if name else None

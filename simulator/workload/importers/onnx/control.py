"""Branches and loops: graphs inside nodes.

A loop is laid out trip by trip, as a run goes through it; weights that all trips read count once. How often it runs is
the count that it is given, or follows from a condition whose value is known before a run; where neither is so, the
user says it. A branch that only a run decides is the costlier of the two.
Source: ONNX operator specifications, If, Loop, Scan, SequenceMap.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from simulator.errors import InputError, UnsupportedError
from simulator.op.base import elements
from simulator.op.combine import Concat
from simulator.workload.importers.onnx.builder import GraphBuilder, GraphScope, GraphTensor, LayerPlan
from simulator.workload.importers.onnx.decode import read_graph
from simulator.workload.importers.onnx.messages import BOOL, INT64, Graph, Node
from simulator.workload.importers.onnx.wire import Span

if TYPE_CHECKING:
    from simulator.workload.importers.onnx.run import Runner

MAX_TRIPS = 10_000
"""Trips that a condition of known values may ask for, before it counts as one that never ends."""
ENDLESS = 2**31 - 1
"""From here on exporters mean by a trip count that only the condition ends the loop."""


@dataclass
class Body:
    """A graph inside a node, and the names around it."""

    runner: Runner
    node: Node
    graph: Graph
    scope: GraphScope
    depth: int

    @classmethod
    def of(cls, runner: Runner, node: Node, attribute: str, scope: GraphScope, depth: int) -> Body:
        """The graph of an attribute, its stored tensors loaded, its operators checked."""
        span = node.attributes.get(attribute)
        if not isinstance(span, Span):
            raise InputError(f"{node.op} without its {attribute}")
        graph = read_graph(runner.builder.wire, span)
        runner.check_operators(graph.nodes)
        stored = {name: runner.builder.load(stored) for name, stored in graph.initializers.items()}
        return cls(runner, node, graph, GraphScope(ChainMap(stored, scope.tensors), scope.readers), depth)

    def enter(self, given: Sequence[GraphTensor | None] = ()) -> list[GraphTensor]:
        """The outputs, with these inputs."""
        names = [value.name for value in self.graph.inputs if value.name not in self.graph.initializers]
        own = {name: tensor for name, tensor in zip(names, given, strict=False) if tensor is not None}
        inner = self.runner.scope_of(self.graph, ChainMap(own, self.scope.tensors))
        self.runner.run(self.graph.nodes, inner, self.depth + 1)
        return [found(value.name, inner) for value in self.graph.outputs]

    def check_length(self, trips: int) -> None:
        """Refuse, before it starts, what would be more nodes than a network may have."""
        nodes = trips * len(self.graph.nodes)
        if nodes > self.runner.left:
            raise InputError(f"{trips} trips of {len(self.graph.nodes)} nodes are more than a network may have")

    @property
    def builder(self) -> GraphBuilder:
        """The layers in the making."""
        return self.runner.builder


def found(name: str, scope: GraphScope) -> GraphTensor:
    """The tensor of a name, or an InputError."""
    if name not in scope.tensors:
        raise InputError(f"nobody writes {name!r} before it is read (a cycle, or a file cut short)")
    return scope.tensors[name]


def truth(tensor: GraphTensor | None) -> bool | None:
    """A condition's value, None if only a run knows it; one that is left out is true."""
    if tensor is None:
        return True
    if tensor.value is None or tensor.value.size != 1:
        return None
    return bool(tensor.value.ravel()[0])


def branch(
    runner: Runner, node: Node, inputs: list[GraphTensor | None], scope: GraphScope, depth: int
) -> list[GraphTensor]:
    """The branch that a known condition takes; of an unknown one the costlier."""
    decided = truth(inputs[0]) if inputs else None
    names = {True: "then_branch", False: "else_branch"}
    if decided is None:
        costs = {which: _cost(runner, node, names[which], scope, depth) for which in names}
        decided = costs[True] >= costs[False]
        runner.builder.remarks[
            f"the branch of If {node.label!r} is decided in a run: its {names[decided]}, the costlier"
        ] = None
    return Body.of(runner, node, names[decided], scope, depth).enter()


def _cost(runner: Runner, node: Node, attribute: str, scope: GraphScope, depth: int) -> tuple[int, int]:
    """FLOPs and elements of a branch's layers, which are forgotten again."""
    mark = runner.builder.mark()
    Body.of(runner, node, attribute, scope, depth).enter()
    layers = runner.builder.layers[mark.layers :]
    cost = sum(layer.op.counts(layer.site()).flops for layer in layers), sum(elements(layer.output) for layer in layers)
    runner.builder.reset(mark)
    return cost


def loop(
    runner: Runner, node: Node, inputs: list[GraphTensor | None], scope: GraphScope, depth: int
) -> list[GraphTensor]:
    """Trips, condition, then what is carried from trip to trip; further outputs of the body are stacked."""
    body = Body.of(runner, node, "body", scope, depth)
    limit, going = inputs[0] if inputs else None, inputs[1] if len(inputs) > 1 else None
    trips = Trips(
        node, _known(limit), runner.builder.request.trips, undecided=limit is not None and limit.value is None
    )
    carried, rows = list(inputs[2:]), list[list[GraphTensor]]()
    body.check_length(trips.most or 0)
    while trips.another(truth(going)):
        outputs = body.enter([_number(len(rows)), going or _number(True), *carried])
        if len(outputs) < 1 + len(carried):
            raise InputError(f"the body of Loop gives {len(outputs)} tensors for {len(carried)} that it carries on")
        going, carried = outputs[0], list(outputs[1 : 1 + len(carried)])
        rows.append(outputs[1 + len(carried) :])
    if trips.undecided:
        runner.builder.remarks[f"Loop {node.label!r} is counted as {trips.done} trips, which a run decides"] = None
    return [*(tensor for tensor in carried if tensor is not None), *_stacked_rows(body, rows, ())]


def _known(limit: GraphTensor | None) -> int | None:
    """The trip count, None where there is none that ends a loop."""
    if limit is None or limit.value is None or limit.value.size != 1:
        return None
    count = int(limit.value.ravel()[0])
    return count if count < ENDLESS else None


@dataclass
class Trips:
    """How often a loop has run, and whether it runs again.

    Attributes
    ----------
    most : its trip count, if it has a known one.
    asked : what the user says, of a loop that a run ends.
    undecided : whether its count or its condition is known only in a run.
    """

    node: Node
    most: int | None
    asked: int | None
    undecided: bool
    done: int = 0

    def another(self, going: bool | None) -> bool:
        """Whether there is one more trip, by a condition whose value may not be known.

        Raises
        ------
        UnsupportedError
            If only a run knows, and the user does not say.
        """
        if going is False or self.done == self.most:
            return False
        self.undecided |= going is None or self.done >= MAX_TRIPS
        if self.undecided and self.asked is None and self.most is None:
            raise UnsupportedError(f"how often {self.node.op} runs is known only in a run: --trips gives it")
        if self.undecided and self.asked is not None and self.done >= self.asked:
            return False
        self.done += 1
        return True


def _number(value: float) -> GraphTensor:
    """A known number or truth."""
    array = np.array(value)
    return GraphTensor((), BOOL if array.dtype == bool else INT64, None, (), array)


def scan(
    runner: Runner, node: Node, inputs: list[GraphTensor | None], scope: GraphScope, depth: int
) -> list[GraphTensor]:
    """States, then tensors that are walked along one side each, a slice a trip."""
    if runner.builder.model.opset < 9:
        raise UnsupportedError("Scan of operator set 8 has no rule; newer sets have")
    body = Body.of(runner, node, "body", scope, depth)
    count = node.integer("num_scan_inputs", 0)
    given = [tensor for tensor in inputs if tensor is not None]
    if not 1 <= count <= len(given):
        raise InputError(f"Scan of {count} tensors with {len(given)} inputs")
    states, walked = list(given[:-count]), given[-count:]
    axes = node.integers("scan_input_axes", (0,) * count) or (0,) * count
    rows: list[list[GraphTensor]] = []
    length = _walk_length(body, walked, axes)
    body.check_length(length)
    for trip in range(length):
        slices = [_slice(tensor, trip, axis) for tensor, axis in zip(walked, axes, strict=True)]
        outputs = body.enter([*states, *slices])
        states = outputs[: len(states)]
        rows.append(outputs[len(states) :])
    width = len(rows[0]) if rows else 0
    return [*states, *_stacked_rows(body, rows, node.integers("scan_output_axes", (0,) * width) or ())]


def _walk_length(body: Body, walked: Sequence[GraphTensor], axes: Sequence[int]) -> int:
    """The common side along which the tensors are walked."""
    if len(axes) != len(walked) or any(
        not -len(t.shape) <= axis < len(t.shape) for t, axis in zip(walked, axes, strict=True)
    ):
        raise InputError(f"Scan along the axes {list(axes)} of {[list(tensor.shape) for tensor in walked]}")
    sides = {tensor.shape[axis] for tensor, axis in zip(walked, axes, strict=True)}
    if len(sides) > 1:
        raise InputError(f"Scan along sides of {sorted(sides)}")
    side = sides.pop()
    if body.builder.open_batch and side % body.builder.batch == 0:
        raise UnsupportedError("Scan along the batch, one trip a sample, has no rule")
    return side


def _slice(tensor: GraphTensor, place: int, axis: int) -> GraphTensor:
    """One place along an axis: a view."""
    axis %= len(tensor.shape)
    shape = tensor.shape[:axis] + tensor.shape[axis + 1 :]
    value = None if tensor.value is None else np.take(tensor.value, place, axis=axis)
    return GraphTensor(shape, tensor.kind, tensor.handle, tensor.stored, value)


def _stacked_rows(body: Body, rows: Sequence[Sequence[GraphTensor]], axes: Sequence[int]) -> list[GraphTensor]:
    """What the trips give, each kind one tensor with the trips as a side of its own."""
    columns = [list(column) for column in zip(*rows, strict=True)]
    places = [*axes, *[0] * len(columns)]
    return [_stacked(body, column, axis) for column, axis in zip(columns, places, strict=False)]


def _stacked(body: Body, column: list[GraphTensor], axis: int) -> GraphTensor:
    first = column[0]
    if any(tensor.shape != first.shape for tensor in column):
        raise InputError(f"the trips of {body.node.op} give tensors of different sides")
    axis %= len(first.shape) + 1
    shape = (*first.shape[:axis], len(column), *first.shape[axis:])
    live = [tensor for tensor in column if not tensor.constant]
    values = [tensor.value for tensor in column if tensor.value is not None]
    if len(live) < 2:
        value = np.stack(values, axis) if len(values) == len(column) and not live else None
        return GraphTensor(shape, first.kind, live[0].handle if live else None, first.stored, value)
    return body.builder.add(Concat(), body.node, live, LayerPlan(shape, first.kind))


def sequence_map(
    runner: Runner, node: Node, inputs: list[GraphTensor | None], scope: GraphScope, depth: int
) -> list[GraphTensor]:
    """The body once for each tensor of the first sequence, other inputs that are sequences walked with it."""
    body = Body.of(runner, node, "body", scope, depth)
    given = [tensor for tensor in inputs if tensor is not None]
    count = len(given[0].items or ()) if given else 0
    rows = [body.enter([_item(tensor, place) for tensor in given]) for place in range(count)]
    kinds = zip(*rows, strict=True) if rows else ((),) * len(node.outputs)
    return [GraphTensor((), 0, items=tuple(column)) for column in kinds]


def _item(tensor: GraphTensor, place: int) -> GraphTensor | None:
    if tensor.items is None:
        return tensor
    if place >= len(tensor.items):
        raise InputError(f"SequenceMap over sequences of different lengths, one of {len(tensor.items)}")
    return tensor.items[place]


RULES = {"If": branch, "Loop": loop, "Scan": scan, "SequenceMap": sequence_map}
"""Operator -> its rule."""

"""Operators that pick elements, look rows up, or sum sides up."""

from __future__ import annotations

from simulator.errors import InputError
from simulator.op.base import Shape
from simulator.op.reshape import Cut, Reduce
from simulator.op.sequence import Embedding
from simulator.op.tensor import Move
from simulator.workload.importers.onnx.builder import GraphTensor, LayerPlan, NodeCall, operator, product
from simulator.workload.importers.onnx.convolution import pooled
from simulator.workload.importers.onnx.messages import INT64
from simulator.workload.importers.onnx.movement import copied, places

REDUCTIONS = tuple(
    f"Reduce{kind}" for kind in ("Mean", "Sum", "Max", "Min", "Prod", "L1", "L2", "LogSum", "LogSumExp", "SumSquare")
)


@operator("Slice")
def cut(call: NodeCall) -> GraphTensor:
    """A part copied out; the whole is the tensor itself."""
    shape = call.first.shape
    old = call.opset < 10
    starts = (call.node.integers("starts") if old else call.numbers(1)) or ()
    ends = (call.node.integers("ends") if old else call.numbers(2)) or ()
    axes = call.node.integers("axes") if old else call.numbers(3)
    steps = None if old else call.numbers(4)
    axes = axes if axes is not None else tuple(range(len(starts)))
    steps = steps or (1,) * len(starts)
    places(axes, len(shape))
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        raise InputError(f"Slice of {list(shape)} with starts {list(starts)}, ends {list(ends)}, steps {list(steps)}")
    sides = list(shape)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        place = axis % len(shape)
        sides[place] = _sliced(shape[place], start, end, step)
    return part(call, tuple(sides))


def _sliced(side: int, start: int, end: int, step: int) -> int:
    """Elements of a slice of one side, however far out its ends are written."""
    return len(range(side)[slice(start, None if step < 0 and end < -side else end, step)])


def part(call: NodeCall, output: Shape) -> GraphTensor:
    """A part of the first input; free where it is all of it, and of a constant."""
    first = call.first
    if first.constant or product(output) == first.size:
        return call.view(first, output)
    shape = call.builder.sample(output)
    return call.add(Cut(shape=shape), [first], LayerPlan(output, first.kind))


@operator("Gather")
def gather(call: NodeCall) -> GraphTensor:
    """Rows of a trained table by numbers of the input, or a part of an activation."""
    data, indices, axis = call.first, call.input(1), call.axis(0)
    output = data.shape[:axis] + indices.shape + data.shape[axis + 1 :]
    if data.constant and indices.constant:
        return GraphTensor(output, data.kind, None, data.stored)
    if data.constant and not indices.constant:
        return look_up(call, data, indices, output)
    if not indices.constant:
        return copied(call, output, indices)
    kept = (*data.shape[:axis], max(1, indices.size), *data.shape[axis + 1 :])
    if product(kept) > data.size:
        return copied(call, output)
    return part(call, output)


def look_up(call: NodeCall, table: GraphTensor, indices: GraphTensor, output: Shape) -> GraphTensor:
    """Rows of a stored table by numbers of the input."""
    tokens = product(call.builder.sample(indices.shape))
    total = product(call.builder.sample(output))
    vocabulary, features = table.shape[0], total // tokens
    if not table.is_float or not table.stored or total % tokens:
        return call.add(Move(shape=call.builder.sample(output)), [indices], LayerPlan(output, table.kind))
    op = Embedding(vocabulary=vocabulary, features=features, tied=call.builder.shared(table))
    plan = LayerPlan(output, table.kind, ((tokens,),), (tokens, features), (table,))
    return call.add(op, [indices], plan)


@operator("GatherElements", "GatherND")
def gather_elements(call: NodeCall) -> GraphTensor:
    """Elements picked one by one."""
    indices = call.input(1)
    if call.node.op == "GatherElements":
        return copied(call, indices.shape, indices)
    batch_sides, picked = call.node.integer("batch_dims", 0), indices.shape[-1] if indices.shape else 0
    return copied(call, indices.shape[:-1] + call.first.shape[batch_sides + picked :], indices)


@operator("ScatterND", "ScatterElements", "Scatter")
def scatter(call: NodeCall) -> GraphTensor:
    """A copy with some elements replaced."""
    live = [tensor for tensor in (call.first, call.input(2)) if not tensor.constant]
    return call.add(
        Move(shape=call.builder.sample(call.first.shape)), live, LayerPlan(call.first.shape, call.first.kind)
    )


@operator(*REDUCTIONS, "ArgMax", "ArgMin")
def reduce(call: NodeCall) -> GraphTensor:
    """One operation an input; over the pixels of an image a global pool."""
    shape, arg = call.first.shape, call.node.op.startswith("Arg")
    axes = (call.node.integer("axis", 0),) if arg else call.axes()
    if not axes and call.node.integer("noop_with_empty_axes", 0):
        return call.first
    gone = set(range(len(shape))) if not axes else places(axes, len(shape))
    keep = bool(call.node.integer("keepdims", 1))
    output = tuple(1 if axis in gone else side for axis, side in enumerate(shape) if keep or axis not in gone)
    if call.node.op == "ReduceMean" and len(shape) == 4 and gone == {2, 3}:
        return pooled(call, call.first, output)
    return call.add(
        Reduce(shape=call.builder.sample(output)), [call.first], LayerPlan(output, INT64 if arg else call.first.kind)
    )


@operator("Range")
def number_range(call: NodeCall) -> GraphTensor:
    """Numbers in a row; those of a run are not known."""
    start, limit, step = ((call.numbers(position) or (0,))[0] for position in range(3))
    if not step:
        raise InputError("Range with a step of zero")
    return GraphTensor((len(range(start, limit, step)),), call.first.kind)


@operator("OneHot")
def one_hot(call: NodeCall) -> GraphTensor:
    """A row of zeros with a one for each number."""
    depth = (call.numbers(1) or (0,))[0]
    axis = call.axis(-1, len(call.first.shape) + 1)
    output = (*call.first.shape[:axis], depth, *call.first.shape[axis:])
    return call.add(Move(shape=call.builder.sample(output)), [call.first], LayerPlan(output, call.input(2).kind))


@operator("TopK")
def top_k(call: NodeCall) -> list[GraphTensor]:
    """The largest values and their places: a pass over the input."""
    axis = call.axis(-1)
    count = (call.numbers(1) if call.opset >= 10 else (call.node.integer("k", 1),)) or (1,)
    output = (*call.first.shape[:axis], count[0], *call.first.shape[axis + 1 :])
    values = call.add(Reduce(shape=call.builder.sample(output)), [call.first], LayerPlan(output, call.first.kind))
    return [values, call.view(values, output, INT64)]

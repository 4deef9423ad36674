"""Operators that rename or move elements: views cost nothing, everything else is a pass."""

from __future__ import annotations

from simulator.errors import InputError
from simulator.op.base import Shape
from simulator.op.combine import Concat
from simulator.op.rearrange import Part
from simulator.op.tensor import Move
from simulator.workload.importers.onnx.builder import GraphTensor, LayerPlan, NodeCall, operator, product
from simulator.workload.importers.onnx.messages import INT64
from simulator.workload.importers.onnx.product import broadcast
from simulator.workload.importers.onnx.values import Array


@operator("Identity")
def identity(call: NodeCall) -> GraphTensor:
    """The same tensor."""
    return call.first


@operator("Shape", "Size")
def shape_of(call: NodeCall) -> GraphTensor:
    """Known before a run."""
    import numpy as np

    if call.node.op == "Size":
        array: Array = np.array(call.first.size, dtype=np.int64)
    else:
        start, end = call.node.integer("start", 0), call.node.integer("end", len(call.first.shape))
        array = np.array(call.first.shape[start:end], dtype=np.int64)
    return GraphTensor(array.shape, INT64, None, (), array)


@operator("Reshape")
def reshape(call: NodeCall) -> GraphTensor:
    """A view; a shape written for a fixed batch is scaled where the batch is open."""
    target = call.node.integers("shape") if call.opset < 5 else call.numbers(1)
    return call.view(call.first, reshaped(call, call.first.shape, target or ()))


def reshaped(call: NodeCall, shape: Shape, target: Shape) -> Shape:
    """The new sides, with 0 (as it was) and -1 (the rest) worked out."""
    keep = not call.node.integer("allowzero", 0)
    if any(side == 0 and keep and axis >= len(shape) for axis, side in enumerate(target)) or target.count(-1) > 1:
        raise InputError(f"{list(shape)} cannot become {list(target)}")
    sides = [shape[axis] if side == 0 and keep else side for axis, side in enumerate(target)]
    total, rest = product(shape), product([side for side in sides if side != -1])
    if -1 in sides and rest > 0 and total % rest == 0:
        sides[sides.index(-1)] = total // rest
    elif sides and total == rest * call.builder.batch and call.builder.open_batch:
        sides[0] *= call.builder.batch
    if any(side < 0 for side in sides) or product(sides) != total:
        raise InputError(f"{list(shape)} cannot become {list(target)}")
    return tuple(sides)


@operator("Flatten")
def flatten(call: NodeCall) -> GraphTensor:
    """Two sides: those before `axis` and the rest."""
    shape, axis = call.first.shape, call.node.integer("axis", 1)
    if not -len(shape) <= axis <= len(shape):
        raise InputError(f"Flatten has no axis {axis} in {list(shape)}")
    axis += len(shape) if axis < 0 else 0
    return call.view(call.first, (product(shape[:axis]), product(shape[axis:])))


@operator("Squeeze")
def squeeze(call: NodeCall) -> GraphTensor:
    """Sides of 1 left out."""
    shape, axes = call.first.shape, call.axes()
    gone = {axis for axis, side in enumerate(shape) if side == 1} if axes is None else places(axes, len(shape))
    if any(shape[axis] != 1 for axis in gone):
        raise InputError(f"Squeeze of sides {sorted(gone)} of {list(shape)}")
    return call.view(call.first, tuple(side for axis, side in enumerate(shape) if axis not in gone))


def places(axes: Shape, rank: int) -> set[int]:
    if any(not -rank <= axis < rank for axis in axes):
        raise InputError(f"axes {list(axes)} of {rank} sides")
    return {axis % rank for axis in axes}


@operator("Unsqueeze")
def unsqueeze(call: NodeCall) -> GraphTensor:
    """Sides of 1 put in."""
    axes = call.axes() or ()
    rank = len(call.first.shape) + len(axes)
    new, sides = places(axes, rank), iter(call.first.shape)
    if len(new) != len(axes):
        raise InputError(f"Unsqueeze with the axes {list(axes)}")
    return call.view(call.first, tuple(1 if axis in new else next(sides) for axis in range(rank)))


@operator("Transpose")
def transpose(call: NodeCall) -> GraphTensor:
    """A copy; a view where only sides of 1 move, or where a product reads the transpose as it is."""
    shape = call.first.shape
    order = call.node.integers("perm", tuple(reversed(range(len(shape))))) or ()
    if sorted(order) != list(range(len(shape))):
        raise InputError(f"Transpose of {list(shape)} by {list(order)}")
    output = tuple(shape[axis] for axis in order)
    moved = [axis for axis in order if shape[axis] != 1]
    last_two = (*range(len(shape) - 2), len(shape) - 1, len(shape) - 2)
    reader = call.scope.sole_reader(call.node.outputs[0])
    read_turned = order == last_two and reader is not None and reader.op == "MatMul"
    if call.first.constant or moved == sorted(moved) or read_turned:
        return call.view(call.first, output)
    return copied(call, output)


def copied(call: NodeCall, output: Shape, *others: GraphTensor) -> GraphTensor:
    """One copy into a new shape."""
    live = [call.first, *others]
    return call.add(Move(shape=call.builder.sample(output)), live, LayerPlan(output, call.first.kind))


@operator("Concat")
def concat(call: NodeCall) -> GraphTensor:
    """Inputs side by side; a stored one, such as a class token, is trained."""
    return joined(call, call.given, call.axis(0))


def joined(call: NodeCall, given: list[GraphTensor], axis: int) -> GraphTensor:
    """Tensors side by side along an axis."""
    for tensor in given:
        if len(tensor.shape) != len(given[0].shape):
            raise InputError(f"Concat of {[list(each.shape) for each in given]}")
    sides = list(broadcast(*(_without(tensor.shape, axis) for tensor in given)))
    sides.insert(axis, sum(tensor.shape[axis] for tensor in given))
    output = tuple(sides)
    live = [tensor for tensor in given if not tensor.constant and tensor.size]
    stored = tuple(tensor for tensor in given if tensor.constant and tensor.is_float)
    if len(live) == 1 and len([tensor for tensor in given if tensor.size]) == 1:
        return call.view(live[0], output)
    return (
        call.add(Concat(), live, LayerPlan(output, given[0].kind, weights=stored)) if live else _constant(given, output)
    )


def _without(shape: Shape, axis: int) -> Shape:
    return shape[:axis] + shape[axis + 1 :]


def _constant(given: list[GraphTensor], output: Shape) -> GraphTensor:
    return GraphTensor(output, given[0].kind, None, tuple(name for tensor in given for name in tensor.stored))


@operator("Split")
def split(call: NodeCall) -> list[GraphTensor]:
    """Views of parts."""
    axis, count = call.axis(0), len(call.node.outputs)
    side = call.first.shape[axis] if call.first.shape else 0
    sizes = call.node.integers("split") or call.numbers(1)
    if sizes is None:
        part = -(-side // max(1, call.node.integer("num_outputs", count)))
        sizes = tuple(min(part, side - part * number) for number in range(count))
    if sum(sizes) != side or min(sizes) < 0 or len(sizes) != count:
        raise InputError(f"Split of {side} into {list(sizes)}")
    shape = call.first.shape
    shapes = [(*shape[:axis], size, *shape[axis + 1 :]) for size in sizes]
    if call.first.constant or axis % len(shape) == 0 or count == 1:
        return [call.view(call.first, one) for one in shapes]
    return [
        call.add(Part(shape=call.builder.sample(one), split=True), [call.first], LayerPlan(one, call.first.kind))
        for one in shapes
    ]


@operator("Pad")
def pad(call: NodeCall) -> GraphTensor:
    """A copy into a larger tensor; negative padding cuts."""
    shape = call.first.shape
    pads = call.node.integers("pads") if call.opset < 11 else call.numbers(1)
    axes = None if call.opset < 18 else call.numbers(3)
    places = list(range(len(shape))) if axes is None else [axis % max(len(shape), 1) for axis in axes]
    if pads is None or len(pads) != 2 * len(places):
        raise InputError(f"Pad of {list(shape)} by {list(pads or ())}")
    sides = list(shape)
    for number, axis in enumerate(places):
        sides[axis] += pads[number] + pads[number + len(places)]
    return call.first if tuple(sides) == shape else copied(call, tuple(sides))


@operator("Expand")
def expand(call: NodeCall) -> GraphTensor:
    """A view: repeated sides are read, not written."""
    output = broadcast(call.first.shape, call.numbers(1) or ())
    if call.first.constant or output == call.first.shape:
        return call.view(call.first, output)
    return copied(call, output)


@operator("Tile")
def tile(call: NodeCall) -> GraphTensor:
    """A copy of each repetition."""
    times = call.numbers(1) or ()
    if len(times) != len(call.first.shape) or any(count < 1 for count in times):
        raise InputError(f"Tile of {list(call.first.shape)} by {list(times)}")
    output = tuple(side * count for side, count in zip(call.first.shape, times, strict=True))
    return call.first if output == call.first.shape else copied(call, output)


@operator("DepthToSpace", "SpaceToDepth")
def depth_to_space(call: NodeCall) -> GraphTensor:
    """Channels to pixels, or back: a copy."""
    shape, block = call.first.shape, call.node.integer("blocksize", 0)
    if len(shape) != 4 or block < 1:
        raise InputError(f"{call.node.op} of {list(shape)} in blocks of {block}")
    if call.node.op == "DepthToSpace":
        output = (shape[0], shape[1] // block**2, shape[2] * block, shape[3] * block)
    else:
        output = (shape[0], shape[1] * block**2, shape[2] // block, shape[3] // block)
    if product(output) != product(shape):
        raise InputError(f"{call.node.op}: {list(shape)} does not divide into blocks of {block}")
    return copied(call, output)

"""Sequences of tensors, and tensors that may be absent: lists known before a run, which cost nothing themselves."""

from __future__ import annotations

import numpy as np

from simulator.errors import InputError, UnsupportedError
from simulator.workload.importers.onnx.builder import GraphTensor, NodeCall, UnknownNumbersError, operator
from simulator.workload.importers.onnx.messages import BOOL, INT64
from simulator.workload.importers.onnx.movement import joined

SEQUENCES = frozenset(
    [
        *("SequenceAt", "SequenceConstruct", "SequenceErase", "SequenceInsert", "SequenceLength", "SequenceMap"),
        *("ConcatFromSequence", "Identity", "If", "Loop", "Optional", "OptionalGetElement", "OptionalHasElement"),
    ]
)
"""Operators that read sequences; to all others one is an error."""
MAX_PARTS = 2**16
NOTHING = 0
"""Element type of an optional tensor that is not there."""


def _sequence(items: tuple[GraphTensor | None, ...]) -> GraphTensor:
    return GraphTensor((), NOTHING, items=items)


def _items(call: NodeCall) -> tuple[GraphTensor | None, ...]:
    items = call.first.items
    if items is None:
        raise InputError(f"{call.node.op} needs a sequence")
    return items


@operator("SequenceConstruct", "SequenceEmpty")
def construct(call: NodeCall) -> GraphTensor:
    """A list of the inputs, or of none."""
    return _sequence(tuple(call.given))


def _place(call: NodeCall, position: int, default: int, count: int) -> int:
    """A place among `count`, counted from the front."""
    place = (call.numbers(position) or (default,))[0]
    if not -count <= place < count:
        raise InputError(f"{call.node.op} at place {place} of {count}")
    return place % count


@operator("SequenceInsert")
def insert(call: NodeCall) -> GraphTensor:
    """One tensor more, at the end unless a place is given."""
    items = _items(call)
    place = _place(call, 2, len(items), len(items) + 1)
    return _sequence((*items[:place], call.input(1), *items[place:]))


@operator("SequenceErase")
def erase(call: NodeCall) -> GraphTensor:
    """One tensor less, the last unless a place is given."""
    items = _items(call)
    place = _place(call, 1, -1, len(items))
    return _sequence(items[:place] + items[place + 1 :])


@operator("SequenceAt")
def at(call: NodeCall) -> GraphTensor:
    """One tensor of the list; where only a run knows which, the first, if all are of the same sides."""
    items = _items(call)
    if call.input(1).value is None and len({None if item is None else item.shape for item in items}) == 1:
        item = items[0]
    else:
        item = items[_place(call, 1, 0, len(items))]
    if item is None:
        raise UnknownNumbersError("the sides of the parts of SplitToSequence are not known before a run")
    return item


@operator("SequenceLength")
def length(call: NodeCall) -> GraphTensor:
    """Known before a run."""
    return GraphTensor((), INT64, None, (), np.array(len(_items(call))))


@operator("ConcatFromSequence")
def concat(call: NodeCall) -> GraphTensor:
    """All tensors of the list side by side, or stacked along a side of their own."""
    items = [item for item in _items(call) if item is not None]
    if not items or len(items) < len(_items(call)):
        raise UnknownNumbersError("ConcatFromSequence of tensors whose sides are not known before a run")
    if not call.node.integer("new_axis", 0):
        return joined(call, items, call.axis(0, len(items[0].shape)))
    axis = call.axis(0, len(items[0].shape) + 1)
    views = [call.view(item, (*item.shape[:axis], 1, *item.shape[axis:])) for item in items]
    return joined(call, views, axis)


@operator("SplitToSequence")
def split(call: NodeCall) -> GraphTensor:
    """Views of parts: of 1, of equal sides, or of given ones."""
    data, axis = call.first, call.axis(0)
    sizes = _sizes(call, data.shape[axis] if data.shape else 0)
    if isinstance(sizes, int):
        return _sequence((None,) * sizes)
    drop = call.optional(1) is None and not call.node.integer("keepdims", 1)
    front, back = data.shape[:axis], data.shape[axis + 1 :]
    return _sequence(tuple(call.view(data, front + (() if drop else (size,)) + back) for size in sizes))


def _sizes(call: NodeCall, side: int) -> tuple[int, ...] | int:
    """Lengths of the parts, or their number where only a run knows the lengths."""
    given = call.optional(1)
    if given is not None and given.value is None and len(given.shape) == 1:
        if given.shape[0] > MAX_PARTS:
            raise UnsupportedError(f"SplitToSequence into {given.shape[0]} parts: as many tensors have no rule")
        return given.shape[0]
    numbers = call.numbers(1) or (1,)
    if given is not None and given.shape:
        if sum(numbers) != side or min(numbers) < 0:
            raise InputError(f"SplitToSequence of {side} into {list(numbers)[:8]}")
        return numbers
    if (
        numbers[0] < 1
        or -(-side // numbers[0]) > MAX_PARTS
        or (call.builder.open_batch and side % call.builder.batch == 0)
    ):
        raise UnsupportedError(f"SplitToSequence of {side} into parts of {numbers[0]}: as many tensors have no rule")
    return tuple(min(numbers[0], side - start) for start in range(0, side, numbers[0]))


@operator("Optional")
def optional(call: NodeCall) -> GraphTensor:
    """The tensor, or nothing."""
    return call.first if call.given else GraphTensor((), NOTHING)


@operator("OptionalGetElement")
def element(call: NodeCall) -> GraphTensor:
    """The tensor."""
    return call.first


@operator("OptionalHasElement")
def has_element(call: NodeCall) -> GraphTensor:
    """Known before a run."""
    there = any(tensor.kind != NOTHING or tensor.items is not None for tensor in call.given)
    return GraphTensor((), BOOL, None, (), np.array(there))

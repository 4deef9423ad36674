"""Values of small tensors: read from the file, and computed through the chains by which exporters write shapes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError
from simulator.workload.importers.onnx.messages import SMALL_BYTES, Node, Stored
from simulator.workload.importers.onnx.wire import Wire

Array = NDArray[Any]

MAX_VALUES = 2**17
"""Elements of the largest tensor whose values are computed."""

DTYPES = {
    **{1: "<f4", 2: "u1", 3: "i1", 4: "<u2", 5: "<i2", 6: "<i4", 7: "<i8", 9: "?", 10: "<f2", 11: "<f8"},
    **{12: "<u4", 13: "<u8"},
}
"""Element type -> NumPy's; the others have no values here."""
KINDS = {np.dtype(name): kind for kind, name in DTYPES.items()}


class TooLargeError(Exception):
    """More values than are worth computing."""


def read_values(wire: Wire, stored: Stored) -> Array | None:
    """The values of a small tensor that is in the file, else None."""
    count = 1
    for side in stored.dims:
        count *= side
    if stored.external or stored.kind not in DTYPES or count * np.dtype(DTYPES[stored.kind]).itemsize > SMALL_BYTES:
        return None
    dtype = np.dtype(DTYPES[stored.kind])
    if stored.raw is not None and stored.raw.size:
        values = np.frombuffer(wire.bytes(stored.raw), dtype=dtype)
    elif stored.kind == 1:
        values = np.array(stored.reals, dtype=dtype)
    elif stored.kind == 11 and stored.doubles is not None and stored.doubles.size % 8 == 0:
        values = np.frombuffer(wire.bytes(stored.doubles), dtype=dtype)
    elif stored.kind == 10:
        values = np.array([number & 0xFFFF for number in stored.numbers], dtype="<u2").view(dtype)
    else:
        values = np.array(stored.numbers, dtype=np.int64).astype(dtype)
    return values.reshape(stored.dims) if values.size == count else None


def fold(node: Node, inputs: Sequence[Array | None], opset: int) -> list[Array] | None:
    """The outputs of a node whose inputs are known, or None if it has no rule here or is too large.

    Raises
    ------
    InputError
        If the values do not fit the operator.
    """
    rule = RULES.get(node.op)
    if rule is None or node.domain or sum(values.size for values in inputs if values is not None) > MAX_VALUES:
        return None
    try:
        with np.errstate(all="ignore"):
            result = rule(node, list(inputs), opset)
    except TooLargeError:
        return None
    except (ValueError, TypeError, IndexError, AttributeError, OverflowError, ZeroDivisionError) as error:
        raise InputError(f"node {node.label!r}: {node.op} of values that do not fit: {str(error)[:80]}") from None
    outputs = result if isinstance(result, list) else [result]
    if any(output is None for output in outputs):
        return None
    arrays = [np.asarray(output) for output in outputs]
    if any(array.dtype == object for array in arrays):  # sides that are not known
        return None
    return [array if array.dtype in KINDS else array.astype(np.int64) for array in arrays]


Rule = Callable[[Node, list[Any], int], Any]


def _same_kind(function: Callable[..., Any]) -> Rule:
    """An element-wise function, the result of the first input's type."""

    def rule(_: Node, values: list[Any], __: int) -> Any:
        _room(np.broadcast_shapes(*(value.shape for value in values)))
        return np.asarray(function(*values)).astype(values[0].dtype)

    return rule


def _logical(function: Callable[..., Any]) -> Rule:
    def rule(_: Node, values: list[Any], __: int) -> Any:
        _room(np.broadcast_shapes(*(value.shape for value in values)))
        return function(*values)

    return rule


def _room(shape: Sequence[Any]) -> tuple[int, ...]:
    """The shape, if so many values may be computed."""
    sides = tuple(int(side) for side in shape)
    size = 1
    for side in sides:
        size *= side
    if any(side < 0 for side in sides) or size > MAX_VALUES:
        raise TooLargeError
    return sides


def _divide(left: Array, right: Array) -> Any:
    """Integers are divided towards zero."""
    if left.dtype.kind == "f":
        return left / right
    quotient = np.abs(left) // np.abs(right)
    return np.where((left < 0) != (right < 0), -quotient, quotient)


def _axes(node: Node, values: list[Any], position: int = 1) -> tuple[int, ...] | None:
    """Axes from the attribute, or from an input of newer operator sets."""
    given = node.integers("axes")
    if given is None and len(values) > position and values[position] is not None:
        given = tuple(int(axis) for axis in np.ravel(values[position]))
    return given


def _slice(node: Node, values: list[Any], opset: int) -> Any:
    data = values[0]
    if opset < 10:
        starts, ends = node.integers("starts", ()) or (), node.integers("ends", ()) or ()
        axes, steps = node.integers("axes"), None
    else:
        starts, ends = (tuple(int(v) for v in np.ravel(values[i])) for i in (1, 2))
        axes = None if len(values) < 4 or values[3] is None else tuple(int(v) for v in np.ravel(values[3]))
        steps = None if len(values) < 5 or values[4] is None else tuple(int(v) for v in np.ravel(values[4]))
    axes = axes if axes is not None else tuple(range(len(starts)))
    cut = [slice(None)] * data.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps or (1,) * len(starts), strict=True):
        last = None if step < 0 and end < -data.shape[axis] else end
        cut[axis] = slice(start, last, step)
    return data[tuple(cut)]


def _reshape(node: Node, values: list[Any], opset: int) -> Any:
    target = node.integers("shape", ()) if opset < 5 else tuple(int(side) for side in np.ravel(values[1]))
    zero_stays = not node.integer("allowzero", 0)
    sides = [values[0].shape[i] if side == 0 and zero_stays else side for i, side in enumerate(target or ())]
    return values[0].reshape(sides)


def _unsqueeze(node: Node, values: list[Any], _: int) -> Any:
    axes = _axes(node, values) or ()
    rank = values[0].ndim + len(axes)
    result = values[0]
    for axis in sorted(axis % rank for axis in axes):
        result = np.expand_dims(result, axis)
    return result


def _squeeze(node: Node, values: list[Any], _: int) -> Any:
    axes = _axes(node, values)
    return np.squeeze(values[0], axis=axes)


def _range(_: Node, values: list[Any], __: int) -> Any:
    start, limit, step = (np.ravel(value)[0] for value in values[:3])
    _room((max(0, int(-((start - limit) // step))) if step else -1,))
    return np.arange(start, limit, step, dtype=values[0].dtype)


def _reduce(function: Callable[..., Any]) -> Rule:
    def rule(node: Node, values: list[Any], _: int) -> Any:
        axes = _axes(node, values)
        if not axes and node.integer("noop_with_empty_axes", 0):
            return values[0]
        result = function(values[0], axis=axes or None, keepdims=bool(node.integer("keepdims", 1)))
        return np.asarray(result).astype(values[0].dtype)

    return rule


def _split(node: Node, values: list[Any], _: int) -> Any:
    sizes = node.integers("split")
    if sizes is None and len(values) > 1 and values[1] is not None:
        sizes = tuple(int(v) for v in values[1])
    axis = node.integer("axis", 0)
    if sizes is None:
        return list(np.array_split(values[0], len(node.outputs), axis=axis))
    return list(np.split(values[0], np.cumsum(sizes)[:-1], axis=axis))


def _cast(node: Node, values: list[Any], _: int) -> Any:
    dtype = DTYPES.get(node.integer("to", 0))
    return None if dtype is None else values[0].astype(dtype)


def _expand(_: Node, values: list[Any], __: int) -> Any:
    shape = np.broadcast_shapes(values[0].shape, tuple(int(side) for side in np.ravel(values[1])))
    return np.broadcast_to(values[0], _room(shape))


def _constant_of_shape(node: Node, values: list[Any], __: int) -> Any:
    filler = node.attributes.get("filler")
    value = filler if isinstance(filler, np.ndarray) else np.zeros(1, dtype=np.float32)
    return np.full(_room(np.ravel(values[0]).tolist()), np.ravel(value)[0], dtype=value.dtype)


def _tile(_: Node, values: list[Any], __: int) -> Any:
    _room([side * times for side, times in zip(values[0].shape, np.ravel(values[1]), strict=True)])
    return np.tile(values[0], np.ravel(values[1]))


def _transpose(node: Node, values: list[Any], _: int) -> Any:
    return np.transpose(values[0], node.integers("perm"))


def _gather(node: Node, values: list[Any], _: int) -> Any:
    axis = node.integer("axis", 0)
    rest = [side for i, side in enumerate(values[0].shape) if i != axis % max(values[0].ndim, 1)]
    _room([*rest, *values[1].shape])
    return np.take(values[0], values[1], axis=axis)


RULES: dict[str, Rule] = {
    "Add": _same_kind(np.add),
    "Sub": _same_kind(np.subtract),
    "Mul": _same_kind(np.multiply),
    "Div": _same_kind(_divide),
    "Mod": _same_kind(np.mod),
    "Min": _same_kind(lambda *values: np.minimum.reduce(np.broadcast_arrays(*values))),
    "Max": _same_kind(lambda *values: np.maximum.reduce(np.broadcast_arrays(*values))),
    "Pow": _same_kind(lambda base, exponent: np.power(base.astype(float), exponent)),
    "Neg": _same_kind(np.negative),
    "Abs": _same_kind(np.abs),
    "Floor": _same_kind(np.floor),
    "Ceil": _same_kind(np.ceil),
    "Round": _same_kind(np.round),
    "Sqrt": _same_kind(np.sqrt),
    "Reciprocal": _same_kind(np.reciprocal),
    "Sign": _same_kind(np.sign),
    "Equal": _logical(np.equal),
    "Greater": _logical(np.greater),
    "GreaterOrEqual": _logical(np.greater_equal),
    "Less": _logical(np.less),
    "LessOrEqual": _logical(np.less_equal),
    "And": _logical(np.logical_and),
    "Or": _logical(np.logical_or),
    "Xor": _logical(np.logical_xor),
    "Not": _logical(np.logical_not),
    "Where": _logical(lambda condition, left, right: np.where(condition.astype(bool), left, right)),
    "Identity": lambda _, values, __: values[0],
    "Cast": _cast,
    "Concat": lambda node, values, _: np.concatenate(values, axis=node.integer("axis", 0)),
    "ConstantOfShape": _constant_of_shape,
    "Expand": _expand,
    "Gather": _gather,
    "NonZero": lambda _, values, __: np.array(np.nonzero(values[0]), dtype=np.int64),
    "Range": _range,
    "ReduceMax": _reduce(np.max),
    "ReduceMean": _reduce(np.mean),
    "ReduceMin": _reduce(np.min),
    "ReduceProd": _reduce(np.prod),
    "ReduceSum": _reduce(np.sum),
    "Reshape": _reshape,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
"""Operator -> its values; all others leave theirs unknown."""

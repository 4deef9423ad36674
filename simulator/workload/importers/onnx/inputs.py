"""The inputs of a network: which side is the batch, and how large the open sides are."""

from __future__ import annotations

from dataclasses import dataclass, field

from simulator.errors import InputError
from simulator.op.base import Shape
from simulator.workload.importers import Request
from simulator.workload.importers.onnx.builder import BATCH
from simulator.workload.importers.onnx.messages import FLOATS, Graph, Value

MAX_SIDE = 2**40


@dataclass
class Inputs:
    """Shapes with the batch, in the order of the graph.

    Attributes
    ----------
    batch : its stand-in where it is open, else the number written in the file.
    symbols : sizes of the open sides by name.
    """

    values: list[Value]
    batch: int
    open_batch: bool
    symbols: dict[str, int] = field(default_factory=dict)
    shapes: list[Shape] = field(default_factory=list)


def read_inputs(graph: Graph, request: Request) -> Inputs:
    """The inputs that are not stored tensors, all sides known.

    The batch is the leading side of the first input that has one: open, or of the number in the file. Every side of the
    same symbol, and every open leading side, is the batch too.

    Raises
    ------
    InputError
        For an open side that neither the file nor the request gives, or one below one.
    """
    values = [value for value in graph.inputs if value.name not in graph.initializers]
    if not values:
        raise InputError("the graph has no inputs")
    for value in values:
        if value.sides is None and request.input_shape is None:
            raise InputError(f"the file does not say the shape of the input {value.name!r}: --input gives it")
    first = next((value for value in values if value.sides), values[0])
    leading = first.sides[0] if first.sides else None
    is_open = not isinstance(leading, int) or leading < 1
    inputs = Inputs(values, BATCH if is_open else int(leading or 1), is_open)
    if is_open:
        for value in values:
            if value.sides and isinstance(value.sides[0], str):
                inputs.symbols[value.sides[0]] = BATCH
    for position, value in enumerate(values):
        inputs.shapes.append(_shape(value, position, inputs, request))
    return inputs


def _shape(value: Value, position: int, inputs: Inputs, request: Request) -> Shape:
    """One input's shape, with the request put in."""
    if position == 0 and request.input_shape is not None:
        shape = (inputs.batch, *request.input_shape)
        for side, size in zip(value.sides or (), shape, strict=False):
            if isinstance(side, str):
                inputs.symbols.setdefault(side, size)
    else:
        shape = tuple(_side(value, axis, inputs, request) for axis in range(len(value.sides or ())))
    if any(not 1 <= side <= MAX_SIDE for side in shape):
        raise InputError(f"the input {value.name!r} has the shape {list(shape)}")
    return shape


def _side(value: Value, axis: int, inputs: Inputs, request: Request) -> int:
    """One side: what is asked for, what is written, or what the same symbol was elsewhere."""
    side = (value.sides or ())[axis]
    if axis == 0 and inputs.open_batch and not (isinstance(side, int) and side > 0):
        return inputs.batch
    if isinstance(side, str) and inputs.symbols.get(side) == BATCH:
        return BATCH
    asked = _asked(value, axis, request)
    if asked is not None:
        if asked < 1:
            raise InputError(f"a size of {asked} does not fit the input {value.name!r}")
        if isinstance(side, str):
            inputs.symbols.setdefault(side, asked)
        return asked
    if isinstance(side, int) and side > 0:
        return side
    if isinstance(side, str) and side in inputs.symbols:
        return inputs.symbols[side]
    name = f" {side!r}" if isinstance(side, str) else ""
    way = "--image-size" if len(value.sides or ()) == 4 else "--sequence" if axis == 1 else "--input"
    raise InputError(f"the side {axis}{name} of the input {value.name!r} is open: {way} gives it")


def _asked(value: Value, axis: int, request: Request) -> int | None:
    """The image size for the sides of an image, the sequence length for the second side of token numbers."""
    rank = len(value.sides or ())
    if rank == 4 and axis >= 2:
        return request.image_size
    token_like = rank == 2 and value.kind not in FLOATS
    open_side = rank == 3 and not isinstance((value.sides or ())[1], int)
    return request.sequence if axis == 1 and (token_like or open_side) else None

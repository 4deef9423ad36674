"""The walk through a Caffe network that gives every blob its shape, batch included.

Source: Caffe 1.0, Net::Init in net.cpp.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from simulator.errors import UnsupportedError
from simulator.op.base import MAX_ELEMENTS, Shape
from simulator.workload.importers import Request
from simulator.workload.importers.caffe.data import data_shapes
from simulator.workload.importers.caffe.definition import CaffeLayer, Definition
from simulator.workload.importers.caffe.rarer import LEAST_BOTTOMS, RARER, REGIONS, Context
from simulator.workload.importers.caffe.shapes import LOSSES, METRICS, RULES, SAME, Blobs
from simulator.workload.importers.caffe.splits import insert_splits


@dataclass(frozen=True, slots=True)
class Placed:
    """A layer with the shapes of what it reads and writes; `automatic` is a loss's top that the file does not name."""

    layer: CaffeLayer
    bottoms: tuple[Shape, ...]
    tops: tuple[Shape, ...]
    automatic: bool = False


def place(definition: Definition, request: Request, *, counted: bool = True) -> list[Placed]:
    """All layers, Caffe's Splits among them, with the shapes of their blobs.

    Where work is `counted`, regions of an image are as many as a run may find; else one, as Caffe sets them up.

    Raises
    ------
    InputError
        One line with file, line and layer, if shapes do not fit, or a blob is missing or written twice.
    UnsupportedError
        For a layer whose shape rule is not known, unless `request.allow_unknown`.
    """
    shapes: dict[str, Shape] = {}
    context = Context(definition.state.phase, counted, request.boxes)
    result = []
    for layer in insert_splits(definition.layers):
        bottoms = [shapes[blob] for blob in layer.bottoms]
        tops = _tops(layer, bottoms, context, request)
        tops = data_shapes(layer, definition, request) if tops is None else tops
        automatic = layer.type in LOSSES and not layer.tops
        if len(tops) < len(layer.tops):
            raise layer.error(f"{layer.type} writes {len(tops)} blobs, found {len(layer.tops)} tops")
        tops = tops[: 1 if automatic else len(layer.tops)]
        for shape in tops:
            _check(layer, shape)
        for place, blob in enumerate(layer.tops):
            in_place = place < len(layer.bottoms) and layer.bottoms[place] == blob
            if blob in shapes and not in_place:
                raise layer.error(f"top blob {blob!r} is written by several layers")
            shapes[blob] = tops[place]
        result.append(Placed(layer, tuple(bottoms), tuple(tops), automatic))
    return result


_KNOWN = SAME | RULES.keys() | RARER.keys() | REGIONS.keys() - {"Python"}


def _tops(layer: CaffeLayer, bottoms: Blobs, context: Context, request: Request) -> Blobs | None:
    """Shapes of a layer's tops; None for one that reads data."""
    if not bottoms and layer.type not in _KNOWN:
        return None
    least = LEAST_BOTTOMS.get(layer.type, 1)
    if len(bottoms) < least:
        needed = "a bottom" if least == 1 else f"{least} bottoms"
        raise layer.error(f"{layer.type} needs {needed}")
    if not layer.tops and layer.type in _KNOWN - LOSSES - METRICS:
        raise layer.error(f"{layer.type} needs a top")
    if layer.type in SAME:
        return [bottoms[0]] * (len(layer.tops) if layer.type == "Split" else 1)
    shapes = REGIONS[layer.type](layer, bottoms, context) if layer.type in REGIONS else None
    rule = RULES.get(layer.type) or RARER.get(layer.type)
    if rule is not None:
        shapes = rule(layer, bottoms)
    if shapes is not None:
        return shapes
    if request.allow_unknown:
        return [bottoms[0]] * len(layer.tops)
    raise UnsupportedError(f"{layer.error(f'no rule for layers of type {layer.type!r}')} (--allow-unknown goes on)")


def _check(layer: CaffeLayer, shape: Shape) -> None:
    if any(side < 1 for side in shape):
        raise layer.error(f"the top shape {list(shape)} has a side below one")
    if prod(shape) > MAX_ELEMENTS:
        raise layer.error(f"a blob of {' x '.join(map(str, shape))} elements is larger than any memory")

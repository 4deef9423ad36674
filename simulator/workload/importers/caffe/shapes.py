"""Shapes that Caffe's layers give their tops, batch included, one rule a type.

Source: Caffe 1.0, the Reshape method of each file in src/caffe/layers.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from math import prod

from simulator.op.base import Shape
from simulator.workload.importers.caffe.definition import CaffeLayer
from simulator.workload.importers.caffe.geometry import convolved, deconvolved, pooled

Blobs = list[Shape]

SAME = frozenset(
    [
        *(
            "AbsVal",
            "BN",
            "BNLL",
            "BatchNorm",
            "Bias",
            "Clip",
            "Dropout",
            "ELU",
            "Exp",
            "HardSigmoid",
            "HardSwish",
            "LRN",
        ),
        *("Log", "MVN", "Mish", "Normalize", "PReLU", "Power", "ReLU", "ReLU6", "Scale", "ShuffleChannel", "Sigmoid"),
        *("Softmax", "Split", "Swish", "TanH", "Threshold"),
    ]
)
"""Layers whose tops have the first bottom's shape."""

LOSSES = frozenset(
    [
        *("ContrastiveLoss", "EuclideanLoss", "HingeLoss", "InfogainLoss", "MultinomialLogisticLoss"),
        *("MultiBoxLoss", "SigmoidCrossEntropyLoss", "SmoothL1Loss", "SoftmaxWithLoss"),
    ]
)
METRICS = frozenset(["Accuracy", "DetectionEvaluate", "Silence"])


def axis_of(layer: CaffeLayer, axis: int, sides: int) -> int:
    """An axis counted from the front; a negative one counts from the end."""
    if not -sides <= axis < sides:
        raise layer.error(f"axis {axis} is not among the {sides} of the bottom")
    return axis % sides


def axis_in(layer: CaffeLayer, block: str, bottom: Shape, name: str = "axis", default: int = 1) -> int:
    """The axis that a parameter block names."""
    return axis_of(layer, layer.block(block).integer(name, default, -(2**31)), len(bottom))


def _inner_product(layer: CaffeLayer, bottoms: Blobs) -> Blobs:
    block = layer.block("inner_product_param")
    axis = axis_in(layer, "inner_product_param", bottoms[0])
    return [(*bottoms[0][:axis], block.integer("num_output"))]


def _eltwise(layer: CaffeLayer, bottoms: Blobs) -> Blobs:
    if len(bottoms) < 2 or len(set(bottoms)) > 1:
        raise layer.error(f"Eltwise needs two or more bottoms of one shape, found {listed(bottoms)}")
    return bottoms[:1]


def _concat(layer: CaffeLayer, bottoms: Blobs) -> Blobs:
    axis = concat_axis(layer, bottoms[0])
    first = bottoms[0]
    for other in bottoms:
        if (*other[:axis], *other[axis + 1 :]) != (*first[:axis], *first[axis + 1 :]) or len(other) != len(first):
            raise layer.error(f"bottoms must agree in all axes but {axis}, found {listed(bottoms)}")
    return [(*first[:axis], sum(bottom[axis] for bottom in bottoms), *first[axis + 1 :])]


def concat_axis(layer: CaffeLayer, bottom: Shape) -> int:
    """The axis of a Concat or Slice layer, in today's field or the older one."""
    block, old = ("concat_param", "concat_dim") if layer.type == "Concat" else ("slice_param", "slice_dim")
    return axis_in(layer, block, bottom, old if old in layer.block(block) else "axis")


def _slice(layer: CaffeLayer, bottoms: Blobs) -> Blobs:
    axis, whole, parts = concat_axis(layer, bottoms[0]), bottoms[0], len(layer.tops)
    points = layer.block("slice_param").integers("slice_point")
    if points:
        edges = [0, *points, whole[axis]]
        if len(points) != parts - 1 or any(left >= right for left, right in pairwise(edges)):
            raise layer.error(f"slice points {points} do not cut {whole[axis]} into {parts} tops")
    elif not parts or whole[axis] % parts:
        raise layer.error(f"{whole[axis]} does not divide into {parts} tops")
    else:
        edges = [whole[axis] // parts * number for number in range(parts + 1)]
    return [(*whole[:axis], right - left, *whole[axis + 1 :]) for left, right in pairwise(edges)]


def _flatten(layer: CaffeLayer, bottoms: Blobs) -> Blobs:
    shape = bottoms[0]
    first = axis_in(layer, "flatten_param", shape)
    last = axis_in(layer, "flatten_param", shape, "end_axis", -1)
    if last < first:
        raise layer.error(f"cannot flatten from axis {first} to {last}")
    return [(*shape[:first], prod(shape[first : last + 1]), *shape[last + 1 :])]


def _reshape(layer: CaffeLayer, bottoms: Blobs) -> Blobs:
    """0 keeps the bottom's side, -1 takes what is left."""
    shape, block = bottoms[0], layer.block("reshape_param")
    dims = block.message("shape").integers("dim", -1)
    axis = block.integer("axis", 0, -(2**31))
    first = axis if axis >= 0 else len(shape) + axis + 1
    count = block.integer("num_axes", -1, -1)
    last = len(shape) if count == -1 else first + count
    if not 0 <= first <= last <= len(shape):
        raise layer.error(f"axis {axis} and num_axes {count} do not lie in {list(shape)}")
    if dims.count(-1) > 1 or any(side == 0 and first + place >= len(shape) for place, side in enumerate(dims)):
        raise layer.error(f"the new shape {dims} does not fit {list(shape)}")
    middle = [side or shape[first + place] for place, side in enumerate(dims)]
    known = prod(side for side in middle if side != -1) * prod(shape[:first]) * prod(shape[last:])
    if prod(shape) % known or (-1 not in middle and prod(shape) != known):
        raise layer.error(f"{list(shape)} does not reshape to {[*shape[:first], *dims, *shape[last:]]}")
    middle = [prod(shape) // known if side == -1 else side for side in middle]
    return [(*shape[:first], *middle, *shape[last:])]


def permutation(layer: CaffeLayer, bottom: Shape) -> list[int]:
    """The order of a Permute layer, axes that it leaves out last."""
    order = [axis_of(layer, axis, len(bottom)) for axis in layer.block("permute_param").integers("order")]
    if len(set(order)) < len(order):
        raise layer.error(f"the order {order} names an axis twice")
    return [*order, *(axis for axis in range(len(bottom)) if axis not in order)]


def _permute(layer: CaffeLayer, bottoms: Blobs) -> Blobs:
    return [tuple(bottoms[0][axis] for axis in permutation(layer, bottoms[0]))]


def _crop(layer: CaffeLayer, bottoms: Blobs) -> Blobs:
    if len(bottoms) != 2 or len(bottoms[0]) != len(bottoms[1]):
        raise layer.error(f"Crop needs two bottoms of as many axes, found {listed(bottoms)}")
    axis = axis_in(layer, "crop_param", bottoms[0], default=2)
    result = (*bottoms[0][:axis], *bottoms[1][axis:])
    offsets = layer.block("crop_param").integers("offset") or [0]
    for place in range(axis, len(result)):
        offset = offsets[place - axis] if 1 < len(offsets) == len(result) - axis else offsets[0]
        if offset + result[place] > bottoms[0][place]:
            raise layer.error(f"cannot crop {list(bottoms[1])} at {offsets} out of {list(bottoms[0])}")
    return [result]


def _axpy(layer: CaffeLayer, bottoms: Blobs) -> Blobs:
    if len(bottoms) != 3 or bottoms[1] != bottoms[2] or prod(bottoms[0]) != prod(bottoms[1][:2]):
        raise layer.error(f"Axpy needs a scale for each channel and two blobs of one shape, found {listed(bottoms)}")
    return [bottoms[1]]


def _loss(_layer: CaffeLayer, bottoms: Blobs) -> Blobs:
    return [(), bottoms[0]]


def _accuracy(layer: CaffeLayer, bottoms: Blobs) -> Blobs:
    axis = axis_in(layer, "accuracy_param", bottoms[0])
    return [(), (bottoms[0][axis],)]


def _argmax(layer: CaffeLayer, bottoms: Blobs) -> Blobs:
    block, shape = layer.block("argmax_param"), bottoms[0]
    top = block.integer("top_k", 1, 1)
    if "axis" in block:
        axis = axis_in(layer, "argmax_param", shape)
        return [(*shape[:axis], top, *shape[axis + 1 :])]
    sides = max(len(shape), 3) - 2
    return [(shape[0], 1 + block.flag("out_max_val"), top, *(1,) * (sides - 1))]


def _reduction(layer: CaffeLayer, bottoms: Blobs) -> Blobs:
    return [bottoms[0][: axis_in(layer, "reduction_param", bottoms[0], default=0)]]


def _embed(layer: CaffeLayer, bottoms: Blobs) -> Blobs:
    return [(*bottoms[0], layer.block("embed_param").integer("num_output"))]


def _tile(layer: CaffeLayer, bottoms: Blobs) -> Blobs:
    axis = axis_in(layer, "tile_param", bottoms[0])
    tiles = layer.block("tile_param").integer("tiles")
    return [(*bottoms[0][:axis], bottoms[0][axis] * tiles, *bottoms[0][axis + 1 :])]


def image_sides(layer: CaffeLayer, shape: Shape) -> tuple[int, int, int, int]:
    """(batch, channels, height, width) of a blob, or an InputError."""
    if len(shape) != 4:
        raise layer.error(f"{layer.type} needs a bottom of batch, channels, height, width; found {list(shape)}")
    return shape[0], shape[1], shape[2], shape[3]


def _interp(layer: CaffeLayer, bottoms: Blobs) -> Blobs:
    """The DeepLab layer: a size, a factor each way, or another blob's size."""
    batch, channels, height, width = image_sides(layer, bottoms[0])
    block = layer.block("interp_param")
    if len(bottoms) > 1:
        return [(batch, channels, *image_sides(layer, bottoms[1])[2:])]
    if "height" in block and "width" in block:
        return [(batch, channels, block.integer("height"), block.integer("width"))]
    zoom, shrink = block.integer("zoom_factor", 1, 1), block.integer("shrink_factor", 1, 1)
    shrunk = [(side - 1) // shrink + 1 for side in (height, width)]
    return [(batch, channels, *(side + (side - 1) * (zoom - 1) for side in shrunk))]


def _upsample(layer: CaffeLayer, bottoms: Blobs) -> Blobs:
    batch, channels, height, width = image_sides(layer, bottoms[0])
    block = layer.block("upsample_param")
    scale = block.integer("scale", 2, 1)
    high, wide = (
        block.integer(f"scale_{side}", scale, 1) - block.flag(f"pad_out_{side}") / size
        for side, size in (("h", height), ("w", width))
    )
    sides = [block.integer("upsample_h", round(height * high)), block.integer("upsample_w", round(width * wide))]
    return [(batch, channels, *sides)]


def volume(layer: CaffeLayer, shape: Shape) -> Shape:
    """A blob of batch, channels and at least one side, or an InputError."""
    if len(shape) < 3:
        raise layer.error(f"{layer.type} needs a bottom of batch, channels and sides; found {list(shape)}")
    return shape


def _convolution(layer: CaffeLayer, bottoms: Blobs) -> Blobs:
    return [convolved(layer, volume(layer, bottom)) for bottom in bottoms]


def _deconvolution(layer: CaffeLayer, bottoms: Blobs) -> Blobs:
    return [deconvolved(layer, volume(layer, bottom)) for bottom in bottoms]


def _pooling(layer: CaffeLayer, bottoms: Blobs) -> Blobs:
    return [pooled(layer, volume(layer, bottoms[0]))] * 2


def listed(shapes: Blobs) -> str:
    """The shapes in a row, for a message."""
    return " and ".join(str(list(shape)) for shape in shapes[:4])


RULES: dict[str, Callable[[CaffeLayer, Blobs], Blobs]] = {
    "Accuracy": _accuracy,
    "ArgMax": _argmax,
    "Axpy": _axpy,
    "Concat": _concat,
    "Convolution": _convolution,
    "ConvolutionDepthwise": _convolution,
    "Crop": _crop,
    "Deconvolution": _deconvolution,
    "DepthwiseConvolution": _convolution,
    "Eltwise": _eltwise,
    "Embed": _embed,
    "Flatten": _flatten,
    "InnerProduct": _inner_product,
    "Convolution3D": _convolution,
    "Interp": _interp,
    "Pooling3D": _pooling,
    "Permute": _permute,
    "Pooling": _pooling,
    "Reduction": _reduction,
    "Reshape": _reshape,
    "Silence": lambda _layer, _bottoms: [],
    "Slice": _slice,
    "Tile": _tile,
    "Upsample": _upsample,
    **dict.fromkeys(LOSSES, _loss),
}

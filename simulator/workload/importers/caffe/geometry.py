"""Sliding windows as Caffe writes and sizes them: convolution, deconvolution, pooling.

Source: Caffe 1.0, base_conv_layer.cpp, conv_layer.cpp, deconv_layer.cpp, pooling_layer.cpp.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor, prod
from typing import NamedTuple

from simulator.op.base import Shape
from simulator.workload.importers.caffe.definition import CaffeLayer
from simulator.workload.importers.caffe.prototext import Message

Sides = tuple[int, ...]
"""One number for each side of an image: (height, width), or (frames, height, width) of a film."""

_FILLERS = ("weight_filler", "bias_filler", "engine")
_TEMPORAL = ("kernel_depth", "temporal_stride", "temporal_pad")
"""The first of three sides, as C3D's own Caffe writes it."""
_CONVOLUTION_FIELDS = (
    *("num_output", "bias_term", "pad", "kernel_size", "group", "stride", "dilation", "axis", "force_nd_im2col"),
    *("pad_h", "pad_w", "kernel_h", "kernel_w", "stride_h", "stride_w", *_FILLERS, *_TEMPORAL),
)
_POOLING_FIELDS = (
    *("pool", "pad", "pad_h", "pad_w", "kernel_size", "kernel_h", "kernel_w", "stride", "stride_h", "stride_w"),
    *("engine", "global_pooling", "round_mode", "ceil_mode", *_TEMPORAL),
)


def flat(sides: Sides) -> tuple[int, int]:
    """Any number of sides as (height, width): a row, or the slices of a volume below each other."""
    return prod(sides[:-1]), sides[-1]


@dataclass(frozen=True, slots=True)
class ConvolutionGeometry:
    """What a convolution_param says."""

    out: int
    kernel: Sides
    stride: Sides
    padding: Sides
    dilation: Sides
    groups: int
    bias: bool


@dataclass(frozen=True, slots=True)
class PoolingGeometry:
    """What a pooling_param says, for an image of one size. Rounding up is Caffe's rule unless a file says otherwise."""

    method: str
    kernel: Sides
    stride: Sides
    padding: Sides
    ceil: bool
    whole: bool


def convolution_geometry(layer: CaffeLayer, image: Shape, *, outputs: bool = True) -> ConvolutionGeometry:
    """Kernel, stride, padding, dilation and groups of a (de)convolution over (batch, channels, sides).

    Without `outputs` the windows alone, which need no number of them.
    """
    channels, rank = image[1], len(image) - 2
    block = layer.block("convolution_param")
    block.only(_CONVOLUTION_FIELDS, "convolution_param")
    if block.integer("axis", 1, -(2**31)) not in (1, 1 - len(image)):
        raise layer.error("a convolution over another axis than the channels is not supported")
    depthwise = layer.type == "ConvolutionDepthwise"
    geometry = ConvolutionGeometry(
        out=block.integer("num_output", 0 if outputs and not depthwise else channels, 1),
        kernel=_sides(layer, block, _KERNEL, rank),
        stride=_sides(layer, block, _STRIDE, rank),
        padding=_sides(layer, block, _PAD, rank),
        dilation=_sides(layer, block, _DILATION, rank),
        groups=channels if depthwise else block.integer("group", 1, 1),
        bias=block.flag("bias_term", default=True),
    )
    if not geometry.out:
        raise layer.error("num_output is missing")
    if min(*geometry.kernel, *geometry.stride, *geometry.dilation) < 1:
        raise layer.error("kernel size, stride and dilation must be at least 1")
    if channels % geometry.groups or geometry.out % geometry.groups:
        text = f"{channels} inputs and {geometry.out} outputs do not divide into {geometry.groups} groups"
        raise layer.error(text)
    return geometry


def pooling_geometry(layer: CaffeLayer, size: Sides) -> PoolingGeometry:
    """Window of a pooling layer over an image of these sides."""
    rank = len(size)
    block = layer.block("pooling_param")
    block.only(_POOLING_FIELDS, "pooling_param")
    whole = block.flag("global_pooling")
    geometry = PoolingGeometry(
        method=block.choice("pool", ("MAX", "AVE", "STOCHASTIC"), "MAX"),
        kernel=size if whole else _sides(layer, block, _KERNEL, rank),
        stride=_sides(layer, block, _STRIDE, rank),
        padding=_sides(layer, block, _PAD, rank),
        ceil=block.choice("round_mode", ("CEIL", "FLOOR"), "CEIL") == "CEIL" and block.flag("ceil_mode", default=True),
        whole=whole,
    )
    if min(*geometry.kernel, *geometry.stride) < 1:
        raise layer.error("kernel size and stride must be at least 1")
    if any(pad >= kernel for pad, kernel in zip(geometry.padding, geometry.kernel, strict=True)):
        raise layer.error("the padding of a pooling layer must be smaller than its kernel")
    return geometry


class _Field(NamedTuple):
    """A field of one value a side: its name, the stem of `kernel_h`, the first side's own name, what it is unsaid."""

    name: str
    stem: str
    temporal: str
    default: int


_KERNEL = _Field("kernel_size", "kernel", "kernel_depth", 0)
_STRIDE = _Field("stride", "stride", "temporal_stride", 1)
_PAD = _Field("pad", "pad", "temporal_pad", 0)
_DILATION = _Field("dilation", "", "", 1)


def _sides(layer: CaffeLayer, block: Message, field: _Field, rank: int) -> Sides:
    """One value a side: `kernel_h` and `kernel_w`, one `kernel_size` for all sides, or one for each."""
    high, wide = f"{field.stem}_h", f"{field.stem}_w"
    if field.stem and rank == 2 and (high in block or wide in block):
        if field.name in block:
            raise layer.error(f"write either {field.name} or {high} and {wide}, not both")
        return block.integer(high, field.default), block.integer(wide, field.default)
    values = block.integers(field.name) or [field.default]
    if field.temporal and any(name in block for name in _TEMPORAL) and len(values) == 1:
        return block.integer(field.temporal, field.default), *values * (rank - 1)
    if len(values) not in (1, rank):
        raise layer.error(f"{field.name} has {len(values)} values for {rank} sides")
    return tuple(values * (rank if len(values) == 1 else 1))


def convolved(layer: CaffeLayer, image: Shape, *, outputs: bool = True) -> Shape:
    """(batch, out, sides), rounded down."""
    geometry = convolution_geometry(layer, image, outputs=outputs)
    sides = [
        (size + 2 * geometry.padding[axis] - geometry.dilation[axis] * (geometry.kernel[axis] - 1) - 1)
        // geometry.stride[axis]
        + 1
        for axis, size in enumerate(image[2:])
    ]
    return (image[0], geometry.out, *sides)


def deconvolved(layer: CaffeLayer, image: Shape) -> Shape:
    """(batch, out, sides): stride * (size - 1) + dilated kernel - 2 * padding."""
    geometry = convolution_geometry(layer, image)
    sides = [
        geometry.stride[axis] * (size - 1)
        + geometry.dilation[axis] * (geometry.kernel[axis] - 1)
        + 1
        - 2 * geometry.padding[axis]
        for axis, size in enumerate(image[2:])
    ]
    return (image[0], geometry.out, *sides)


def pooled(layer: CaffeLayer, image: Shape) -> Shape:
    """(batch, channels, sides): rounded up, a window that would start in the padding left out."""
    geometry = pooling_geometry(layer, image[2:])
    if geometry.whole:
        return (*image[:2], *(1 for _ in image[2:]))
    sides = []
    for axis, size in enumerate(image[2:]):
        padding, stride = geometry.padding[axis], geometry.stride[axis]
        room = Fraction(size + 2 * padding - geometry.kernel[axis], stride)
        positions = (ceil(room) if geometry.ceil else floor(room)) + 1
        if any(geometry.padding) and (positions - 1) * stride >= size + padding:
            positions -= 1
        sides.append(positions)
    return (image[0], image[1], *sides)

"""Sliding windows as Caffe writes and sizes them: convolution, deconvolution, pooling.

Source: Caffe 1.0, base_conv_layer.cpp, conv_layer.cpp, deconv_layer.cpp, pooling_layer.cpp.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor

from simulator.op.base import Shape
from simulator.workload.importers.caffe.definition import CaffeLayer
from simulator.workload.importers.caffe.prototext import Message

Sides = tuple[int, int]
Image = tuple[int, int, int, int]

_FILLERS = ("weight_filler", "bias_filler", "engine")
_CONVOLUTION_FIELDS = (
    *("num_output", "bias_term", "pad", "kernel_size", "group", "stride", "dilation", "axis", "force_nd_im2col"),
    *("pad_h", "pad_w", "kernel_h", "kernel_w", "stride_h", "stride_w", *_FILLERS),
)
_POOLING_FIELDS = (
    *("pool", "pad", "pad_h", "pad_w", "kernel_size", "kernel_h", "kernel_w", "stride", "stride_h", "stride_w"),
    *("engine", "global_pooling", "round_mode", "ceil_mode"),
)


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


def convolution_geometry(layer: CaffeLayer, channels: int) -> ConvolutionGeometry:
    """Kernel, stride, padding, dilation and groups of a (de)convolution."""
    block = layer.block("convolution_param")
    block.only(_CONVOLUTION_FIELDS, "convolution_param")
    if block.integer("axis", 1, -(2**31)) not in (1, -3):
        raise layer.error("a convolution over another axis than the channels is not supported")
    depthwise = layer.type == "ConvolutionDepthwise"
    geometry = ConvolutionGeometry(
        out=block.integer("num_output", channels if depthwise else 0, 1),
        kernel=_sides(layer, block, "kernel_size", "kernel", 0),
        stride=_sides(layer, block, "stride", "stride", 1),
        padding=_sides(layer, block, "pad", "pad", 0),
        dilation=_sides(layer, block, "dilation", "", 1),
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
    """Window of a pooling layer over an image of (height, width)."""
    block = layer.block("pooling_param")
    block.only(_POOLING_FIELDS, "pooling_param")
    whole = block.flag("global_pooling")
    geometry = PoolingGeometry(
        method=block.choice("pool", ("MAX", "AVE", "STOCHASTIC"), "MAX"),
        kernel=size if whole else _sides(layer, block, "kernel_size", "kernel", 0),
        stride=_sides(layer, block, "stride", "stride", 1),
        padding=_sides(layer, block, "pad", "pad", 0),
        ceil=block.choice("round_mode", ("CEIL", "FLOOR"), "CEIL") == "CEIL" and block.flag("ceil_mode", default=True),
        whole=whole,
    )
    if min(*geometry.kernel, *geometry.stride) < 1:
        raise layer.error("kernel size and stride must be at least 1")
    if any(pad >= kernel for pad, kernel in zip(geometry.padding, geometry.kernel, strict=True)):
        raise layer.error("the padding of a pooling layer must be smaller than its kernel")
    return geometry


def _sides(layer: CaffeLayer, block: Message, name: str, stem: str, default: int) -> Sides:
    """(height, width) from `kernel_h` and `kernel_w`, or from one or two values of `kernel_size`."""
    high, wide = f"{stem}_h", f"{stem}_w"
    if stem and (high in block or wide in block):
        if name in block:
            raise layer.error(f"write either {name} or {high} and {wide}, not both")
        return block.integer(high, default), block.integer(wide, default)
    values = block.integers(name) or [default]
    if len(values) > 2:
        raise layer.error(f"{name} has {len(values)} values; only images of height and width are supported")
    return values[0], values[-1]


def convolved(layer: CaffeLayer, image: Image) -> Shape:
    """(batch, out, height, width), sides rounded down."""
    geometry = convolution_geometry(layer, image[1])
    sides = [
        (size + 2 * geometry.padding[axis] - geometry.dilation[axis] * (geometry.kernel[axis] - 1) - 1)
        // geometry.stride[axis]
        + 1
        for axis, size in enumerate(image[2:])
    ]
    return (image[0], geometry.out, *sides)


def deconvolved(layer: CaffeLayer, image: Image) -> Shape:
    """(batch, out, height, width): stride * (size - 1) + dilated kernel - 2 * padding."""
    geometry = convolution_geometry(layer, image[1])
    sides = [
        geometry.stride[axis] * (size - 1)
        + geometry.dilation[axis] * (geometry.kernel[axis] - 1)
        + 1
        - 2 * geometry.padding[axis]
        for axis, size in enumerate(image[2:])
    ]
    return (image[0], geometry.out, *sides)


def pooled(layer: CaffeLayer, image: Image) -> Shape:
    """(batch, channels, height, width): rounded up, a window that would start in the padding left out."""
    geometry = pooling_geometry(layer, (image[2], image[3]))
    if geometry.whole:
        return (image[0], image[1], 1, 1)
    sides = []
    for axis, size in enumerate(image[2:]):
        padding, stride = geometry.padding[axis], geometry.stride[axis]
        room = Fraction(size + 2 * padding - geometry.kernel[axis], stride)
        positions = (ceil(room) if geometry.ceil else floor(room)) + 1
        if any(geometry.padding) and (positions - 1) * stride >= size + padding:
            positions -= 1
        sides.append(positions)
    return (image[0], image[1], *sides)

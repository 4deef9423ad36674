"""Convolutions and pooling of images, and of sequences and volumes as images of one row or of stacked slices."""

from __future__ import annotations

from typing import NamedTuple

from simulator.errors import InputError
from simulator.op.base import Op, Shape
from simulator.op.convolution import Convolution, slide
from simulator.op.pooling import AveragePool, GlobalPool, MaxPool
from simulator.op.resample import TransposedConvolution
from simulator.op.tensor import Unary
from simulator.workload.importers.onnx.builder import GraphBuilder, GraphTensor, LayerPlan, NodeCall, operator, product
from simulator.workload.importers.onnx.messages import INT64

Sides = tuple[int, ...]


class SlidingWindow(NamedTuple):
    """A sliding window over any number of sides; padding before and after each."""

    kernel: Sides
    stride: Sides
    dilation: Sides
    before: Sides
    after: Sides

    @property
    def padding(self) -> tuple[int, int, int, int]:
        """(top, bottom, left, right) as an image has them."""
        height = (self.before[-2], self.after[-2]) if len(self.before) > 1 else (0, 0)
        return (*height, self.before[-1], self.after[-1])

    def sides(self, size: Sides, *, ceil: bool = False) -> Sides:
        """Positions along each side; with `ceil` rounded up, but none that starts in the padding after the end."""
        result = []
        for axis, side in enumerate(size):
            padded = side + self.before[axis] + self.after[axis]
            stride = self.stride[axis]
            count = slide(padded, self.kernel[axis], stride, self.dilation[axis], ceil=ceil)
            if ceil and (count - 1) * stride >= side + self.before[axis]:
                count -= 1
            result.append(count)
        return tuple(result)


def flat(sides: Sides) -> tuple[int, int]:
    """Any number of sides as (height, width): a row, or slices below each other."""
    return product(sides[:-1]), sides[-1]


def image_of(builder: GraphBuilder, shape: Shape) -> Shape:
    """(channels, height, width) of one sample; several images a sample stand below each other."""
    if len(shape) < 3:
        raise InputError(f"an image of (batch, channels, sides) is needed, found {list(shape)}")
    height, width = flat(shape[2:])
    return shape[1], builder.leading(shape[0]) * height, width


def geometry(call: NodeCall, kernel: Sides, size: Sides) -> SlidingWindow:
    """The window from the attributes, each of as many sides as the image has."""
    rank = len(size)
    strides = _attribute(call, "strides", rank, (1,) * rank)
    dilations = _attribute(call, "dilations", rank, (1,) * rank)
    pads = _attribute(call, "pads", 2 * rank, (0,) * (2 * rank))
    if len(kernel) != rank or min(*kernel, *strides, *dilations) < 1 or min(pads) < 0:
        raise InputError(f"kernel {list(kernel)}, strides {list(strides)} or pads {list(pads)} do not fit")
    automatic = call.node.text("auto_pad", "NOTSET")
    before, after = pads[:rank], pads[rank:]
    if automatic in ("SAME_UPPER", "SAME_LOWER"):
        before, after = _same(size, kernel, strides, dilations)
        if automatic == "SAME_LOWER":
            before, after = after, before
    elif automatic == "VALID":
        before = after = (0,) * rank
    return SlidingWindow(kernel, strides, dilations, before, after)


def _attribute(call: NodeCall, name: str, count: int, default: Sides) -> Sides:
    value = call.node.integers(name, default) or default
    if len(value) != count:
        raise InputError(f"{name} has {len(value)} numbers instead of {count}")
    return value


def _same(size: Sides, kernel: Sides, strides: Sides, dilations: Sides) -> tuple[Sides, Sides]:
    """As much padding as makes the output size / stride, rounded up; the odd one after."""
    total = [
        max(0, (-(-side // stride) - 1) * stride + dilation * (window - 1) + 1 - side)
        for side, window, stride, dilation in zip(size, kernel, strides, dilations, strict=True)
    ]
    return tuple(part // 2 for part in total), tuple(part - part // 2 for part in total)


@operator("Conv", "com.microsoft.FusedConv")
def convolution(call: NodeCall) -> GraphTensor:
    """Weight (out, in / groups, kernel), optional bias."""
    return convolve(call, call.first, call.input(1), call.optional(2), call.first.kind)


def convolve(
    call: NodeCall, image: GraphTensor, weight: GraphTensor, bias: GraphTensor | None, kind: int
) -> GraphTensor:
    """A convolution whose output has the element type `kind`."""
    groups = call.node.integer("group", 1)
    check_channels(call, image, weight, weight.shape[1] * groups if len(weight.shape) > 1 else 0)
    size, kernel = image.shape[2:], weight.shape[2:]
    window = geometry(call, kernel, size)
    out = weight.shape[0]
    output = (image.shape[0], out, *window.sides(size))
    op = Convolution(
        out=out,
        kernel=flat(kernel),
        stride=flat(window.stride),
        padding=window.padding,
        dilation=window.dilation[-1] if len(size) == 1 else (window.dilation[-2], window.dilation[-1]),
        groups=groups,
        bias=bias is not None,
    )
    op.output_shape(((image.shape[1], max(image.shape[2:-1] or (1,)), image.shape[-1]),)) if len(size) == 2 else None
    weights = (weight,) if bias is None else (weight, bias)
    return _placed(call, op, image, output, kind, weights)


def check_channels(call: NodeCall, image: GraphTensor, weight: GraphTensor, channels: int) -> None:
    """Refuse an image and a weight that do not belong together."""
    groups = call.node.integer("group", 1)
    fits = len(image.shape) == len(weight.shape) >= 3 and image.shape[1] == channels and groups >= 1
    if not fits or weight.shape[0] % groups or min(weight.shape) < 1 or min(image.shape) < 1:
        raise InputError(
            f"an image {list(image.shape)} and a weight {list(weight.shape)} in {groups} groups do not fit"
        )
    if not weight.constant:
        raise InputError("a weight that is computed from the input has no rule here")


def _placed(
    call: NodeCall, op: Op, image: GraphTensor, output: Shape, kind: int, weights: tuple[GraphTensor, ...] = ()
) -> GraphTensor:
    builder = call.builder
    plan = LayerPlan(output, kind, (image_of(builder, image.shape),), image_of(builder, output), weights)
    return call.add(op, [image], plan)


@operator("ConvTranspose")
def transposed(call: NodeCall) -> GraphTensor:
    """Weight (in, out / groups, kernel); sides by `output_shape` or the formula of the input gradient."""
    image, weight, bias = call.first, call.input(1), call.optional(2)
    check_channels(call, image, weight, weight.shape[0])
    groups, size, kernel = call.node.integer("group", 1), image.shape[2:], weight.shape[2:]
    window = geometry(call, kernel, size)
    extra = _attribute(call, "output_padding", len(size), (0,) * len(size))
    asked = call.node.integers("output_shape")
    out = weight.shape[1] * groups
    full = [
        (side - 1) * stride + dilation * (length - 1) + 1 + more
        for side, stride, dilation, length, more in zip(
            size, window.stride, window.dilation, kernel, extra, strict=True
        )
    ]
    if call.node.text("auto_pad", "NOTSET").startswith("SAME"):
        asked = tuple(side * stride for side, stride in zip(size, window.stride, strict=True))
    sides = asked or tuple(
        side - before - after for side, before, after in zip(full, window.before, window.after, strict=True)
    )
    if len(sides) != len(size):
        raise InputError(f"output_shape has {len(sides)} sides instead of {len(size)}")
    op = TransposedConvolution(
        out=out, kernel=flat(kernel), stride=flat(window.stride), groups=groups, bias=bias is not None
    )
    weights = (weight,) if bias is None else (weight, bias)
    return _placed(call, op, image, (image.shape[0], out, *sides), image.kind, weights)


@operator("MaxPool", "AveragePool", "LpPool")
def pool(call: NodeCall) -> list[GraphTensor]:
    """Pooling, and the places of the maxima; dilation of a maximum widens its reach, not its work."""
    image = call.first
    size = image.shape[2:]
    if len(image.shape) < 3:
        raise InputError(f"pooling needs (batch, channels, sides), found {list(image.shape)}")
    kernel = call.node.integers("kernel_shape", ()) or ()
    window = geometry(call, kernel, size)
    output = (*image.shape[:2], *window.sides(size, ceil=bool(call.node.integer("ceil_mode", 0))))
    op_type = MaxPool if call.node.op == "MaxPool" else AveragePool
    ceil = bool(call.node.integer("ceil_mode", 0))
    op = op_type(kernel=flat(kernel), stride=flat(window.stride), padding=window.padding, ceil=ceil)
    values = _placed(call, op, image, output, image.kind)
    return [values, call.view(values, output, INT64)]


@operator("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
def global_pool(call: NodeCall) -> GraphTensor:
    """Each channel of each image to one number."""
    image = call.first
    if len(image.shape) < 3:
        raise InputError(f"pooling needs (batch, channels, sides), found {list(image.shape)}")
    return pooled(call, image, (*image.shape[:2], *(1 for _ in image.shape[2:])))


def pooled(call: NodeCall, image: GraphTensor, output: Shape) -> GraphTensor:
    """A global pool whose output has the shape `output`."""
    builder = call.builder
    images = builder.leading(image.shape[0])
    return call.add(
        GlobalPool(),
        [image],
        LayerPlan(output, image.kind, (image_of(builder, image.shape),), (image.shape[1], images, 1)),
    )


@operator("MaxUnpool")
def unpool(call: NodeCall) -> GraphTensor:
    """The values back to the places of their maxima."""
    size = call.first.shape[2:]
    window = geometry(call, call.node.integers("kernel_shape", ()) or (), size)
    sides = call.numbers(2) or (
        *call.first.shape[:2],
        *(
            (side - 1) * stride + kernel - before - after
            for side, kernel, stride, _, before, after in zip(size, *window, strict=True)
        ),
    )
    return call.add(Unary(function="select"), [call.first], LayerPlan(tuple(sides), call.first.kind))

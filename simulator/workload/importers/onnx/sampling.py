"""Operators that read an image at places that other tensors say: grids, regions, offsets; and overlapping patches.

FLOPs: a product and a sum for each neighbour that an output mixes, 4 of an image's pixels, 8 of a volume's.
Source: ONNX operator specifications; He et al., "Mask R-CNN", ICCV 2017, section 3 (RoiAlign); Dai et al.,
"Deformable Convolutional Networks", ICCV 2017, section 2.
"""

from __future__ import annotations

from simulator.errors import InputError
from simulator.op.base import Shape
from simulator.op.convolution import Convolution
from simulator.op.kernel import OpClass
from simulator.op.passes import Pass
from simulator.workload.importers.onnx.builder import GraphTensor, LayerPlan, NodeCall, operator, product
from simulator.workload.importers.onnx.convolution import check_channels, geometry, image_of
from simulator.workload.importers.onnx.movement import copied, places

NEIGHBOURS = {"nearest": 1, "linear": 2, "bilinear": 2, "cubic": 4, "bicubic": 4}
"""Mode -> neighbours along each side."""
ADAPTIVE_POINTS = 2
"""Points each way in a cell where the number adapts to the region, which only a run knows: the usual case."""


def elements_read(call: NodeCall, *tensors: GraphTensor) -> int:
    """Elements of one sample of those that depend on the input."""
    return sum(product(call.builder.sample(tensor.shape)) for tensor in tensors if not tensor.constant)


@operator("GridSample")
def grid_sample(call: NodeCall) -> GraphTensor:
    """X (batch, channels, sides), grid (batch, sides', places); the way back has gradients of image and places."""
    image, grid = call.first, call.input(1)
    rank = len(image.shape) - 2
    if rank < 1 or len(grid.shape) != rank + 2 or grid.shape[-1] != rank:
        raise InputError(f"GridSample of {list(image.shape)} at {list(grid.shape)}")
    output = (*image.shape[:2], *grid.shape[1:-1])
    taps = NEIGHBOURS.get(call.node.text("mode", "linear"), 2) ** rank
    sample, read = call.builder.sample(output), elements_read(call, image, grid)
    flops = 2 * taps * product(sample) if taps > 1 else 0
    work = Pass("grid_sample", sample, read, flops, 2 * flops, read, OpClass.POOLING)
    return call.add(work.op(), [image, grid], LayerPlan(output, image.kind))


@operator("AffineGrid")
def affine_grid(call: NodeCall) -> GraphTensor:
    """Theta (batch, d, d + 1), size (batch, channels, sides) -> (batch, sides, d): d products and sums a number."""
    theta, size = call.first, call.numbers(1) or ()
    rank = len(size) - 2
    if rank < 1 or theta.shape[1:] != (rank, rank + 1):
        raise InputError(f"AffineGrid of {list(theta.shape)} for {list(size)}")
    output = (theta.shape[0], *size[2:], rank)
    sample = call.builder.sample(output)
    flops = 2 * rank * product(sample)
    return call.add(
        Pass("affine_grid", sample, elements_read(call, theta), flops, flops).op(),
        [theta],
        LayerPlan(output, theta.kind),
    )


@operator("RoiAlign")
def roi_align(call: NodeCall) -> GraphTensor:
    """X, regions (n, 4): each output the mean or maximum of points of four neighbours each."""
    image, regions = call.first, call.input(1)
    if len(image.shape) != 4 or regions.shape[1:] != (4,):
        raise InputError(f"RoiAlign of {list(image.shape)} in {list(regions.shape)}")
    sides = call.node.integer("output_height", 1), call.node.integer("output_width", 1)
    output = (regions.shape[0], image.shape[1], *sides)
    points = max(call.node.integer("sampling_ratio", 0), 0) or ADAPTIVE_POINTS
    sample = call.builder.sample(output)
    flops, whole = 8 * points**2 * product(sample), elements_read(call, image)
    read = min(whole, 4 * points**2 * product(sample)) + elements_read(call, regions)
    work = Pass("roi_align", sample, read, flops, flops, elements_read(call, regions), OpClass.POOLING)
    return call.add(work.op(), [image, regions], LayerPlan(output, image.kind))


@operator("MaxRoiPool")
def max_roi_pool(call: NodeCall) -> GraphTensor:
    """X, regions (n, 5): one comparison for each pixel of a region, which is the whole image at most."""
    image, regions = call.first, call.input(1)
    sides = call.node.integers("pooled_shape", ()) or ()
    if len(image.shape) != 4 or regions.shape[1:] != (5,) or len(sides) != 2:
        raise InputError(f"MaxRoiPool of {list(image.shape)} in {list(regions.shape)} to {list(sides)}")
    output = (regions.shape[0], image.shape[1], *sides)
    sample = call.builder.sample(output)
    pixels = product(sample[:-3]) * product(image.shape[1:])
    call.remark("regions are counted as large as their image")
    read = elements_read(call, image, regions)
    work = Pass("roi_pool", sample, read, pixels, product(sample), product(sample), OpClass.POOLING)
    return call.add(work.op(), [image, regions], LayerPlan(output, image.kind))


@operator("DeformConv")
def deformable(call: NodeCall) -> GraphTensor:
    """X, W, offsets, B, mask: each tap read between four pixels, then the product with the weights."""
    image, weight, offset, bias, mask = call.first, call.input(1), call.input(2), call.optional(3), call.optional(4)
    groups = call.node.integer("group", 1)
    check_channels(call, image, weight, weight.shape[1] * groups if len(weight.shape) > 1 else 0)
    kernel = weight.shape[2:]
    sides = geometry(call, kernel, image.shape[2:]).sides(image.shape[2:])
    taps = (image.shape[0], image.shape[1] * product(kernel), *sides)
    sources = [image, offset] if mask is None else [image, offset, mask]
    sample, read = image_of(call.builder, taps), elements_read(call, *sources)
    flops = (8 + (mask is not None)) * product(sample)
    work = Pass("deformable_taps", sample, read, flops, 2 * flops, read, OpClass.POOLING)
    columns = call.add(work.op(), sources, LayerPlan(taps, image.kind, sample=sample))
    op = Convolution(out=weight.shape[0], kernel=1, groups=groups, bias=bias is not None)
    output = (image.shape[0], weight.shape[0], *sides)
    weights = (weight,) if bias is None else (weight, bias)
    return call.add(op, [columns], LayerPlan(output, image.kind, (sample,), image_of(call.builder, output), weights))


@operator("Col2Im")
def col2im(call: NodeCall) -> GraphTensor:
    """Patches (batch, channels * patch, places) added up in an image: one addition an element."""
    data, sides, patch = call.first, call.numbers(1) or (), call.numbers(2) or (1,)
    if len(data.shape) != 3 or data.shape[1] % product(patch):
        raise InputError(f"Col2Im of {list(data.shape)} in patches of {list(patch)}")
    output = (data.shape[0], data.shape[1] // product(patch), *sides)
    read = elements_read(call, data)
    return call.add(Pass("fold", call.builder.sample(output), read, read, 0).op(), [data], LayerPlan(output, data.kind))


@operator("CenterCropPad")
def crop_or_pad(call: NodeCall) -> GraphTensor:
    """The middle, or zeros around: a copy."""
    sides, shape = call.numbers(1) or (), list(call.first.shape)
    axes = call.node.integers("axes", tuple(range(len(shape)))) or ()
    places(axes, len(shape))
    if len(axes) != len(sides):
        raise InputError(f"CenterCropPad of {shape} to {list(sides)}")
    for axis, side in zip(axes, sides, strict=True):
        shape[axis] = side
    output: Shape = tuple(shape)
    return call.first if output == call.first.shape else copied(call, output)

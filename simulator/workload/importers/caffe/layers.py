"""Translators of Caffe's layers of one bottom: convolutions, pooling, inner products, normalisations, functions."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from simulator.errors import UnsupportedError
from simulator.op import activation
from simulator.op.base import Op
from simulator.op.combine import Flatten
from simulator.op.convolution import Convolution
from simulator.op.kernel import OpClass
from simulator.op.layer_norm import GroupNorm, RmsNorm
from simulator.op.linear import Linear
from simulator.op.normalization import ChannelAffine, LocalResponseNorm
from simulator.op.passes import Pass
from simulator.op.pointwise import Pointwise
from simulator.op.pooling import AveragePool, GlobalPool, MaxPool
from simulator.op.prelu import Prelu
from simulator.op.rearrange import ChannelShuffle
from simulator.op.resample import TransposedConvolution, Upsample
from simulator.op.reshape import Reshape
from simulator.op.sequence import Embedding
from simulator.op.tensor import Binary
from simulator.workload.importers.caffe.blobs import Placed
from simulator.workload.importers.caffe.builder import Builder
from simulator.workload.importers.caffe.geometry import (
    PoolingGeometry,
    Sides,
    convolution_geometry,
    flat,
    pooling_geometry,
)
from simulator.workload.importers.caffe.shapes import axis_in, image_sides

Translator = Callable[[Builder, Placed], None]


def single(builder: Builder, placed: Placed, op: Op) -> int:
    """A layer of one bottom and one top."""
    handle = builder.check(placed, builder.add(placed, op, builder.source(placed)))
    builder.finish(placed, handle)
    return handle


def plain(op: Op) -> Translator:
    """The translator of a layer without parameters."""

    def translate_plain(builder: Builder, placed: Placed) -> None:
        single(builder, placed, op)

    return translate_plain


def spatial(builder: Builder, placed: Placed, op: Op) -> int:
    """A layer of one image; the frames of a film, or the regions of an image, stand below each other."""
    layer, bottom, top = placed.layer, placed.bottoms[0], placed.tops[0]
    if len(bottom) == 4 and bottom[0] == builder.batch:
        return single(builder, placed, op)
    shapes = (builder.image(layer, bottom), builder.image(layer, top))
    handle = builder.place(placed, op, [builder.source(placed)], shapes)
    builder.finish(placed, handle)
    return handle


def convolution(builder: Builder, placed: Placed) -> None:
    """A convolution, or a deconvolution, which is a transposed one."""
    if len(placed.layer.bottoms) > 1:
        raise UnsupportedError(str(placed.layer.error("a convolution of several bottoms has no cost rule")))
    geometry = convolution_geometry(placed.layer, placed.bottoms[0])
    kind = TransposedConvolution if placed.layer.type == "Deconvolution" else Convolution
    op = kind(
        out=geometry.out,
        kernel=flat(geometry.kernel),
        stride=flat(geometry.stride),
        padding=flat(geometry.padding),
        dilation=flat(geometry.dilation),
        groups=geometry.groups,
        bias=geometry.bias,
    )
    spatial(builder, placed, op)


def pooling(builder: Builder, placed: Placed) -> None:
    """Pooling; one that covers the whole image is a global average."""
    size, sides = placed.bottoms[0][2:], placed.tops[0][2:]
    geometry = pooling_geometry(placed.layer, size)
    whole = geometry.whole or (geometry.kernel == size and not any(geometry.padding))
    if whole and geometry.method == "AVE":
        op: Op = GlobalPool()
    else:
        kind = AveragePool if geometry.method == "AVE" else MaxPool  # a stochastic choice stores its place too
        padding = _pool_padding(geometry, size, sides) if len(size) == 2 else 0
        op = kind(kernel=flat(geometry.kernel), stride=flat(geometry.stride), padding=padding)
    handle = spatial(builder, placed, op)
    builder.finish(placed, *[handle] * len(placed.tops))


def _pool_padding(geometry: PoolingGeometry, size: Sides, positions: Sides) -> tuple[int, int, int, int]:
    """(top, bottom, left, right) that give Caffe's number of positions when rounding down."""
    ends = [
        (
            geometry.padding[axis],
            max(
                0,
                (positions[axis] - 1) * geometry.stride[axis]
                + geometry.kernel[axis]
                - size[axis]
                - geometry.padding[axis],
            ),
        )
        for axis in (0, 1)
    ]
    return (*ends[0], *ends[1])


def inner_product(builder: Builder, placed: Placed) -> None:
    """A fully connected layer over all axes from `axis` on, for each row of a sample."""
    layer, block = placed.layer, placed.layer.block("inner_product_param")
    axis, shape = axis_in(layer, "inner_product_param", placed.bottoms[0]), placed.bottoms[0]
    source = builder.source(placed)
    if axis == 0:
        raise UnsupportedError(str(layer.error("an inner product over the batch has no cost rule")))
    features = prod(shape[axis:])
    rows = prod(builder.sample(layer, shape)) // features
    if axis == 1 and rows == 1:
        if len(builder.net.shape(source)) not in (1, 3) or len(shape) > 4:
            source = builder.add(placed, Flatten(), source, suffix="/flatten")
    elif builder.net.shape(source) != (rows, features):
        source = builder.add(placed, Reshape(shape=(rows, features)), source, suffix="/rows")
    op = Linear(out=block.integer("num_output", 0, 1), bias=block.flag("bias_term", default=True))
    handle = builder.add(placed, op, source)
    expected = builder.sample(layer, placed.tops[0])
    if builder.net.shape(handle) != expected:
        handle = builder.add(placed, Reshape(shape=expected), handle, suffix="/shape")
    builder.finish(placed, handle)


def lrn(builder: Builder, placed: Placed) -> None:
    """Across channels a row of them; within a channel a square of its neighbours."""
    block = placed.layer.block("lrn_param")
    size = block.integer("local_size", 5, 1)
    region = block.choice("norm_region", ("ACROSS_CHANNELS", "WITHIN_CHANNEL"), "ACROSS_CHANNELS")
    single(builder, placed, LocalResponseNorm(size=size if region == "ACROSS_CHANNELS" else size * size))


def normalize(builder: Builder, placed: Placed) -> None:
    """The L2 norm over the channels of each pixel, or of all pixels, and a trained scale, one or one a channel."""
    block = placed.layer.block("norm_param")
    across, shared = (block.flag(name, default=True) for name in ("across_spatial", "channel_shared"))
    if not across and not shared:
        single(builder, placed, RmsNorm())
        return
    sample = builder.sample(placed.layer, placed.tops[0])
    row = (1, prod(sample)) if across else sample
    handle = builder.place(placed, RmsNorm(affine=False), [builder.source(placed)], (row, sample), suffix="/norm")
    scale = Binary(function="multiply", constant=1, trained=True) if shared else ChannelAffine(shift=False)
    builder.finish(placed, builder.check(placed, builder.add(placed, scale, handle)))


def mvn(builder: Builder, placed: Placed) -> None:
    """Mean and variance of each channel, or of the whole image."""
    _, channels, _, _ = image_sides(placed.layer, placed.bottoms[0])
    across = placed.layer.block("mvn_param").flag("across_channels")
    single(builder, placed, GroupNorm(groups=1 if across else channels, affine=False))


def relu(builder: Builder, placed: Placed) -> None:
    """ReLU, leaky where it has a slope."""
    slope = placed.layer.block("relu_param").number("negative_slope")
    single(builder, placed, activation.LeakyRelu(slope=slope) if slope else activation.Relu())


def prelu(builder: Builder, placed: Placed) -> None:
    """ReLU with a trained slope."""
    single(builder, placed, Prelu(shared=placed.layer.block("prelu_param").flag("channel_shared")))


def power(builder: Builder, placed: Placed) -> None:
    """(shift + scale * x) ** power."""
    straight = placed.layer.block("power_param").number("power", 1.0) == 1
    single(builder, placed, Pointwise(function="linear" if straight else "power"))


def dropout(builder: Builder, placed: Placed) -> None:
    """Dropout."""
    single(builder, placed, activation.Dropout(rate=placed.layer.block("dropout_param").number("dropout_ratio", 0.5)))


def shuffle(builder: Builder, placed: Placed) -> None:
    """Channels of groups interleaved."""
    single(builder, placed, ChannelShuffle(groups=placed.layer.block("shuffle_channel_param").integer("group", 1, 1)))


def upsample(builder: Builder, placed: Placed) -> None:
    """A larger image, its pixels repeated or interpolated; or each put back where the maximum was that a pool took."""
    if len(placed.layer.bottoms) > 1 and placed.layer.type == "Upsample":
        sample, read = (
            builder.sample(placed.layer, placed.tops[0]),
            prod(builder.sample(placed.layer, placed.bottoms[0])),
        )
        work = Pass("unpool", sample, 2 * read, 0, 0, read, OpClass.COPY)
        builder.finish(placed, builder.add(placed, work.op(), builder.source(placed)))
        return
    _, _, height, width = image_sides(placed.layer, placed.tops[0])
    bilinear = placed.layer.type == "Interp"
    single(builder, placed, Upsample(size=(height, width), mode="bilinear" if bilinear else "nearest"))


def embed(builder: Builder, placed: Placed) -> None:
    """A row of a table for each token."""
    block = placed.layer.block("embed_param")
    op = Embedding(vocabulary=block.integer("input_dim", 0, 1), features=block.integer("num_output", 0, 1))
    handle = builder.add(placed, op, builder.source(placed))
    if block.flag("bias_term", default=True):
        handle = builder.add(placed, ChannelAffine(scale=False), handle, suffix="/bias")
    builder.finish(placed, builder.check(placed, handle))

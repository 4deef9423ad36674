"""Translators of Caffe's layers that scale, join, cut and reshape blobs, and of its losses."""

from __future__ import annotations

from math import prod

from simulator.errors import UnsupportedError
from simulator.op import activation
from simulator.op.base import Op
from simulator.op.combine import Add, Concat, Flatten, Scale
from simulator.op.distance_loss import DistanceLoss
from simulator.op.elementwise import Multiply
from simulator.op.kernel import Kernel, OpClass, Phase, Role, each, once
from simulator.op.normalization import BatchNorm, ChannelAffine
from simulator.op.rearrange import ChannelSlice
from simulator.op.reshape import Cut, Reduce, Reshape
from simulator.op.tensor import Binary, Move
from simulator.op.traced import Traced
from simulator.workload.importers.caffe.blobs import Placed
from simulator.workload.importers.caffe.builder import Builder
from simulator.workload.importers.caffe.layers import Translator, single
from simulator.workload.importers.caffe.shapes import axis_in, concat_axis, permutation


def scale(builder: Builder, placed: Placed) -> None:
    """A trained scale, fused into the batch normalisation before it; or one tensor times another."""
    layer, block = placed.layer, placed.layer.block("scale_param")
    bias = block.flag("bias_term")
    if len(layer.bottoms) > 1:
        product(builder, placed, bias=bias)
        return
    if axis_in(layer, "scale_param", placed.bottoms[0]) != 1 or block.integer("num_axes", 1, -1) != 1:
        raise UnsupportedError(str(layer.error("a scale of anything but the channels has no cost rule")))
    handle = builder.lone(placed)
    if bias and handle is not None and builder.net.layers[handle].op == BatchNorm(affine=False):
        builder.fuse(placed, handle, BatchNorm())
        builder.finish(placed, handle)
    else:
        single(builder, placed, ChannelAffine(shift=bias))


def product(builder: Builder, placed: Placed, *, bias: bool) -> None:
    """One blob times another, element by element or a number for each channel."""
    first, second = placed.bottoms[:2]
    if first == second:
        op: Op = Multiply()
    elif len(first) == 4 and second[:2] == first[:2] and prod(second[2:]) == 1:
        op = Scale()
    else:
        op = Binary(function="multiply")
        second_shape = spread(placed, "scale_param")
        sources = [builder.source(placed), builder.source(placed, 1)]
        shapes = (builder.sample(placed.layer, first), second_shape, builder.sample(placed.layer, first))
        _biased(builder, placed, builder.place(placed, op, sources, shapes), bias=bias)
        return
    handle = builder.add(placed, op, builder.source(placed), builder.source(placed, 1))
    _biased(builder, placed, handle, bias=bias)


def _biased(builder: Builder, placed: Placed, handle: int, *, bias: bool) -> None:
    if bias:
        handle = builder.add(placed, ChannelAffine(scale=False), handle, suffix="/bias")
    builder.finish(placed, builder.check(placed, handle))


def spread(placed: Placed, block: str) -> tuple[int, ...]:
    """The second blob of a Scale or Bias as it fits the first: its sides from `axis` on, repeated along the others."""
    first, second = placed.bottoms[:2]
    axis = axis_in(placed.layer, block, first) if second else 0
    if first[axis : axis + len(second)] != second:
        raise placed.layer.error(f"{list(second)} does not stand in {list(first)} from axis {axis} on")
    whole = (*(1 for _ in first[:axis]), *second, *(1 for _ in first[axis + len(second) :]))
    return whole[1:] or (1,)


def shift(builder: Builder, placed: Placed) -> None:
    """A trained shift of each channel, or another blob added."""
    if len(placed.layer.bottoms) == 1:
        single(builder, placed, ChannelAffine(scale=False))
        return
    sample = builder.sample(placed.layer, placed.bottoms[0])
    shapes = (sample, spread(placed, "bias_param"), sample)
    sources = [builder.source(placed), builder.source(placed, 1)]
    builder.finish(placed, builder.place(placed, Binary(function="add"), sources, shapes))


def parameter(builder: Builder, placed: Placed) -> None:
    """A trained tensor that is a blob of its own: its gradient is the sum over the batch of what its readers give."""
    shape = placed.tops[0]
    sample = shape[1:] if shape[:1] == (builder.batch,) and len(shape) > 1 else shape
    size = prod(shape)
    written = ((Role.WEIGHT_GRADIENT, once(size)),)
    read = ((Role.GRADIENT, each(prod(sample))),)
    summed = Kernel(OpClass.REDUCTION, Phase.WEIGHT_GRADIENT, each(prod(sample)), read, written)
    op = Traced(kind="parameter", shape=sample, backward_kernels=(summed,), sizes=(size,))
    builder.finish(placed, builder.place(placed, op, [-1], ((1,), sample)))


def axpy(builder: Builder, placed: Placed) -> None:
    """Scale times x plus y, as the two operations that other frameworks run."""
    scaled = builder.add(placed, Scale(), builder.source(placed, 1), builder.source(placed), suffix="/scale")
    builder.finish(placed, builder.check(placed, builder.add(placed, Add(), scaled, builder.source(placed, 2))))


def eltwise(builder: Builder, placed: Placed) -> None:
    """A sum, whose coefficients ride along in a kernel that waits for memory; or products or maxima, two at a time."""
    method = placed.layer.block("eltwise_param").choice("operation", ("PROD", "SUM", "MAX"), "SUM")
    sources = [builder.source(placed, number) for number in range(len(placed.layer.bottoms))]
    if method == "SUM":
        handle = builder.add(placed, Add(), *sources)
    else:
        op: Op = Multiply() if method == "PROD" else Binary(function="maximum")
        handle = sources[0]
        for number, source in enumerate(sources[1:], start=1):
            suffix = "" if number == len(sources) - 1 else f"/{number}"
            handle = builder.add(placed, op, handle, source, suffix=suffix)
    builder.finish(placed, builder.check(placed, handle))


def concat(builder: Builder, placed: Placed) -> None:
    """Blobs side by side."""
    if len(placed.layer.bottoms) == 1:
        builder.alias(placed)
        return
    if concat_axis(placed.layer, placed.bottoms[0]) == 0:
        raise UnsupportedError(str(placed.layer.error("a concatenation along the batch has no cost rule")))
    sources = [builder.source(placed, number) for number in range(len(placed.layer.bottoms))]
    shapes = tuple(builder.sample(placed.layer, shape) for shape in (*placed.bottoms, placed.tops[0]))
    builder.finish(placed, builder.place(placed, Concat(), sources, shapes))


def slice(builder: Builder, placed: Placed) -> None:
    """Parts of a blob along one axis."""
    axis, source, start = concat_axis(placed.layer, placed.bottoms[0]), builder.source(placed), 0
    handles = []
    for number, shape in enumerate(placed.tops):
        sample = builder.sample(placed.layer, shape)
        op: Op = Cut(shape=sample, split=True)
        if axis == 1:
            op = ChannelSlice(start=start, stop=start + sample[0], split=True)
        handles.append(builder.add(placed, op, source, suffix=f"/{number}"))
        start += sample[0]
    builder.finish(placed, *handles)


def crop(builder: Builder, placed: Placed) -> None:
    """A part of the first blob, as large as the second."""
    single(builder, placed, Cut(shape=builder.sample(placed.layer, placed.tops[0])))


def view(builder: Builder, placed: Placed) -> None:
    """The same memory under another shape."""
    shape = builder.sample(placed.layer, placed.tops[0])
    single(builder, placed, Flatten() if len(shape) == 1 else Reshape(shape=shape))


def permute(builder: Builder, placed: Placed) -> None:
    """The axes in another order: a copy."""
    order = permutation(placed.layer, placed.bottoms[0])
    if order[:1] != [0]:
        raise UnsupportedError(str(placed.layer.error("a permutation of the batch has no cost rule")))
    single(builder, placed, Move(shape=builder.sample(placed.layer, placed.tops[0])))


def reduce(builder: Builder, placed: Placed) -> None:
    """A sum, an average or a maximum along some axes."""
    single(builder, placed, Reduce(shape=builder.sample(placed.layer, placed.tops[0])))


def cross_entropy(builder: Builder, placed: Placed) -> None:
    """The softmax and the loss in one; the labels are never a part of the network."""
    handle = builder.add(placed, activation.CrossEntropyLoss(), builder.source(placed))
    builder.finish(placed, *[handle] * len(placed.tops))


def distance(work: int) -> Translator:
    """A loss of `work` FLOP an element; a second bottom that no parameter shapes is a target."""

    def translate_distance(builder: Builder, placed: Placed) -> None:
        sources = [builder.source(placed)]
        second = builder.origin(placed, 1) if len(placed.bottoms) > 1 else None
        if second is not None and second.handle in builder.trained:
            sources.append(builder.source(placed, 1))
        handle = builder.add(placed, DistanceLoss(work=work), *sources)
        builder.finish(placed, *[handle] * len(placed.tops))

    return translate_distance

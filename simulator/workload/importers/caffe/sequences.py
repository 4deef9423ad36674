"""Translators of recurrent layers, and of layers that move blobs."""

from __future__ import annotations

from math import ceil, prod

from simulator.op.activation import Tanh
from simulator.op.base import Shape
from simulator.op.combine import Concat, Flatten
from simulator.op.linear import Linear
from simulator.op.pooling import AveragePool, MaxPool
from simulator.op.recurrent import Recurrent
from simulator.op.tensor import Move
from simulator.workload.importers.caffe.blobs import Placed
from simulator.workload.importers.caffe.builder import Builder
from simulator.workload.importers.caffe.layers import single


def recurrent(builder: Builder, placed: Placed) -> None:
    """An LSTM with one bias a gate; the plain network has a product and a tanh behind its state. A third bottom, the
    same at all steps, adds a product without a bias to the gates.

    Source: Caffe 1.0, lstm_layer.cpp, rnn_layer.cpp.
    """
    layer, hidden = placed.layer, placed.tops[0][2]
    steps, plain = builder.steps, layer.type == "RNN"
    features = prod(placed.bottoms[0][2:])
    op = Recurrent(cell="rnn" if plain else "lstm", hidden=hidden, biases=1)
    shapes: list[Shape] = [(steps, features), op.output_shape(((steps, features),))]
    sources = [builder.source(placed)]
    if len(placed.bottoms) > 2:
        width = hidden if plain else 4 * hidden
        still = (prod(builder.sample(layer, placed.bottoms[2])),)
        product = Linear(out=width, bias=False)
        sources.append(builder.place(placed, product, [builder.source(placed, 2)], (still, (width,)), suffix="/static"))
        shapes.insert(1, (width,))
    handle = builder.place(placed, op, sources, tuple(shapes), suffix="/state" if plain else "")
    if plain:
        handle = builder.add(placed, Linear(out=hidden), handle)
        handle = builder.add(placed, Tanh(), handle, suffix="/tanh")
    builder.finish(placed, builder.check(placed, handle))


def moved(builder: Builder, placed: Placed) -> None:
    """One copy into the top's shape."""
    if placed.layer.type == "BatchReindex":
        builder.regions(placed.layer, placed.tops[0][0])
    sample = builder.sample(placed.layer, placed.tops[0])
    handle = builder.place(
        placed, Move(shape=sample), [builder.source(placed)], (builder.sample(placed.layer, placed.bottoms[0]), sample)
    )
    builder.finish(placed, handle)


def chosen(builder: Builder, placed: Placed) -> None:
    """Copies of the samples that a run chooses: all at most."""
    handles = []
    for number, shape in enumerate(placed.tops):
        sample = builder.sample(placed.layer, shape)
        suffix = f"/{number}" if len(placed.tops) > 1 else ""
        handles.append(builder.add(placed, Move(shape=sample), builder.source(placed, number), suffix=suffix))
    builder.remarks["a filter is counted as letting all samples through"] = None
    builder.finish(placed, *handles)


def pyramid(builder: Builder, placed: Placed) -> None:
    """Pools of 1, 2, 4 ... bins a side, flattened and joined: windows of side / bins, rounded up.

    Source: He et al., "Spatial Pyramid Pooling in Deep Convolutional Networks", ECCV 2014; Caffe 1.0, spp_layer.cpp.
    """
    layer, block = placed.layer, placed.layer.block("spp_param")
    levels = block.integer("pyramid_height", 0, 1)
    kind = AveragePool if block.choice("pool", ("MAX", "AVE", "STOCHASTIC"), "MAX") == "AVE" else MaxPool
    image = builder.sample(layer, placed.bottoms[0])
    if levels == 1:
        single(builder, placed, kind(kernel=image[1:]))
        return
    handles = []
    for level in range(levels):
        bins, source = 2**level, builder.source(placed)
        kernel = (ceil(image[1] / bins), ceil(image[2] / bins))
        shapes = (image, (image[0], bins, bins))
        pool = builder.place(placed, kind(kernel=kernel), [source], shapes, suffix=f"/{bins}x{bins}")
        handles.append(builder.add(placed, Flatten(), pool, suffix=f"/{bins}x{bins}/flatten"))
    builder.finish(placed, builder.check(placed, builder.add(placed, Concat(), *handles)))

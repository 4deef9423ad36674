"""Caffe's layer types as operations of this program: the table of translators, and the walk."""

from __future__ import annotations

from simulator.errors import UnsupportedError
from simulator.op import activation
from simulator.op.normalization import BatchNorm
from simulator.op.pointwise import Pointwise
from simulator.op.unknown import Unknown
from simulator.workload.importers import Request
from simulator.workload.importers.caffe import detection, joins, layers, sequences
from simulator.workload.importers.caffe.blobs import Placed
from simulator.workload.importers.caffe.builder import Builder
from simulator.workload.importers.caffe.shapes import METRICS


def translate(walk: list[Placed], request: Request) -> Builder:
    """The network of all layers; metrics are left out, since no step waits for them.

    Raises
    ------
    InputError, UnsupportedError
        One line with file, line and layer.
    """
    builder = _builder(walk, request)
    for placed in walk:
        kind = placed.layer.type
        if kind == "Parameter":
            joins.parameter(builder, placed)
        elif not placed.layer.bottoms:
            builder.input(placed)
        elif kind in METRICS:
            continue
        elif kind == "Split":
            builder.alias(placed)
        elif builder.is_constant(placed):
            builder.constants(placed)
        elif kind in TRANSLATORS:
            TRANSLATORS[kind](builder, placed)
        elif request.allow_unknown:
            _unknown(builder, placed)
        else:
            text = placed.layer.error(f"no cost rule for layers of type {kind!r}")
            raise UnsupportedError(f"{text} (--allow-unknown goes on)")
    return builder


def _builder(walk: list[Placed], request: Request) -> Builder:
    """The batch is the first side of the first input; of what goes step by step, the second."""
    stepped = next((placed.bottoms[0] for placed in walk if placed.layer.type in ("LSTM", "RNN")), None)
    if stepped is None:
        return Builder(_batch(walk), request)
    steps, batch = stepped[:2]
    return Builder(batch, request, steps, {steps * batch: steps})


def _batch(walk: list[Placed]) -> int:
    """The first side of the first input."""
    first = next((placed for placed in walk if not placed.layer.bottoms and placed.tops), None)
    if first is None:
        raise walk[0].layer.error("the network has no input")
    if not first.tops[0]:
        raise first.layer.error("the input has no batch side")
    return first.tops[0][0]


def _unknown(builder: Builder, placed: Placed) -> None:
    shape = builder.sample(placed.layer, placed.tops[0]) if placed.tops else None
    handle = builder.add(placed, Unknown(name=placed.layer.type, shape=shape), builder.source(placed))
    builder.finish(placed, *[handle] * len(placed.tops))


TRANSLATORS: dict[str, layers.Translator] = {
    "AbsVal": layers.plain(Pointwise(function="abs")),
    "ArgMax": joins.reduce,
    "Axpy": joins.axpy,
    "BN": layers.plain(BatchNorm()),
    "BNLL": layers.plain(activation.Softplus()),
    "BatchReindex": sequences.moved,
    "BatchNorm": layers.plain(BatchNorm(affine=False)),
    "Bias": joins.shift,
    "Clip": layers.plain(activation.HardTanh()),
    "Concat": joins.concat,
    "ContrastiveLoss": joins.distance(3),
    "Convolution": layers.convolution,
    "ConvolutionDepthwise": layers.convolution,
    "Convolution3D": layers.convolution,
    "Crop": joins.crop,
    "Deconvolution": layers.convolution,
    "DepthwiseConvolution": layers.convolution,
    "DetectionOutput": detection.detections,
    "Dropout": layers.dropout,
    "ELU": layers.plain(activation.Elu()),
    "Eltwise": joins.eltwise,
    "Embed": layers.embed,
    "EuclideanLoss": joins.distance(3),
    "Exp": layers.plain(Pointwise(function="exp")),
    "Filter": sequences.chosen,
    "Flatten": joins.view,
    "HardSigmoid": layers.plain(activation.HardSigmoid()),
    "HardSwish": layers.plain(activation.HardSwish()),
    "HingeLoss": joins.distance(3),
    "Im2col": sequences.moved,
    "InfogainLoss": joins.cross_entropy,
    "InnerProduct": layers.inner_product,
    "Interp": layers.upsample,
    "LRN": layers.lrn,
    "LSTM": sequences.recurrent,
    "Log": layers.plain(Pointwise(function="log")),
    "MVN": layers.mvn,
    "Mish": layers.plain(activation.Mish()),
    "MultiBoxLoss": detection.multibox_loss,
    "MultinomialLogisticLoss": joins.cross_entropy,
    "Normalize": layers.normalize,
    "PReLU": layers.prelu,
    "PSROIPooling": detection.region_pooling,
    "Permute": joins.permute,
    "Pooling": layers.pooling,
    "Pooling3D": layers.pooling,
    "Power": layers.power,
    "PriorBox": detection.priors,
    "Proposal": detection.proposal,
    "Python": detection.python,
    "RNN": sequences.recurrent,
    "ROIPooling": detection.region_pooling,
    "ReLU": layers.relu,
    "ReLU6": layers.plain(activation.Relu6()),
    "Reduction": joins.reduce,
    "Reorg": sequences.moved,
    "Reshape": joins.view,
    "SPP": sequences.pyramid,
    "Scale": joins.scale,
    "ShuffleChannel": layers.shuffle,
    "Sigmoid": layers.plain(activation.Sigmoid()),
    "SigmoidCrossEntropyLoss": joins.distance(7),
    "Slice": joins.slice,
    "SmoothL1Loss": joins.distance(4),
    "Softmax": layers.plain(activation.Softmax()),
    "SoftmaxWithLoss": joins.cross_entropy,
    "Swish": layers.plain(activation.Silu()),
    "TanH": layers.plain(activation.Tanh()),
    "Threshold": layers.plain(Pointwise(function="threshold")),
    "Tile": sequences.moved,
    "Upsample": layers.upsample,
}

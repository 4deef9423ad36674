"""Losses, and operators of newer sets that join what older ones wrote as several nodes."""

from __future__ import annotations

from simulator.errors import InputError
from simulator.op.activation import CrossEntropyLoss, Silu
from simulator.op.base import Shape
from simulator.op.convolution import Convolution
from simulator.op.kernel import OpClass
from simulator.op.passes import Pass
from simulator.op.reshape import Cut, Reduce
from simulator.workload.importers.onnx.builder import GraphTensor, LayerPlan, NodeCall, operator, product
from simulator.workload.importers.onnx.convolution import image_of
from simulator.workload.importers.onnx.movement import copied
from simulator.workload.importers.onnx.sampling import elements_read


@operator("SoftmaxCrossEntropyLoss")
def cross_entropy(call: NodeCall) -> list[GraphTensor]:
    """Scores (batch, classes, sides); the second output, the logarithms, is the softmax's."""
    scores = call.first
    sample = call.builder.sample(scores.shape) if len(scores.shape) == 2 else image_of(call.builder, scores.shape)
    plan = LayerPlan(_loss_shape(call), scores.kind, (sample,), None if _summed(call) is False else (1,))
    return [call.add(CrossEntropyLoss(), [scores], plan), scores]


def _summed(call: NodeCall) -> bool:
    return call.node.text("reduction", "mean") != "none"


def _loss_shape(call: NodeCall) -> Shape:
    shape = call.first.shape
    if len(shape) < 2:
        raise InputError(f"{call.node.op} of {list(shape)}")
    return () if _summed(call) else (shape[0], *shape[2:])


@operator("NegativeLogLikelihoodLoss")
def likelihood(call: NodeCall) -> GraphTensor:
    """The logarithm of one class of each, then their mean."""
    data, output = call.first, _loss_shape(call)
    labels = (data.shape[0], *data.shape[2:])
    whole = call.builder.sample(data.shape)
    picked = call.add(Cut(shape=(1, *whole[1:])), [data], LayerPlan(labels, data.kind, (whole,), (1, *whole[1:])))
    return call.add(Reduce(shape=(1,)), [picked], LayerPlan((), data.kind, sample=(1,))) if output == () else picked


@operator("SwiGLU")
def gated(call: NodeCall) -> GraphTensor:
    """A * sigmoid(A) * B in one pass: 4 FLOP the sigmoid, 2 the products.

    Back 12: sigmoid 4 and its product 1 again, B's gradient 1, A's 2 products and a slope of 4.
    """
    gate, size = call.first, product(call.builder.sample(call.first.shape))
    read = elements_read(call, gate, call.input(1))
    work = Pass("swiglu", call.builder.sample(gate.shape), read, 6 * size, 12 * size, read)
    return call.add(work.op(), [gate, call.input(1)], LayerPlan(gate.shape, gate.kind))


@operator("CausalConvWithState")
def causal_convolution(call: NodeCall) -> list[GraphTensor]:
    """(batch, channels, length), each channel with its own kernel, positions before it from the state."""
    data, weight, bias = call.first, call.input(1), call.optional(2)
    if len(data.shape) != 3 or weight.shape[:2] != (data.shape[1], 1) or len(weight.shape) != 3:
        raise InputError(f"CausalConvWithState of {list(data.shape)} with {list(weight.shape)}")
    channels, length = data.shape[1], weight.shape[2]
    sample = image_of(call.builder, data.shape)
    op = Convolution(
        out=channels, kernel=(1, length), padding=(0, 0, length - 1, 0), groups=channels, bias=bias is not None
    )
    weights = (weight,) if bias is None else (weight, bias)
    result = call.add(op, [data], LayerPlan(data.shape, data.kind, (sample,), sample, weights))
    state = call.view(data, (data.shape[0], channels, length - 1))
    if call.node.text("activation", "none") in ("silu", "swish"):
        result = call.add(Silu(), [result], LayerPlan(data.shape, data.kind, (sample,), sample))
    return [result, state]


@operator("TensorScatter")
def cache_update(call: NodeCall) -> GraphTensor:
    """New rows written into a cache where it stands: only they move."""
    cache, update = call.first, call.input(1)
    sample = call.builder.sample(update.shape)
    work = Pass("cache_update", sample, elements_read(call, update), 0, 0, op_class=OpClass.COPY)
    written = call.add(work.op(), [update], LayerPlan(update.shape, update.kind))
    return call.view(written, cache.shape)


@operator("Det")
def determinant(call: NodeCall) -> GraphTensor:
    """Elimination, 2/3 n^3 FLOPs a matrix.

    Source: Golub, Van Loan, "Matrix Computations", 4th edition, 2013, section 3.2.
    """
    data = call.first
    if len(data.shape) < 2 or data.shape[-1] != data.shape[-2]:
        raise InputError(f"Det of {list(data.shape)}")
    output, side = data.shape[:-2], data.shape[-1]
    sample = call.builder.sample(output)
    flops = product(sample) * round(2 * side**3 / 3)
    work = Pass("determinant", sample, elements_read(call, data), flops, 3 * flops, elements_read(call, data))
    return call.add(work.op(), [data], LayerPlan(output, data.kind))


@operator("ReverseSequence")
def reverse(call: NodeCall) -> GraphTensor:
    """Each sequence turned round: a copy."""
    return copied(call, call.first.shape)


@operator("BitCast")
def bit_cast(call: NodeCall) -> GraphTensor:
    """The same memory."""
    return call.view(call.first, call.first.shape, call.node.integer("to", call.first.kind))


@operator("EyeLike")
def eye(call: NodeCall) -> GraphTensor:
    """Numbers that no input changes."""
    return GraphTensor(call.first.shape, call.node.integer("dtype", call.first.kind))

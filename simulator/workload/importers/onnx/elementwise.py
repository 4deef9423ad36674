"""Functions of each element of one, two or more tensors."""

from __future__ import annotations

from math import inf

import numpy as np

from simulator.errors import InputError
from simulator.op.activation import (
    Dropout,
    Elu,
    GeluTanh,
    HardSigmoid,
    HardSwish,
    HardTanh,
    LeakyRelu,
    Mish,
    Relu,
    Relu6,
    Selu,
    Sigmoid,
    Silu,
    Softmax,
    Softplus,
    Tanh,
)
from simulator.op.base import Op, Shape
from simulator.op.combine import Add, Scale
from simulator.op.gelu import Gelu, QuickGelu
from simulator.op.normalization import ChannelAffine
from simulator.op.pointwise import Pointwise
from simulator.op.prelu import Prelu
from simulator.op.tensor import Binary, Unary
from simulator.workload.importers.onnx.builder import GraphTensor, LayerPlan, NodeCall, operator, product
from simulator.workload.importers.onnx.convolution import image_of
from simulator.workload.importers.onnx.messages import BOOL, FLOATS
from simulator.workload.importers.onnx.product import broadcast

ACTIVATIONS: dict[str, Op] = {
    "Celu": Elu(),
    "Elu": Elu(),
    "HardSigmoid": HardSigmoid(),
    "HardSwish": HardSwish(),
    "Hardmax": Softmax(),
    "LeakyRelu": LeakyRelu(),
    "LogSoftmax": Softmax(),
    "Mish": Mish(),
    "Relu": Relu(),
    "Selu": Selu(),
    "Shrink": HardTanh(),
    "Sigmoid": Sigmoid(),
    "Softmax": Softmax(),
    "Softplus": Softplus(),
    "Swish": Silu(),
    "Tanh": Tanh(),
    "ThresholdedRelu": Relu(),
    "com.microsoft.FastGelu": GeluTanh(),
    "com.microsoft.Gelu": Gelu(),
    "com.microsoft.QuickGelu": QuickGelu(),
}

UNARY = {
    **{"Abs": "abs", "Exp": "exp", "Log": "log"},
    **{"Ceil": "ceil", "Floor": "floor", "Round": "round", "Neg": "negate", "Sqrt": "sqrt", "Erf": "erf"},
    **{
        "Reciprocal": "reciprocal",
        "Softsign": "softsign",
        "Sin": "sin",
        "Cos": "cos",
        "CumSum": "cumulative_sum",
        "CumProd": "cumulative_sum",
        "Trilu": "select",
    },
    **dict.fromkeys(("Sign", "Not", "IsNaN", "IsInf", "BitwiseNot"), "compare"),
    **dict.fromkeys(("Tan", "Asin", "Acos", "Atan", "Sinh", "Cosh", "Asinh", "Acosh", "Atanh"), "trigonometric"),
}
POINTWISE = {"abs": Pointwise(function="abs"), "exp": Pointwise(function="exp"), "log": Pointwise(function="log")}

BINARY = {
    **{"Add": "add", "Sub": "subtract", "Mul": "multiply", "Div": "divide", "Pow": "power", "PRelu": "maximum"},
    **{"Min": "maximum", "Max": "maximum", "Sum": "add", "Mean": "add", "Where": "select", "Mod": "compare"},
    **dict.fromkeys(("Equal", "Greater", "Less", "GreaterOrEqual", "LessOrEqual"), "compare"),
    **dict.fromkeys(("And", "Or", "Xor", "BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor"), "compare"),
}
TRUTHS = {"Equal", "Greater", "Less", "GreaterOrEqual", "LessOrEqual", "And", "Or", "Xor", "Not", "IsNaN", "IsInf"}


@operator(*ACTIVATIONS)
def activation(call: NodeCall) -> GraphTensor:
    """A named activation function."""
    key = f"{call.node.domain}.{call.node.op}" if call.node.domain else call.node.op
    return like_first(call, ACTIVATIONS[key])


def like_first(call: NodeCall, op: Op, kind: int | None = None) -> GraphTensor:
    """A layer whose output has the first input's shape."""
    first = call.first
    return call.add(op, [first], LayerPlan(first.shape, first.kind if kind is None else kind))


@operator("Gelu")
def gelu(call: NodeCall) -> GraphTensor:
    """Exact, or by a hyperbolic tangent."""
    return like_first(call, GeluTanh() if call.node.text("approximate", "none") == "tanh" else Gelu())


@operator("Clip")
def clip(call: NodeCall) -> GraphTensor:
    """ReLU or ReLU6 where the limits say so."""
    low, high = (_limit(call, position, name) for position, name in ((1, "min"), (2, "max")))
    if low == 0 and high == 6:
        return like_first(call, Relu6())
    return like_first(call, Relu() if low == 0 and high == inf else HardTanh())


def _limit(call: NodeCall, position: int, name: str) -> float | None:
    """A limit from an attribute or an input: infinite where it is left out, None where it is not known."""
    if name in call.node.attributes:
        value = call.node.real(name, 0.0)
        return inf if name == "max" and value > 3e38 else value
    tensor = call.optional(position)
    if tensor is None:
        return inf if name == "max" else -inf
    if tensor.value is None or tensor.value.size != 1:
        return None
    number = float(np.ravel(tensor.value)[0])
    return inf if name == "max" and number > 3e38 else number


@operator(*UNARY)
def unary(call: NodeCall) -> GraphTensor:
    """An elementary function."""
    function = UNARY[call.node.op]
    kind = BOOL if call.node.op in TRUTHS else None
    return like_first(call, POINTWISE.get(function) or Unary(function=function), kind)


@operator("Dropout")
def dropout(call: NodeCall) -> list[GraphTensor]:
    """Dropout while training; its mask has no reader."""
    ratio = call.optional(1)
    rate = call.node.real("ratio", 0.5)
    if ratio is not None and ratio.value is not None and ratio.value.size == 1:
        rate = float(np.ravel(ratio.value)[0])
    output = like_first(call, Dropout(rate=rate)) if rate else call.first
    return [output, call.view(output, output.shape, BOOL)]


@operator("Cast", "CastLike")
def cast(call: NodeCall) -> GraphTensor:
    """Between floating-point types nothing, since the precision is chosen later; else a pass."""
    like = call.optional(1)
    kind = call.node.integer("to", 1) if like is None else like.kind
    first = call.first
    if first.constant or (first.kind in FLOATS and kind in FLOATS) or (first.kind not in FLOATS and kind not in FLOATS):
        return GraphTensor(first.shape, kind, first.handle, first.stored)
    return like_first(call, Unary(function="cast"), kind)


@operator("PRelu")
def prelu(call: NodeCall) -> GraphTensor:
    """A trained slope, one or one a channel."""
    image, slope = call.first, call.input(1)
    if not slope.constant or len(image.shape) < 2 or slope.size not in (1, image.shape[1]):
        return join(call)
    if len(image.shape) > 2:
        shape = image_of(call.builder, image.shape)
        plan = LayerPlan(image.shape, image.kind, (shape,), shape, (slope,))
    else:
        plan = LayerPlan(image.shape, image.kind, weights=(slope,))
    return call.add(Prelu(shared=slope.size == 1), [image], plan)


@operator(*(name for name in BINARY if name != "PRelu"))
def binary(call: NodeCall) -> GraphTensor:
    """A function of two or more tensors."""
    return join(call)


def join(call: NodeCall) -> GraphTensor:
    """A function of two or more tensors; more than two, or constants beside them, are joined two at a time."""
    given = call.given
    shape = broadcast(*(tensor.shape for tensor in given))
    kind = BOOL if call.node.op in TRUTHS else given[-1].kind
    if len(given) == 1:
        return given[0]
    live = [tensor for tensor in given if not tensor.constant]
    stored = [tensor for tensor in given if tensor.constant]
    function = BINARY[call.node.op]
    if not live:
        return GraphTensor(shape, kind, None, tuple(name for tensor in stored for name in tensor.stored))
    if len(live) > 1 and function == "add" and all(tensor.shape == shape for tensor in live) and not stored:
        return call.add(Add(), live, LayerPlan(shape, kind))
    return _joined(call, function, (live, stored), LayerPlan(shape, kind))


def _joined(
    call: NodeCall, function: str, operands: tuple[list[GraphTensor], list[GraphTensor]], plan: LayerPlan
) -> GraphTensor:
    """One layer for at most three tensors with one constant; one more for each tensor beyond."""
    live, stored = operands
    constant = max(stored, key=lambda tensor: tensor.size, default=None)
    trained = constant is not None and _is_trained(function, constant)
    size = 0 if constant is None or constant.size == 1 else constant.size
    if _is_excitation(call, live, size):
        return _scaled(call, live, plan)
    if len(live) == 1 and size == 0 and plan.output == live[0].shape:
        return call.add(Unary(function=_of_number(function)), live, plan)
    if len(live) == 1 and constant is not None and trained and _is_channel(live[0].shape, constant.shape):
        op = ChannelAffine(scale=function != "add", shift=function == "add")
        if function in ("add", "multiply"):
            return _channel_affine(call, op, live[0], LayerPlan(plan.output, plan.kind, weights=(constant,)))
    weights = (constant,) if constant is not None and trained else ()
    for number in range(3, len(live)):
        live = [call.add(Binary(function=function), live[:2], plan), *live[2:]]
    op_size = min(size, 2**40)
    return call.add(
        Binary(function=function, constant=op_size, trained=trained and op_size > 0),
        live,
        LayerPlan(plan.output, plan.kind, weights=weights),
    )


MASKED = -1e4
"""Scores that a mask puts this low vanish in a softmax."""


def _is_trained(function: str, constant: GraphTensor) -> bool:
    """Whether a stored tensor is a parameter: a bias, or a scale along one side; no number, mask or rotary table."""
    if function not in ("add", "subtract", "multiply") or not constant.stored or not constant.is_float:
        return False
    if constant.size == 1:
        return False
    if function == "multiply" and sum(side > 1 for side in constant.shape) > 1:
        return False
    return constant.value is None or not bool(np.any(constant.value <= MASKED))


def _of_number(function: str) -> str:
    """The function of one tensor and a number."""
    return "add" if function == "subtract" else function


def _is_channel(shape: Shape, constant: Shape) -> bool:
    """Whether a constant is one number for each channel of an image, or each feature of a sequence."""
    if len(shape) == 4:
        return constant[-2:] == (1, 1) and product(constant) == shape[1] and len(constant) in (3, 4)
    return len(shape) in (2, 3) and product(constant) == constant[-1] == shape[-1]


def shifted(call: NodeCall, data: GraphTensor, bias: GraphTensor) -> GraphTensor:
    """A vector added to each row, trained where it is stored."""
    shape = broadcast(data.shape, bias.shape)
    if bias.constant and _is_channel(data.shape, bias.shape) and shape == data.shape:
        return _channel_affine(call, ChannelAffine(scale=False), data, LayerPlan(shape, data.kind, weights=(bias,)))
    live = [tensor for tensor in (data, bias) if not tensor.constant]
    return call.add(Binary(function="add"), live, LayerPlan(shape, data.kind))


def _channel_affine(call: NodeCall, op: Op, data: GraphTensor, plan: LayerPlan) -> GraphTensor:
    if len(data.shape) == 4:
        shape = image_of(call.builder, data.shape)
    else:
        shape = (product(call.builder.sample(data.shape)) // data.shape[-1], data.shape[-1])
    return call.add(op, [data], LayerPlan(plan.output, plan.kind, (shape,), shape, plan.weights))


def _is_excitation(call: NodeCall, live: list[GraphTensor], constant: int) -> bool:
    """Whether an image is multiplied by one number a channel."""
    if call.node.op != "Mul" or len(live) != 2 or constant:
        return False
    big, small = sorted((tensor.shape for tensor in live), key=product, reverse=True)
    return len(big) == len(small) == 4 and big[:2] == small[:2] and small[2:] == (1, 1) and big[2:] != (1, 1)


def _scaled(call: NodeCall, live: list[GraphTensor], plan: LayerPlan) -> GraphTensor:
    image, gate = sorted(live, key=lambda tensor: tensor.size, reverse=True)
    shape = image_of(call.builder, image.shape)
    images = call.builder.leading(image.shape[0])
    inputs = (shape, (shape[0], images, 1))
    return call.add(Scale(), [image, gate], LayerPlan(plan.output, plan.kind, inputs, shape))


@operator("com.microsoft.BiasGelu")
def bias_gelu(call: NodeCall) -> GraphTensor:
    """A trained shift, then GELU, in one pass."""
    if not call.input(1).constant:
        raise InputError("BiasGelu needs a stored bias")
    return call.add(Gelu(), [call.first], LayerPlan(call.first.shape, call.first.kind, weights=(call.input(1),)))

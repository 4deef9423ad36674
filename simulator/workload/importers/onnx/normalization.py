"""Normalisations: of the batch, of rows, of groups of channels."""

from __future__ import annotations

from simulator.errors import InputError
from simulator.op.base import Op, Shape
from simulator.op.layer_norm import GroupNorm, LayerNorm, RmsNorm
from simulator.op.normalization import BatchNorm, LocalResponseNorm
from simulator.workload.importers.onnx.builder import GraphTensor, LayerPlan, NodeCall, operator, product
from simulator.workload.importers.onnx.convolution import image_of


@operator("BatchNormalization")
def batch_norm(call: NodeCall) -> list[GraphTensor]:
    """Scale and shift are trained; mean and variance are not. Further outputs, the statistics, are constants."""
    image, weights = call.first, (call.input(1), call.input(2))
    if len(image.shape) < 2 or any(weight.shape != image.shape[1:2] for weight in weights):
        raise InputError(f"one scale and shift for each channel of {list(image.shape)} is needed")
    shape = _channels_first(call, image)
    output = call.add(BatchNorm(), [image], LayerPlan(image.shape, image.kind, (shape,), shape, weights))
    return [output, *(GraphTensor(image.shape[1:2], image.kind) for _ in call.node.outputs[1:])]


def _channels_first(call: NodeCall, image: GraphTensor) -> Shape:
    """An image's shape, or a vector's as (samples of the sample, features)."""
    if len(image.shape) > 2:
        return image_of(call.builder, image.shape)
    return call.builder.sample(image.shape)


@operator("InstanceNormalization")
def instance_norm(call: NodeCall) -> GraphTensor:
    """Each channel of each image by its own statistics."""
    image = call.first
    shape = image_of(call.builder, image.shape)
    weights = tuple(weight for weight in (call.input(1), call.input(2)) if weight.constant)
    if any(weight.shape != image.shape[1:2] for weight in weights):
        raise InputError(f"one scale and shift for each channel of {list(image.shape)} is needed")
    affine = not _is_neutral(weights)
    plan = LayerPlan(image.shape, image.kind, (shape,), shape, weights if affine else ())
    return call.add(GroupNorm(groups=shape[0], affine=affine), [image], plan)


def _is_neutral(weights: tuple[GraphTensor, ...]) -> bool:
    """Whether a scale of ones and a shift of zeros stand in for none, as exporters of group normalisation write."""
    neutral = [weight.value is not None and bool((weight.value == 1 - i).all()) for i, weight in enumerate(weights)]
    return len(neutral) == 2 and all(neutral)


@operator("GroupNormalization")
def group_norm(call: NodeCall) -> GraphTensor:
    """Groups of channels, each over all its pixels."""
    image, groups = call.first, call.node.integer("num_groups", 1)
    shape = image_of(call.builder, image.shape)
    op = GroupNorm(groups=groups)
    op.output_shape((shape,))
    return call.add(op, [image], LayerPlan(image.shape, image.kind, (shape,), shape, (call.input(1), call.input(2))))


@operator("LayerNormalization")
def layer_norm(call: NodeCall) -> list[GraphTensor]:
    """Rows from `axis` on; the shift may be left out."""
    weights = (call.input(1),) if call.optional(2) is None else (call.input(1), call.input(2))
    return _rows(call, LayerNorm(), weights)


@operator("RMSNormalization", "SimplifiedLayerNormalization", "com.microsoft.SimplifiedLayerNormalization")
def rms_norm(call: NodeCall) -> list[GraphTensor]:
    """Rows from `axis` on, scale alone."""
    return _rows(call, RmsNorm(), (call.input(1),))


def _rows(call: NodeCall, op: Op, weights: tuple[GraphTensor, ...]) -> list[GraphTensor]:
    data, axis = call.first, call.axis(-1)
    row = product(data.shape[axis:])
    total = product(call.builder.sample(data.shape))
    if not row or total % row:
        raise InputError(f"rows of {row} elements mix the samples of {list(data.shape)}")
    shape = (total // row, row)
    output = call.add(op, [data], LayerPlan(data.shape, data.kind, (shape,), shape, weights))
    statistics = (*data.shape[:axis], *(1 for _ in data.shape[axis:]))
    return [output, *(GraphTensor(statistics, data.kind) for _ in call.node.outputs[1:])]


@operator("LRN")
def local_response_norm(call: NodeCall) -> GraphTensor:
    """Across `size` channels."""
    image, size = call.first, call.node.integer("size", 0)
    if not 1 <= size <= 1024:
        raise InputError(f"LRN over {size} channels")
    shape = image_of(call.builder, image.shape)
    return call.add(LocalResponseNorm(size=size), [image], LayerPlan(image.shape, image.kind, (shape,), shape))


@operator("LpNormalization", "MeanVarianceNormalization")
def plain_norm(call: NodeCall) -> GraphTensor:
    """A normalisation without parameters: one pass over each sample's values."""
    shape = call.builder.sample(call.first.shape)
    flat = (1, product(shape))
    return call.add(LayerNorm(affine=False), [call.first], LayerPlan(call.first.shape, call.first.kind, (flat,), shape))

"""Interpolation of images."""

from __future__ import annotations

from math import floor
from typing import Literal

from simulator.errors import InputError
from simulator.op.base import Shape
from simulator.op.resample import Upsample
from simulator.workload.importers.onnx.builder import GraphTensor, LayerPlan, NodeCall, operator
from simulator.workload.importers.onnx.convolution import image_of
from simulator.workload.importers.onnx.movement import copied


@operator("Resize", "Upsample")
def resize(call: NodeCall) -> GraphTensor:
    """Interpolation to written sizes, or by scales."""
    output = _resized(call)
    image = call.first
    mode: Literal["nearest", "bilinear"] = "nearest" if call.node.text("mode", "nearest") == "nearest" else "bilinear"
    if output == image.shape or image.constant:
        return call.view(image, output)
    builder = call.builder
    if len(image.shape) < 3:
        return copied(call, output)
    plan = LayerPlan(output, image.kind, (image_of(builder, image.shape),), image_of(builder, output))
    return call.add(Upsample(size=plan.sample[-2:] if plan.sample else 1, mode=mode), [image], plan)


def _resized(call: NodeCall) -> Shape:
    """All sides of the output."""
    image, old = call.first, call.opset < 11
    sizes = None if old or call.optional(3) is None else call.numbers(3)
    scales = call.node.reals("scales") if "scales" in call.node.attributes else _scales(call, 1 if old else 2)
    axes = call.node.integers("axes", tuple(range(len(image.shape)))) or ()
    places = [axis % max(1, len(image.shape)) for axis in axes]
    sides = list(image.shape)
    if sizes is None and scales is None:
        raise InputError(f"{call.node.op} with neither sizes nor scales")
    for number, axis in enumerate(places):
        given = sizes if sizes is not None else scales
        if given is None or number >= len(given):
            raise InputError(f"{call.node.op} with too few sizes or scales")
        sides[axis] = int(given[number]) if sizes is not None else floor(sides[axis] * given[number] + 1e-6)
    policy = call.node.text("keep_aspect_ratio_policy", "stretch")
    return tuple(sides) if policy == "stretch" or sizes is None else _in_proportion(image.shape, sides, places, policy)


def _in_proportion(shape: Shape, asked: list[int], places: list[int], policy: str) -> Shape:
    """Sides scaled by one factor: the least of those asked for, or the largest ("not_smaller")."""
    if any(shape[axis] < 1 for axis in places):
        raise InputError(f"a resize of {list(shape)}")
    factors = [asked[axis] / shape[axis] for axis in places]
    factor = min(factors) if policy == "not_larger" else max(factors)
    return tuple(floor(side * factor + 0.5) if axis in places else side for axis, side in enumerate(shape))


def _scales(call: NodeCall, position: int) -> list[float] | None:
    tensor = call.optional(position)
    if tensor is None or tensor.size == 0:
        return None
    if tensor.value is None:
        raise InputError(f"the scales of {call.node.op} are not known before a run")
    values = [float(value) for value in tensor.value.ravel()]
    if not all(0 < value < 1e6 for value in values):
        raise InputError(f"{call.node.op} by {values[:4]}")
    return values

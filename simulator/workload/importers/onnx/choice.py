"""Operators whose output is as long as the values decide: counted at their longest, or at what the user says."""

from __future__ import annotations

from simulator.errors import InputError
from simulator.op.kernel import OpClass
from simulator.op.passes import Pass
from simulator.workload.importers.onnx.builder import GraphTensor, LayerPlan, NodeCall, operator, product
from simulator.workload.importers.onnx.messages import INT64
from simulator.workload.importers.onnx.sampling import elements_read

OVERLAP_FLOPS = 12
"""Two boxes' common area over their joint one: 4 comparisons, 4 differences, 2 products, a sum and a quotient."""


def at_most(call: NodeCall, count: int) -> int:
    """How many of `count` are kept, said beside the network: all, or `--boxes` of each sample."""
    asked, batch = call.builder.request.boxes, call.builder.batch
    each = count // batch if count % batch == 0 and count else count
    most = each if asked is None else min(asked, each)
    call.remark(f"what is selected by value is counted as {'all entries' if asked is None else f'{asked} at most'}")
    return most * (count // each if each else 1)


@operator("NonMaxSuppression")
def suppress(call: NodeCall) -> GraphTensor:
    """Boxes (batch, n, 4), scores (batch, classes, n) -> (batch * classes * kept, 3): every kept box against all."""
    boxes, scores = call.first, call.input(1)
    if len(boxes.shape) != 3 or len(scores.shape) != 3 or scores.shape[2] != boxes.shape[1]:
        raise InputError(f"NonMaxSuppression of {list(boxes.shape)} with scores {list(scores.shape)}")
    kept = min(_limit(call, boxes.shape[1]), boxes.shape[1])
    output = (scores.shape[0] * scores.shape[1] * kept, 3)
    sample = call.builder.sample(output)
    pairs = kept * boxes.shape[1] - kept * (kept + 1) // 2
    flops = product(sample) // (3 * kept) * OVERLAP_FLOPS * pairs if kept else 0
    call.remark(f"{call.node.op} is counted as keeping {kept} boxes of each class, its most")
    work = Pass("non_max_suppression", sample, elements_read(call, boxes, scores), flops, op_class=OpClass.REDUCTION)
    return call.add(work.op(), [boxes, scores], LayerPlan(output, INT64))


def _limit(call: NodeCall, boxes: int) -> int:
    """The file's limit and the user's; without either all."""
    given = call.optional(2)
    if given is None:
        return 0
    limits = [boxes, *([int(given.value.ravel()[0])] if given.value is not None and given.value.size == 1 else [])]
    asked = call.builder.request.boxes
    return min(limits if asked is None else [*limits, asked])


@operator("NonZero")
def places_of(call: NodeCall) -> GraphTensor:
    """(sides, n): the place of each element that is not zero, all at most."""
    shape = call.first.shape
    count = at_most(call, call.first.size)
    return _chosen(call, (max(len(shape), 1), count), INT64)


@operator("Compress")
def compress(call: NodeCall) -> GraphTensor:
    """What a condition keeps along an axis, or of all elements: as many as it has truths, all at most."""
    data, condition = call.first, call.input(1)
    axis = call.axis(0) if "axis" in call.node.attributes else None
    side = data.size if axis is None else data.shape[axis]
    if condition.value is not None:
        kept = int(condition.value.ravel()[:side].astype(bool).sum())
    else:
        kept = at_most(call, min(side, condition.size))
    output = (kept,) if axis is None else (*data.shape[:axis], kept, *data.shape[axis + 1 :])
    return _chosen(call, output, data.kind, gradient=0)


@operator("Unique")
def unique(call: NodeCall) -> list[GraphTensor]:
    """Values that differ, first places, places in the output, counts; a sort, all differing at most."""
    data = call.first
    axis = call.axis(0) if "axis" in call.node.attributes else None
    side = at_most(call, data.size if axis is None else data.shape[axis])
    output = (side,) if axis is None else (*data.shape[:axis], side, *data.shape[axis + 1 :])
    values = _chosen(call, output, data.kind)
    whole = data.size if axis is None else data.shape[axis]
    return [values, *(call.view(values, (count,), INT64) for count in (side, whole, side))]


def _chosen(call: NodeCall, output: tuple[int, ...], kind: int, gradient: int | None = None) -> GraphTensor:
    """One comparison an input."""
    read = elements_read(call, *call.given)
    work = Pass("select", call.builder.sample(output), read, read, gradient, op_class=OpClass.REDUCTION)
    return call.add(work.op(), call.given, LayerPlan(output, kind))

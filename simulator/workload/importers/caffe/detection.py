"""Translators of detectors' layers: starting boxes, regions, suppression, the losses of boxes; and of layers in Python.

Suppression is counted at its most: as many boxes as it lets in, each pair of them compared.
"""

from __future__ import annotations

from math import prod

from simulator.errors import UnsupportedError
from simulator.op.activation import CrossEntropyLoss
from simulator.op.distance_loss import DistanceLoss
from simulator.op.kernel import OpClass
from simulator.op.passes import Pass
from simulator.op.unknown import Unknown
from simulator.workload.importers.caffe.blobs import Placed
from simulator.workload.importers.caffe.builder import Builder
from simulator.workload.importers.caffe.rarer import POST_NMS, PYTHON, python_name

OVERLAP_FLOPS = 12
"""Two boxes' common area over their joint one: 4 comparisons, 4 differences, 2 products, a sum and a quotient."""
DECODE_FLOPS = 18
"""A box from its offsets: two centres of 2 products and a sum, two sides of 2 products and an exponential, two halves,
four corners."""
SMOOTH_L1_FLOPS = 4


def priors(builder: Builder, placed: Placed) -> None:
    """Boxes that follow from the sides of the image alone."""
    builder.constants(placed)


def pairs(boxes: int, kept: int) -> int:
    """Comparisons where each kept box meets all after it: 10 of 100 kept, 99 + ... + 90 = 945."""
    return kept * boxes - kept * (kept + 1) // 2


def region_pooling(builder: Builder, placed: Placed) -> None:
    """The maximum of each cell of a region, or (position-sensitive) the average: one operation a pixel covered."""
    layer, image = placed.layer, placed.bottoms[0]
    regions = builder.regions(layer, placed.bottoms[1][0])
    sample = builder.sample(layer, placed.tops[0])
    pixels = regions * placed.tops[0][1] * prod(image[2:])
    maximum = layer.type == "ROIPooling"
    read, kept = prod(builder.sample(layer, image)) + 5 * regions, prod(sample) if maximum else 5 * regions
    back = prod(sample) if maximum else pixels
    work = Pass("roi_pool" if maximum else "psroi_pool", sample, read, pixels, back, kept, OpClass.POOLING)
    builder.remarks["regions are counted as large as their image"] = None
    builder.remarks[f"{regions} regions an image"] = None
    builder.finish(placed, builder.add(placed, work.op(), builder.source(placed)))


def proposal(builder: Builder, placed: Placed) -> None:
    """All anchors decoded, the best of them against each other: no gradient goes through."""
    layer, block = placed.layer, placed.layer.block("proposal_param")
    kept = builder.regions(layer, placed.tops[0][0])
    anchors = prod(placed.bottoms[1][1:]) // 4
    entering = max(kept, min(anchors, block.integer("pre_nms_topn", 6000, 1)))
    flops = DECODE_FLOPS * anchors + OVERLAP_FLOPS * pairs(
        entering, min(kept, block.integer("post_nms_topn", POST_NMS, 1))
    )
    read = sum(prod(builder.sample(layer, shape)) for shape in placed.bottoms[:2])
    work = Pass("proposal", (kept, 5), read, flops, op_class=OpClass.REDUCTION)
    handle = _of_both(builder, placed, work)
    builder.finish(placed, *[handle] * len(placed.tops))


def _of_both(builder: Builder, placed: Placed, work: Pass) -> int:
    """A pass over the first two bottoms."""
    shapes = tuple(builder.sample(placed.layer, shape) for shape in placed.bottoms[:2])
    return builder.place(placed, work.op(), [builder.source(placed), builder.source(placed, 1)], (*shapes, work.shape))


def detections(builder: Builder, placed: Placed) -> None:
    """Boxes decoded, then suppressed in each class that is no background; kept rows of 7 numbers."""
    layer, block = placed.layer, placed.layer.block("detection_output_param")
    classes = block.integer("num_classes", 1, 1)
    located = prod(builder.sample(layer, placed.bottoms[0])) // 4
    boxes = located if block.flag("share_location", default=True) else located // classes
    found = classes - (block.integer("background_label_id", 0, -1) >= 0)
    entering = _limit(block.message("nms_param").integer("top_k", -1, -1), boxes)
    kept = _limit(block.integer("keep_top_k", -1, -1), found * entering)
    kept = min(kept, builder.request.boxes or kept)
    flops = DECODE_FLOPS * located + classes * boxes + OVERLAP_FLOPS * found * pairs(entering, entering)
    read = sum(prod(builder.sample(layer, shape)) for shape in placed.bottoms[:2])
    work = Pass("detection_output", (kept, 7), read, flops, op_class=OpClass.REDUCTION)
    builder.remarks[f"{kept} detections an image at most"] = None
    builder.finish(placed, _of_both(builder, placed, work))


def _limit(asked: int, most: int) -> int:
    """At most what is asked for, below zero all; one at least."""
    return max(1, most if asked < 0 else min(asked, most))


def multibox_loss(builder: Builder, placed: Placed) -> None:
    """Cross-entropy of all boxes' classes, smooth L1 of all offsets, and each box against the labelled ones.

    Source: Liu et al., "SSD: Single Shot MultiBox Detector", ECCV 2016, section 2.2.
    """
    layer, classes = placed.layer, placed.layer.block("multibox_loss_param").integer("num_classes", 1, 1)
    scores = prod(builder.sample(layer, placed.bottoms[1]))
    if scores % classes:
        raise layer.error(f"MultiBoxLoss of {scores} scores in {classes} classes")
    boxes, labelled = scores // classes, builder.request.boxes or 1
    handle = builder.place(
        placed, CrossEntropyLoss(), [builder.source(placed, 1)], ((boxes, classes), (1,)), suffix="/conf"
    )
    offsets = builder.sample(layer, placed.bottoms[0])
    builder.place(placed, DistanceLoss(work=SMOOTH_L1_FLOPS), [builder.source(placed)], (offsets, (1,)), suffix="/loc")
    match = Pass("match_boxes", (boxes,), 4 * boxes, OVERLAP_FLOPS * boxes * labelled, loss=True)
    builder.place(placed, match.op(), [-1], ((4 * boxes,), (boxes,)), suffix="/match")
    builder.remarks[f"labelled boxes an image: {labelled}"] = None
    builder.finish(placed, handle)


def python(builder: Builder, placed: Placed) -> None:
    """Code that only Python reads: listed, uncounted, and only if allowed; regions of it come without a gradient."""
    layer = placed.layer
    name = f"{layer.block('python_param').text('module')}.{python_name(layer)}".strip(".")
    if not builder.request.allow_unknown:
        text = layer.error(f"a layer written in Python ({name}) has no cost rule")
        raise UnsupportedError(f"{text} (--allow-unknown leaves it uncounted)")
    if python_name(layer) not in PYTHON:
        shape = builder.sample(layer, placed.tops[0]) if placed.tops else None
        handle = builder.add(placed, Unknown(name=name or "Python", shape=shape), builder.source(placed))
        builder.finish(placed, *[handle] * len(placed.tops))
        return
    if placed.tops[0][-1:] == (5,):
        builder.regions(layer, placed.tops[0][0])
    origins = [builder.origin(placed, number) for number in range(len(placed.bottoms))]
    source = next((origin.handle for origin in origins if origin.handle is not None), -1)
    shape = (prod(placed.tops[0]) // builder.batch or 1,)
    builder.place(placed, Unknown(name=name, shape=shape), [source], (builder.net.shape(source), shape))
    builder.constants(placed)

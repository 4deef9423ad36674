"""Shapes of the rarer layers of Caffe and its forks: patches, pyramids, recurrences, detectors and their regions.

Regions of an image are as many as a run finds. Caffe sets its blobs up for one; a count of work takes the most that the
layer lets through, or as many as the user says.
Source: Caffe 1.0, the file of each layer; Liu et al.'s SSD branch (prior_box_layer.cpp, detection_output_layer.cpp,
multibox_loss_layer.cpp, detection_evaluate_layer.cpp); py-faster-rcnn (roi_pooling_layer.cpp, lib/rpn,
lib/fast_rcnn/config.py); R-FCN (psroi_pooling_layer.cpp); the proposal layers of C++ forks.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from math import prod

from simulator.workload.importers.caffe.definition import CaffeLayer
from simulator.workload.importers.caffe.geometry import convolution_geometry, convolved
from simulator.workload.importers.caffe.shapes import Blobs, image_sides, listed, volume


@dataclass(frozen=True, slots=True)
class Context:
    """What the shapes of regions depend on.

    Attributes
    ----------
    phase : TRAIN or TEST.
    counted : whether work is counted; else the shapes are those of Caffe's set-up.
    boxes : regions of an image that the user asks for.
    """

    phase: str
    counted: bool = True
    boxes: int | None = None


def _im2col(layer: CaffeLayer, bottoms: Blobs) -> Blobs:
    """Each window's pixels as channels. Source: im2col_layer.cpp."""
    geometry = convolution_geometry(layer, volume(layer, bottoms[0]), outputs=False)
    batch, _, *sides = convolved(layer, bottoms[0], outputs=False)
    return [(batch, bottoms[0][1] * prod(geometry.kernel), *sides)]


def _spp(layer: CaffeLayer, bottoms: Blobs) -> Blobs:
    """Levels of 1, 2, 4 ... bins a side, in a row; a single one stays an image. Source: spp_layer.cpp."""
    batch, channels, height, width = image_sides(layer, bottoms[0])
    levels = layer.block("spp_param").integer("pyramid_height", 0, 1)
    if not 1 <= levels <= min(height, width).bit_length():
        raise layer.error(f"a pyramid of {levels} levels has more bins a side than {height} x {width} pixels")
    if levels == 1:
        return [(batch, channels, 1, 1)]
    return [(batch, channels * sum(4**level for level in range(levels)))]


def _reorganized(layer: CaffeLayer, bottoms: Blobs) -> Blobs:
    """Pixels of a square as channels, or back. Source: YOLO's reorg_layer.cpp."""
    batch, channels, height, width = image_sides(layer, bottoms[0])
    block = layer.block("reorg_param")
    stride = block.integer("stride", 2, 1)
    if block.flag("reverse"):
        shape = batch, channels // stride**2, height * stride, width * stride
    else:
        shape = batch, channels * stride**2, height // stride, width // stride
    if prod(shape) != prod(bottoms[0]):
        raise layer.error(f"{list(bottoms[0])} does not divide into squares of {stride}")
    return [shape]


def _recurrent(layer: CaffeLayer, bottoms: Blobs) -> Blobs:
    """(steps, batch, ...) and where sequences go on -> (steps, batch, outputs). Source: recurrent_layer.cpp."""
    if len(bottoms) < 2 or len(bottoms[0]) < 3 or bottoms[1] != bottoms[0][:2]:
        raise layer.error(f"{layer.type} needs (steps, batch, features) and (steps, batch), found {listed(bottoms)}")
    return [(*bottoms[0][:2], layer.block("recurrent_param").integer("num_output", 0, 1))]


def _filter(layer: CaffeLayer, bottoms: Blobs) -> Blobs:
    """All bottoms but the last, which chooses among the samples in a run. Source: filter_layer.cpp."""
    if len(bottoms) != len(layer.tops) + 1 or any(blob[:1] != bottoms[-1][:1] for blob in bottoms):
        raise layer.error(f"Filter needs a bottom for each top and one that chooses, found {listed(bottoms)}")
    return bottoms[:-1]


def _reindexed(layer: CaffeLayer, bottoms: Blobs) -> Blobs:
    """Samples in the order of an index. Source: batch_reindex_layer.cpp."""
    if len(bottoms) != 2 or len(bottoms[1]) != 1:
        raise layer.error(f"BatchReindex needs a blob and an index, found {listed(bottoms)}")
    return [(bottoms[1][0], *bottoms[0][1:])]


PROPOSALS = {"TRAIN": 2000, "TEST": 300}
"""Regions that py-faster-rcnn keeps after suppression: RPN_POST_NMS_TOP_N of each phase."""
SAMPLED_REGIONS = 128
"""Regions that py-faster-rcnn trains on: TRAIN.BATCH_SIZE."""
POST_NMS = 300
"""Regions that the C++ Proposal layer keeps unless told."""


def prior_count(layer: CaffeLayer) -> int:
    """Boxes at each place: one for each size and ratio, and one more for each largest size.

    Ratios: 1, each one given and, unless `flip` is off, its inverse; one that is there already is left out.
    """
    block = layer.block("prior_box_param")
    ratios = [1.0]
    for ratio in block.numbers("aspect_ratio"):
        if ratio > 0 and all(abs(ratio - known) >= 1e-6 for known in ratios):
            ratios += [ratio, 1 / ratio] if block.flag("flip", default=True) else [ratio]
    return len(ratios) * len(block.numbers("min_size")) + len(block.numbers("max_size"))


def _priors(layer: CaffeLayer, bottoms: Blobs, _context: Context) -> Blobs:
    """(1, 2, places * boxes * 4): corners, and their variances."""
    _, _, height, width = image_sides(layer, bottoms[0])
    return [(1, 2, height * width * prior_count(layer) * 4)]


def _detections(_layer: CaffeLayer, _bottoms: Blobs, _context: Context) -> Blobs:
    """One row at set-up, whatever is found: image, class, score, corners."""
    return [(1, 1, 1, 7)]


def _evaluation(layer: CaffeLayer, _bottoms: Blobs, _context: Context) -> Blobs:
    """A row for each class that is no background, and one for the one row that it is set up with."""
    block = layer.block("detection_evaluate_param")
    classes = block.integer("num_classes", 1, 1) - (block.integer("background_label_id", 0, -1) >= 0)
    return [(1, 1, classes + 1, 5)]


def _region_pooled(layer: CaffeLayer, bottoms: Blobs, _context: Context) -> Blobs:
    """(regions, channels, height, width)."""
    block = layer.block("roi_pooling_param")
    regions = _regions(layer, bottoms)
    return [(regions, bottoms[0][1], block.integer("pooled_h", 0, 1), block.integer("pooled_w", 0, 1))]


def _position_pooled(layer: CaffeLayer, bottoms: Blobs, _context: Context) -> Blobs:
    """(regions, outputs, group, group), each cell from channels of its own."""
    block = layer.block("psroi_pooling_param")
    outputs, group = block.integer("output_dim", 0, 1), block.integer("group_size", 0, 1)
    regions = _regions(layer, bottoms)
    if bottoms[0][1] != outputs * group**2:
        raise layer.error(f"{bottoms[0][1]} channels are not {outputs} of {group} x {group} cells")
    return [(regions, outputs, group, group)]


def _regions(layer: CaffeLayer, bottoms: Blobs) -> int:
    """The number of regions, (regions, 5) with the image's number before the corners."""
    image_sides(layer, bottoms[0])
    if len(bottoms) < 2 or len(bottoms[1]) < 2 or bottoms[1][1] != 5:
        raise layer.error(f"{layer.type} needs an image and regions of 5 numbers, found {listed(bottoms)}")
    return bottoms[1][0]


def _proposed(layer: CaffeLayer, bottoms: Blobs, context: Context) -> Blobs:
    """(regions of all images, 5) and their scores."""
    for bottom in bottoms[:2]:
        image_sides(layer, bottom)
    kept = layer.block("proposal_param").integer("post_nms_topn", POST_NMS, 1)
    regions = bottoms[0][0] * (context.boxes if context.boxes and context.counted else kept)
    return [(regions, 5), (regions,)]


def python_name(layer: CaffeLayer) -> str:
    """The class of a Python layer."""
    return layer.block("python_param").text("layer")


def _python(layer: CaffeLayer, bottoms: Blobs, context: Context) -> Blobs | None:
    rule = PYTHON.get(python_name(layer))
    return None if rule is None else rule(layer, bottoms, context)


def _python_proposals(layer: CaffeLayer, bottoms: Blobs, context: Context) -> Blobs:
    """Regions and scores; one at set-up."""
    image_sides(layer, bottoms[0])
    kept = (context.boxes or PROPOSALS[context.phase]) * bottoms[0][0] if context.counted else 1
    return [(kept, 5), (kept, 1, 1, 1)]


def _python_targets(layer: CaffeLayer, _bottoms: Blobs, context: Context) -> Blobs:
    """Sampled regions, their labels, and targets and two weights of four numbers a class."""
    found = re.search(r"num_classes'?:\s*(\d+)", layer.block("python_param").text("param_str"))
    if found is None:
        raise layer.error("param_str does not say num_classes")
    rows, width = SAMPLED_REGIONS if context.counted else 1, 4 * int(found[1])
    return [(rows, 5), (rows, 1), *[(rows, width)] * 3]


def _python_anchors(layer: CaffeLayer, bottoms: Blobs, _context: Context) -> Blobs:
    """Labels of all anchors, and targets and two weights of four numbers each: three ratios of each scale."""
    batch, _, height, width = image_sides(layer, bottoms[0])
    found = re.search(r"scales'?:[^\[]*\[([^\]]*)\]", layer.block("python_param").text("param_str"))
    anchors = 3 * (len(found[1].split(",")) if found else 3)
    return [(batch, 1, anchors * height, width), *[(batch, 4 * anchors, height, width)] * 3]


Rule = Callable[[CaffeLayer, Blobs, Context], Blobs]

PYTHON: dict[str, Rule] = {
    "AnchorTargetLayer": _python_anchors,
    "ProposalLayer": _python_proposals,
    "ProposalTargetLayer": _python_targets,
}
"""Class of a Python layer -> its tops' shapes; what others write only they know."""

REGIONS: dict[str, Callable[[CaffeLayer, Blobs, Context], Blobs | None]] = {
    "DetectionEvaluate": _evaluation,
    "DetectionOutput": _detections,
    "PSROIPooling": _position_pooled,
    "PriorBox": _priors,
    "Proposal": _proposed,
    "Python": _python,
    "ROIPooling": _region_pooled,
}
LEAST_BOTTOMS = {"DetectionOutput": 3, "MultiBoxLoss": 4, "PriorBox": 2, "Proposal": 2}
"""How many blobs a layer reads at least, where its shapes do not show it."""

RARER: dict[str, Callable[[CaffeLayer, Blobs], Blobs]] = {
    "BatchReindex": _reindexed,
    "Filter": _filter,
    "Im2col": _im2col,
    "LSTM": _recurrent,
    "RNN": _recurrent,
    "Reorg": _reorganized,
    "SPP": _spp,
}

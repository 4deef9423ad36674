"""Caffe's detectors, segmenters, films and sequences, in the structure of the published networks, counted by hand."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from simulator.errors import InputError, UnsupportedError
from simulator.op.kernels import at_batch
from simulator.workload.importers import Request
from simulator.workload.importers.caffe import workload_of
from simulator.workload.importers.caffe.blobs import place
from simulator.workload.importers.caffe.definition import parse_definition
from simulator.workload.importers.caffe.log import log_lines
from simulator.workload.lowering import lower
from simulator.workload.workload import Workload

PLAIN = Request()
ALLOWED = Request(allow_unknown=True)


def read(text: str, request: Request = PLAIN, phase: str = "") -> Workload:
    workload = workload_of(parse_definition(text, "net.prototxt", [phase] if phase else []), request)
    for training in (True, False):
        assert np.isfinite(at_batch(lower(workload, training=training).flops, 2.0)).all()
    return workload


def log(text: str, phase: str = "") -> list[str]:
    return log_lines(place(parse_definition(text, "net.prototxt", [phase] if phase else []), PLAIN, counted=False))


def shapes(workload: Workload) -> dict[str, tuple[int, ...]]:
    return {layer.name: layer.output for layer in workload.layers}


def data(*sides: int, name: str = "data") -> str:
    dims = " ".join(f"dim: {side}" for side in sides)
    return f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ {dims} }} }} }}\n'


def layer(kind: str, name: str, bottom: str, rest: str = "", top: str = "") -> str:
    bottoms = " ".join(f'bottom: "{blob}"' for blob in bottom.split())
    tops = " ".join(f'top: "{blob}"' for blob in (top or name).split())
    return f'layer {{ name: "{name}" type: "{kind}" {bottoms} {tops} {rest} }}\n'


def conv(name: str, bottom: str, out: int, geometry: str = "kernel_size: 3 pad: 1") -> str:
    return layer("Convolution", name, bottom, f"convolution_param {{ num_output: {out} {geometry} }}")


def relu(name: str) -> str:
    return layer("ReLU", f"relu_{name}", name, top=name)


def pool(name: str, bottom: str, geometry: str = "kernel_size: 2 stride: 2") -> str:
    return layer("Pooling", name, bottom, f"pooling_param {{ pool: MAX {geometry} }}")


def fc(name: str, bottom: str, out: int, rest: str = "") -> str:
    return layer("InnerProduct", name, bottom, f"inner_product_param {{ num_output: {out} {rest} }}")


# ---- SSD

SSD_MAPS = {
    # name: side, channels, boxes a place, sizes and ratios
    "conv4_3_norm": (38, 512, 4, "min_size: 30 max_size: 60 aspect_ratio: 2"),
    "fc7": (19, 1024, 6, "min_size: 60 max_size: 111 aspect_ratio: 2 aspect_ratio: 3"),
    "conv6_2": (10, 512, 6, "min_size: 111 max_size: 162 aspect_ratio: 2 aspect_ratio: 3"),
    "conv7_2": (5, 256, 6, "min_size: 162 max_size: 213 aspect_ratio: 2 aspect_ratio: 3"),
    "conv8_2": (3, 256, 4, "min_size: 213 max_size: 264 aspect_ratio: 2"),
    "conv9_2": (1, 256, 4, "min_size: 264 max_size: 315 aspect_ratio: 2"),
}
BOXES, CLASSES = 8732, 21


def vgg16(blocks: int) -> str:
    text, last, counts = "", "data", ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))
    for block, (depth, out) in enumerate(counts[:blocks], start=1):
        for number in range(1, depth + 1):
            text += conv(f"conv{block}_{number}", last, out) + relu(f"conv{block}_{number}")
            last = f"conv{block}_{number}"
        if block < 5:
            text, last = text + pool(f"pool{block}", last), f"pool{block}"
    return text


def ssd300(end: str) -> str:
    norm = "norm_param { across_spatial: false scale_filler { type: 'constant' value: 20 } channel_shared: false }"
    text = data(8, 3, 300, 300) + data(1, 1, 2, 8, name="label") + vgg16(5)
    text += pool("pool5", "conv5_3", "kernel_size: 3 stride: 1 pad: 1")
    text += conv("fc6", "pool5", 1024, "kernel_size: 3 pad: 6 dilation: 6") + relu("fc6")
    text += conv("fc7", "fc6", 1024, "kernel_size: 1") + relu("fc7")
    extra = (
        ("6", "fc7", 256, 512, "kernel_size: 3 pad: 1 stride: 2"),
        ("7", "conv6_2", 128, 256, "kernel_size: 3 pad: 1 stride: 2"),
        ("8", "conv7_2", 128, 256, "kernel_size: 3"),
        ("9", "conv8_2", 128, 256, "kernel_size: 3"),
    )
    for number, bottom, narrow, wide, geometry in extra:
        text += conv(f"conv{number}_1", bottom, narrow, "kernel_size: 1") + relu(f"conv{number}_1")
        text += conv(f"conv{number}_2", f"conv{number}_1", wide, geometry) + relu(f"conv{number}_2")
    text += layer("Normalize", "conv4_3_norm", "conv4_3", norm)
    return text + heads() + end


def heads() -> str:
    text = ""
    for name, (_, _, boxes, sizes) in SSD_MAPS.items():
        for what, numbers in (("loc", 4), ("conf", CLASSES)):
            head = f"{name}_{what}"
            text += conv(head, name, boxes * numbers)
            text += layer("Permute", f"{head}_perm", head, "permute_param { order: 0 order: 2 order: 3 order: 1 }")
            text += layer("Flatten", f"{head}_flat", f"{head}_perm", "flatten_param { axis: 1 }")
        text += layer(
            "PriorBox", f"{name}_priorbox", f"{name} data", f"prior_box_param {{ {sizes} flip: true clip: false }}"
        )
    for what, axis in (("loc_flat", 1), ("conf_flat", 1), ("priorbox", 2)):
        parts = " ".join(f"{name}_{what}" for name in SSD_MAPS)
        text += layer("Concat", f"mbox_{what}", parts, f"concat_param {{ axis: {axis} }}")
    return text


LOSS = layer(
    "MultiBoxLoss",
    "mbox_loss",
    "mbox_loc_flat mbox_conf_flat mbox_priorbox label",
    "propagate_down: true propagate_down: true propagate_down: false propagate_down: false "
    f"multibox_loss_param {{ loc_loss_type: SMOOTH_L1 conf_loss_type: SOFTMAX num_classes: {CLASSES} }}",
)
DETECTION = (
    layer("Reshape", "conf_reshape", "mbox_conf_flat", f"reshape_param {{ shape {{ dim: 0 dim: -1 dim: {CLASSES} }} }}")
    + layer("Softmax", "conf_softmax", "conf_reshape", "softmax_param { axis: 2 }")
    + layer("Flatten", "conf_flatten", "conf_softmax", "flatten_param { axis: 1 }")
    + layer(
        "DetectionOutput",
        "detection_out",
        "mbox_loc_flat conf_flatten mbox_priorbox",
        f"detection_output_param {{ num_classes: {CLASSES} share_location: true background_label_id: 0 "
        "nms_param { nms_threshold: 0.45 top_k: 400 } keep_top_k: 200 confidence_threshold: 0.01 }",
    )
    + layer(
        "DetectionEvaluate",
        "detection_eval",
        "detection_out label",
        f"detection_evaluate_param {{ num_classes: {CLASSES} background_label_id: 0 }}",
    )
)


def ssd_parameters() -> int:
    """VGG16's thirteen convolutions, the six layers behind it, a scale a channel of conv4_3, two heads a map."""
    widths = [3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
    body = sum(9 * narrow * wide + wide for narrow, wide in pairwise(widths))
    layers = [(512, 1024, 9), (1024, 1024, 1), (1024, 256, 1), (256, 512, 9), (512, 128, 1), (128, 256, 9)]
    layers += [(256, 128, 1), (128, 256, 9)] * 2
    extra = sum(narrow * wide * area + wide for narrow, wide, area in layers)
    ends = sum(
        9 * channels * boxes * (4 + CLASSES) + boxes * (4 + CLASSES) for _, channels, boxes, _ in SSD_MAPS.values()
    )
    return body + extra + 512 + ends


def test_ssd300_has_8732_boxes() -> None:
    """38 * 38 * 4 + 19 * 19 * 6 + 10 * 10 * 6 + 5 * 5 * 6 + 3 * 3 * 4 + 4 = 8,732, as its authors count."""
    net = read(ssd300(LOSS))
    assert sum(side * side * boxes for side, _, boxes, _ in SSD_MAPS.values()) == BOXES
    assert shapes(net)["mbox_loc_flat"] == (4 * BOXES,)
    assert shapes(net)["mbox_conf_flat"] == (CLASSES * BOXES,)
    assert net.parameters == ssd_parameters()
    assert net.batch == 8


def test_the_losses_of_boxes() -> None:
    """5 FLOP a score, 4 an offset, 12 a box against each labelled one; nothing at inference."""
    net = read(ssd300(LOSS))
    counted = {each.name: count.flops for each, count in zip(net.layers, net.counts, strict=True)}
    assert counted["mbox_loss/conf"] == 5 * CLASSES * BOXES
    assert counted["mbox_loss/loc"] == 4 * 4 * BOXES
    assert counted["mbox_loss/match"] == 12 * BOXES
    three = read(ssd300(LOSS), Request(boxes=3))
    assert {each.name: count.flops for each, count in zip(three.layers, three.counts, strict=True)}[
        "mbox_loss/match"
    ] == 36 * BOXES
    names = {net.layers[row].name for row in lower(net, training=False).layer}
    assert not {name for name in names if name.startswith("mbox_loss")}


def test_detections_are_at_most_what_is_kept() -> None:
    """18 FLOP a box decoded, a comparison a score, and in each of 20 classes the pairs of 400: 400 * 399 / 2."""
    net = read(ssd300(DETECTION), phase="TEST")
    last = net.layers[-1]
    assert (last.name, last.output) == ("detection_out", (200, 7))
    assert net.counts[-1].flops == 18 * BOXES + CLASSES * BOXES + 12 * 20 * 400 * 399 // 2
    assert "200 detections an image at most" in net.description
    assert read(ssd300(DETECTION), Request(boxes=50), "TEST").layers[-1].output == (50, 7)


def test_the_log_of_ssd() -> None:
    lines = log(ssd300(LOSS))
    assert lines[lines.index("Setting up conv4_3_norm_priorbox") + 1] == "Top shape: 1 2 23104 (46208)"
    assert lines[lines.index("Setting up mbox_priorbox") + 1] == "Top shape: 1 2 34928 (69856)"
    assert lines[lines.index("Setting up mbox_loss") + 1 :][:2] == ["Top shape: (1)", "    with loss weight 1"]
    assert "mbox_priorbox does not need backward computation." in lines
    tested = log(ssd300(DETECTION))
    assert tested[tested.index("Setting up detection_out") + 1] == "Top shape: 1 1 1 7 (7)"
    assert tested[tested.index("Setting up detection_eval") + 1] == "Top shape: 1 1 21 5 (105)"


@pytest.mark.parametrize(
    ("sizes", "boxes"),
    [
        ("min_size: 30", 1),
        ("min_size: 30 max_size: 60", 2),
        ("min_size: 30 aspect_ratio: 2", 3),
        ("min_size: 30 aspect_ratio: 2 flip: false", 2),
        ("min_size: 30 aspect_ratio: 1 aspect_ratio: 2 aspect_ratio: 0.5", 3),
        ("min_size: 30 min_size: 40 aspect_ratio: 2", 6),
    ],
)
def test_boxes_of_a_place(sizes: str, boxes: int) -> None:
    lines = log(data(1, 3, 8, 8) + layer("PriorBox", "boxes", "data data", f"prior_box_param {{ {sizes} }}"))
    assert f"Top shape: 1 2 {64 * boxes * 4} ({64 * boxes * 8})" in lines


# ---- Faster R-CNN

RPN = (
    data(1, 3, 96, 128)
    + data(1, 3, name="im_info")
    + conv("conv1", "data", 16, "kernel_size: 3 pad: 1 stride: 16")
    + relu("conv1")
    + conv("rpn", "conv1", 32)
    + conv("rpn_cls_score", "rpn", 18, "kernel_size: 1")
    + conv("rpn_bbox_pred", "rpn", 36, "kernel_size: 1")
    + layer("Reshape", "score_reshape", "rpn_cls_score", "reshape_param { shape { dim: 0 dim: 2 dim: -1 dim: 0 } }")
    + layer("Softmax", "rpn_cls_prob", "score_reshape")
    + layer("Reshape", "prob_reshape", "rpn_cls_prob", "reshape_param { shape { dim: 0 dim: 18 dim: -1 dim: 0 } }")
)
PYTHON = layer(
    "Python",
    "proposal",
    "prob_reshape rpn_bbox_pred im_info",
    "python_param { module: 'rpn.proposal_layer' layer: 'ProposalLayer' param_str: \"'feat_stride': 16\" }",
    top="rois",
)
CPP = layer(
    "Proposal",
    "proposal",
    "prob_reshape rpn_bbox_pred im_info",
    "proposal_param { feat_stride: 16 pre_nms_topn: 200 post_nms_topn: 50 nms_thresh: 0.7 }",
    top="rois",
)
HEAD = (
    layer("ROIPooling", "pool5", "conv1 rois", "roi_pooling_param { pooled_w: 7 pooled_h: 7 spatial_scale: 0.0625 }")
    + fc("fc6", "pool5", 64)
    + relu("fc6")
    + layer("Dropout", "drop6", "fc6", top="fc6")
    + fc("cls_score", "fc6", 21)
    + fc("bbox_pred", "fc6", 84)
    + layer("Softmax", "cls_prob", "cls_score")
)


def rcnn_macs(regions: int) -> int:
    """6 x 8 places: 16 of 27, 32 of 144, 18 and 36 of 32; then for each region 64 of 784, and 21 and 84 of 64."""
    return 48 * (16 * 27 + 32 * 144 + 54 * 32) + regions * (64 * 16 * 49 + 105 * 64)


def test_faster_rcnn_with_proposals_in_python() -> None:
    with pytest.raises(UnsupportedError, match=r"in Python \(rpn.proposal_layer.ProposalLayer\).*--allow-unknown"):
        read(RPN + PYTHON + HEAD)
    net = read(RPN + PYTHON + HEAD, ALLOWED)
    assert net.unknown == ("proposal",)
    assert shapes(net)["pool5"] == (16, 300 * 7, 7)
    assert shapes(net)["cls_prob"] == (300, 21)
    assert net.macs == rcnn_macs(300)
    assert read(RPN + PYTHON + HEAD, replace(ALLOWED, boxes=100)).macs == rcnn_macs(100)
    assert "300 regions an image" in net.description


def test_faster_rcnn_with_proposals_in_cpp() -> None:
    """9 anchors at each of 48 places are decoded; each of 50 kept meets those after it among 200."""
    net = read(RPN + CPP + HEAD)
    counted = {each.name: count.flops for each, count in zip(net.layers, net.counts, strict=True)}
    assert counted["proposal"] == 18 * 9 * 48 + 12 * (50 * 200 - 50 * 51 // 2)
    assert counted["pool5"] == 50 * 16 * 6 * 8
    assert net.macs == rcnn_macs(50)
    assert net.unknown == ()


def test_the_log_sets_one_region_up() -> None:
    lines = log(RPN + PYTHON + HEAD)
    assert lines[lines.index("Setting up proposal") + 1] == "Top shape: 1 5 (5)"
    assert lines[lines.index("Setting up pool5") + 1] == "Top shape: 1 16 7 7 (784)"
    cpp = log(RPN + CPP + HEAD)
    assert cpp[cpp.index("Setting up pool5") + 1] == "Top shape: 50 16 7 7 (39200)"


def test_faster_rcnn_trains_on_sampled_regions() -> None:
    code = "python_param {{ module: 'm' layer: '{}' param_str: \"'num_classes': 21\" }}"
    text = (
        layer("Python", "input", "", code.format("RoIDataLayer"), top="data im_info gt_boxes")
        + RPN[RPN.index('layer { name: "conv1"') :]
        + layer(
            "Python",
            "rpn_data",
            "rpn_cls_score gt_boxes im_info data",
            code.format("AnchorTargetLayer"),
            top="rpn_labels rpn_targets rpn_inside rpn_outside",
        )
        + layer("SoftmaxWithLoss", "rpn_loss_cls", "score_reshape rpn_labels", "loss_param { ignore_label: -1 }")
        + layer("SmoothL1Loss", "rpn_loss_bbox", "rpn_bbox_pred rpn_targets rpn_inside rpn_outside")
        + PYTHON.replace('top: "rois"', 'top: "rpn_rois"')
        + layer(
            "Python",
            "roi_data",
            "rpn_rois gt_boxes",
            code.format("ProposalTargetLayer"),
            top="rois labels targets inside outside",
        )
        + HEAD[: HEAD.index('layer { name: "cls_prob"')]
        + layer("SoftmaxWithLoss", "loss_cls", "cls_score labels")
        + layer("SmoothL1Loss", "loss_bbox", "bbox_pred targets inside outside")
    )
    net = read(text, replace(ALLOWED, input_shape=(3, 96, 128)), "TRAIN")
    assert net.inputs == ((3, 96, 128),)
    assert net.macs == rcnn_macs(128)
    assert shapes(net)["bbox_pred"] == (128, 84)
    lines = log(text, "TRAIN")
    assert lines[lines.index("Setting up rpn_data") + 1 :][:2] == [
        "Top shape: 1 1 342 63 (21546)",
        "Top shape: 1 36 38 63 (86184)",
    ]


def test_rfcn_pools_by_position() -> None:
    """A 1 x 1 convolution gives 9 cells of 3 classes; a region's 3 maps of 3 x 3 are averaged to one number each."""
    text = (
        RPN
        + CPP
        + (
            conv("rfcn_cls", "conv1", 27, "kernel_size: 1")
            + layer(
                "PSROIPooling",
                "psroi",
                "rfcn_cls rois",
                "psroi_pooling_param { spatial_scale: 0.0625 output_dim: 3 group_size: 3 }",
            )
            + layer("Pooling", "ave", "psroi", "pooling_param { pool: AVE kernel_size: 3 stride: 3 }")
            + layer("Softmax", "prob", "ave")
            + layer("Reshape", "out", "prob", "reshape_param { shape { dim: -1 dim: 3 } }")
        )
    )
    net = read(text)
    counted = {each.name: count.flops for each, count in zip(net.layers, net.counts, strict=True)}
    assert counted["psroi"] == 50 * 3 * 48
    assert counted["ave"] == 50 * 3 * 9
    assert (shapes(net)["psroi"], shapes(net)["out"]) == ((3, 150, 3), (50, 3))


def test_convolutions_of_regions() -> None:
    """50 regions of 7 x 7: 8 of 144 at each of 49 places; the padding of one is no neighbour's row."""
    net = read(RPN + CPP + HEAD[: HEAD.index('layer { name: "fc6"')] + conv("conv2", "pool5", 8))
    assert shapes(net)["conv2"] == (8, 350, 7)
    assert net.layers[-1].op.counts(net.layers[-1].site()).macs == 50 * 49 * 8 * 144


# ---- SegNet


def test_segnet_puts_maxima_back() -> None:
    text = (
        data(2, 3, 45, 60)
        + conv("conv1", "data", 8)
        + layer("BN", "bn1", "conv1", "bn_param { bn_mode: INFERENCE scale_filler { type: 'constant' value: 1 } }")
        + relu("bn1")
        + layer("Pooling", "pool1", "bn1", "pooling_param { pool: MAX kernel_size: 2 stride: 2 }", top="pool1 mask1")
        + conv("conv2", "pool1", 8)
        + layer("Upsample", "up1", "conv2 mask1", "upsample_param { scale: 2 upsample_w: 60 upsample_h: 45 }")
        + conv("score", "up1", 11)
        + layer("Softmax", "prob", "score")
    )
    net = read(text)
    assert (shapes(net)["pool1"], shapes(net)["up1"]) == ((8, 23, 30), (8, 45, 60))
    assert net.parameters == (27 * 8 + 8) + 16 + (72 * 8 + 8) + (72 * 11 + 11)
    assert net.macs == 2700 * 8 * 27 + 690 * 8 * 72 + 2700 * 11 * 72
    assert "Top shape: 2 8 45 60 (43200)" in log(text)


# ---- films


def c3d(thrice: bool) -> str:
    """The layers of C3D on UCF101, one number for each side or one for all."""

    thrice_over = " ".join(["kernel_size: 3"] * 3 + ["pad: 1"] * 3)
    cube = thrice_over if thrice else "kernel_size: 3 pad: 1"
    text, last = data(30, 3, 16, 112, 112), "data"
    for block, (depth, out) in enumerate(((1, 64), (1, 128), (2, 256), (2, 512), (2, 512)), start=1):
        for letter in "ab"[:depth]:
            text += conv(f"conv{block}{letter}", last, out, cube) + relu(f"conv{block}{letter}")
            last = f"conv{block}{letter}"
        front = 1 if block == 1 else 2
        window = f"kernel_size: {front} kernel_size: 2 kernel_size: 2 stride: {front} stride: 2 stride: 2"
        text += pool(f"pool{block}", last, window + (" pad: 0 pad: 1 pad: 1" if block == 5 else ""))
        last = f"pool{block}"
    return text + fc("fc6", "pool5", 4096) + relu("fc6") + fc("fc7", "fc6", 4096) + relu("fc7") + fc("fc8", "fc7", 101)


@pytest.mark.parametrize("thrice", [True, False])
def test_c3d_convolves_films(thrice: bool) -> None:
    """Weights 27 * in * out: 3-64-128-256-256-512-512-512-512, then 8192-4096-4096-101: 78,409,573 parameters."""
    net = read(c3d(thrice))
    widths = (3, 64, 128, 256, 256, 512, 512, 512, 512)
    products = [27 * narrow * wide for narrow, wide in pairwise(widths)]
    dense = [8192 * 4096, 4096 * 4096, 4096 * 101]
    assert net.parameters == sum(products) + sum(widths[1:]) + sum(dense) + 4096 + 4096 + 101 == 78_409_573
    places = [16 * 112 * 112, 16 * 56 * 56, *[8 * 28 * 28] * 2, *[4 * 14 * 14] * 2, *[2 * 7 * 7] * 2]
    assert net.macs == sum(a * b for a, b in zip(products, places, strict=True)) + sum(dense)
    assert net.inputs == ((3, 16, 112, 112),)
    assert "Top shape: 30 512 1 4 4 (245760)" in log(c3d(thrice))


def test_c3d_in_its_own_caffe() -> None:
    """The first side by names of its own: 8 of 3 * 3 * 5 * 5 at 4 of 8 frames, 12 x 12."""
    text = (
        data(1, 3, 8, 12, 12)
        + layer(
            "Convolution3D",
            "conv",
            "data",
            "convolution_param { num_output: 8 kernel_size: 5 kernel_depth: 3 pad: 2 "
            "temporal_pad: 1 temporal_stride: 2 }",
        )
        + layer("Pooling3D", "pool", "conv", "pooling_param { pool: AVE kernel_size: 2 kernel_depth: 1 stride: 2 }")
    )
    net = read(text)
    assert (net.macs, net.parameters) == (4 * 144 * 8 * 3 * 75, 8 * 225 + 8)
    assert "Top shape: 1 8 4 6 6 (1152)" in log(text)


# ---- sequences

STEPS = data(6, 2, 10, name="x") + data(6, 2, name="cont")


def test_an_lstm_goes_step_by_step() -> None:
    """Six steps of two sequences: 4 gates of 8 units read 10 inputs and 8 states; one bias a gate."""
    text = (
        STEPS + layer("LSTM", "lstm", "x cont", "recurrent_param { num_output: 8 }") + fc("out", "lstm", 5, "axis: 2")
    )
    net = read(text)
    assert (net.batch, net.inputs) == (2, ((6, 10),))
    assert net.parameters == 32 * 10 + 32 * 8 + 32 + 8 * 5 + 5
    assert net.macs == 6 * (32 * 18 + 40)
    assert shapes(net) == {"lstm": (6, 8), "out": (6, 5)}
    assert "Top shape: 6 2 5 (60)" in log(text)


def test_a_plain_recurrent_network_has_an_output_layer() -> None:
    """States 8 * (10 + 8) + 8; output 8 * 8 + 8."""
    net = read(STEPS + layer("RNN", "rnn", "x cont", "recurrent_param { num_output: 8 }"))
    assert net.parameters == 8 * 18 + 8 + 8 * 8 + 8
    assert net.macs == 6 * (8 * 18 + 64)


def test_an_image_beside_a_sequence() -> None:
    """A static input of 7 numbers: 32 * 7 weights more, once a sequence."""
    text = STEPS + data(2, 7, name="still") + layer("LSTM", "lstm", "x cont still", "recurrent_param { num_output: 8 }")
    net = read(text)
    assert net.parameters == 32 * 10 + 32 * 8 + 32 + 32 * 7
    assert net.macs == 6 * 32 * 18 + 32 * 7


def test_images_of_a_film_feed_an_lstm() -> None:
    """Twelve images are six steps of two sequences: a convolution over each, then steps."""
    text = (
        data(12, 3, 8, 8)
        + data(6, 2, name="cont")
        + conv("conv", "data", 4)
        + fc("fc", "conv", 10)
        + layer("Reshape", "steps", "fc", "reshape_param { shape { dim: 6 dim: 2 dim: 10 } }")
        + layer("LSTM", "lstm", "steps cont", "recurrent_param { num_output: 8 }")
    )
    net = read(text)
    assert net.macs == 6 * (64 * 4 * 27 + 256 * 10 + 32 * 18)
    assert net.parameters == 4 * 27 + 4 + 2560 + 10 + 32 * 18 + 32


# ---- the rest


def test_a_norm_over_all_pixels_has_one_scale_or_one_a_channel() -> None:
    sizes = {}
    for across in ("true", "false"):
        for shared in ("true", "false"):
            rest = f"norm_param {{ across_spatial: {across} channel_shared: {shared} }}"
            net = read(data(2, 6, 8, 8) + layer("Normalize", "norm", "data", rest))
            assert net.layers[-1].output == (6, 8, 8)
            sizes[across, shared] = net.parameters
    assert sizes == {("true", "true"): 1, ("true", "false"): 6, ("false", "true"): 1, ("false", "false"): 6}
    assert read(data(2, 6, 8, 8) + layer("Normalize", "norm", "data")).parameters == 1


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        (layer("Tile", "top", "data", "tile_param { axis: 1 tiles: 3 }"), (18, 8, 8)),
        (layer("Reorg", "top", "data", "reorg_param { stride: 2 }"), (24, 4, 4)),
        (layer("Im2col", "top", "data", "convolution_param { kernel_size: 3 stride: 2 }"), (54, 3, 3)),
        (layer("SPP", "top", "data", "spp_param { pyramid_height: 3 }"), (6 * 21,)),
        (layer("SPP", "top", "data", "spp_param { pyramid_height: 1 }"), (6, 1, 1)),
        (data(2, name="index") + layer("BatchReindex", "top", "data index"), (6, 8, 8)),
        (data(2, name="chosen") + layer("Filter", "top", "data chosen"), (6, 8, 8)),
        (layer("Concat", "top", "data data", "concat_param { axis: 2 }"), (6, 16, 8)),
    ],
)
def test_a_blob_is_moved(text: str, shape: tuple[int, ...]) -> None:
    net = read(data(2, 6, 8, 8) + text)
    assert (net.layers[-1].output, net.macs, net.parameters) == (shape, 0, 0)


def test_a_parameter_of_its_own_is_trained() -> None:
    """A number for each of 6 channels; its gradient sums the image's: 384 products and 384 sums."""
    text = (
        data(2, 6, 8, 8)
        + 'layer { name: "p" type: "Parameter" top: "p" parameter_param { shape { dim: 6 } } }\n'
        + layer("Scale", "scaled", "data p", "scale_param { axis: 1 }")
        + layer("Bias", "shifted", "scaled p")
    )
    net = read(text)
    assert net.parameters == 6
    assert shapes(net) == {"p": (6,), "scaled": (6, 8, 8), "shifted": (6, 8, 8)}
    assert [count.flops for count in net.counts] == [0, 384, 384]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            layer("ROIPooling", "top", "data data", "roi_pooling_param { pooled_w: 7 pooled_h: 7 }"),
            "regions of 5 numbers",
        ),
        (layer("LSTM", "top", "data data", "recurrent_param { num_output: 8 }"), "needs \\(steps, batch, features\\)"),
        (layer("Reorg", "top", "data", "reorg_param { stride: 3 }"), "squares of 3"),
        (conv("top", "data", 4, "kernel_size: 3 kernel_size: 3 kernel_size: 3"), "3 values for 2 sides"),
    ],
)
def test_what_does_not_fit_is_said(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read(data(2, 6, 8, 8) + text)

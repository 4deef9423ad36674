"""Receptive fields, strides and feature memory: worked by hand, and against published tables."""

from __future__ import annotations

import csv
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from simulator.op.base import elements
from simulator.workload.reading import load_workload, read_workload
from simulator.workload.table import Sides, layer_table, receptive_fields

FACTS = Path(__file__).parents[2] / ".." / "shared" / "facts"

Fields = dict[str, tuple[Sides, Sides]]


def fields(layers: str, **header: Any) -> Fields:
    """(receptive field, stride) by layer of a network written as YAML."""
    head = {"name": "net", "input": [3, 64, 64], "layers": yaml.safe_load(layers)}
    workload = read_workload(head | header, "net.yaml")
    return dict(zip((layer.name for layer in workload.layers), receptive_fields(workload.layers), strict=True))


@lru_cache
def shipped(name: str) -> Fields:
    """(receptive field, stride) by layer of a shipped workload."""
    layers = load_workload(name).layers
    return dict(zip((layer.name for layer in layers), receptive_fields(layers), strict=True))


def square(field: int, stride: int) -> tuple[Sides, Sides]:
    return (field, field), (stride, stride)


def test_the_field_grows_by_the_strides_before() -> None:
    found = fields("""
    - conv: {name: a, out: 4, kernel: 3, stride: 2}
    - max_pool: {name: b, kernel: 2, stride: 2}
    - conv: {name: c, out: 4, kernel: 3}
    - conv: {name: d, out: 4, kernel: 1}
    """)
    # 1 + 2; + (2 - 1) * 2; + (3 - 1) * 4; a 1 x 1 sees no more.
    assert list(found.values()) == [square(3, 2), square(5, 4), square(13, 4), square(13, 4)]


def test_padding_and_point_operations_change_nothing() -> None:
    plain = fields("[conv: {out: 4, kernel: 5}]")
    padded = fields("[conv: {out: 4, kernel: 5, padding: 2}, batch_norm, relu]")
    assert set(padded.values()) == set(plain.values()) == {square(5, 1)}


def test_dilation_spreads_the_window() -> None:
    found = fields("""
    - conv: {name: a, out: 4, kernel: 3, dilation: 2}
    - conv: {name: b, out: 4, kernel: 3, stride: 2, dilation: 4}
    - conv: {name: c, out: 4, kernel: 3, dilation: 3}
    """)
    # 1 + 2 * 2; + 2 * 4; then each tap is 3 positions of 2 pixels apart: + 2 * 3 * 2.
    assert list(found.values()) == [square(5, 1), square(13, 2), square(25, 2)]


def test_height_and_width_are_apart() -> None:
    found = fields("""
    - conv: {name: a, out: 4, kernel: [1, 7], stride: [1, 2]}
    - conv: {name: b, out: 4, kernel: [7, 1]}
    - conv: {name: c, out: 4, kernel: [1, 3], dilation: [1, 2]}
    """)
    # Width 7 at stride 2, then + (3 - 1) * 2 * 2; height 7 at stride 1.
    assert list(found.values()) == [((1, 7), (1, 2)), ((7, 7), (1, 2)), ((7, 15), (1, 2))]


def test_the_widest_branch_counts() -> None:
    found = fields("""
    - conv: {name: stem, out: 4, kernel: 3, stride: 2, padding: 1}
    - conv: {name: wide, out: 4, kernel: 5, padding: 2}
    - conv: {name: narrow, out: 4, kernel: 1, from: stem}
    - concat: {name: joined, from: [narrow, wide]}
    - conv: {name: next, out: 8, kernel: 3, padding: 1}
    - add: {name: sum, from: [joined, next]}
    """)
    # 3 and 2; the wide branch + 4 * 2, the narrow none, whichever is named first; + 2 * 2 past the join.
    assert found["narrow"] == square(3, 2)
    assert found["joined"] == found["wide"] == square(11, 2)
    assert found["sum"] == found["next"] == square(15, 2)


def test_a_global_pool_sees_all_that_its_window_covers() -> None:
    # 64 -> 31 at stride 2, then a window of 31: 3 + 30 * 2.
    found = fields("[conv: {out: 4, kernel: 3, stride: 2}, global_pool]")
    assert next(reversed(found.values()))[0] == (63, 63)


def test_the_table_has_none_where_the_output_is_no_image() -> None:
    rows = {row.name: row for row in layer_table(load_workload("lenet5"))}
    # conv1 5; pool1 + 1; conv2 + 4 * 2; pool2 + 1 * 2: 5, 6, 14, 16.
    assert [rows[name].receptive_field for name in ("conv1", "pool1", "conv2", "pool2", "ip1")] == [
        (5, 5),
        (6, 6),
        (14, 14),
        (16, 16),
        None,
    ]
    assert rows["pool2"].stride == (4, 4)
    assert rows["ip1"].stride is None


VGG_16 = {"conv1/conv1_1": 0, "pool1": 4, "conv2/conv2_1": 5, "pool2": 9, "conv3/conv3_1": 10, "conv3/conv3_2": 12}
VGG_16 |= {"pool3": 16, "conv4/conv4_1": 17, "conv4/conv4_2": 19, "pool4": 23, "conv5/conv5_1": 24, "conv5/conv5_2": 26}
VGG_16 |= {"pool5": 30}
VGG_A = {"pool1": 2, "pool2": 5, "pool3": 10, "conv4/conv4_1": 11, "conv4/conv4_2": 13, "pool4": 15, "pool5": 20}

END_POINTS = {
    "alexnet_v2": ("alexnet", {name: name for name in ("conv1", "pool1", "conv2", "conv3", "conv4", "conv5", "pool5")}),
    "vgg_16": ("vgg16", {name: f"features.{number}" for name, number in VGG_16.items()}),
    "vgg_a": ("vgg11", {name: f"features.{number}" for name, number in VGG_A.items()}),
    "inception_v2": ("inception_bn", {"last feature map": "inception_5b.concat"}),
    "inception_v3": ("inception_v3", {"last feature map": "Mixed_7c.concat"}),
    "inception_v4": ("inception_v4", {"last feature map": "features.21.concat"}),
    "mobilenet_v1": ("mobilenet_v1", {"last feature map": "blocks.12.conv_pw"}),
    "resnet_v1_50": ("resnet50_v1", {"block4": "layer4.2.add", "last feature map": "layer4.2.add"}),
    "resnet_v1_101": ("resnet101_v1", {"block4": "layer4.2.add", "last feature map": "layer4.2.add"}),
    "resnet_v1_152": ("resnet152_v1", {"block4": "layer4.2.add", "last feature map": "layer4.2.add"}),
}
"""TF-slim's network: ours, and its end points among our layers.

TF-slim strides in the last block of a stage, and ResNet v1 in the first 1x1 of the next one; nothing with a window lies
between, so that from the second stage's end on only the effective stride differs before the network's end.
"""

PUBLISHED = {
    ("alexnet_v2", "conv1"): (11, 4),
    ("alexnet_v2", "pool1"): (19, 8),
    ("alexnet_v2", "conv2"): (51, 8),
    ("alexnet_v2", "conv5"): (163, 16),
    ("alexnet_v2", "pool5"): (195, 32),
    ("vgg_16", "pool3"): (44, 8),
    ("vgg_16", "pool5"): (212, 32),
    ("vgg_a", "pool5"): (150, 32),
    ("inception_v2", "last feature map"): (699, 32),
    ("inception_v3", "last feature map"): (1311, 32),
    ("inception_v4", "last feature map"): (2071, 32),
    ("mobilenet_v1", "last feature map"): (315, 32),
    ("resnet_v1_50", "block4"): (483, 32),
    ("resnet_v1_101", "block4"): (1027, 32),
    ("resnet_v1_152", "block4"): (1507, 32),
}
"""(receptive field, effective stride). Source: google-research/receptive_field, RECEPTIVE_FIELD_TABLE.md (TF-slim)."""


@pytest.mark.parametrize(("network", "end_point"), PUBLISHED)
def test_published_fields(network: str, end_point: str) -> None:
    workload, layers = END_POINTS[network]
    assert shipped(workload)[layers[end_point]] == square(*PUBLISHED[network, end_point])


@pytest.mark.parametrize(("stage", "field", "ours", "theirs"), [(1, 35, 4, 8), (2, 99, 8, 16), (3, 291, 16, 32)])
def test_stages_of_resnet_v1_differ_from_slim_in_stride_alone(stage: int, field: int, ours: int, theirs: int) -> None:
    last = {1: "layer1.2.add", 2: "layer2.3.add", 3: "layer3.5.add"}[stage]
    assert shipped("resnet50_v1")[last] == square(field, ours)
    assert theirs == 2 * ours


def test_stride_in_the_3x3_gives_a_narrower_field() -> None:
    # v1.5: in the first block of stages 2 to 4 the 3x3 adds 2 x the stride before it (4, 8, 16), not after (8, 16, 32).
    assert shipped("resnet50")["layer4.2.add"] == square(483 - 2 * (4 + 8 + 16), 32)


@pytest.mark.skipif(not FACTS.is_dir(), reason="the published tables are not here")
def test_every_published_end_point_that_we_share() -> None:
    compared = 0
    with (FACTS / "receptive_field.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            workload, layers = END_POINTS.get(row["cnn"], ("", {}))
            layer = layers.get(row["end_point"].removeprefix(f"{row['cnn']}/"))
            if layer:
                found = shipped(workload)[layer]
                assert found == square(int(row["receptive_field"]), int(row["effective_stride"])), row
                compared += 1
    assert compared >= 90


FEATURES = {"conv", "linear", "batch_norm", "max_pool", "avg_pool", "global_pool", "add", "concat", "lrn", "sigmoid"}
"""Operations whose output convnet-burden counts, beside the softmax: ReLU works in place, and squeeze-and-excitation's
rescaling and sum are one operation (axpy) with one output."""

FEATURE_MEBIBYTES = {
    "vgg16": ("vgg-vd-16", 58),
    "vgg19": ("vgg-vd-19", 63),
    "googlenet": ("googlenet", 26),
    "resnet18": ("resnet18", 23),
    "resnet34": ("resnet34", 35),
    "resnet50_v1": ("resnet-50", 103),
    "resnet101_v1": ("resnet-101", 155),
    "resnet152_v1": ("resnet-152", 219),
    "resnext50_32x4d": ("resnext-50-32x4d", 132),
    "resnext101_32x4d": ("resnext-101-32x4d", 197),
    "resnext101_64x4d": ("resnext-101-64x4d", 273),
    "inception_v3": ("inception-v3", 89),
    "squeezenet1_1": ("squeezenet1-1", 17),
    "se_resnet50": ("SE-ResNet-50", 103),
    "se_resnet101": ("SE-ResNet-101", 155),
    "se_resnet152": ("SE-ResNet-152", 220),
    "se_resnext50_32x4d": ("SE-ResNeXt-50-32x4d", 132),
    "se_resnext101_32x4d": ("SE-ResNeXt-101-32x4d", 197),
    "senet154": ("SENet", 347),
    "densenet121": ("densenet121", 126),
    "densenet161": ("densenet161", 235),
    "densenet169": ("densenet169", 152),
    "densenet201": ("densenet201", 196),
    "mobilenet_v1": ("mcn-mobilenet", 38),
}
"""Our workload: the published name, and the features of one image in fp32. [MiB]

Source: albanie/convnet-burden, README.
"""

ELSEWHERE = {"alexnet": ("alexnet", 3, 4.81), "squeezenet1_0": ("squeezenet1-0", 30, 28.99)}
"""Known not to agree: MatConvNet's AlexNet is a different network from Caffe's, and its SqueezeNet 1.0 is Caffe's file,
which gives 29.9 MiB at 227 pixels, where ours is torchvision's at 224. Published and ours. [MiB]"""


def feature_mebibytes(name: str) -> float:
    """Features of one image by convnet-burden's rule; the softmax is as large as what our loss reads. [MiB]"""
    counted = 0
    for layer in load_workload(name).layers:
        if layer.op.loss:
            counted += elements(layer.inputs[0])
        elif layer.op.kind in FEATURES:
            counted += elements(layer.output)
    return 4 * counted / 2**20


@pytest.mark.parametrize("name", FEATURE_MEBIBYTES)
def test_feature_memory(name: str) -> None:
    found, published = feature_mebibytes(name), FEATURE_MEBIBYTES[name][1]
    assert round(found) == published, f"{found:.2f} MiB"


@pytest.mark.parametrize("name", ELSEWHERE)
def test_feature_memory_known_not_to_agree(name: str) -> None:
    _, published, ours = ELSEWHERE[name]
    assert feature_mebibytes(name) == pytest.approx(ours, abs=0.005)
    assert round(feature_mebibytes(name)) != published


@pytest.mark.skipif(not FACTS.is_dir(), reason="the published tables are not here")
def test_our_copy_of_the_published_feature_memory() -> None:
    with (FACTS / "feature_memory.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["source"] == "albanie/convnet-burden README"]
    published = {row["model"]: int(row["bytes"]) / 2**20 for row in rows}
    copied = {name: size for name, size, *_ in (*FEATURE_MEBIBYTES.values(), *ELSEWHERE.values())}
    assert copied == {name: published[name] for name in copied}

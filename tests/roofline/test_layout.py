"""The layout that a compiler chooses for a network."""

from __future__ import annotations

import pytest

from simulator.device.framework import load_framework
from simulator.pipeline import Options, kernels_of
from simulator.roofline.layout import with_layout
from simulator.workload.reading import load_workload


@pytest.mark.parametrize(
    ("workload", "task", "layout"),
    [
        ("resnet50", "infer", "channels last"),
        ("resnet50", "train", "channels last"),
        ("mobilenet_v2", "train", "channels last"),
        ("resnext50_32x4d", "infer", "channels last"),
        ("resnext50_32x4d", "train", "channels first"),
        ("regnetx_4.0gf", "infer", "channels last"),
        ("regnetx_16gf", "infer", "channels first"),
        ("vit_b_16", "infer", "channels last"),
    ],
)
def test_grouped_convolutions_keep_channels_first_where_they_weigh(workload: str, task: str, layout: str) -> None:
    kernels = kernels_of(load_workload(workload), Options(task=task, precision="amp", framework="pytorch-compiled"))
    path = load_framework("pytorch-compiled").mixed
    assert path.layout == "chosen"
    assert with_layout(path, kernels).layout == layout

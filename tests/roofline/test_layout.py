"""The layout that a compiler chooses for a network."""

from __future__ import annotations

import pytest

from simulator.device.device import load_device
from simulator.device.framework import load_framework
from simulator.pipeline import Options, kernels_of
from simulator.precision import get_precision
from simulator.roofline.layout import with_layout
from simulator.roofline.setting import Setting
from simulator.workload.reading import load_workload


@pytest.mark.parametrize(
    ("device", "precision", "layout"),
    [
        ("v100", "fp16", "last"),
        ("t4", "amp", "last"),
        ("t4", "fp32", "first"),
        ("a100", "fp16", "last"),
        ("gtx-1080-ti", "fp16", "first"),
        ("a100", "tf32", "first"),
    ],
)
def test_xla_puts_channels_last_at_half_width_on_some_families(device: str, precision: str, layout: str) -> None:
    path = Setting(load_device(device), get_precision(precision), load_framework("tensorflow-xla")).path
    assert path.layout == f"channels {layout}"
    assert path.fuses


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
    setting = Setting(load_device("v100"), get_precision("amp"), load_framework("pytorch-compiled"))
    assert setting.path.layout == "chosen"
    assert with_layout(setting, kernels).path.layout == layout
    assert with_layout(setting, kernels) is with_layout(setting, kernels)

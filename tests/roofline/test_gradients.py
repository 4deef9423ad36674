"""Gradients of grouped convolutions at half width, against what the framework's path says of them."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from simulator.device.device import load_device
from simulator.device.framework import Framework
from simulator.op.kernel import OpClass, Phase
from simulator.op.kernels import Kernels
from simulator.op.views import channels, is_depthwise
from simulator.pipeline.options import Options
from simulator.pipeline.stages import kernels_of
from simulator.roofline.gradients import gradients_slower
from simulator.roofline.setting import Setting
from simulator.workload.reading import load_workload

RTX_3090 = load_device("rtx-3090")


def of(workload: str, framework: str = "pytorch", precision: str = "amp") -> tuple[Kernels, Setting]:
    options = Options(framework=framework, precision=precision)
    return kernels_of(load_workload(workload), options), options.on(RTX_3090)


def test_depthwise_gradients_run_at_the_path_s_rate_and_forward_kernels_at_their_own() -> None:
    kernels, setting = of("mobilenet_v2")
    slower, columns = gradients_slower(kernels.distinct, setting), kernels.distinct
    assert slower is not None
    gradient = is_depthwise(columns) & (columns.phase != Phase.FORWARD)
    assert gradient.any()
    assert slower[gradient] == pytest.approx(1 / 0.21)
    assert (slower[~gradient] == 1).all()


def test_few_narrow_groups_by_hand() -> None:
    # RegNetX-400MF has groups of 16 channels, 2 to 25 of them: (16 + 44) / 16.
    kernels, setting = of("regnetx_400mf")
    slower, columns = gradients_slower(kernels.distinct, setting), kernels.distinct
    assert slower is not None
    gradient = (columns.op_class == OpClass.CONVOLUTION) & (columns.groups > 1) & (columns.phase != Phase.FORWARD)
    assert np.minimum(*channels(columns))[gradient] == pytest.approx(16)
    assert slower[gradient] == pytest.approx(3.75)


def test_many_groups_are_not_slowed() -> None:
    kernels, setting = of("resnext101_32x4d")
    slower = gradients_slower(kernels.distinct, setting)
    assert slower is not None
    assert (slower == 1).all()


def test_nor_are_images_with_channels_innermost_and_windows_of_the_frameworks_own_kernel() -> None:
    kernels, setting = of("convnext_tiny")
    columns = kernels.distinct
    assert gradients_slower(columns, setting) is None
    # Were they first, all of 7 x 7 would run in PyTorch's own kernel, whose gradients have its rate.
    first = replace(columns, last=np.zeros(len(columns), dtype=bool))
    assert gradients_slower(first, setting) is None
    path = msgspec.structs.replace(setting.path, own_depthwise=0.0)
    library = Framework("test", (0.0,) * 4, 0.0, 0.0, path, path)
    slower = gradients_slower(first, Setting(RTX_3090, setting.precision, library))
    assert slower is not None
    assert slower.max() == pytest.approx(1 / 0.21)


@pytest.mark.parametrize(
    ("framework", "precision"), [("pytorch", "fp32"), ("pytorch-channels-last", "amp"), ("tensorflow", "amp")]
)
def test_nor_are_full_width_channels_last_and_others(framework: str, precision: str) -> None:
    kernels, setting = of("mobilenet_v2", framework, precision)
    assert gradients_slower(kernels.distinct, setting) is None


def test_networks_without_groups_ask_nothing() -> None:
    kernels, setting = of("resnet18")
    assert gradients_slower(kernels.distinct, setting) is None

"""What calls cost beside their kernels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from simulator.device.framework import load_framework
from simulator.op.kernel import OpClass, Phase
from simulator.op.kernels import Kernels
from simulator.pipeline.options import Options
from simulator.pipeline.stages import kernels_of
from simulator.roofline.calls import issued_seconds
from simulator.workload.reading import load_workload

XLA = load_framework("tensorflow-xla")


def launches(workload: str, precision: str) -> Kernels:
    return kernels_of(load_workload(workload), Options(framework="tensorflow-xla", precision=precision))


@pytest.mark.parametrize("precision", ["fp32", "amp"])
def test_products_of_a_transformer_launch_nothing_else(precision: str) -> None:
    kernels = launches("bert_base", precision)
    issued_s, helpers_s = issued_seconds(kernels, XLA)
    op_class = kernels.distinct.op_class[kernels.row]
    products = kernels.dispatch & (op_class == OpClass.GEMM)
    forward = products & (kernels.phase == Phase.FORWARD)
    assert issued_s[forward] == pytest.approx(22e-6)
    assert not helpers_s[products].any()
    others = kernels.dispatch & (op_class == OpClass.NORMALIZATION)
    assert helpers_s[others] == pytest.approx(XLA.helpers_s)


def test_half_width_costs_the_host_of_a_transformer_no_more_calls() -> None:
    def forward_s(precision: str) -> float:
        kernels = launches("bert_base", precision)
        return float(issued_seconds(kernels, XLA)[0][kernels.phase == Phase.FORWARD].sum())

    assert forward_s("amp") == pytest.approx(forward_s("fp32"), rel=0.02)


@pytest.mark.parametrize(("framework", "beside"), [("tensorflow", True), ("tensorflow-xla", False), ("pytorch", False)])
def test_a_graphs_executor_casts_weights_beside_other_calls(framework: str, beside: bool) -> None:
    software = load_framework(framework)
    kernels = kernels_of(load_workload("resnet18"), Options(framework=framework, precision="amp"))
    issued_s, helpers_s = issued_seconds(kernels, software)
    columns = kernels.distinct
    convolutions = np.unique(kernels.layer[(columns.op_class == OpClass.CONVOLUTION)[kernels.row]])
    casts = (columns.op_class == OpClass.CAST)[kernels.row] & np.isin(kernels.layer, convolutions)
    assert casts.sum() == 2 * 20  # of each weight, and of its gradient
    forward = casts & (kernels.phase == Phase.FORWARD)
    assert issued_s[forward] == pytest.approx(0.0 if beside else software.dispatch_s[0])
    assert helpers_s[casts] == pytest.approx(0.0 if beside else software.helpers_s)
    # What it narrows apart from weights waits for its input.
    others = kernels.dispatch & ~casts & (columns.op_class == OpClass.NORMALIZATION)[kernels.row]
    assert (issued_s[others] > 0).all()


def test_convolutions_keep_their_helpers_and_a_framework_without_the_number_all() -> None:
    kernels = launches("resnet18", "amp")
    op_class = kernels.distinct.op_class[kernels.row]
    convolutions = kernels.dispatch & (op_class == OpClass.CONVOLUTION)
    assert issued_seconds(kernels, XLA)[1][convolutions] == pytest.approx(XLA.helpers_s)
    every = issued_seconds(kernels, replace(XLA, product_s=None))
    assert np.array_equal(every[1], np.where(kernels.dispatch, XLA.helpers_s, 0.0))

"""Narrow products in training: what is rounded, once, and what stays in half width."""

from __future__ import annotations

import numpy as np

from simulator.device.device import load_device
from simulator.op.kernel import OpClass, Phase, Role
from simulator.op.kernels import at_batch
from simulator.pipeline import Options, kernels_of, simulate
from simulator.precision import get_precision
from simulator.roofline.setting import Setting
from simulator.roofline.times import Bound, kernel_times
from simulator.workload.importers import Request
from simulator.workload.lowering import Software, lower
from simulator.workload.reading import load_workload

LLAMA = load_workload("llama3_8b", request=Request(attention="fused", sequence=1024))
H100 = load_device("h100-sxm5-80gb")


def test_operands_are_rounded_once_for_all_their_readers() -> None:
    # A block has four operands (of query, key and value; of the output; of gate and up; of down) and seven gradients.
    plain, rounded = (lower(LLAMA, Software(quantize=quantize)) for quantize in (False, True))
    assert len(rounded) - len(plain) == 32 * (4 + 7) + 2  # and the head's operand and gradient
    moved = [at_batch(k.read[Role.ACTIVATION] + k.read[Role.GRADIENT], 1).sum() for k in (plain, rounded)]
    hidden, inner, keys, vocabulary = 4096, 14336, 1024, 128256
    operands = 3 * hidden + inner
    gradients = 2 * hidden + 2 * keys + 2 * inner + hidden
    expected = 1024 * (32 * (operands + gradients) + hidden + vocabulary)
    assert moved[1] - moved[0] == expected


def test_attention_stays_in_half_width() -> None:
    kernels = kernels_of(LLAMA, Options(precision="fp8"))
    times = [kernel_times(kernels, Setting(H100, get_precision(name)), 1.0) for name in ("fp8", "bf16")]
    attention = kernels.distinct.op_class[kernels.row] == OpClass.ATTENTION
    np.testing.assert_allclose(times[0].seconds[Bound.COMPUTE][attention], times[1].seconds[Bound.COMPUTE][attention])
    products = kernels.distinct.op_class[kernels.row] == OpClass.GEMM
    assert times[0].seconds[Bound.COMPUTE][products].sum() < 0.7 * times[1].seconds[Bound.COMPUTE][products].sum()


def test_inference_rounds_nothing_apart() -> None:
    kernels = kernels_of(LLAMA, Options(precision="fp8", task="infer"))
    assert set(kernels.phase.tolist()) == {Phase.FORWARD}
    assert len(kernels) == len(kernels_of(LLAMA, Options(precision="bf16", task="infer")))


def test_narrow_training_is_faster_but_not_by_its_peak() -> None:
    steps = [
        simulate(LLAMA, H100, Options(precision=p, batch=1, ignore_memory=True)).step.time_s for p in ("bf16", "fp8")
    ]
    assert 1 < steps[0] / steps[1] < 2

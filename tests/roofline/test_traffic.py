"""Traffic of single layers, worked by hand from the founding articles."""

from __future__ import annotations

import numpy as np
import pytest

from simulator.device.device import load_device
from simulator.op.base import Op, Shape, Site
from simulator.op.convolution import Convolution
from simulator.op.kernels import pack
from simulator.op.linear import Linear
from simulator.op.pooling import MaxPool
from simulator.precision import get_precision
from simulator.roofline.setting import Setting
from simulator.roofline.traffic import TrafficModel, traffic_bytes

V100 = load_device("v100")
FP32 = get_precision("fp32")


def moved(op: Op, image: Shape, model: TrafficModel, batch: float = 1.0) -> float:
    """Elements that the forward pass moves."""
    site = Site((image,), op.output_shape((image,)), training=False)
    return float(traffic_bytes(pack(op.forward(site)), Setting(V100, FP32, traffic=model), batch).sum()) / 4


def test_naive_convolution_with_stride() -> None:
    # Input 224 * 224 * 3 * 9 * 32 = 43,352,064; output 112 * 112 * 32 = 401,408; weights 3 * 9 * 32 + 32 = 896.
    op = Convolution(out=32, kernel=3, stride=2, padding=1)
    assert moved(op, (3, 224, 224), TrafficModel.NAIVE) == 43_754_368
    assert 43_352_064 + 401_408 + 896 == 43_754_368


def test_naive_convolution() -> None:
    # Input 28 * 28 * 256 * 9 * 512 = 924,844,032; output 28 * 28 * 512 = 401,408; weights 256 * 9 * 512 + 512.
    op = Convolution(out=512, kernel=3, padding=1)
    assert moved(op, (256, 28, 28), TrafficModel.NAIVE) == 926_425_600
    assert 924_844_032 + 401_408 + 1_180_160 == 926_425_600


def test_ideal_moves_each_tensor_once() -> None:
    # 28 * 28 * 256 + 401,408 + 1,180,160.
    op = Convolution(out=512, kernel=3, padding=1)
    assert moved(op, (256, 28, 28), TrafficModel.IDEAL) == 200_704 + 401_408 + 1_180_160


def test_cached_reaches_ideal_where_a_tensor_fits() -> None:
    # The input's 0.80 MB fit half of the V100's 6 MiB: the weights stream past it once.
    op = Convolution(out=512, kernel=3, padding=1)
    assert moved(op, (256, 28, 28), TrafficModel.CACHED) == moved(op, (256, 28, 28), TrafficModel.IDEAL)


def test_cached_blocks_what_does_not_fit() -> None:
    # Batch 64: input 64 * 200,704 * 4 = 51.4 MB, weights 4.72 MB, half the cache 3.15 MB.
    # Hold weights: input twice; hold input: weights ceil(51.4 / 3.15) = 17 times, 80 MB + 51; tiles of 886: input once
    # (512 columns), weights ceil(50,176 / 886) = 57 times. The first is least: 2 * 51.4 + 4.72 + output.
    op = Convolution(out=512, kernel=3, padding=1)
    expected = 2 * 64 * 200_704 + 1_180_160 + 64 * 401_408
    assert moved(op, (256, 28, 28), TrafficModel.CACHED, 64.0) == expected


def test_naive_convolution_in_groups_streams_less() -> None:
    # Each input value meets the kernels of its own group only: 9 * 512 / 2 times.
    op = Convolution(out=512, kernel=3, padding=1, groups=2, bias=False)
    assert moved(op, (256, 28, 28), TrafficModel.NAIVE) == 200_704 * 9 * 256 + 401_408 + 128 * 9 * 512


def test_naive_linear() -> None:
    # Each of 4096 inputs is fetched for each of 4096 outputs; (4096 + 1) * 4096 weights, 4096 outputs.
    assert moved(Linear(out=4096), (4096,), TrafficModel.NAIVE) == 4096 * 4096 + 4097 * 4096 + 4096


@pytest.mark.parametrize("model", list(TrafficModel))
def test_a_kernel_without_reuse_moves_the_same_under_all_models(model: TrafficModel) -> None:
    assert moved(MaxPool(kernel=2), (8, 4, 4), model) == 8 * 16 + 8 * 4


def test_batches_broadcast() -> None:
    op = Convolution(out=512, kernel=3, padding=1)
    site = Site(((256, 28, 28),), (512, 28, 28))
    sizes = np.array([[1.0], [64.0]])
    together = traffic_bytes(pack(op.forward(site)), Setting(V100, FP32, traffic=TrafficModel.CACHED), sizes)
    assert together.shape == (2, 1)
    assert together[:, 0] / 4 == pytest.approx(
        [moved(op, (256, 28, 28), TrafficModel.CACHED, size) for size in (1.0, 64.0)]
    )

"""The worked examples of docstrings: each formula gives the number that stands beside it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from simulator.causes.groups import Depthwise
from simulator.causes.registry import coefficients
from simulator.causes.tiles import SmallTiles
from simulator.device.device import Device, load_device
from simulator.device.memory import Memory
from simulator.op.base import Site
from simulator.op.convolution import Convolution
from simulator.op.kernel import Phase
from simulator.op.kernels import Columns, pack
from simulator.precision import get_precision
from simulator.roofline.gemm import MatrixRates, Tiling, gemm_seconds
from simulator.roofline.setting import Setting
from simulator.roofline.traffic import TrafficModel, traffic_bytes
from simulator.roofline.winograd import winograd_seconds


def products(tiling: Tiling, units: int = 80) -> float:
    """1024 x 1024 x 512 at 1 TFLOP/s without overheads. [s]"""
    none = np.asarray(0.0)
    rates = MatrixRates(np.asarray(1e12), units, none, none, 1e30, 1, tiling)
    sides = [np.array([float(side)]) for side in (1024, 1024, 512, 1)]
    return float(gemm_seconds(*sides, rates)[0])  # type: ignore[arg-type]


def test_waves_of_a_product() -> None:
    # 64 tiles of 128 x 128 are one wave of 80; 256 of 64 x 64 four, the last of 16.
    one_wave = 2 * 128 * 128 * 512 / (1e12 / 80)
    assert one_wave == pytest.approx(1.342e-3, rel=1e-3)
    assert pytest.approx(one_wave) == 4 * 2 * 64 * 64 * 512 / (1e12 / 80)
    assert products(Tiling.WINOGRAD) == pytest.approx(one_wave)  # of 128 x 128 and 128 x 64: 128 tiles are two waves
    assert products(Tiling.WINOGRAD, units=1) == pytest.approx(1.074e-3, rel=1e-3)


def device(**kernel: float) -> Device:
    """1 TFLOP/s in lanes of one unit, 100 GB/s, without losses but for these coefficients."""
    shipped = load_device("v100")
    plain = {name: one.neutral for name, one in coefficients().items() if name in shipped.kernel}
    return replace(
        shipped,
        peak={"fp32": 1e12},
        memory=Memory("hbm2", 1, "stack", 1e12, 1e11),
        sustained=dict.fromkeys(shipped.sustained, 1.0),
        kernel=plain | kernel,
        unit_count=1,
        clock_hz=None,
    )


def columns(channels: int, out: int, side: int, phase: Phase = Phase.FORWARD) -> Columns:
    op, shape = Convolution(out=out, kernel=3, padding=1, bias=False), (channels, side, side)
    site = Site((shape,), op.output_shape((shape,)))
    kernels = op.forward(site) if phase is Phase.FORWARD else op.backward(site)
    return pack([next(kernel for kernel in kernels if kernel.phase is phase)])


def winograd(**kernel: float) -> float:
    """512 to 512 channels of 14 x 14, one image. [s]"""
    setting = Setting(device(**kernel), get_precision("fp32"))
    return float(winograd_seconds(columns(512, 512, 14), setting, 1.0)[0])


def test_winograd_in_passes() -> None:
    # 36 x 2 x 256 x 512 x 512 / 0.5e12 = 9.66 ms; (75.5 + 0.8) MB / 25 GB/s = 3.05 ms.
    found = winograd(winograd=0.5, fused_winograd=0.01, transform=0.25)
    assert found == pytest.approx(9.664e-3 + 3.052e-3, rel=1e-3)
    assert found == pytest.approx(12.7e-3, rel=5e-3)


def test_fused_winograd() -> None:
    assert winograd(winograd=0.01, fused_winograd=1.0) == pytest.approx(0.537e-3, rel=1e-3)


def test_traffic_of_a_small_convolution() -> None:
    small = columns(2, 5, 4)

    def moved(model: TrafficModel) -> float:
        setting = Setting(load_device("v100"), get_precision("fp32"), traffic=model)
        return float(traffic_bytes(small, setting, 1.0)[0])

    assert moved(TrafficModel.IDEAL) == 808
    assert moved(TrafficModel.NAIVE) == 6440
    assert 808 <= moved(TrafficModel.CACHED) <= 6440


def test_operands_of_tensor_cores() -> None:
    tiles = SmallTiles(matrix_tile=22.0, vector_tile=0.0, vector_depth=0.0, matrix_depth=0.0, weight_depth=0.0)
    flop_a_clock = 312e12 / (108 * 1.41e9)
    assert flop_a_clock == pytest.approx(2049, abs=0.5)
    assert tiles.matrix_side(2, flop_a_clock) == pytest.approx(2 * 22, rel=1e-3)
    assert tiles.matrix_side(4, flop_a_clock / 2) == pytest.approx(2 * 22, rel=1e-3)
    assert tiles.matrix_side(2, None) == 22
    assert tiles.matrix_side(2, 1024) == 22


def test_depthwise_convolutions_run_in_lanes() -> None:
    cause = Depthwise(depthwise=0.3, depthwise_gradient=0.5)
    forward = cause.seconds(columns(4, 4, 8), np.array([3e9]), 10e12)
    gradient = cause.seconds(columns(4, 4, 8, Phase.INPUT_GRADIENT), np.array([3e9]), 10e12)
    assert (forward[0], gradient[0]) == pytest.approx((1e-3, 2e-3))

"""Convolutions by Fourier transforms, worked by hand on a device of round numbers."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from simulator.device.device import Device
from simulator.device.framework import Framework, Reserve
from simulator.op.convolution import Convolution
from simulator.op.kernel import Phase
from simulator.op.kernels import Columns
from simulator.precision import get_precision
from simulator.roofline.calibrated import calibrated_seconds
from simulator.roofline.setting import Setting
from simulator.roofline.traffic import ideal_bytes
from tests.roofline.test_calibrated import PLAIN, columns_of, device, under

MIB = 2**20
WIDE = columns_of(Convolution(out=128, kernel=5, padding=2, bias=False), (128, 64, 64))
QUICK = device(units=1, winograd=1.0)


def seconds(
    columns: Columns, on: Device = QUICK, *, batch: float = 32, precision: str = "fp32", most_bytes: float | None = None
) -> float:
    """Computing one kernel, where algorithms may take so much scratch space."""
    software: Framework = under(PLAIN)
    if most_bytes is not None:
        software = replace(software, reserve=msgspec.structs.replace(Reserve(), algorithm_bytes=most_bytes))
    setting = Setting(on, get_precision(precision), software)
    return float(calibrated_seconds(columns, setting, batch, ideal_bytes(columns, setting, batch))[0][0])


def test_products_of_complex_numbers_and_transforms() -> None:
    # 64 x 64 outputs of 32 images are 32 x 3 x 3 tiles of 32 x 32, whose 28 x 28 outputs are whole, of 544 frequencies:
    # complex products 288 x 128 x 128, four real ones each, at 1 TFLOP/s; 3,200 operations an output are direct.
    transformed = 8 * 544 * (288 * 128 + 128 * 128 + 288 * 128)
    plain = 4 * 2 * 32 * 128 * 64 * 64
    products_s = 4 * 544 * 2 * 288 * 128 * 128 / 1e12
    assert products_s > transformed / 1e11
    assert seconds(WIDE) == pytest.approx(products_s + (transformed + plain) / 1e11)
    assert seconds(WIDE, device(units=1)) == pytest.approx(2 * 32 * 64 * 64 * 128 * 128 * 25 / 1e12)


def test_smaller_tiles_take_less_scratch_space() -> None:
    # Tiles of 16 x 16 have 12 x 12 whole outputs and 144 frequencies: 32 x 6 x 6 of them, 359 MB for 392.
    transformed = 8 * 144 * (1152 * 128 + 128 * 128 + 1152 * 128)
    products_s = 4 * 144 * 2 * 1152 * 128 * 128 / 1e12
    found = seconds(WIDE, most_bytes=370e6)
    assert found == pytest.approx(products_s + (transformed + 4 * 2 * 32 * 128 * 64 * 64) / 1e11)
    assert found > seconds(WIDE, most_bytes=400e6) == seconds(WIDE)
    assert seconds(WIDE, most_bytes=350e6) == seconds(WIDE, device(units=1))


def test_the_scratch_space_is_that_of_the_published_example() -> None:
    # Oyama et al., 2018: AlexNet's second layer for 256 images asks for 213 MiB, and is slow with a byte less.
    second = columns_of(Convolution(out=256, kernel=5, padding=2, groups=2, bias=False), (96, 27, 27))
    assert seconds(second, batch=256, most_bytes=213 * MIB) == seconds(second, batch=256)
    assert seconds(second, batch=256, most_bytes=212 * MIB) > 2 * seconds(second, batch=256)


def test_half_width_is_transformed_in_full_width() -> None:
    lanes = replace(QUICK, peak={"fp32": 1e12, "fp16": 2e12})
    transformed, plain = 8 * 544 * (2 * 288 * 128 + 128 * 128), 2 * 2 * 32 * 128 * 64 * 64
    products_s = 4 * 544 * 2 * 288 * 128 * 128 / 1e12
    assert seconds(WIDE, lanes, precision="fp16") == pytest.approx(products_s + (transformed + plain) / 1e11)


@pytest.mark.parametrize("phase", [Phase.INPUT_GRADIENT, Phase.WEIGHT_GRADIENT])
def test_gradients_have_it_too(phase: Phase) -> None:
    gradient = columns_of(Convolution(out=128, kernel=5, padding=2, bias=False), (128, 64, 64), phase)
    assert seconds(gradient) == pytest.approx(seconds(WIDE))


@pytest.mark.parametrize(
    "changes", [{"kernel": 9, "padding": 4}, {"stride": 2}, {"dilation": 2}, {"groups": 128}], ids=str
)
def test_other_convolutions_have_none(changes: dict[str, int]) -> None:
    kind = {"kernel": 5, "padding": 2, "bias": False, "out": 128} | changes
    columns = columns_of(Convolution(**kind), (128, 64, 64))  # type: ignore[arg-type]
    assert seconds(columns) == seconds(columns, device(units=1))

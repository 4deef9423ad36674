"""Roofs of a device, worked by hand: which engines, which is higher, where they meet, what is sustained of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from simulator.device.device import Device, load_device
from simulator.precision import get_precision
from simulator.roofline.rates import Fidelity
from simulator.roofline.roofs import device_roofs, quotient
from simulator.roofline.setting import Setting


@pytest.fixture(scope="module")
def v100() -> Device:
    found = load_device("v100")
    return replace(found, sustained={"matrix": 0.8, "vector": 0.9, "bandwidth": 0.82})


def test_half_width_has_two_flats_the_higher_first(v100: Device) -> None:
    # 112 TFLOP/s of tensor cores and 14 of lanes over 900 GB/s: ridges at 124.4 and 15.6 FLOP/byte.
    roofs = device_roofs(Setting(v100, get_precision("amp")))
    assert [(rate.name, rate.datasheet) for rate in roofs.compute] == [("fp16 tensor", 112e12), ("fp32", 14e12)]
    assert [rate.sustained for rate in roofs.compute] == pytest.approx([0.8 * 112e12, 0.9 * 14e12])
    assert (roofs.memory.name, roofs.memory.datasheet) == ("HBM2", 900e9)
    assert roofs.memory.sustained == pytest.approx(738e9)
    assert [x for x, _ in roofs.ridges] == pytest.approx([112e12 / 900e9, 14e12 / 900e9])


def test_attainable_is_the_slope_then_the_flat(v100: Device) -> None:
    roofs = device_roofs(Setting(v100, get_precision("fp32"), fidelity=Fidelity.ROOFLINE))
    assert len(roofs.compute) == 1
    assert roofs.compute[0].sustained is roofs.memory.sustained is None
    assert (roofs.attainable(10), roofs.attainable(100)) == (9e12, 14e12)
    ridge = 14e12 / 900e9
    assert roofs.attainable(ridge) == pytest.approx(14e12)
    assert not roofs.is_above_ridge(ridge)
    assert roofs.is_above_ridge(np.nextafter(ridge, 100))


@pytest.mark.parametrize(("share", "reached"), [(0.82, 738e9), (1.0, 900e9), (1.3, 900e9)])
def test_no_more_than_the_whole_bandwidth_is_sustained(v100: Device, share: float, reached: float) -> None:
    device = replace(v100, sustained={"bandwidth": share})
    assert Setting(device, get_precision("fp32")).bandwidth_byte_per_s == pytest.approx(reached)
    column: dict[str, float] = {"bandwidth": np.array([0.5, share])}  # type: ignore[dict-item]
    many = Setting(replace(v100, sustained=column), get_precision("fp32"))
    assert many.bandwidth_byte_per_s == pytest.approx([450e9, reached])


def test_work_over_nothing_is_not_a_number() -> None:
    assert quotient(np.array([12.0, 1.0, 0.0]), np.array([4.0, 0.0, 2.0])) == pytest.approx(
        [3.0, np.nan, 0.0], nan_ok=True
    )
    assert quotient(12.0, 2.0) == 6.0

"""Variants of a device as columns: which numbers differ, in which order, and when they cannot stand together."""

from __future__ import annotations

from itertools import product
from math import prod
from typing import Any

import numpy as np
import pytest

from simulator.device import columns
from simulator.device.columns import DeviceColumns, device_columns
from simulator.device.device import load_device

AXES: dict[str, list[str]] = {
    "memory.bandwidth": ["1x", "2x"],
    "peak.fp32": ["1x", "0.5x", "3x"],
    "launch": ["1us", "4us"],
}


def together(name: str, axes: dict[str, list[str]]) -> DeviceColumns:
    (found,) = device_columns(name, axes)
    return found


def loaded(name: str, axes: dict[str, list[str]]) -> list[Any]:
    """Every combination loaded by itself, the last axis fastest."""
    overrides = [[f"{key}={value}" for key, value in zip(axes, one, strict=True)] for one in product(*axes.values())]
    return [load_device(name, overrides=each) for each in overrides]


def test_every_combination_stands_in_its_place_the_last_axis_fastest() -> None:
    found, each = together("v100", AXES), loaded("v100", AXES)
    assert len(found) == found.count == len(each) == 12
    assert set(found.changed) == {"memory.bandwidth_byte_per_s", "peak.fp32", "launch_s"}
    assert found.number("memory.bandwidth_byte_per_s").tolist() == [one.memory.bandwidth_byte_per_s for one in each]
    assert found.number("peak.fp32").tolist() == [one.peak["fp32"] for one in each]
    assert found.number("launch_s").tolist() == [one.launch_s for one in each]
    assert found.number("peak.fp64").tolist() == [each[0].peak["fp64"]] * 12  # which no axis changes
    assert found.number("unit_count").tolist() == [80.0] * 12


def test_the_device_of_columns_has_numbers_in_columns() -> None:
    device = together("v100", AXES).at(np.array([0, 11]))
    first, last = loaded("v100", AXES)[0], loaded("v100", AXES)[11]
    peak, bandwidth, launch = device.peak["fp32"], device.memory.bandwidth_byte_per_s, device.launch_s
    assert np.shape(peak) == np.shape(bandwidth) == np.shape(launch) == (2, 1)
    assert np.ravel(peak).tolist() == [first.peak["fp32"], last.peak["fp32"]]
    assert np.ravel(bandwidth).tolist() == [first.memory.bandwidth_byte_per_s, last.memory.bandwidth_byte_per_s]
    assert np.ravel(launch).tolist() == pytest.approx([1e-6, 4e-6])
    assert device.peak["fp16_tensor"] == first.peak["fp16_tensor"]
    assert device.memory.capacity_bytes == first.memory.capacity_bytes
    assert device.sustained == first.sustained


def test_some_of_the_variants_keep_what_differs_among_them() -> None:
    some = together("v100", AXES).some(np.array([6, 7]))  # both of twice the bandwidth and the first peak
    assert len(some) == 2
    assert set(some.changed) == {"launch_s"}
    assert some.one.memory.bandwidth_byte_per_s == 2 * 900e9
    assert some.one.launch_s == pytest.approx(1e-6)
    one = together("v100", AXES).some(np.array([7]))
    assert one.changed == {}
    assert one.at(np.array([0])) is one.one


def test_sustained_fractions_are_columns_too() -> None:
    found = together("v100", {"sustained.vector": ["0.5", "0.75"]})
    assert np.ravel(found.at(np.array([0, 1])).sustained["vector"]).tolist() == [0.5, 0.75]
    assert found.one.sustained["vector"] == 0.5


@pytest.mark.parametrize(
    ("name", "axes"),
    [
        ("v100", {"memory.bandwidth": ["1x", "2x"], "power": ["200 W", "250 W"]}),  # which the price of a run reads
        ("v100", {"memory.bandwidth": ["1x", "2x"], "host": ["server", "desktop"]}),  # a word is no column
    ],
)
def test_what_differs_in_more_than_columns_stands_apart(name: str, axes: dict[str, list[str]]) -> None:
    found = device_columns(name, axes)
    assert len(found) == prod(map(len, axes.values()))
    assert [len(one) for one in found] == [1] * len(found)
    assert all(one.changed == {} for one in found)
    each = loaded(name, axes)
    assert [one.one.memory.bandwidth_byte_per_s for one in found] == [one.memory.bandwidth_byte_per_s for one in each]


def test_what_follows_from_two_axes_is_not_taken_apart() -> None:
    # A count of units and a clock both move the peaks, and the power limit holds the clock: no column can be shared out
    # between the axes, and yet each combination is what loading it gives.
    axes = {"units.count": ["1x", "2x"], "units.clock": ["1x", "1.5x"]}
    found, each = together("a100-sxm4-80gb", axes), loaded("a100-sxm4-80gb", axes)
    assert found.number("peak.fp32").tolist() == pytest.approx([one.peak["fp32"] for one in each])
    assert found.number("unit_count").tolist() == [one.unit_count for one in each]
    for name in each[0].sustained:
        assert found.number(f"sustained.{name}").tolist() == pytest.approx([one.sustained[name] for one in each])


def test_one_combination_is_the_plain_device() -> None:
    found = together("v100", {"memory.bandwidth": ["2x"]})
    assert found.one.memory == load_device("v100", overrides=["memory.bandwidth=2x"]).memory
    assert (len(found), found.changed) == (1, {})
    assert found.at(np.array([0])) is found.one
    assert together("v100", {}).one.memory == load_device("v100").memory


def test_what_two_axes_bring_about_together_is_found_at_their_ends() -> None:
    # A board of 250 W keeps its clock with a tenth more lanes, or six times the bandwidth; with both it does not.
    axes = {"peak.fp32": ["1x", "1.1x"], "memory.bandwidth": ["1x", "6x"]}
    found, each = together("rtx-2080-ti", axes), loaded("rtx-2080-ti", axes)
    kept = [one.sustained["vector"] for one in each]
    assert kept[0] == kept[1] == kept[2] > kept[3]
    assert found.number("sustained.vector").tolist() == kept


def test_of_a_hundred_combinations_few_are_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[tuple[str, ...]] = []

    def counted(name: str, overrides: tuple[str, ...]) -> Any:
        loads.append(overrides)
        return load_device(name, overrides=overrides)

    monkeypatch.setattr(columns, "_variant", counted)
    axes = {key: [f"{10 + step}e11{unit}" for step in range(10)] for key, unit in (
        ("memory.bandwidth", "B/s"), ("peak.fp32", "FLOP/s"))}  # fmt: skip
    found = together("v100", axes)
    assert len(found) == 100
    # Nineteen along the two axes, each end of both with each end of the other, and no more.
    assert len(set(loads)) <= 19 + 4
    assert found.number("peak.fp32").tolist() == [(10 + step) * 1e11 for step in range(10)] * 10


def test_an_axis_without_values_has_no_variants() -> None:
    assert device_columns("v100", {"memory.bandwidth": []}) == []

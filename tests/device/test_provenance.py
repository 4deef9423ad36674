"""Key paths: the entry nearest to a number, and what lies below a section."""

from __future__ import annotations

import pytest

from simulator.device.device import load_device
from simulator.device.profile import Source
from simulator.device.provenance import Provenance, below, leaves, nearest, provenance_of, spread

PEAK, FP32 = Provenance("datasheet", "sheet"), Provenance("measured", "bench")


@pytest.mark.parametrize(
    ("path", "section", "expected"),
    [
        ("memory", "memory", True),
        ("memory.bandwidth", "memory", True),
        ("memory.bandwidth", "memory.bandwidth", True),
        ("memory", "memory.bandwidth", False),
        ("memory2.bandwidth", "memory", False),
        ("cache.memory", "memory", False),
        ("peak.fp32_tensor", "peak.fp32", False),
    ],
)
def test_what_lies_below_a_section(path: str, section: str, expected: bool) -> None:
    assert below(path, section) is expected


def test_the_nearest_entry_above_a_number_is_its_own() -> None:
    given = {"peak": PEAK, "peak.fp32": FP32}
    assert nearest(given, "peak.fp32") is FP32
    assert nearest(given, "peak.fp16") is PEAK
    assert nearest(given, "peak.fp32.more") is FP32
    assert nearest(given, "power") is None


def test_each_path_of_a_source_is_an_entry() -> None:
    sheet = Source(of=["peak", "power"], grade="datasheet", source="sheet")
    sources = [sheet, Source(of=["peak.fp32"], grade="measured", source="bench")]
    assert provenance_of(sources) == {"peak": PEAK, "power": PEAK, "peak.fp32": FP32}


def test_leaves_are_the_values_and_not_the_words() -> None:
    content = {
        "name": "x", "kind": "gpu", "sources": [1], "notes": "n",
        "peak": {"fp32": "1 TFLOP/s", "fp16": None, "name": "inner"},
        "power": "250 W",
        "year": 2017,
    }  # fmt: skip
    assert leaves(content) == ["peak.fp32", "peak.name", "power"]


def test_sections_hand_their_entry_down_to_each_leaf() -> None:
    profile = load_device("v100").profile
    found = spread({"memory": PEAK, "peak.fp32": FP32}, profile)
    assert found["memory.bandwidth"] is found["memory"] is PEAK
    assert found["peak.fp32"] is FP32
    assert "peak.fp16_tensor" not in found


def test_what_the_user_sets_takes_no_neighbours_source() -> None:
    device = load_device("v100", overrides=["peak.fp32=20 TFLOP/s"])
    assert device.provenance["peak.fp32"].source == "set by the user"
    assert device.provenance["peak.fp64"].source != "set by the user"
    stock = load_device("v100")
    assert device.provenance["memory.bandwidth"] == stock.provenance["memory.bandwidth"]
    swapped = load_device("v100", memory="hbm2:8")
    of_memory = {found.source for key, found in swapped.provenance.items() if key.startswith("memory")}
    assert of_memory == {"set by the user"}


def test_a_devices_grade_is_the_weakest_of_its_numbers() -> None:
    device = load_device("v100", overrides=["peak.fp32=20 TFLOP/s"])
    assert device.grade(["peak.fp64"]) == "datasheet"
    assert device.grade(["peak.fp64", "peak.fp32"]) == "assumption"
    assert device.grade(["nothing.known"]) == "datasheet"

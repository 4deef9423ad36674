"""Changes to a device that a user asks for: relative values, what follows from a count, what the device is called."""

from __future__ import annotations

import pytest

from simulator.device.device import load_device
from simulator.device.overrides import key_paths, split_device
from simulator.errors import InputError
from simulator.pipeline import Options, simulate
from simulator.workload.reading import load_workload

V100 = load_device("v100")


def test_brackets_change_one_device() -> None:
    changed = load_device("v100[memory.bandwidth=450GB/s]")
    assert changed.memory.bandwidth_byte_per_s == 450e9
    assert changed.label == "v100-pcie-16gb with memory.bandwidth 450 GB/s"
    assert V100.label == V100.name == changed.name
    assert split_device("v100") == ("v100", ())
    assert split_device("v100[a=1, b=2]") == ("v100", ("a=1", "b=2"))
    with pytest.raises(InputError, match="write NAME"):
        split_device("v100[]")


@pytest.mark.parametrize(("text", "factor"), [("2x", 2.0), ("0.5x", 0.5), ("+10%", 1.1), ("-25%", 0.75)])
def test_relative_values(text: str, factor: float) -> None:
    device = load_device("v100", overrides=[f"memory.bandwidth={text}", f"launch={text}", f"kernel.winograd={text}"])
    assert device.memory.bandwidth_byte_per_s == pytest.approx(900e9 * factor)
    assert device.launch_s == pytest.approx(V100.launch_s * factor)
    assert device.kernel["winograd"] == pytest.approx(V100.kernel["winograd"] * factor)


def test_what_follows_from_a_count_follows() -> None:
    # Four stacks of 16 GiB and 900 GB/s together: eight have twice of both.
    memory = load_device("v100", overrides=["memory.stacks=8"]).memory
    assert (memory.capacity_bytes, memory.bandwidth_byte_per_s) == (32 * 2**30, 1800e9)
    # 160 units for 80, at the same clock: twice every peak, and every lane.
    wide = load_device("v100", overrides=["units.count=160"])
    assert {name: wide.peak[name] / V100.peak[name] for name in V100.peak} == dict.fromkeys(V100.peak, 2.0)
    assert wide.profile.units is not None
    assert wide.profile.units.lanes == 2 * 5120
    fast = load_device("v100", overrides=["units.clock=1.507GHz"])
    assert fast.peak["fp32"] == pytest.approx(14e12 * 1507 / 1370)
    lanes = load_device("v100", overrides=["units.lanes=2x"])
    assert (lanes.peak["fp32"], lanes.peak["fp16_tensor"]) == (28e12, 112e12)
    given = load_device("v100", overrides=["units.count=160", "peak.fp32=20TFLOP/s"])
    assert given.peak["fp32"] == 20e12


def test_more_units_are_never_slower() -> None:
    workload = load_workload("resnet50")
    times = [
        simulate(workload, load_device("v100", overrides=[f"units.count={count}"]), Options()).step.time_s
        for count in (5, 20, 80, 160)
    ]
    assert times == sorted(times, reverse=True)


def test_what_the_user_set_and_what_follows_is_an_assumption() -> None:
    device = load_device("v100", overrides=["units.count=160"])
    assert device.provenance["units.count"].grade == "assumption"
    assert device.provenance["peak.fp32"].grade == "assumption"
    assert simulate(load_workload("lenet5"), device, Options()).grade == "assumption"


def test_every_value_of_a_device_can_be_set() -> None:
    paths = set(key_paths())
    assert {"peak.fp16_tensor", "memory.bandwidth", "units.count", "kernel.winograd", "cache.last_level"} <= paths
    assert not {"name", "sources", "description"} & paths

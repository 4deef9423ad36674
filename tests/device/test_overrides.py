"""Changes to a device that a user asks for: relative values, what follows from a count, what the device is called."""

from __future__ import annotations

import pytest

from simulator.device.device import load_device
from simulator.device.overrides import Override, key_paths, read_override, spaced, split_device
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


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("peak.fp32=20TFLOP/s", ("peak.fp32", "20TFLOP/s")),
        (" peak.fp32 = 20 TFLOP/s ", ("peak.fp32", "20 TFLOP/s")),
        ("memory.bandwidth=+10%", ("memory.bandwidth", "+10%")),
        ("family=volta", ("family", "volta")),
    ],
)
def test_an_override_is_a_key_and_a_value(text: str, expected: tuple[str, str]) -> None:
    assert read_override(text) == Override(*expected)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        *((text, "write KEY=VALUE, for example peak.fp32=20TFLOP/s") for text in ("peak.fp32", "=2", "peak.fp32=")),
        ("bandwidth=2x", "has no value 'bandwidth'; did you mean 'sustained.bandwidth' or 'memory.bandwidth' or "),
        ("memory.fp32=2", "has no value 'memory.fp32'; did you mean 'peak.fp32'?"),
        ("peak.fp33=2", "has no value 'peak.fp33'; did you mean 'peak.fp32'"),
        ("memory.latency=2", r"did you mean 'links.host.latency' or 'links.peer.latency'\?"),
        ("memory.chips=2x", "the device does not say memory.chips; give a value"),
        ("memory.technology=2x", "the device does not say memory.technology; give a value"),
    ],
)
def test_what_is_no_override_says_what_would_be(text: str, why: str) -> None:
    with pytest.raises(InputError, match=why):
        load_device("v100", overrides=[text])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("450GB/s", "450 GB/s"),
        ("2x", "2x"),
        ("+10%", "+10%"),
        ("4 us", "4 us"),
        (" 1.5  GHz ", "1.5 GHz"),
        ("5V", "5V"),
    ],
)
def test_a_number_and_its_unit_are_read_apart(text: str, expected: str) -> None:
    assert spaced(text) == expected


def test_a_change_of_a_change() -> None:
    # The second is of what the first left: 900 x 2 x 0.5, and the label says both.
    device = load_device("v100[memory.bandwidth=0.5x]", overrides=["memory.bandwidth=2x"])
    assert device.memory.bandwidth_byte_per_s == 900e9
    assert device.label == "v100-pcie-16gb with memory.bandwidth 2x, memory.bandwidth 0.5x"
    assert load_device("v100", memory="hbm2:2").label == "v100-pcie-16gb with memory hbm2:2"


def test_a_count_stays_one_and_is_at_least_one() -> None:
    # 80 units: 2.5 % is two, a thousandth would be none.
    for text, count in (("0.025x", 2), ("0.001x", 1), ("-50%", 40), ("7", 7)):
        assert load_device("v100", overrides=[f"units.count={text}"]).unit_count == count


def test_values_that_a_family_gives_are_scaled_in_their_unit() -> None:
    cpu = load_device("cpu-16core")
    device = load_device("cpu-16core", overrides=["start=2x", "launch=3x", "utilisation=0.5x", "sustained.vector=0.5x"])
    assert (device.start_s, device.launch_s) == pytest.approx((2 * cpu.start_s, 3 * cpu.launch_s))
    assert device.utilisation == pytest.approx(cpu.utilisation / 2)
    assert device.sustained["vector"] == pytest.approx(cpu.sustained["vector"] / 2)
    stacks = load_device("v100", memory="hbm2:4", overrides=["memory.capacity=2x", "memory.bandwidth=0.25x"]).memory
    assert (stacks.capacity_bytes, stacks.bandwidth_byte_per_s) == (64 * 2**30, 256e9)

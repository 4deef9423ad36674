"""Many points at once: each is the answer that the main job gives for it, whatever changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.causes.registry import CAUSES
from simulator.device.columns import device_columns
from simulator.device.device import load_device
from simulator.device.system import usual_cluster
from simulator.errors import InputError
from simulator.op.kernels import FloatArray, IntArray
from simulator.pipeline import Options, simulate
from simulator.planning import points as points_of_steps
from simulator.planning.points import Points, alike, factors_at, steps_at
from simulator.precision import get_precision
from simulator.roofline.times import Bound
from simulator.workload.reading import load_workload

FACTORS = st.lists(st.floats(0.3, 4).map(lambda factor: f"{factor:.3g}x"), min_size=1, max_size=3, unique=True)
KEYS = ("memory.bandwidth", "peak.fp32", "peak.fp16_tensor", "launch", "units.count", "units.clock", "sustained.vector",
        "utilisation", *(f"kernel.{one.name}" for cause in CAUSES for one in cause.coefficients()))  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(
    axes=st.dictionaries(st.sampled_from(KEYS), FACTORS, max_size=3),
    batches=st.lists(st.integers(1, 300), min_size=1, max_size=3, unique=True),
    device=st.sampled_from(["v100-sxm2-16gb", "t4", "a100-sxm4-80gb", "cpu-16core"]),
    workload=st.sampled_from(["resnet50", "mobilenet_v2", "bert_base"]),
    precision=st.sampled_from(["fp32", "amp"]),
    fidelity=st.sampled_from(["calibrated", "calibrated", "roofline", "napkin"]),
)
def test_each_point_is_the_main_jobs_answer(
    axes: dict[str, list[str]], batches: list[int], device: str, workload: str, precision: str, fidelity: str
) -> None:
    options, network = Options(precision=precision, fidelity=fidelity, ignore_memory=True), load_workload(workload)
    given = {key: values for key, values in axes.items() if _stands(device, key)}
    counts, place = (1,) if device.startswith("cpu") else (1, 4), 0
    for devices in device_columns(device, given):
        for which in alike(devices, get_precision(precision)):
            some = devices.some(which)
            clusters = [usual_cluster(some.one, count) if count > 1 else None for count in counts]
            points = Points(network, some, options, np.array(batches), clusters)
            steps, factors = steps_at(points), factors_at(points, steps_at(points))
            variant, batch = len(some) - 1, len(batches) - 1
            values = _values(given, place + int(which[variant]))
            loaded = load_device(device, overrides=[f"{key}={value}" for key, value in zip(given, values, strict=True)])
            for column, count in enumerate(counts):
                cluster = usual_cluster(loaded, count) if count > 1 else None
                answer = simulate(network, loaded, Options(**{**vars(options), "batch": batches[batch]}), cluster)
                at = variant, column, batch
                assert steps.time_s[at] == pytest.approx(answer.step.time_s, rel=1e-12)
                assert steps.mfu[at] == pytest.approx(answer.step.mfu, rel=1e-12)
                assert steps.shares[:, *at] == pytest.approx(answer.step.bound_shares, abs=1e-9)
                if answer.interval is not None:
                    assert factors is not None
                    found = factors[0][at], factors[1][at]
                    assert found == pytest.approx((answer.interval.low, answer.interval.high), rel=1e-9)
        place += len(devices)


def _stands(device: str, key: str) -> bool:
    """Whether a device has a value that a factor may be of."""
    try:
        load_device(device, overrides=[f"{key}=1x"])
    except InputError:
        return False
    return True


def _values(axes: dict[str, list[str]], place: int) -> list[str]:
    shape = tuple(map(len, axes.values()))
    at = np.unravel_index(place, shape) if shape else ()
    return [values[int(where)] for values, where in zip(axes.values(), at, strict=True)]


def test_separate_axes_are_loaded_once_a_value(monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[Any] = []
    real = load_device
    monkeypatch.setattr("simulator.device.columns.load_device", lambda *a, **k: loads.append(k) or real(*a, **k))
    axes = {"memory.bandwidth": [f"{n} GB/s" for n in range(901, 941)], "launch": [f"{n} ns" for n in range(901, 931)]}
    (found,) = device_columns("v100-sxm2-16gb", axes)
    assert len(found) == 1200
    assert len(loads) <= 40 + 30 + 4
    assert set(found.changed) == {"memory.bandwidth_byte_per_s", "launch_s"}


def test_a_clock_under_a_power_limit_follows_from_two_axes() -> None:
    """Bandwidth takes power from a T4's clock: its sustained rates fall with both axes, so that each is loaded."""
    axes = {"memory.bandwidth": ["0.5x", "1x", "2x"], "peak.fp32": ["1x", "2x"]}
    (found,) = device_columns("t4", axes)
    for place, (bandwidth, peak) in enumerate((b, p) for b in axes["memory.bandwidth"] for p in axes["peak.fp32"]):
        loaded = load_device("t4", overrides=[f"memory.bandwidth={bandwidth}", f"peak.fp32={peak}"])
        assert found.number("sustained.vector")[place] == loaded.sustained["vector"]


def test_what_is_no_column_is_loaded_each() -> None:
    assert [len(one) for one in device_columns("v100", {"power": ["200 W", "300 W"]})] == [1, 1]
    assert [len(one) for one in device_columns("v100", {"memory.stacks": ["2", "4"]})] == [1, 1]


@pytest.mark.parametrize("key", ["kernel.winograd", "kernel.scattered_write"])
def test_a_coefficient_that_is_nothing_for_one_variant_is_something_for_another(key: str) -> None:
    (devices,) = device_columns("v100", {key: ["0", "1.1", "2"]})
    network, options = load_workload("resnet50"), Options(ignore_memory=True)
    found = steps_at(Points(network, devices, options, np.array([32]))).time_s[:, 0, 0]
    alone = [simulate(network, load_device("v100", overrides=[f"{key}={n}"]), Options(batch=32)) for n in (0, 1.1, 2)]
    assert found == pytest.approx([answer.step.time_s for answer in alone], rel=1e-12)
    assert len(set(found)) == 3


def test_variants_that_wait_differently_share_their_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    real = points_of_steps._busy

    def counted(points: Points, which: IntArray, batch: FloatArray) -> tuple[FloatArray, IntArray]:
        asked.append(len(which))
        return real(points, which, batch)

    monkeypatch.setattr(points_of_steps, "_busy", counted)
    (devices,) = device_columns("rtx-4090", {"launch": ["1us", "2us"], "kernel.desktop_host": ["0.5", "0.6", "0.7"]})
    steps = steps_at(Points(load_workload("lenet5"), devices, Options(), np.array([1])))
    assert len(set(steps.time_s.ravel())) == 6
    assert sum(asked) == 1


def test_times_of_a_memory_that_its_technology_decides() -> None:
    stock, twice = load_device("cpu-16core"), load_device("cpu-16core", overrides=["memory.bandwidth=2x"])
    assert twice.memory.bandwidth_byte_per_s == pytest.approx(2 * stock.memory.bandwidth_byte_per_s)


def test_a_peak_that_overtakes_another_changes_the_kernels() -> None:
    (devices,) = device_columns("v100", {"peak.fp16_tensor": ["0.05x", "1x"]})
    assert [which.tolist() for which in alike(devices, get_precision("amp"))] == [[1], [0]]


def test_a_step_bound_by_its_host_waits() -> None:
    (devices,) = device_columns("v100", {"launch": ["1 us", "100 us"]})
    steps = steps_at(Points(load_workload("resnet50"), devices, Options(), np.array([1])))
    assert steps.shares[Bound.OVERHEAD, 1, 0, 0] > 0.9 > steps.shares[Bound.OVERHEAD, 0, 0, 0]

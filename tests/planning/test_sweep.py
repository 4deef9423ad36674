"""Sweeps: each row is the answer that the main job gives, reasons stand in rows, fronts and conditions by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.device.device import load_device
from simulator.device.system import usual_cluster
from simulator.errors import InputError, SimulatorError, UnknownNameError
from simulator.pipeline import Options, simulate
from simulator.planning import sweep as sweeping
from simulator.planning.answers import COLUMNS
from simulator.planning.ranges import duration_s, names, values, whole_numbers
from simulator.planning.sweep import Axes, pareto, parts, sweep, table
from simulator.planning.where import matching
from simulator.workload.reading import load_workload

FRAME = pd.DataFrame(
    {"device": ["a", "b", "c"], "step.time_s": [0.1, 0.3, None], "memory.fits": [True, False, None], "batch": [1, 2, 4]}
)


@pytest.mark.parametrize(("precision", "batch"), [("fp32", 16), ("fp32", 64), ("amp", 16), ("amp", 64)])
def test_a_row_is_the_main_jobs_answer(precision: str, batch: int) -> None:
    frame = sweep("resnet50", "v100", batch=[16, 64], precision=["fp32", "amp"], epochs=3)
    row = frame[(frame["precision"] == precision) & (frame["batch"] == batch)].iloc[0]
    answer = simulate(
        load_workload("resnet50"), load_device("v100"), Options(batch=batch, precision=precision, epochs=3)
    )
    assert row["step.time_s"] == pytest.approx(answer.step.time_s, rel=1e-12)
    assert row["step.mfu"] == pytest.approx(answer.step.mfu, rel=1e-12)
    assert row["step.bound"] == answer.step.bound.name.lower()
    assert row["memory.total_bytes"] == pytest.approx(answer.memory.total_bytes, rel=1e-12)
    assert answer.interval is not None
    assert row["interval.high_s"] == pytest.approx(answer.step.time_s * answer.interval.high, rel=1e-12)
    assert row["run.total_s"] == pytest.approx(answer.run.total_s, rel=1e-3)  # of whole steps


def test_several_devices_are_joined_as_usual() -> None:
    frame = sweep("resnet50", "v100-sxm2-16gb", batch=32, devices=[1, 8])
    device = load_device("v100-sxm2-16gb")
    answer = simulate(load_workload("resnet50"), device, Options(batch=32), usual_cluster(device, 8))
    assert frame["step.time_s"].tolist()[1] == pytest.approx(answer.step.time_s)
    assert frame["step.samples_per_s"].tolist()[1] == pytest.approx(answer.step.samples_per_s)


def test_any_value_of_a_device_is_an_axis() -> None:
    frame = sweep("resnet50", "v100", batch=32, set={"memory.bandwidth": ["0.5x", "1x", "2x"]})
    assert frame["memory.bandwidth"].tolist() == ["0.5x", "1x", "2x"]
    assert frame["step.time_s"].is_monotonic_decreasing


def test_what_cannot_run_is_a_row_with_its_reason() -> None:
    frame = sweep("resnet50", ["v100", "k80"], batch=[32, 4096], precision=["fp32", "bf16"])
    assert len(frame) == 8
    small = frame[(frame["device"] == "v100-pcie-16gb") & (frame["batch"] == 4096) & (frame["precision"] == "fp32")]
    assert small["reason"].tolist() == ["does not fit the device's memory"]
    assert not small["memory.fits"].iloc[0]
    assert frame[frame["reason"].isna()]["step.time_s"].notna().all()
    assert {str(frame[name].dtype) for name in frame if name.endswith(("_s", "mfu", "bytes", "usd"))} == {"float64"}


def test_unknown_axes_and_names_are_errors_before_any_work() -> None:
    with pytest.raises(InputError, match="no axis"):
        sweep("resnet50", "v100", colour="red")
    with pytest.raises(UnknownNameError):
        Axes(["resnet50"], ["v100"], options={"precision": ["fp23"]})
    with pytest.raises(InputError, match="at least one workload"):
        Axes([], ["v100"])


def test_configurations_are_counted_as_they_come() -> None:
    axes = Axes(["lenet5", "alexnet"], ["v100", "t4"], batches=[1, 2, 3], options={"precision": ["fp32", "amp"]})
    found = [table(part) for part in parts(axes)]
    assert sum(map(len, found)) == len(axes) == 24
    assert set(COLUMNS) <= set(found[0].columns)


def test_small_parts_are_the_same_table(monkeypatch: pytest.MonkeyPatch) -> None:
    axes: dict[str, Any] = {"batch": [16, 32, 64], "devices": [1, 2], "epochs": [1, 5], "price": [1.0, 2.0, 3.0]}
    axes["set"] = {"memory.bandwidth": ["0.5x", "1x", "2x"], "launch": ["1 us", "4 us"]}
    names = ["v100-sxm2-16gb", "t4"]
    whole = sweep("resnet50", names, **axes.copy())
    assert len(whole) == 2 * 3 * 2 * 2 * 3 * 2 * 3
    monkeypatch.setattr(sweeping, "PART", 7)
    pd.testing.assert_frame_equal(sweep("resnet50", names, **axes.copy()), whole, rtol=1e-12)


def test_epochs_and_prices_are_axes() -> None:
    frame = sweep("resnet50", "v100", batch=32, epochs=[1, 90], price=[2.0, 3.5])
    once = frame["run.epoch_s"].iloc[0]
    assert frame["run.total_s"].tolist() == pytest.approx([once, once, 90 * once, 90 * once])
    assert frame["price.total_usd"].tolist() == pytest.approx([n * once / 3600 for n in (2, 3.5, 180, 315)])


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("32", [32]), ("1,8,32", [1, 8, 32]), ("16:512:x2", [16, 32, 64, 128, 256, 512]), ("8:24:8", [8, 16, 24]),
     ("1:8", [1, 2, 4, 8]), ("1,2:8:x2", [1, 2, 4, 8])],
)  # fmt: skip
def test_ranges_of_whole_numbers(text: str, numbers: Sequence[int]) -> None:
    assert whole_numbers(text, "--batch") == numbers


@pytest.mark.parametrize("text", ["", "0", "8:1:x2", "1:8:x1", "a", "1:2:3:4"])
def test_what_is_no_range(text: str) -> None:
    with pytest.raises(InputError, match="--batch"):
        whole_numbers(text, "--batch")


def test_ranges_of_values() -> None:
    assert values("memory.bandwidth=0.5x:2x:4") == ("memory.bandwidth", ["0.5x", "1x", "1.5x", "2x"])
    assert values("peak.fp32=10 TFLOP/s:20 TFLOP/s:2")[1] == ["10 TFLOP/s", "20 TFLOP/s"]
    assert values("memory.bandwidth=1x,2x")[1] == ["1x", "2x"]
    for text in ("memory.bandwidth", "memory.bandwidth=1x:2x", "memory.bandwidth=1x:2 GB/s:3", "m=1x:2x:1"):
        with pytest.raises(InputError):
            values(text)


def test_wildcards() -> None:
    assert names(["v100*"], "hardware_profiles/devices") == [
        "v100-pcie-16gb", "v100-pcie-32gb", "v100-sxm2-16gb", "v100-sxm2-32gb", "v100-sxm3-32gb",
    ]  # fmt: skip
    assert names(["t4,v100[memory.bandwidth=2x,peak.fp32=2x]"], "hardware_profiles/devices") == [
        "t4", "v100[memory.bandwidth=2x,peak.fp32=2x]",
    ]  # fmt: skip
    with pytest.raises(UnknownNameError):
        names(["zz*"], "hardware_profiles/devices")


def test_durations() -> None:
    found = [duration_s(text, "--deadline") for text in ("24h", "3d", "90min", "500 ms", "2 days")]
    assert found == [86400, 259200, 5400, 0.5, 172800]


@pytest.mark.parametrize(
    ("condition", "rows_left"),
    [
        ("step.time_s < 0.2", [0]),
        ("memory.fits", [0]),
        ("not memory.fits", [1, 2]),
        ("step.time_s >= 0.1 and (batch == 2 or batch == 1)", [0, 1]),
        ("device in (a, 'c')", [0, 2]),
        ("batch in (2,4) or device == a", [0, 1, 2]),
        ("device != b and memory.fits == true", [0]),
    ],
)
def test_conditions(condition: str, rows_left: list[int]) -> None:
    assert matching(FRAME, condition).index.tolist() == rows_left


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ("step.time < 1", "unknown column"),
        ("batch <", "a value"),
        ("batch < 1 batch", "an end"),
        ("(batch < 1", r"'\)'"),
        ("< 1", "a column"),
        ("batch in 3", "values"),
        ("__import__('os')", "unknown column"),
        ("batch < 1; batch", "no part"),
        ("batch < high", "cannot be compared"),
        ("", "a column"),
    ],
)
def test_a_malformed_condition_says_where(condition: str, words: str) -> None:
    with pytest.raises(SimulatorError, match=words) as caught:
        matching(FRAME, condition)
    assert "\n" not in str(caught.value)


@given(st.text(alphabet="abd step.time_s<>=!()'\"and or not in,0123", max_size=30))
def test_any_text_is_a_condition_or_an_error(text: str) -> None:
    try:
        found = matching(FRAME, text)
    except SimulatorError:
        return
    assert len(found) <= len(FRAME)


def test_a_front_by_hand() -> None:
    frame = pd.DataFrame({"time": [1.0, 2, 3, 2], "watts": [9.0, 5, 5, 6], "rate": [1.0, 2, 3, 4]})
    assert pareto(frame, ["time", "watts"]).index.tolist() == [0, 1]
    assert pareto(frame, ["-rate", "watts"]).index.tolist() == [2, 3]
    with pytest.raises(InputError, match="no column"):
        pareto(frame, ["tim"])


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=20))
def test_no_row_of_a_front_is_beaten_and_every_other_is(points: list[tuple[int, int]]) -> None:
    frame = pd.DataFrame(points, columns=["x", "y"])
    front = pareto(frame, ["x", "y"])

    def beaten(x: int, y: int) -> bool:
        return any(a <= x and b <= y and (a, b) != (x, y) for a, b in points)

    kept = set(map(tuple, front.to_numpy().tolist()))
    assert all(not beaten(*point) for point in kept)
    assert all(beaten(*point) for point in points if point not in kept)

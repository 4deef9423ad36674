"""Rows that reports show, of cases made up by hand: errors, shares and units stand beside the numbers they are of."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from simulator.calibration.changes import Change, Comparison
from simulator.calibration.collectives import LARGEST, SMALLEST, MeasuredCollective
from simulator.calibration.validation import Case
from simulator.device.device import load_device
from simulator.device.system import usual_cluster
from simulator.parallel.plan import Plan
from simulator.pipeline import Options
from simulator.planned import Shares
from simulator.planning.scaling import ScalingPoint
from simulator.report import sweep
from simulator.report.collectives import collectives_summary, errors, grouped_rows
from simulator.report.moved import comparison_summary, comparison_tables
from simulator.report.plan import lines
from simulator.report.scaling import rows, scaling_summary
from simulator.report.style import percent
from simulator.workload.reading import load_workload


def collective(name: str, link: str, size: float, time_s: float, predicted_s: float | None) -> MeasuredCollective:
    return MeasuredCollective(name, "all_reduce", link, "dgx", 8, 1, size, time_s, predicted_s)


def test_errors_of_collectives_are_of_the_bandwidth() -> None:
    # Twice the time is half the bandwidth: -50 %; half the time twice of it: +100 %.
    slow, fast = collective("a", "nvlink3", 1e6, 1.0, 2.0), collective("b", "nvlink3", 1e6, 1.0, 0.5)
    assert errors([slow, fast]).tolist() == [-0.5, 1.0]
    (row,) = grouped_rows([slow, fast], lambda one: one.link)
    # The 90th percentile of 0.5 and 1 lies at 0.95.
    assert row == {
        "group": "nvlink3",
        "rows": 2,
        "mean": "75.0%",
        "median": "75.0%",
        "bias": "+25.0%",
        "90th pct": "95.0%",
    }
    names = [each["group"] for each in grouped_rows([slow, collective("c", "a", 1e6, 1, 1)], lambda one: one.link)]
    assert names == ["a", "nvlink3"]


def test_sizes_at_the_edges_are_judged_and_beyond_them_not() -> None:
    edges = [collective("a", "x", float(size), 1.0, 2.0) for size in (SMALLEST, LARGEST)]
    beyond = [collective("b", "x", float(size), 1.0, 0.5) for size in (SMALLEST - 1, LARGEST + 1)]
    absent = collective("c", "x", 1e6, 1.0, None)
    found = collectives_summary([*edges, *beyond, absent])
    assert (found["rows"], found["predicted"], found["mean_error"]) == (5, 4, 0.5)
    assert collectives_summary([absent])["mean_error"] is None


def test_rows_of_scaling() -> None:
    ran = ScalingPoint(4, 32, 0.5, 256.0, 3.2, 0.8, (0.0, 0.15, 0.05))
    lost = ScalingPoint(8, 32, reason="no such machine")
    first, second = rows([ran, lost])
    assert (first["devices"], first["batch"], first["samples/s"]) == ("4", "32", "256")
    assert (first["speed-up"], first["efficiency"]) == ("3.20", "80.0%")
    assert (first["to smaller batches"], first["to exchange"], first["to slowest device"]) == ("0.0%", "15.0%", "5.0%")
    assert (second["step"], second["speed-up"], second["to exchange"]) == ("none", "", "")
    points = scaling_summary("w", "d", [ran, lost])["points"]
    assert points[0]["lost"] == {"smaller batches": 0.0, "exchange": 0.15, "slowest device": 0.05}
    assert [point["reason"] for point in points] == [None, "no such machine"]


@pytest.mark.parametrize(("plan", "fullest"), [(Plan(data=2), False), (Plan(pipeline=2), True)])
def test_the_fullest_stage_is_named_where_there_are_several(plan: Plan, fullest: bool) -> None:
    device = load_device("a100-sxm4-80gb")
    options = Options(batch=4, precision="amp")
    answer = Shares(load_workload("gpt2"), device, options, usual_cluster(device, 2)).evaluate(plan)
    text = "\n".join(lines(answer))
    assert ("the fullest" in text) is fullest
    assert (f"on stage {answer.fullest + 1}, the fullest" in text) is fullest
    assert f"{answer.mfu:.1%} of the peak used (MFU)" in text
    assert "it does not fit" not in text


def change(measured_s: float, before_s: float, now_s: float, name: str = "a") -> Change:
    measured = SimpleNamespace(
        id=name, workload="w", device="d", task="train", precision="fp32", batch=1, step_s=measured_s
    )
    return Change(Case(cast(Any, measured), predicted_s=now_s), before_s)


def test_what_moved_nearer_and_farther() -> None:
    # +50 % to +10 %; -10 % to -40 %; unmoved at +20 %.
    found = Comparison((change(1.0, 1.5, 1.1, "a"), change(1.0, 0.9, 0.6, "b"), change(1.0, 1.2, 1.2, "c")), 2, 3)
    (title, sums), (_, shown) = comparison_tables(found)
    assert title == "3 rows of both runs (2 new, 3 gone)"
    whole, moved = sums
    assert (whole["rows"], whole["mean error before"], whole["now"]) == (3, "26.67%", "23.33%")
    assert (moved["rows"], moved["mean error before"], moved["now"]) == (2, "30.00%", "25.00%")
    assert [row["id"] for row in shown] == ["b", "a"]  # ln 0.667 is farther from nothing than ln 0.733
    assert (shown[0]["moved"], shown[0]["error before"], shown[0]["error now"]) == ("-33.3%", "-10.0%", "-40.0%")
    many = (*[change(1.0, 1.5, 1.1)] * 3, *[change(1.0, 0.9, 0.6)] * 2, change(1.0, 1.2, 1.2))
    (_, (sums, *_)), _ = comparison_tables(Comparison(many, 0, 0))
    assert (sums["rows"], sums["nearer"], sums["farther"]) == (6, 3, 2)
    summary = comparison_summary(found)
    assert summary["mean_error"] == pytest.approx(0.7 / 3)
    assert summary["mean_error_before"] == pytest.approx(0.8 / 3)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("memory.total_bytes", 2.0**30, "1.00 GiB"),
        ("step.time_s", 0.0015, "1.50 ms"),
        ("step.samples_per_s", 1234.5, "1,234"),  # a rate, not a duration
        ("step.mfu", 0.314, "31%"),
        ("run.epochs", 90, "90"),
        ("reason", None, ""),
        ("step.time_s", float("nan"), ""),
    ],
)
def test_cells_of_a_sweep_have_their_units(name: str, value: Any, text: str) -> None:
    assert sweep._cell(name, value) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [
        *((0.0, "0 %"), (0.0005, "< 0.1 %"), (0.001, "0.1 %"), (0.034, "3.4 %"), (0.0994, "9.9 %")),
        *((0.0995, "10 %"), (0.71, "71 %"), (1.0, "100 %")),
    ],
)
def test_shares_for_people(share: float, text: str) -> None:
    assert percent(share) == text

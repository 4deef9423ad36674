"""Tables of predicted against measured figures, of cases made up by hand, and what is written of them."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from simulator.calibration.collectives import MeasuredCollective
from simulator.calibration.llm_ops import OpCase
from simulator.calibration.llm_rows import MeasuredOp
from simulator.calibration.measurements import Measurement
from simulator.calibration.powered import PoweredCase, PoweredRow
from simulator.calibration.served import ServedCase
from simulator.calibration.served_rows import ServedRow
from simulator.calibration.trained import TrainedCase
from simulator.calibration.trained_rows import TrainedRow
from simulator.calibration.validation import Case
from simulator.report import llm_ops, powered, served, trained
from simulator.report.cases import write_tables
from simulator.report.collectives import print_collectives
from simulator.report.validation import (
    GROUPS,
    Validation,
    overall_rows,
    print_validation,
    statistics_rows,
    tables_of,
    validation_summary,
    worst_rows,
    write_validation,
)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


# Errors of -20 %, +10 % and +40 %: mean 23.3 %, median 20 %, bias +10 %; nine tenths of the way from the first to the
# third size, 0.1, 0.2, 0.4, lies at 0.2 + 0.8 x 0.2 = 0.36.
PREDICTED = (0.8, 1.1, 1.4)
ALL = {"rows": 3, "median": "20.0%", "mean": "23.3%", "bias": "+10.0%", "90th pct": "36.0%"}


# ---- kernels of an engine


def op(name: str, device: str, kind: str, predicted: float | None) -> OpCase:
    row = MeasuredOp(name, device, kind, "fp8", "trt", {"m": "8", "n": "16"}, 1.0)
    return OpCase(row, math.nan if predicted is None else predicted, "" if predicted else "no such device")


OPS = [
    op("a", "h100", "gemm", 0.8),
    op("b", "h200", "gemm", 1.1),
    op("c", "h200", "moe", 1.4),
    op("d", "gh200", "moe", None),
]


def test_kernels_by_group() -> None:
    found = llm_ops.ops_summary(OPS)
    assert [(row["group"], row["rows"], row["bias"]) for row in found["by"]["device"]] == [
        ("h100", 1, "-20.0%"),
        ("h200", 2, "+25.0%"),
    ]
    assert (found["rows"], found["not_predicted"]) == (4, 1)
    assert set(found["by"]) == {"device", "operation", "call", "device and call"}
    assert [row["group"] for row in found["by"]["operation"]] == ["gemm", "moe"]
    assert found["reasons"] == [{"rows": 1, "not predicted because": "no such device"}]
    assert found["cases"][0] == {
        **{"id": "a", "metric": "time_s", "device": "h100", "call": OPS[0].row.call, "dims": "m=8;n=16"},
        **{"measured": 1.0, "predicted": 0.8, "reason": None},
    }
    assert (found["cases"][3]["predicted"], found["cases"][3]["reason"]) == (None, "no such device")


# ---- power


def power(name: str, system: str, value: float, predicted: float | None, unit: str = "W") -> PoweredCase:
    row = PoweredRow(name, "train", system, "mean", value, unit, 2025, "x")
    return PoweredCase(row, math.nan, "", "no board") if predicted is None else PoweredCase(row, predicted, "h100")


# Measured 100 W each; 80, 110 and 140 W are predicted, and an interval of 0.803 to 1.28 of each holds the first two.
POWERS = [
    power("a", "dgx", 100.0, 80.0),
    power("b", "dgx", 100.0, 110.0),
    power("c", "hgx", 100.0, 140.0),
    power("d", "hgx", 5.0, None, "J"),
]


def test_power_by_group_and_how_often_the_interval_holds() -> None:
    found = powered.powered_summary(POWERS)
    assert (found["rows"], found["not_predicted"]) == (4, 1)
    assert found["within_interval"] == pytest.approx(2 / 3)
    assert powered.powered_summary(POWERS[3:])["within_interval"] is None
    assert found["by"]["device"] == [{"group": "h100", **ALL}]
    assert [(row["group"], row["rows"]) for row in found["by"]["system"]] == [("dgx", 2), ("hgx", 1)]
    assert set(found["by"]) == {"device", "kind", "system"}
    first, last = found["cases"][0], found["cases"][3]
    assert (first["metric"], first["device"], first["measured"], first["predicted"]) == ("power_w", "h100", 100, 80)
    assert (first["low"], first["high"], first["reason"]) == (pytest.approx(64.64), pytest.approx(100.0), None)
    assert (last["metric"], last["device"], last["predicted"], last["low"], last["high"]) == ("train", *[None] * 4)


def test_the_title_of_power_says_how_often_the_interval_holds(capsys: pytest.CaptureFixture[str]) -> None:
    powered.print_powered(POWERS, None)
    text = " ".join(capsys.readouterr().out.split())
    assert "power: 3 of 4 rows predicted; 67% of the figures lie in their intervals" in text
    assert "cases and tables" not in text
    powered.print_powered(POWERS[3:], Path("out"))
    text = capsys.readouterr().out
    assert "of the figures" not in text
    assert "no board" in text
    assert text.endswith("cases and tables: out\n")


# ---- served models


def serving(name: str, engine: str, predicted: float | None, note: str = "") -> ServedCase:
    row = ServedRow(
        name, "llama2_7b", "h100", "fp16", 1, 1, 1, engine, 1, 128, 128, "tokens_per_s", 1.0, 2025, "x", note
    )
    return ServedCase(
        row, "decode", math.nan if predicted is None else predicted, "" if predicted else "no such engine"
    )


SERVED = [
    serving("a", "vllm", 0.8),
    serving("b", "vllm", 1.1),
    serving("c", "sglang", 1.4),
    serving("d", "own", None),
    serving("e", "vllm", 3.0, "ANOMALY"),
    serving("f", "vllm", 5.0, "ANOMALY"),
]


def test_served_figures_by_group_without_those_in_doubt() -> None:
    found = served.served_summary(SERVED)
    assert (found["rows"], found["not_predicted"]) == (6, 1)
    assert found["by"]["kind"] == [
        {"kind": "decode", "rows": 3, "mean": "23.3%", "median": "20.0%", "bias": "+10.0%", "within 20 %": "67%"}
    ]
    assert [(row["engine"], row["rows"], row["bias"]) for row in found["by"]["engine"]] == [
        ("sglang", 1, "+40.0%"),
        ("vllm", 2, "-5.0%"),
    ]
    assert set(found["by"]) == {"kind", "engine", "device", "workload", "source"}
    # Three and five times the measured figure: in the middle four times.
    assert found["doubts"] == [
        {"rows": 2, "measured": "the table calls it an anomaly", "predicted over measured": "4.00 (median)"}
    ]
    assert found["cases"][0] == {
        **{"id": "a", "kind": "decode", "metric": "tokens_per_s", "measured": 1.0, "predicted": 0.8},
        **{"reason": None, "doubt": None},
    }
    assert (found["cases"][3]["predicted"], found["cases"][3]["reason"]) == (None, "no such engine")
    assert found["cases"][4]["doubt"] == "the table calls it an anomaly"


def test_served_figures_by_two_columns_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    served.print_served(SERVED, None)
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["decode", "sglang", "1"] in [row[:3] for row in rows]
    assert ["decode", "vllm", "2"] in [row[:3] for row in rows]


# ---- training on many devices


def training(
    name: str, metric: str, measured: float, predicted: float | None, software: str = "Megatron"
) -> TrainedCase:
    row = TrainedRow(
        name, "gpt2", "GPT", "h100", 8, "bf16", 8, 1, 1024, (8, 1, 1, 1, 1), "1", "none", software, "",
        {metric: measured},
    )  # fmt: skip
    if predicted is None:
        return TrainedCase(row, metric, measured, reason="no such plan")
    return TrainedCase(row, metric, measured, predicted, 0.9 * predicted, 1.2 * predicted, plan="dp=8")


# Of times: +25 % (2.0 for 1.6), -20 % of tokens that come 1.25 times as fast; intervals of 0.9 to 1.2 hold neither.
TRAINED = [
    training("a", "step_s", 1.6, 2.0),
    training("b", "tokens_per_s_per_gpu", 100.0, 125.0),
    training("c", "step_s", 1.0, 1.0),
    training("d", "memory_gib", 10.0, 12.0),
    training("e", "step_s", 1.0, None),
]


def test_plans_by_group_times_and_memory_apart() -> None:
    found = trained.trained_summary(TRAINED)
    assert (found["rows"], found["not_predicted"]) == (5, 1)
    assert [(row["kind"], row["rows"], row["bias"]) for row in found["by"]["kind"]] == [
        ("memory", 1, "+20.0%"),
        ("step", 3, "+1.7%"),
    ]
    (device,) = found["by"]["device"]
    assert device == {
        **{"device": "h100", "rows": 3, "mean": "15.0%", "median": "20.0%", "bias": "+1.7%", "in interval": "33%"}
    }
    assert set(found["by"]) == {"device", "precision", "workload", "framework", "kind"}
    assert found["reasons"] == [{"rows": 1, "not predicted because": "no such plan"}]
    first, last = found["cases"][0], found["cases"][4]
    assert first == {
        **{"id": "a", "metric": "step_s", "measured": 1.6, "predicted": 2.0, "plan": "dp=8", "reason": None},
        **{"low": pytest.approx(1.8), "high": pytest.approx(2.4)},
    }
    assert (last["predicted"], last["low"], last["high"], last["plan"]) == (None, None, None, None)
    assert last["reason"] == "no such plan"


def test_a_figure_at_the_edge_of_its_interval_is_inside() -> None:
    row = TRAINED[0].row
    for measured, inside in ((0.9, True), (1.2, True), (0.89, False), (1.21, False)):
        frame = trained.trained_frame([TrainedCase(row, "step_s", measured, 1.0, 0.9, 1.2)])
        assert frame["inside"].tolist() == [inside]


# ---- what is written

WRITERS: dict[str, tuple[Callable[..., None], Any, str, str]] = {
    "kernels": (llm_ops.write_ops, OPS, "cases.csv", "tables.md"),
    "power": (powered.write_powered, POWERS, "cases.csv", "tables.md"),
    "serving": (served.write_served, SERVED, "cases.csv", "tables.md"),
    "training": (trained.write_trained, TRAINED, "plans.csv", "plans.md"),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_folder_holds_every_case_and_every_table(name: str, tmp_path: Path) -> None:
    write, cases, table, page = WRITERS[name]
    for _ in range(2):  # again over what is there
        write(cases, tmp_path / "deep" / "out")
    folder = tmp_path / "deep" / "out"
    assert sorted(path.name for path in folder.iterdir()) == sorted([table, page])
    rows = rows_of(folder / table)
    assert [row["id"] for row in rows] == [case.row.id for case in cases]
    assert [bool(row["reason"]) for row in rows] == [bool(case.reason) for case in cases]
    text = (folder / page).read_text(encoding="utf-8")
    assert text.startswith("# Predicted against measured ")
    assert "## rows without a prediction\n\n| rows | not predicted because |" in text
    assert text.endswith("|\n")


PRINTERS: dict[str, tuple[Callable[..., None], Any, list[str]]] = {
    "kernels": (
        llm_ops.print_ops,
        OPS,
        ["3 of 4 kernels predicted", "by device", "by operation", "by call", "by device and call"],
    ),
    "serving": (served.print_served, SERVED, ["5 of 6 figures predicted", "by engine", "rows in doubt, in no error"]),
    "training": (trained.print_trained, TRAINED, ["4 of 5 figures predicted", "time, by device", "time, by framework"]),
}


@pytest.mark.parametrize("name", PRINTERS)
def test_the_terminal_shows_every_table(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    show, cases, titles = PRINTERS[name]
    show(cases, None)
    text = " ".join(capsys.readouterr().out.split())
    assert [title for title in [*titles, "rows without a prediction"] if title not in text] == []
    assert "time, by kind" not in text


def test_a_table_without_rows_has_no_heading(tmp_path: Path) -> None:
    write_tables("Title", {"empty": [], "full": [{"a": 1}]}, tmp_path / "page.md")
    assert (tmp_path / "page.md").read_text(encoding="utf-8") == "# Title\n\n## full\n\n| a |\n| --- |\n| 1 |\n"


def test_collectives_on_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    def row(nodes: int, size: float, predicted: float | None, reason: str | None = None) -> MeasuredCollective:
        return MeasuredCollective("a", "all_reduce", "nvlink3", "dgx", 8 * nodes, nodes, size, 1.0, predicted, reason)

    print_collectives([row(1, 1e6, 2.0), row(2, 1e6, 0.5), row(1, 1.0, 9.0), row(1, 1e6, None, "no such link")])
    text = capsys.readouterr().out
    assert "4 measured collectives, 1 KiB to 8 GiB" in text
    lines = [line.split() for line in text.splitlines()]
    # Half and twice the bandwidth; a byte is judged by nobody.
    assert ["all", "2", "75.0%", "75.0%", "+25.0%", "95.0%"] in lines
    assert ["8", "in", "1", "machine", "1", "50.0%", "50.0%", "-50.0%", "50.0%"] in lines
    assert ["16", "in", "2", "machines", "1", "100.0%", "100.0%", "+100.0%", "100.0%"] in lines
    assert ["1", "no", "such", "link"] in lines
    print_collectives([row(1, 1e6, None, "no such link")])
    assert "measured collectives" not in capsys.readouterr().out


# ---- steps


def step(name: str, batch: int, predicted: float | None, workload: str = "resnet50", **more: Any) -> Case:
    measured = Measurement(name, workload, "v100", "train", "fp32", batch, 1, 1.0, True, "pytorch", "")
    if predicted is None:
        return Case(measured, reason="no such layer")
    return Case(measured, predicted, more.get("low"), more.get("high"), "memory", "calibrated")


# Of large batches +10 % and -30 %, the second outside its interval; of small ones +50 %.
STEPS = [
    step("a", 16, 1.1, low=0.9, high=1.3),
    step("b", 64, 0.7, low=0.6, high=0.9),
    step("c", 15, 1.5, low=1.0, high=2.0),
    step("d", 8, None),
]
LARGE = {
    **{"cases": 2, "mean": "20.0%", "median": "20.0%", "bias": "-10.0%", "90th pct": "30.0%"},
    **{"within 10 %": "50%", "within 20 %": "50%", "in interval": "50%"},
}
SMALL = {
    **{"cases": 1, "mean": "50.0%", "median": "50.0%", "bias": "+50.0%", "90th pct": "50.0%"},
    **{"within 10 %": "0%", "within 20 %": "0%", "in interval": "100%"},
}


def test_errors_of_large_and_small_batches_stand_apart() -> None:
    steps = [step("a", 16, 1.09, low=0.9, high=1.3), *STEPS[1:]]
    large = LARGE | {"mean": "19.5%", "median": "19.5%", "bias": "-10.5%"}
    assert statistics_rows(steps, "device") == [
        {"device": "v100", "batch": ">= 16", **large},
        {"device": "v100", "batch": "< 16", **SMALL},
    ]
    whole, first, second = overall_rows(steps)
    assert (whole["all"], whole["cases"], whole["mean"], whole["bias"]) == ("by row", 3, "29.7%", "+9.7%")
    assert (first, second) == ({"all": "batch 16 and more", **large}, {"all": "batch below 16", **SMALL})
    assert [row["size"] for row in statistics_rows(steps, "batch")] == ["< 16", ">= 16", ">= 16"]
    assert statistics_rows(steps, "layout")[0]["layout"] != ""


def test_what_a_row_does_not_say_is_called_so() -> None:
    assert {row["year"] for row in statistics_rows(STEPS, "year")} == {"not said"}


def test_the_worst_cases_come_first() -> None:
    many = [step(f"{number:02}", 16, 1 + number / 100) for number in range(12)]
    rows = worst_rows([*STEPS, *many])
    assert len(rows) == 10
    assert [row["error"] for row in rows[:4]] == ["+50%", "-30%", "+11%", "+10%"]
    assert rows[0] == {
        **{"worst": "resnet50", "device": "v100", "framework": "pytorch", "task": "train fp32", "batch": 15},
        **{"measured": "1.00 s", "predicted": "1.50 s", "error": "+50%", "bound": "memory"},
    }


def test_a_summary_of_steps_has_groups_and_every_case() -> None:
    found = validation_summary(Validation(STEPS, ("device",), {"device": STEPS[:2]}))
    assert (found["all"]["rows"], found["all"]["not_predicted"]) == (4, 1)
    assert found["all"]["by_row"]["cases"] == 3
    assert found["all"]["batch_16_and_more"]["mean"] == pytest.approx(0.2)
    assert found["all"]["batch_below_16"]["bias"] == pytest.approx(0.5)
    assert set(found["by"]) == {"device"}
    assert found["by"]["device"]["v100"]["rows"] == 4
    assert found["held_out"]["device"]["all"]["rows"] == 2
    assert set(found["held_out"]["device"]["by"]) == {"device"}
    case = found["cases"][0]
    assert (case["id"], case["workload"], case["device"], case["task"]) == ("a", "resnet50", "v100", "train")
    assert (case["precision"], case["batch"], case["measured_s"], case["predicted_s"]) == ("fp32", 16, 1.0, 1.1)
    assert (case["low_s"], case["high_s"], case["bound"], case["grade"]) == (0.9, 1.3, "memory", "calibrated")
    assert (case["reason"], case["framework"], case["host"], case["year"]) == (None, "pytorch", "server", "")
    assert "held_out" not in validation_summary(Validation(STEPS))
    assert "against" not in validation_summary(Validation(STEPS))


def test_held_out_steps_are_grouped_by_what_was_held_out_unless_asked() -> None:
    plain = [title for title, _ in tables_of(Validation(STEPS, held_out={"workload": STEPS}))]
    assert plain[:3] == [
        "4 measured steps",
        "4 steps, the workload held out of the fit",
        "workload held out, by workload",
    ]
    assert plain[3:] == [*(f"by {key}" for key in GROUPS), "worst cases", "rows without a prediction"]
    asked = [title for title, _ in tables_of(Validation(STEPS, ("batch",), {"workload": STEPS}))]
    assert "workload held out, by batch" in asked
    assert "workload held out, by workload" not in asked


def test_steps_on_the_terminal_and_in_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = Validation(STEPS, ("device",))
    write_validation(found, tmp_path / "deep" / "out")
    folder = tmp_path / "deep" / "out"
    assert sorted(path.name for path in folder.iterdir()) == ["cases.csv", "parity.png", "parity.svg", "tables.md"]
    rows = rows_of(folder / "cases.csv")
    assert [row["id"] for row in rows] == ["a", "b", "c", "d"]
    assert [row["predicted_s"] for row in rows] == ["1.1", "0.7", "1.5", ""]
    text = (folder / "tables.md").read_text(encoding="utf-8")
    assert text.startswith(
        "# Predicted against measured step times\n\n![Parity plot](parity.png)\n\n## 4 measured steps"
    )
    assert "## Worst cases\n\n| worst |" in text
    print_validation(found, None)
    assert "parity plot" not in capsys.readouterr().out
    print_validation(found, folder)
    text = capsys.readouterr().out
    assert text.endswith(f"parity plot and cases: {folder}\n")
    assert "worst cases" in text
    write_validation(found, folder)

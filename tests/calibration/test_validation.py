"""Measured tables: reading, cases with and without a prediction, error statistics, and the command."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from simulator.calibration.measurements import Measurement, options_of, read_measurements
from simulator.calibration.validation import Case, errors, grouped, predict
from simulator.cli import main
from simulator.device.device import load_device
from simulator.errors import InputError
from simulator.pipeline import Options, simulate
from simulator.workload.reading import load_workload

HEADER = "workload,device,task,precision,batch,devices,step_s"
ROW = "lenet5,v100-pcie-16gb,train,fp32,64,1,0.002"


def table(folder: Path, *lines: str) -> Path:
    path = folder / "measured.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def refused(folder: Path, *lines: str) -> str:
    with pytest.raises(InputError) as caught:
        read_measurements(table(folder, *lines))
    message = str(caught.value)
    assert "measured.csv: " in message
    assert "\n" not in message
    return message.partition("measured.csv: ")[2]


def measured(**changes: Any) -> Measurement:
    plain = Measurement("1", "lenet5", "v100-pcie-16gb", "train", "fp32", 64, 1, 0.002, True, "pytorch", "")
    return replace(plain, **changes)


def test_a_row_and_what_it_leaves_out(tmp_path: Path) -> None:
    found = read_measurements(table(tmp_path, "# A comment.", HEADER, ROW))
    assert found == [replace(measured(), id=found[0].id)]


def test_optional_columns_are_read_and_unknown_ones_passed_over(tmp_path: Path) -> None:
    lines = f"id,{HEADER},optimizer,framework,input_size,weather", f"a-1,{ROW},False,mxnet,32x32,rain"
    found = read_measurements(table(tmp_path, *lines))
    assert found == [measured(id="a-1", optimizer=False, framework="mxnet", input_size="32x32")]


@pytest.mark.parametrize(
    ("framework", "year", "expected"),
    [
        ("mxnet", "2018", "mxnet"),
        ("mxnet", "2020.0", "mxnet-2020"),
        ("pytorch", "2019", "pytorch-2022"),
        ("", "2019", "pytorch-2022"),
        ("pytorch", "2024", "pytorch"),
        ("pytorch", "", "pytorch"),
        ("pytorch", "nan", "pytorch"),
        ("pytorch", "before 2020", "pytorch"),
        ("tensorfow", "2019", "tensorfow"),
    ],
)
def test_the_year_names_the_release(tmp_path: Path, framework: str, year: str, expected: str) -> None:
    (found,) = read_measurements(table(tmp_path, f"{HEADER},framework,year", f"{ROW},{framework},{year}"))
    assert found.framework == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("true", True), ("True", True), ("", True), ("no", False), ("0", False), ("FALSE", False)]
)
def test_the_optimizer_column(tmp_path: Path, text: str, expected: bool) -> None:
    (found,) = read_measurements(table(tmp_path, f"{HEADER},optimizer", f"{ROW},{text}"))
    assert found.optimizer is expected


def test_the_optimizer_by_its_name(tmp_path: Path) -> None:
    plain, named = read_measurements(table(tmp_path, f"{HEADER},optimizer", f"{ROW},true", f"{ROW},Adam"))
    assert (plain.optimizer, plain.optimizer_name) == (True, "sgd")
    assert (named.optimizer, options_of(named).optimizer) == (True, "adam")
    assert predict(named).predicted_s > predict(plain).predicted_s  # type: ignore[operator]
    wrong = refused(tmp_path, f"{HEADER},optimizer", f"{ROW},adan")
    assert wrong.startswith("line 2: unknown optimizer 'adan'; did you mean 'adam'?")


@pytest.mark.parametrize("column", HEADER.split(","))
def test_a_missing_column_is_named(tmp_path: Path, column: str) -> None:
    message = refused(tmp_path, HEADER.replace(column, "other"), ROW)
    assert message.startswith(f"the column '{column}' is missing; a table has workload, device,")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (",64,", ",many,", "'many'"),
        (",0.002", ",fast", "'fast'"),
        (",0.002", ",nan", "batch, devices and step_s must be positive"),
        (",0.002", ",inf", "batch, devices and step_s must be positive"),
        (",0.002", ",-1", "batch, devices and step_s must be positive"),
        (",64,", ",0,", "batch, devices and step_s must be positive"),
        (",1,", ",0,", "batch, devices and step_s must be positive"),
        ("train", "trian", "unknown task 'trian'; known: train, infer, forward, backward"),
    ],
)
def test_a_malformed_value_is_named_with_its_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = refused(tmp_path, HEADER, ROW, ROW.replace(old, new, 1))
    assert text.startswith("line 3: ")
    assert message in text


def test_a_short_row_is_an_error(tmp_path: Path) -> None:
    assert refused(tmp_path, HEADER, "lenet5,v100-pcie-16gb,train").startswith("line 2: ")


def test_no_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.csv: not a file"):
        read_measurements(tmp_path / "gone.csv")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"workload": "lenet55"}, "unknown workload 'lenet55'; did you mean 'lenet5'?"),
        ({"device": "v1000"}, "unknown device 'v1000'"),
        ({"precision": "fp31"}, "unknown precision 'fp31'"),
        ({"precision": "bf16"}, "v100-pcie-16gb lists no bf16_tensor or bf16 peak"),
        ({"framework": "pytorh"}, "unknown framework 'pytorh'; did you mean 'pytorch'?"),
        ({"input_size": "32x64"}, "input size '32x64': write a square image as 224x224"),
        ({"input_size": "big"}, "input size 'big'"),
    ],
    ids=str,
)
def test_what_cannot_be_predicted_has_a_reason(changes: dict[str, Any], reason: str) -> None:
    case = predict(measured(**changes))
    assert case.predicted_s is None
    assert (case.reason or "").startswith(reason)


def test_a_prediction_is_the_simulated_step() -> None:
    case = predict(measured())
    step = simulate(load_workload("lenet5"), load_device("v100-pcie-16gb"), Options(batch=64)).step
    assert case.predicted_s == step.time_s
    assert case.bound == step.bound.name.lower()
    assert case.reason is None


def test_forward_and_backward_make_a_step_without_optimizer() -> None:
    forward, backward, both, whole = (
        predict(measured(**changes)).predicted_s or 0.0
        for changes in ({"task": "forward"}, {"task": "backward"}, {"optimizer": False}, {})
    )
    assert forward > 0
    assert backward > 0
    assert forward + backward == pytest.approx(both)
    assert both < whole


def test_a_step_that_does_not_fit_is_predicted_all_the_same() -> None:
    # It was measured, so it fitted.
    assert predict(measured(workload="resnet50", batch=4096)).predicted_s is not None


def test_the_input_size_reaches_the_network() -> None:
    small, large = (
        predict(measured(workload="resnet50", batch=32, input_size=size)).predicted_s or 0.0
        for size in ("224x224", "448x448")
    )
    assert 3 < large / small < 5
    short, long = (
        predict(measured(workload="gpt2", batch=4, input_size=size)).predicted_s or 0.0 for size in ("256", "1024")
    )
    assert long > 3 * short


# Error statistics.


def case(error: float, setting: str = "a", low: float | None = None, high: float | None = None) -> Case:
    """A case of one second measured, predicted with this error."""
    return Case(measured(workload=setting, step_s=1.0), predicted_s=1 + error, low_s=low, high_s=high)


CASES = [
    case(+0.05, low=0.9, high=1.2),
    case(+0.15, low=1.05, high=1.3),
    case(-0.10 + 1e-12, low=0.8, high=1.0),
    case(-0.50, "b"),
    Case(measured(workload="c"), reason="unknown"),
]
"""Three rows of one setting, one of another, one without a prediction."""


def test_errors_by_row() -> None:
    found = errors(CASES)
    assert found is not None
    assert found.cases == 4
    # (5 + 15 + 10 + 50) / 4 and (5 + 15 - 10 - 50) / 4.
    assert found.mean == pytest.approx(0.20)
    assert found.bias == pytest.approx(-0.10)
    # Sorted 5, 10, 15, 50: the median is the mean of 10 and 15; beyond the middle of the last row it is 50.
    assert found.median == pytest.approx(0.125)
    assert found.percentile_90 == pytest.approx(0.50)
    assert (found.within_10, found.within_20) == (0.5, 0.75)
    # One second lies in 0.9 to 1.2 and in 0.8 to 1.0, not in 1.05 to 1.3; without an interval it is not covered.
    assert found.covered == 0.5


def test_single_passes_on_several_devices() -> None:
    """The forward pass is that of one device; the backward pass waits for what of the exchange it does not hide."""
    one, eight = (
        {
            task: predict(measured(task=task, devices=devices, device="v100-sxm2-16gb"))
            for task in ("forward", "backward")
        }
        for devices in (1, 8)
    )
    assert eight["forward"].predicted_s == one["forward"].predicted_s
    assert (eight["backward"].predicted_s or 0) > (one["backward"].predicted_s or 0) > 0


def test_errors_by_setting() -> None:
    found = errors(CASES, by_setting=True)
    assert found is not None
    # Each of the three rows weighs 1 / 6, the one of b 1 / 2: 30 / 6 + 50 / 2 and 10 / 6 - 50 / 2.
    assert found.mean == pytest.approx(0.30)
    assert found.bias == pytest.approx(0.10 / 6 - 0.25)
    assert found.percentile_90 == pytest.approx(0.50)
    assert found.within_10 == pytest.approx(2 / 6)
    assert found.within_20 == pytest.approx(3 / 6)
    assert found.covered == pytest.approx(2 / 6)


def test_a_setting_is_a_device_and_a_workload() -> None:
    # The same network on another device weighs as much as the first two rows together: (10 + 30) / 2 / 2 + 40 / 2.
    other = Case(measured(workload="a", device="other", step_s=1.0), predicted_s=1.4)
    found = errors([case(0.1), case(0.3), other], by_setting=True)
    assert found is not None
    assert found.mean == pytest.approx(0.30)


def test_no_predictions_have_no_statistics() -> None:
    assert errors([]) is None
    assert errors(CASES[-1:]) is None


def test_groups_keep_every_case() -> None:
    assert {name: len(group) for name, group in grouped(CASES, "workload").items()} == {"a": 3, "b": 1, "c": 1}


# The command.


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["validate", *arguments], env={"COLUMNS": "120", "NO_COLOR": "1"})


@pytest.fixture
def file(tmp_path: Path) -> str:
    rows = (
        f"good,{ROW}",
        f"small,{ROW.replace(',64,', ',1,')}",
        f"eight,{ROW.replace(',1,', ',8,').replace('v100-pcie-16gb', 'm1')}",
        f"odd,{ROW.replace('lenet5', 'lenet55')}",
    )
    return str(table(tmp_path, f"id,{HEADER}", *rows))


CASE_KEYS = {"id", "workload", "device", "measured_s", "predicted_s", "low_s", "high_s", "bound", "grade", "reason"}


def test_json(file: str) -> None:
    result = run(file, "--json")
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert all(set(case) >= CASE_KEYS for case in answer["cases"])
    assert [case["id"] for case in answer["cases"]] == ["good", "small", "eight", "odd"]
    good, _, eight, odd = answer["cases"]
    assert (good["workload"], good["device"], good["measured_s"]) == ("lenet5", "v100-pcie-16gb", 0.002)
    assert good["predicted_s"] == predict(measured()).predicted_s
    assert good["bound"] in ("compute", "memory", "overhead")
    assert good["grade"]
    assert good["reason"] is None
    assert eight["predicted_s"] is None
    assert eight["reason"].startswith("m1 names no link between several of it")
    assert odd["reason"].startswith("unknown workload 'lenet55'")


def test_json_counts_what_has_no_prediction(file: str) -> None:
    answer = json.loads(run(file, "--json").stdout)
    assert (answer["all"]["rows"], answer["all"]["not_predicted"]) == (4, 2)
    assert answer["all"]["by_row"]["cases"] == 2
    assert answer["all"]["batch_16_and_more"]["cases"] == answer["all"]["batch_below_16"]["cases"] == 1
    assert answer["by"]["workload"]["lenet55"]["not_predicted"] == 1
    assert answer["by"]["workload"]["lenet55"]["by_row"] is None


def test_a_run_groups_by_any_column_of_the_table(tmp_path: Path) -> None:
    lines = f"{HEADER},weather", f"{ROW},rain", f"{ROW.replace(',64,', ',32,')},sun"
    answer = json.loads(run(str(table(tmp_path, *lines)), "--by", "weather", "--by", "family", "--json").stdout)
    assert list(answer["by"]) == ["weather", "family"]
    assert {name: group["rows"] for name, group in answer["by"]["weather"].items()} == {"rain": 1, "sun": 1}
    assert list(answer["by"]["family"]) == ["volta"]


def test_an_unknown_column_is_one_line_with_the_nearest(file: str) -> None:
    result = run(file, "--by", "worklod")
    assert result.exit_code == 2
    assert "unknown column 'worklod'; did you mean 'workload'?" in result.stderr


def test_numbers_are_grouped_in_their_order() -> None:
    cases = [Case(measured(batch=batch), predicted_s=1.0) for batch in (8, 64, 16)]
    assert list(grouped(cases, "batch")) == ["8", "16", "64"]


@pytest.mark.parametrize(
    ("framework", "layout", "expected"),
    [
        ("pytorch", "NHWC", "pytorch-channels-last"),
        ("pytorch", "channels_last", "pytorch-channels-last"),
        ("pytorch-channels-last", "channels first", "pytorch"),
        ("pytorch", "nchw", "pytorch"),
        ("tensorflow", "nhwc", "tensorflow"),
        ("pytorch", "", "pytorch"),
    ],
)
def test_the_layout_names_the_framework(tmp_path: Path, framework: str, layout: str, expected: str) -> None:
    (found,) = read_measurements(table(tmp_path, f"{HEADER},framework,layout", f"{ROW},{framework},{layout}"))
    assert found.framework == expected


def test_an_unknown_layout_is_named_with_its_line(tmp_path: Path) -> None:
    assert "line 2: unknown layout 'chanels last'" in refused(tmp_path, f"{HEADER},layout", f"{ROW},chanels last")


def test_cases_have_their_layout_host_and_year(tmp_path: Path) -> None:
    lines = f"{HEADER},framework,layout,host,year", f"{ROW},pytorch,nhwc,,2024.0"
    (case,) = json.loads(run(str(table(tmp_path, *lines)), "--json").stdout)["cases"]
    assert (case["layout"], case["host"], case["year"]) == ("channels last", "server", "2024")


def test_against_an_earlier_run(file: str, tmp_path: Path) -> None:
    earlier = json.loads(run(file, "--json").stdout)
    good, small = earlier["cases"][:2]
    before = good["predicted_s"] / 1.1
    good["predicted_s"], small["id"] = before, "another"
    old = tmp_path / "old.json"
    old.write_text(json.dumps(earlier), encoding="utf-8")
    found = json.loads(run(file, "--against", str(old), "--json").stdout)["against"]
    assert (found["rows"], found["new"], found["gone"]) == (1, 1, 1)
    assert found["mean_error_before"] == pytest.approx(abs(before / 0.002 - 1))
    (moved,) = found["moved"]
    assert (moved["id"], moved["moved"]) == ("good", pytest.approx(0.1))
    assert "1 rows of both runs (1 new, 1 gone)" in run(file, "--against", str(old)).stdout


@pytest.mark.parametrize("content", ["{}", "[]", "no", '{"cases": [{"id": 1}]}'])
def test_what_is_no_earlier_run_is_one_line(file: str, tmp_path: Path, content: str) -> None:
    old = tmp_path / "old.json"
    old.write_text(content, encoding="utf-8")
    result = run(file, "--against", str(old))
    assert result.exit_code == 2
    assert "not the output of `simulate validate FILE --json`" in result.stderr


def held_out(folder: Path, *lines: str) -> None:
    (folder / "held_out.csv").write_text("\n".join(["# Stored.", "held_out,id,predicted_s", *lines]), encoding="utf-8")


def test_held_out_takes_the_stored_predictions(file: str) -> None:
    held_out(Path(file).parent, "device,good,0.0022", "workload,good,0.0018")
    result = run(file, "--held-out", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)["held_out"]
    assert list(found) == ["device", "workload"]
    # 0.0022 and 0.0018 for 0.002: a tenth too slow, a tenth too fast.
    assert found["device"]["all"]["by_row"]["bias"] == pytest.approx(0.1)
    assert found["workload"]["by"]["workload"]["lenet5"]["by_row"]["bias"] == pytest.approx(-0.1)
    assert "1 steps, the device held out of the fit" in run(file, "--held-out").stdout


def test_held_out_of_a_table_of_ones_own_takes_the_fits_that_ship(file: str) -> None:
    result = run(file, "--held-out", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)["held_out"]
    assert list(found)[:2] == ["measurer", "framework"]
    # Its measurer is no one's that the fits know, so that what ships is held out already; its framework is held out.
    shipped = json.loads(result.stdout)["all"]["by_row"]["bias"]
    assert found["measurer"]["all"]["by_row"]["bias"] == pytest.approx(shipped)
    assert found["framework"]["all"]["by_row"]["bias"] != pytest.approx(shipped, rel=1e-6)


def test_predictions_stored_of_another_table_are_not_taken(file: str) -> None:
    alone = run(file, "--held-out", "--json").stdout
    held_out(Path(file).parent, "device,other,0.0022")
    assert run(file, "--held-out", "--json").stdout == alone


def test_what_was_held_out_is_one_of_the_splits(file: str) -> None:
    held_out(Path(file).parent, "weather,good,0.0022")
    assert "found 'weather'" in run(file, "--held-out").stderr


def test_tables_on_the_terminal(file: str) -> None:
    result = run(file)
    assert result.exit_code == 0, result.output
    assert "4 measured steps" in result.stdout
    assert "m1 names no link between several of it" in result.stdout
    assert "unknown workload 'lenet55'" in result.stdout


def test_out_writes_the_parity_plot_and_the_cases(file: str, tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder"
    assert run(file, "--out", str(out)).exit_code == 0
    assert (out / "parity.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (out / "parity.svg").read_text(encoding="utf-8")
    with (out / "cases.csv").open(encoding="utf-8", newline="") as written:
        rows = list(csv.DictReader(written))
    assert [row["id"] for row in rows] == ["good", "small", "eight", "odd"]
    assert float(rows[0]["predicted_s"]) == predict(measured()).predicted_s
    assert rows[2]["predicted_s"] == ""


def test_a_bad_table_is_one_line(tmp_path: Path) -> None:
    result = run(str(table(tmp_path, HEADER, ROW.replace("64", "x"))))
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert "line 2" in result.stderr


def test_a_table_without_rows(tmp_path: Path) -> None:
    result = run(str(table(tmp_path, HEADER)), "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["cases"] == []


def test_a_table_without_rows_is_written(tmp_path: Path) -> None:
    result = run(str(table(tmp_path, HEADER)), "--out", str(tmp_path / "out"))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception


def test_lines_are_the_files_own_where_comments_stand_above(tmp_path: Path) -> None:
    assert refused(tmp_path, "# One.", "# Two.", HEADER, ROW.replace("64", "x")).startswith("line 4: ")

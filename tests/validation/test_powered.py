"""Predicted power against measured watts: errors held, none may rise. `--update-golden` renews."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from simulator.calibration.power_fit import MeasuredPower, errors, fit_powers, held_out, measured_powers
from simulator.calibration.powered import (
    PROMPTS,
    PoweredCase,
    PoweredRow,
    predict_powered,
    rates_of,
    read_powered,
    watts,
)
from simulator.cli import main
from simulator.device.draw import HIGH, LOW, RUNNING, WAY_J
from simulator.errors import InputError, UnsupportedError
from tests.held import assert_none_rises

HERE = Path(__file__).parent
SAMPLE = HERE / "power.csv"
BASELINE = HERE / "power.json"
SLACK = 0.002
HEADING = "kind,system,quantity,value,unit\n"


@pytest.fixture(scope="module")
def rows() -> list[PoweredRow]:
    return read_powered(SAMPLE)


@pytest.fixture(scope="module")
def cases(rows: list[PoweredRow]) -> list[PoweredCase]:
    return [predict_powered(row) for row in rows]


@pytest.fixture(scope="module")
def measured(rows: list[PoweredRow]) -> list[MeasuredPower]:
    return measured_powers(rows)


def by_device(cases: list[PoweredCase]) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for case in cases:
        if not case.reason:
            found.setdefault(case.device, []).append(abs(case.error))
    return {device: round(float(np.mean(values)), 4) for device, values in sorted(found.items())}


def test_no_error_of_a_devices_power_rises(cases: list[PoweredCase], request: pytest.FixtureRequest) -> None:
    present = by_device(cases)
    assert_none_rises(present, BASELINE, request, SLACK)


def test_the_constants_are_those_of_the_fit(measured: list[MeasuredPower]) -> None:
    running, way_j, prompts = fit_powers(measured)
    assert (running, way_j, prompts) == (
        pytest.approx(RUNNING, rel=0.02),
        pytest.approx(WAY_J, rel=0.05),
        pytest.approx(PROMPTS, rel=0.02),
    )


def test_devices_held_out_err_as_documented(measured: list[MeasuredPower]) -> None:
    found = held_out(measured)
    mean = {name: float(np.abs(np.exp(error) - 1).mean()) for name, error in found.items()}
    assert mean == {
        "a100-sxm4-40gb": pytest.approx(0.178, abs=0.005),
        "b200": pytest.approx(0.146, abs=0.005),
        "h100-sxm5-80gb": pytest.approx(0.144, abs=0.005),
    }
    low, high = np.exp(np.quantile(-np.concatenate(list(found.values())), (0.1, 0.9)))
    assert (low, high) == (pytest.approx(LOW, abs=0.005), pytest.approx(HIGH, abs=0.01))


def test_models_that_nothing_was_fitted_to_err_as_documented(cases: list[PoweredCase]) -> None:
    """ML.ENERGY's figures of Qwen 3 32B and 235B and of gpt-oss 120B; none is among the others."""
    unseen = [predict_powered(row) for row in read_powered(HERE / "power_unseen.csv")]
    assert not {case.row.quantity for case in unseen} & {case.row.quantity for case in cases}
    assert len(unseen) == 164
    wide = [case for case in unseen if "FP8" not in case.row.quantity and "gpt-oss" not in case.row.quantity]
    assert np.mean([abs(case.error) for case in unseen]) == pytest.approx(0.161, abs=0.005)
    assert np.mean([abs(case.error) for case in wide]) == pytest.approx(0.10, abs=0.01)
    assert np.mean([case.low_w <= case.row.value <= case.high_w for case in unseen]) == pytest.approx(0.70, abs=0.02)


def test_errors_are_logarithms_of_predicted_over_measured(measured: list[MeasuredPower]) -> None:
    doubled = [replace(row, each_w=2 * watts(row.rates)) for row in measured[:5]]
    assert errors(doubled, (RUNNING, WAY_J, PROMPTS)) == pytest.approx(-math.log(2))


def test_a_closed_loop_by_hand(rows: list[PoweredRow]) -> None:
    """An 8B model in bf16 that makes 100 tokens/s at batch 1 reads its 16 GB of weights 100 times a second."""
    row = replace(
        next(row for row in rows if "Llama-3.1-8B" in row.quantity and row.system == "h100-sxm5-80gb x1"),
        quantity="average power, meta-llama/Llama-3.1-8B-Instruct lm-arena-chat, average batch 1, 100 output tok/s, ",
    )
    rates = rates_of(row)
    assert rates.byte_per_s == pytest.approx(100 * 15.0e9, rel=0.02)  # without the table of tokens, 1.05 GB
    assert rates.prompts
    assert rates_of(replace(row, quantity=row.quantity.replace(" 100 output", " 200 output"))).byte_per_s == (
        pytest.approx(2 * rates.byte_per_s)
    )


def test_every_row_is_predicted_or_has_its_reason(cases: list[PoweredCase]) -> None:
    for case in cases:
        assert math.isnan(case.predicted_w) == bool(case.reason)
        if not case.reason:
            assert case.low_w < case.predicted_w < case.high_w
    reasons = {case.reason for case in cases if case.reason}
    assert "a diffusion model, which has no workload" in reasons
    assert "storage: no power" in reasons
    assert any(why.startswith("power of a whole node at the wall") for why in reasons)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"quantity": "average power, new/Model gpqa, average batch 1, 5 output tok/s, "}, "has no workload"),
        ({"quantity": "average power, Qwen/Qwen3-8B essays, average batch 1, 5 output tok/s, "}, "unknown length"),
        ({"quantity": "average power, Qwen/Qwen3-8B gpqa, average batch 1, 0 output tok/s, "}, "how fast"),
        ({"system": "no-such-board x1"}, "unknown device"),
        ({"unit": "GB/s"}, "no power"),
    ],
)
def test_what_is_not_known_is_a_reason(rows: list[PoweredRow], change: dict[str, str], why: str) -> None:
    row = replace(next(row for row in rows if "Qwen3-8B gpqa" in row.quantity), **change)
    assert why in predict_powered(row).reason


def test_a_processor_has_no_draw() -> None:
    row = PoweredRow("1", "inference gpu power", "cpu-16core x1", "", 100.0, "W", 2025, "")
    quantity = "average power, Qwen/Qwen3-8B gpqa, average batch 1, 5 output tok/s, "
    assert "no power limit" in predict_powered(replace(row, quantity=quantity)).reason
    with pytest.raises(UnsupportedError):
        rates_of(replace(row, unit="TB/s"))


def test_the_command_reads_the_table(tmp_path: Path) -> None:
    found = CliRunner().invoke(main, ["validate", str(SAMPLE), "--json"])
    assert found.exit_code == 0, found.output
    answer = json.loads(found.stdout)
    assert answer["rows"] == len(answer["cases"]) == answer["not_predicted"] + 306
    assert 0.75 < answer["within_interval"] < 0.95
    out = tmp_path / "out"
    text = CliRunner().invoke(main, ["validate", str(SAMPLE), "--out", str(out)]).stdout
    assert "306 of" in text
    assert (out / "cases.csv").is_file()
    assert "by device" in (out / "tables.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("row", ["inference power,a,b,0,W", "inference power,a,b,x,W"])
def test_malformed_figures_name_their_line(tmp_path: Path, row: str) -> None:
    file = tmp_path / "power.csv"
    file.write_text(HEADING + row + "\n", encoding="utf-8")
    with pytest.raises(InputError, match="line 2"):
        read_powered(file)

"""Step times that came after the fits, held: no group's error may rise. `--update-golden` writes the present ones."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from simulator.calibration.measurements import read_measurements
from simulator.calibration.validation import Case, errors, predict
from tests.held import assert_none_rises

HERE = Path(__file__).parent
BASELINE = HERE / "later.json"


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return [predict(measured) for measured in read_measurements(HERE / "later.csv")]


def by_framework(cases: list[Case]) -> dict[str, list[Case]]:
    found: dict[str, list[Case]] = {}
    for case in cases:
        measured = case.measured
        found.setdefault(f"{measured.framework}, {measured.task}", []).append(case)
    return found


def test_no_row_is_in_a_table_that_a_fit_reads() -> None:
    def times(name: str) -> set[tuple[str, ...]]:
        with (HERE / name).open(encoding="utf-8") as file:
            rows = csv.DictReader(line for line in file if not line.startswith("#"))
            keys = ("workload", "device", "task", "precision", "batch", "framework", "input_size", "step_s")
            return {tuple(row[key] for key in keys) for row in rows}

    assert not times("later.csv") & times("networks.csv")


def test_no_error_rises(cases: list[Case], request: pytest.FixtureRequest) -> None:
    assert all(case.predicted_s is not None for case in cases)
    present = {}
    for name, group in by_framework(cases).items():
        statistics = errors(group, by_setting=False)
        assert statistics is not None
        present[name] = round(statistics.mean, 4)
    assert_none_rises(present, BASELINE, request)


def test_the_interval_holds_four_of_five(cases: list[Case]) -> None:
    for name, group in by_framework(cases).items():
        found = errors(group)
        assert found is not None
        assert found.covered >= (0.75 if len(group) >= 20 else 0.7), name

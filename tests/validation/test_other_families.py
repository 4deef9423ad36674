"""Steps of networks on AMD's, Apple's, Google's and Intel's devices, held: no group's error may rise."""

from __future__ import annotations

from pathlib import Path

import pytest

from simulator.calibration.measurements import read_measurements
from simulator.calibration.validation import Case, errors, predict
from tests.held import assert_none_rises

HERE = Path(__file__).parent
TABLE = HERE / "other_families.csv"
BASELINE = HERE / "other_families.json"


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return [predict(measured) for measured in read_measurements(TABLE)]


def test_no_error_rises(cases: list[Case], request: pytest.FixtureRequest) -> None:
    groups: dict[str, list[Case]] = {}
    for case in cases:
        measured = case.measured
        assert case.predicted_s is not None, case.reason
        groups.setdefault(f"{measured.device}, {measured.framework}, {measured.task}", []).append(case)
    found = {name: errors(group, by_setting=False) for name, group in groups.items()}
    assert_none_rises({name: round(each.mean, 4) for name, each in found.items() if each}, BASELINE, request)


def test_the_interval_holds_four_of_five(cases: list[Case]) -> None:
    found = errors(cases)
    assert found is not None
    assert found.covered >= 0.8

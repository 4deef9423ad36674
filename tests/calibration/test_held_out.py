"""Errors where nothing was fitted: who is held out of what, and the table."""

from __future__ import annotations

from dataclasses import replace

import pytest

from simulator.calibration import held_out as module
from simulator.calibration.fit import Parameter, Problem
from simulator.calibration.held_out import held_out
from simulator.calibration.measurements import Measurement
from simulator.calibration.rows import rows_of

PLAIN = Measurement("x", "lenet5", "v100-pcie-16gb", "train", "fp32", 64, 1, 1.0, True, "pytorch", "")
ELEMENTWISE = Parameter("families/gpu", "kernel.elementwise", 1.0, 1.0)


def measured(workload: str, **changes: object) -> Measurement:
    return replace(PLAIN, workload=workload, **changes)  # type: ignore[arg-type]


def test_each_row_is_predicted_without_its_own_workload(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("alexnet", "lenet5", "resnet18", "resnet34", "vgg11")
    rows = rows_of([measured(name, batch=batch) for name in names for batch in (16, 32)])
    fitted_with: list[set[str]] = []
    monkeypatch.setattr(
        module,
        "fit",
        lambda problem, *_: fitted_with.append({row.measured.workload for row in problem.rows}) or {},
    )
    cases = held_out(Problem(rows, [], [ELEMENTWISE]), lambda row: row.workload)
    assert sorted(case.measured.workload for case in cases) == sorted(2 * names)
    assert [set(names) - used for used in fitted_with] == [{"alexnet", "vgg11"}, {"lenet5"}, {"resnet18"}, {"resnet34"}]

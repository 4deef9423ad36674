"""Errors where nothing was fitted: who is held out of what, and the table."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from simulator.calibration import held_out as module
from simulator.calibration.fit import Parameter, Problem
from simulator.calibration.held_out import held_out
from simulator.calibration.measurements import Measurement
from simulator.calibration.refit import Sensitivities
from simulator.calibration.rows import rows_of

PLAIN = Measurement("x", "lenet5", "v100-pcie-16gb", "train", "fp32", 64, 1, 1.0, True, "pytorch", "")
ELEMENTWISE = Parameter("families/gpu", "kernel.elementwise", 1.0, 1.0)


def test_each_row_is_predicted_without_its_own_workload(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("alexnet", "lenet5", "resnet18", "resnet34", "vgg11")
    rows = rows_of([replace(PLAIN, workload=name, batch=batch) for name in names for batch in (16, 32)])
    fitted_with: list[set[str]] = []

    def refit(found: Sensitivities, kept: np.ndarray, _: np.ndarray) -> np.ndarray:
        chosen = zip(found.problem.rows, kept, strict=True)
        fitted_with.append({row.measured.workload for row, train in chosen if train})
        return np.array([float(len(fitted_with))])

    monkeypatch.setattr(module, "refit", refit)
    found = Sensitivities(Problem(rows, [], [ELEMENTWISE]), np.zeros(1), np.zeros((len(rows), 1)), np.zeros(len(rows)))
    folds = held_out(found, "workload")
    assert sorted(case.measured.workload for _, cases in folds for case in cases) == sorted(2 * names)
    assert [set(names) - used for used in fitted_with] == [{"alexnet", "vgg11"}, {"lenet5"}, {"resnet18"}, {"resnet34"}]
    assert [fold.groups for fold, _ in folds] == [("alexnet", "vgg11"), ("lenet5",), ("resnet18",), ("resnet34",)]
    assert [np.log(fold.values["families/gpu", "kernel.elementwise"]) for fold, _ in folds] == pytest.approx(
        [1, 2, 3, 4]
    )

"""Fits along the derivatives of another: they end where a fit with derivatives of its own does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.calibration.fit import Parameter, Problem, fit, predict_rows, robust, values_at
from simulator.calibration.measurements import Measurement
from simulator.calibration.profiles import parameters
from simulator.calibration.refit import refit, robust_slope, sensitivities, unrobust, written
from simulator.calibration.rows import rows_of
from simulator.op.kernels import FloatArray

PLAIN = Measurement("x", "lenet5", "v100-pcie-16gb", "train", "fp32", 64, 1, 1.0, True, "pytorch", "")
ELEMENTWISE, FORWARD = ("families/gpu", "kernel.elementwise"), ("frameworks/pytorch", "dispatch.forward")
SETTINGS = [
    replace(PLAIN, workload=name, batch=batch, id=f"{name} {batch}")
    for name in ("alexnet", "lenet5", "resnet18", "vgg11")
    for batch in (2, 64)
]


def squares(problem: Problem, logarithms: FloatArray) -> float:
    residuals = problem.residuals(logarithms)
    return float(residuals @ residuals)


@given(st.floats(-5, 5))
def test_errors_come_back_from_their_residuals(error: float) -> None:
    assert unrobust(robust(np.array([error])))[0] == pytest.approx(error, abs=1e-7)


@given(st.floats(-5, 5))
def test_the_slope_is_that_of_the_residual(error: float) -> None:
    near, far = robust(np.array([error - 1e-4, error + 1e-4]))
    assert robust_slope(np.array([error]))[0] == pytest.approx((far - near) / 2e-4, rel=1e-3)


def test_a_refit_ends_where_a_fit_does() -> None:
    # Times made with two coefficients, those of one network a fifth longer: without it the two are found again.
    rows, truth = rows_of(SETTINGS), {ELEMENTWISE: 0.5, FORWARD: 2e-5}
    seconds = predict_rows(rows, truth) * [1.2 if row.measured.workload == "vgg11" else 1.0 for row in rows]
    made = rows_of(replace(row.measured, step_s=float(s)) for row, s in zip(rows, seconds, strict=True))
    problem = Problem(made, [], [Parameter(*ELEMENTWISE, 0.6, 100.0), Parameter(*FORWARD, 1.6e-5, 100.0)])
    start = np.log([0.52 / 0.6, 2.1e-5 / 1.6e-5])
    found = sensitivities(problem, start)
    kept = np.array([row.measured.workload != "vgg11" for row in made])
    values = values_at(problem.parameters, refit(found, kept, np.zeros(0, dtype=bool)))
    assert values[ELEMENTWISE] == pytest.approx(0.5, rel=0.01)
    assert values[FORWARD] == pytest.approx(2e-5, rel=0.01)
    # Of all rows, which no two coefficients fit: as low a sum of squares as a fit with derivatives of its own finds.
    whole = refit(found, np.ones(len(made), dtype=bool), np.zeros(0, dtype=bool))
    usual = fit(problem, rounds=10)
    own = np.log([usual[one.scope, one.key] / one.start for one in problem.parameters])
    assert squares(problem, whole) == pytest.approx(squares(problem, own), rel=0.02)
    assert squares(problem, whole) < 0.8 * squares(problem, start)


def test_the_coefficients_are_read_where_they_are_written() -> None:
    given_s = values_at(parameters(), written(parameters()))
    rows = rows_of(SETTINGS)
    assert predict_rows(rows, given_s) == pytest.approx(predict_rows(rows, {}), rel=1e-12)

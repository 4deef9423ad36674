"""Fits anew without some of the rows, along the derivatives of one: seconds in place of minutes.

Around the end of the fit of all rows, logarithms of times are taken as linear in the logarithms of coefficients; the
least sum of squares there is found without the model, and each such step is judged by it (the chord method: Ortega and
Rheinboldt, "Iterative Solution of Nonlinear Equations in Several Variables", 1970, chapter 7).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import Pool
from typing import Any

import numpy as np

from simulator import catalog
from simulator.calibration.fit import LEAST_GAIN, SCALE, STEP, Parameter, Problem, downhill, robust
from simulator.op.kernels import BoolArray, FloatArray
from simulator.units import parse

ROUNDS = 3
"""Times that the linear problem is solved, at most, each from where the last one ended."""

SHARES = (1.0, 0.5, 0.25, 0.125)
"""Of a step, tried in turn until the model's sum of squares falls."""

STEPS = 20
"""Steps of the linear problem, at most, which the robust loss bends."""


@dataclass(frozen=True)
class Sensitivities:
    """How predictions move with coefficients.

    Attributes
    ----------
    logarithms : of the coefficients' ratios to their starts, at which the derivatives are, (coefficients,).
    slopes : d log(time) / d log(coefficient) of rows, then kernels, (rows + kernels, coefficients).
    errors : logarithms of predicted over measured times there, (rows + kernels,).
    """

    problem: Problem
    logarithms: FloatArray
    slopes: FloatArray
    errors: FloatArray


def written(parameters: Sequence[Parameter]) -> FloatArray:
    """Logarithms of the coefficients in `hardware_profiles/`, of their ratios to the starts."""
    return np.array([np.log(_written(one) / one.start) for one in parameters])


def _written(parameter: Parameter) -> float:
    path = catalog.folder("hardware_profiles") / f"{parameter.scope}.yaml"
    value: Any = catalog.read_yaml(path)
    for key in parameter.key.split("."):
        value = value[key]
    return parse(value, "s", f"{path}: {parameter.key}") if isinstance(value, str) else float(value)


def sensitivities(problem: Problem, logarithms: FloatArray, processes: int = 1) -> Sensitivities:
    """Derivatives by finite differences, of a step of `STEP`; minutes."""
    base = problem.residuals(logarithms)
    column = partial(_column, problem, logarithms, base)
    numbers = range(len(logarithms))
    if processes > 1:
        with Pool(processes) as pool:
            columns = pool.map(column, numbers)
    else:
        columns = [column(number) for number in numbers]
    return Sensitivities(problem, logarithms, np.stack(columns, axis=1), _errors(problem, base))


def _column(problem: Problem, logarithms: FloatArray, base: FloatArray, number: int) -> FloatArray:
    moved = logarithms.copy()
    moved[number] += STEP
    change = _errors(problem, problem.residuals(moved, number, base)) - _errors(problem, base)
    return change / STEP


def _errors(problem: Problem, residuals: FloatArray) -> FloatArray:
    """Logarithms of predicted over measured of rows and kernels, from their residuals."""
    weights = problem.weights
    return unrobust(residuals[: len(weights)] / weights)


def unrobust(roots: FloatArray) -> FloatArray:
    """The errors of which `fit.robust` makes these signed roots."""
    loss = 1 + (roots / SCALE) ** 2 / 2
    result: FloatArray = np.sign(roots) * SCALE * np.sqrt(loss**2 - 1)
    return result


def robust_slope(errors: FloatArray) -> FloatArray:
    """Derivative of `fit.robust`: with e = error / SCALE, q = sqrt(1 + e^2): |e| / (q sqrt(2 (q - 1)))."""
    size = np.maximum(np.abs(errors) / SCALE, 1e-6)
    root = np.sqrt(1 + size**2)
    result: FloatArray = size / (root * np.sqrt(2 * size**2 / (root + 1)))
    return result


@dataclass(frozen=True)
class LinearFit:
    """The problem with times that are linear around a place: something that `fit.downhill` takes."""

    parameters: Sequence[Parameter]
    weights: FloatArray
    slopes: FloatArray
    errors: FloatArray
    place: FloatArray
    held: FloatArray

    @property
    def size(self) -> int:
        """Number of residuals."""
        return len(self.errors) + len(self.place)

    def errors_at(self, logarithms: FloatArray) -> FloatArray:
        """Logarithms of predicted over measured times."""
        result: FloatArray = self.errors + self.slopes @ (logarithms - self.place)
        return result

    def residuals(
        self, logarithms: FloatArray, parameter: int | None = None, base: FloatArray | None = None
    ) -> FloatArray:
        """All residuals, as of `fit.Problem`."""
        del parameter, base
        return np.concatenate((robust(self.errors_at(logarithms)) * self.weights, logarithms * self.held))

    def least(self) -> FloatArray:
        """The logarithms of the least sum of squares."""
        logarithms, damping = self.place, 1e-3
        residuals = self.residuals(logarithms)
        for _ in range(STEPS):
            steepness = self.weights * robust_slope(self.errors_at(logarithms))
            jacobian = np.vstack((self.slopes * steepness[:, None], np.diag(self.held)))
            found = downhill(self, logarithms, residuals, jacobian, damping)
            if found is None:
                break
            before = residuals @ residuals
            logarithms, residuals, damping = found
            if 1 - (residuals @ residuals) / before < LEAST_GAIN / 10:
                break
        return logarithms


def refit(found: Sensitivities, rows: BoolArray, kernels: BoolArray) -> FloatArray:
    """Logarithms of the coefficients that fit some rows and groups of kernels best.

    rows, kernels : which to fit to, (rows,) and (groups of kernels,).
    """
    whole = found.problem
    part = Problem(
        [row for row, chosen in zip(whole.rows, rows, strict=True) if chosen],
        [group for group, chosen in zip(whole.kernels, kernels, strict=True) if chosen],
        whole.parameters,
    )
    chosen = np.concatenate((rows, np.repeat(kernels, [len(group.seconds) for group in whole.kernels]))).astype(bool)
    held = SCALE / np.sqrt(max(len(part.rows), 1)) / np.array([one.spread for one in whole.parameters])
    linear = LinearFit(
        whole.parameters, part.weights, found.slopes[chosen], found.errors[chosen], found.logarithms, held
    )
    best = linear.residuals(linear.place)
    for _ in range(ROUNDS):
        stepped = _judged(part, linear, best)
        if stepped is None:
            break
        logarithms, residuals = stepped
        gain = 1 - (residuals @ residuals) / (best @ best)
        linear, best = replace(linear, errors=_errors(part, residuals), place=logarithms), residuals
        if gain < 10 * LEAST_GAIN:
            break
    return linear.place


def _judged(part: Problem, linear: LinearFit, best: FloatArray) -> tuple[FloatArray, FloatArray] | None:
    """Where the linear problem is least, or a part of the way, and the residuals there; None if none is better."""
    step = linear.least() - linear.place
    for share in SHARES:
        residuals = part.residuals(linear.place + share * step)
        if residuals @ residuals < best @ best:
            return linear.place + share * step, residuals
    return None

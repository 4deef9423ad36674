"""Fitting: the calibrated fidelity's coefficients from measured kernels and networks.

Coefficients are logarithms around a starting value that physics or a benchmark suggests, held by a spread that says how
far to trust it. Errors are logarithms of predicted over measured times, so that twice and half weigh the same; large
ones count linearly. Levenberg-Marquardt with a finite-difference Jacobian; a coefficient's column is evaluated only for
the rows that it can touch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache, partial
from multiprocessing import Pool
from typing import Protocol

import numpy as np

from simulator.calibration.kernels import MeasuredKernels
from simulator.calibration.measurements import device_of
from simulator.calibration.rows import Row
from simulator.device.device import Device, with_families
from simulator.device.framework import load_framework, with_files
from simulator.op.kernels import FloatArray
from simulator.precision import get_precision
from simulator.roofline.setting import Setting
from simulator.roofline.times import busy_seconds, kernel_times

SCALE = 0.15
"""Relative error beyond which a row counts linearly rather than squared."""

STEP = 0.02
"""Step of the finite differences, in logarithms."""

LEAST_GAIN = 1e-3
"""Share of the sum of squares that a round must gain for another one."""

MOST_DAMPING = 1e3

KERNEL_WEIGHT = 0.3
"""All kernels together weigh this share of all networks together."""


CALL_S = 4e-6
"""What a call of a library in a loop takes beside its kernel, as a framework's helpers do; DeepBench's smallest times
are 6 to 11 us. [s]"""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A coefficient to fit: `scope` is a file of `hardware_profiles` ("families/gpu"), `key` its key path.

    spread : standard deviation of its logarithm around `start`; `most` bounds it from above.
    """

    scope: str
    key: str
    start: float
    spread: float
    most: float = np.inf


Values = dict[tuple[str, str], float]


def predict_rows(rows: Sequence[Row], values: Values) -> FloatArray:
    """Predicted time of each row, shape (rows,). [s]"""
    together: dict[tuple[int, Device, str, str], list[int]] = {}
    for number, row in enumerate(rows):
        key = (id(row.kernels), row.device, row.precision.name, row.measured.framework)
        together.setdefault(key, []).append(number)
    device = lru_cache(maxsize=None)(lambda given: with_families(given, values))
    framework = lru_cache(maxsize=None)(lambda name: with_files(load_framework(name), values))
    seconds = np.empty(len(rows))
    for numbers in together.values():
        first = rows[numbers[0]]
        batches = np.array([[float(rows[number].measured.batch)] for number in numbers])
        software = framework(first.measured.framework)
        setting = Setting(device(first.device), first.precision, software)
        times = kernel_times(first.kernels, setting, batches)
        chosen = np.array([rows[number].chosen for number in numbers])
        seconds[numbers] = (times.time_s * chosen).sum(axis=-1)
    return np.maximum(seconds, [row.least_s for row in rows])


def predict_kernels(group: MeasuredKernels, values: Values) -> FloatArray:
    """Predicted time of each measured kernel, back to back on its device, shape (kernels,). [s]"""
    device = with_families(device_of(group.device), values)
    setting = Setting(device, get_precision(group.precision))
    seconds: FloatArray = busy_seconds(group.columns, setting, float(group.batch)) + device.launch_s + CALL_S
    return seconds


def values_at(parameters: Sequence[Parameter], logarithms: FloatArray) -> Values:
    """Coefficients from the logarithms of their ratios to the starting values."""
    return {
        (p.scope, p.key): min(p.start * float(np.exp(x)), p.most) for p, x in zip(parameters, logarithms, strict=True)
    }


class Fittable(Protocol):
    """What `fit` needs of a problem."""

    @property
    def parameters(self) -> Sequence[Parameter]:
        """What may move."""

    @property
    def size(self) -> int:
        """Number of residuals."""

    def residuals(
        self, logarithms: FloatArray, parameter: int | None = None, base: FloatArray | None = None
    ) -> FloatArray:
        """All residuals; with `parameter`, only those that it can touch need be anew, the rest is `base`."""


@dataclass
class Problem:
    """Rows, kernels and parameters; `residuals` are weighted robust logarithmic errors."""

    rows: Sequence[Row]
    kernels: Sequence[MeasuredKernels]
    parameters: Sequence[Parameter]

    def __post_init__(self) -> None:
        """Weigh each (device, workload, framework) alike, and the kernels as `KERNEL_WEIGHT` of the networks."""
        settings = [(*row.measured.setting, load_framework(row.measured.framework).release_of) for row in self.rows]
        counts = Counter(settings)
        weights = np.array([1 / counts[setting] for setting in settings])
        self._row_weights = np.sqrt(weights / weights.sum())
        self._measured = np.array([row.measured.step_s for row in self.rows])
        self._kernel_weight = np.sqrt(KERNEL_WEIGHT / max(sum(len(group.seconds) for group in self.kernels), 1))

    def residuals(
        self, logarithms: FloatArray, parameter: int | None = None, base: FloatArray | None = None
    ) -> FloatArray:
        """All residuals; with `parameter`, only the rows that it can touch are evaluated anew, the rest is `base`."""
        values = values_at(self.parameters, logarithms)
        scope = None if parameter is None else self.parameters[parameter].scope
        result = np.empty(self.size) if base is None else base.copy()
        touched = [number for number, row in enumerate(self.rows) if scope is None or _touches(scope, row)]
        predicted = predict_rows([self.rows[number] for number in touched], values)
        result[touched] = robust(np.log(predicted / self._measured[touched])) * self._row_weights[touched]
        start = len(self.rows)
        for group in self.kernels:
            if scope is None or _touches_device(scope, device_of(group.device)):
                ratio = predict_kernels(group, values) / group.seconds
                result[start : start + len(ratio)] = robust(np.log(ratio)) * self._kernel_weight
            start += len(group.seconds)
        spread = np.array([p.spread for p in self.parameters])
        result[start:] = logarithms / spread * SCALE / np.sqrt(max(len(self.rows), 1))
        return result

    @property
    def weights(self) -> FloatArray:
        """Of the errors of rows and kernels in their residuals, (rows + kernels,)."""
        kernels = sum(len(group.seconds) for group in self.kernels)
        return np.concatenate((self._row_weights, np.full(kernels, self._kernel_weight)))

    @property
    def size(self) -> int:
        """Number of residuals."""
        return len(self.rows) + sum(len(group.seconds) for group in self.kernels) + len(self.parameters)


def robust(errors: FloatArray) -> FloatArray:
    """Signed roots of the soft-L1 loss: quadratic below `SCALE`, linear beyond."""
    loss = 2 * SCALE**2 * (np.sqrt(1 + (errors / SCALE) ** 2) - 1)
    result: FloatArray = np.sign(errors) * np.sqrt(loss)
    return result


def _touches(scope: str, row: Row) -> bool:
    software = load_framework(row.measured.framework)
    return scope in {f"frameworks/{name}" for name in software.origin.values()} or _touches_device(scope, row.device)


def _touches_device(scope: str, device: Device) -> bool:
    return scope in (f"families/{device.kind}", f"families/{device.profile.family}")


def fit(problem: Fittable, rounds: int = 6, processes: int = 1) -> Values:
    """Coefficients that make the residuals least, by Levenberg-Marquardt.

    processes : that share the columns of the Jacobian.
    """
    logarithms = np.zeros(len(problem.parameters))
    residuals = problem.residuals(logarithms)
    damping = 1e-3
    _share(problem)
    with Pool(processes, _share, (problem,)) if processes > 1 else nullcontext() as pool:
        each = pool.map if pool else map
        for _ in range(rounds):
            columns = each(partial(_column, logarithms, residuals), range(len(logarithms)))
            before = residuals @ residuals
            found = downhill(problem, logarithms, residuals, np.stack(list(columns), axis=1), damping)
            if found is None:
                break
            logarithms, residuals, damping = found
            if 1 - (residuals @ residuals) / before < LEAST_GAIN:
                break
    return values_at(problem.parameters, logarithms)


def downhill(
    problem: Fittable, logarithms: FloatArray, residuals: FloatArray, jacobian: FloatArray, damping: float
) -> tuple[FloatArray, FloatArray, float] | None:
    """The next logarithms, their residuals and damping; None where no step lowers the sum of squares."""
    normal = jacobian.T @ jacobian
    while damping < MOST_DAMPING:
        step = np.linalg.solve(normal + damping * np.diag(np.diag(normal) + 1e-9), -jacobian.T @ residuals)
        trial = logarithms + np.clip(step, -1, 1)
        found = problem.residuals(trial)
        if found @ found < residuals @ residuals:
            return trial, found, damping / 3
        damping *= 4
    return None


_shared: list[Fittable] = []
"""The problem in a worker process."""


def _share(problem: Fittable) -> None:
    _shared[:] = [problem]


def _column(logarithms: FloatArray, residuals: FloatArray, parameter: int) -> FloatArray:
    """One column of the Jacobian."""
    moved = logarithms.copy()
    moved[parameter] += STEP
    column: FloatArray = (_shared[0].residuals(moved, parameter, residuals) - residuals) / STEP
    return column

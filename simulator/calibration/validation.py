"""Predicted against measured step times: measurements become cases, cases become errors."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from simulator.calibration.measurements import Measurement, device_of, layout_of, options_of, workload_of
from simulator.device.device import Device
from simulator.device.system import Cluster, cluster_of_system, load_system, usual_cluster
from simulator.errors import SimulatorError, UnknownNameError
from simulator.execution.certainty import Interval, family_of
from simulator.execution.input import Feeding
from simulator.op.kernels import FloatArray
from simulator.pipeline import Simulation, fed, simulate
from simulator.roofline.times import Bound


@dataclass(frozen=True, slots=True)
class Case:
    """A measurement and its prediction, or the reason why there is none. [s]

    `waiting` is the share of the step that waits for the host.
    """

    measured: Measurement
    predicted_s: float | None = None
    low_s: float | None = None
    high_s: float | None = None
    bound: str | None = None
    grade: str | None = None
    reason: str | None = None
    waiting: float = 0.0

    @property
    def error(self) -> float:
        """(predicted - measured) / measured."""
        return (self.predicted_s or math.nan) / self.measured.step_s - 1


@dataclass(frozen=True, slots=True)
class Errors:
    """Errors of a group of cases; percentages as fractions."""

    cases: int
    mean: float
    median: float
    bias: float
    percentile_90: float
    within_10: float
    within_20: float
    covered: float


def predict(measured: Measurement) -> Case:
    """The prediction of one measurement, or the reason why there is none."""
    try:
        device = device_of(measured.device)
        joined = _cluster_of(measured, device) if measured.devices > 1 else None
        simulation = simulate(workload_of(measured), device, options_of(measured), joined)
        given = fed(simulation, Feeding(measured.loader)) if measured.loader else simulation
        return _case(measured, given, simulation.interval)
    except SimulatorError as error:
        return Case(measured, reason=str(error))


def _cluster_of(measured: Measurement, device: Device) -> Cluster:
    """The named system with the row's devices, or where such devices usually sit."""
    if not measured.system:
        return usual_cluster(device, measured.devices)
    nodes = -(-measured.devices // load_system(measured.system).devices)
    return cluster_of_system(measured.system, nodes, measured.devices)


def _case(measured: Measurement, simulation: Simulation, interval: Interval | None) -> Case:
    """The row beside its prediction; an input that binds is as sure as the device's time."""
    step = simulation.step
    seconds = {
        "train": step.time_s - (0.0 if measured.optimizer else step.update_s),
        "infer": step.time_s,
        "forward": step.forward_s,
        "backward": step.backward_s + step.communication_s,
    }[measured.task]
    case = Case(measured, seconds, bound=step.bound.word, grade=simulation.grade)
    case = replace(case, waiting=step.bound_shares[Bound.OVERHEAD])
    if interval is None:
        return case
    return replace(case, low_s=seconds * interval.low, high_s=seconds * interval.high)


LARGE_BATCH = 16
"""From here on a step is long enough that the device, not the host, decides; the two are judged apart."""


def by_batch(cases: Iterable[Case]) -> tuple[list[Case], list[Case]]:
    """Cases of large batches, and of small ones."""
    large: list[Case] = []
    small: list[Case] = []
    for case in cases:
        (large if case.measured.batch >= LARGE_BATCH else small).append(case)
    return large, small


def errors(cases: Iterable[Case], *, by_setting: bool = False) -> Errors | None:
    """Error statistics of the predicted cases; None if there are none.

    by_setting : let each (device, workload) weigh the same, however many rows it has.
    """
    predicted = [case for case in cases if case.predicted_s is not None]
    if not predicted:
        return None
    error = np.array([case.error for case in predicted])
    weights = _weights(predicted) if by_setting else np.full(len(predicted), 1 / len(predicted))
    size = np.abs(error)
    inside = np.array([case.low_s is not None and _inside(case) for case in predicted])
    return Errors(
        cases=len(predicted),
        mean=float(size @ weights),
        median=_quantile(size, weights, 0.5),
        bias=float(error @ weights),
        percentile_90=_quantile(size, weights, 0.9),
        within_10=float((size <= 0.1) @ weights),
        within_20=float((size <= 0.2) @ weights),
        covered=float(inside @ weights),
    )


def _inside(case: Case) -> bool:
    return case.low_s is not None and case.high_s is not None and case.low_s <= case.measured.step_s <= case.high_s


def _weights(cases: Sequence[Case]) -> FloatArray:
    counts: dict[tuple[str, str], int] = {}
    for case in cases:
        counts[case.measured.setting] = counts.get(case.measured.setting, 0) + 1
    weights = np.array([1 / counts[case.measured.setting] for case in cases])
    total: FloatArray = weights / weights.sum()
    return total


def _quantile(values: FloatArray, weights: FloatArray, share: float) -> float:
    """A weighted quantile: each value stands in the middle of its weight, and between two it is interpolated.

    The median of two numbers of equal weight is their mean.
    """
    order = np.argsort(values)
    weight = weights[order]
    return float(np.interp(share, np.cumsum(weight) - weight / 2, values[order]))


COLUMN_OF: Mapping[str, Callable[[Case], str]] = {
    "family": lambda case: family_of(device_of(case.measured.device)),
    "host": lambda case: case.measured.host or device_of(case.measured.device).profile.host,
    "layout": lambda case: layout_of(case.measured),
    "measurer": lambda case: case.measured.source,
    "bound": lambda case: str(case.bound or ""),
    "grade": lambda case: str(case.grade or ""),
}
"""Columns by which cases can be grouped beside those of a table: what the names of its rows stand for."""

FIELDS = tuple(name for name in Measurement.__dataclass_fields__ if name not in ("other", "step_s", "id"))


def columns_of(cases: Iterable[Case]) -> tuple[str, ...]:
    """Columns by which the cases can be grouped."""
    further = dict.fromkeys(name for case in cases for name in case.measured.other)
    return tuple(dict.fromkeys((*FIELDS, *COLUMN_OF, *further)))


def column_of(case: Case, key: str) -> str:
    """A case's value of a column; "" where the row has none, or names what does not exist."""
    try:
        if key in COLUMN_OF:
            return COLUMN_OF[key](case)
    except SimulatorError:
        return ""
    return str(getattr(case.measured, key) if key in FIELDS else case.measured.other.get(key, ""))


def grouped(cases: Sequence[Case], key: str) -> dict[str, list[Case]]:
    """Cases by the value of a column, numbers in their order.

    Raises
    ------
    UnknownNameError
        If no row has such a column.
    """
    if cases and key not in (known := columns_of(cases)):
        raise UnknownNameError("column", key, known)
    groups: dict[str, list[Case]] = {}
    for case in cases:
        groups.setdefault(column_of(case, key), []).append(case)
    return dict(sorted(groups.items(), key=lambda item: _order(item[0])))


def _order(name: str) -> tuple[float, str]:
    return (float(name), "") if name.isdecimal() else (math.inf, name)

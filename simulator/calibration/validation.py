"""Predicted against measured step times: a table of measurements becomes cases, cases become errors."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from simulator import catalog
from simulator.device.device import Device, load_device
from simulator.device.framework import release
from simulator.device.system import Cluster, cluster_of_system, load_system, usual_cluster
from simulator.errors import InputError, SimulatorError, UnsupportedError
from simulator.op.kernels import FloatArray
from simulator.pipeline import Options, Simulation, simulate
from simulator.roofline.times import Bound
from simulator.workload.importers import Request
from simulator.workload.reading import load_workload
from simulator.workload.workload import Workload

COLUMNS = ("workload", "device", "task", "precision", "batch", "devices", "step_s")
"""Columns that a table must have; `optimizer`, `framework`, `year` of its release, `input_size`, `system`, `id` are
optional. `batch` is of each device."""

TASKS = ("train", "infer", "forward", "backward")
MAX_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Measurement:
    """One measured step. [s]"""

    id: str
    workload: str
    device: str
    task: str
    precision: str
    batch: int
    devices: int
    step_s: float
    optimizer: bool
    framework: str
    input_size: str
    source: str = ""
    system: str = ""

    @property
    def setting(self) -> tuple[str, str]:
        """(device, workload): what weighs one, however many batches of it were measured."""
        return self.device, self.workload


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


def read_measurements(path: Path) -> list[Measurement]:
    """Rows of a CSV table; lines that start with # and unknown columns are passed over.

    Raises
    ------
    InputError
        Naming the file, the line and the column that is missing or malformed.
    """
    text = catalog.read_text(path, MAX_BYTES)
    numbered = [(number, line) for number, line in enumerate(text.splitlines(), start=1) if not line.startswith("#")]
    reader = csv.DictReader(line + "\n" for _, line in numbered)
    missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
    if missing:
        raise InputError(f"{path}: the column {missing[0]!r} is missing; a table has {', '.join(COLUMNS)}")
    measurements = []
    for row in reader:
        number = numbered[reader.line_num - 1][0]
        measurements.append(_measurement(row, number, f"{path}: line {number}"))
    return measurements


def _measurement(row: Mapping[str, str | None], number: int, where: str) -> Measurement:
    def text(column: str, default: str = "") -> str:
        return (row.get(column) or default).strip()

    try:
        batch, devices, step_s = int(text("batch")), int(text("devices", "1")), float(text("step_s"))
    except ValueError as error:
        raise InputError(f"{where}: {error}") from None
    if batch < 1 or devices < 1 or not 0 < step_s < float("inf"):
        raise InputError(f"{where}: batch, devices and step_s must be positive")
    if text("task") not in TASKS:
        raise InputError(f"{where}: unknown task {text('task')!r}; known: {', '.join(TASKS)}")
    return Measurement(
        id=text("id", str(number)),
        workload=text("workload"),
        device=text("device"),
        task=text("task"),
        precision=text("precision"),
        batch=batch,
        devices=devices,
        step_s=step_s,
        optimizer=text("optimizer", "true").lower() not in ("false", "0", "no"),
        framework=_software(text("framework", "pytorch"), text("year")),
        input_size=text("input_size"),
        source=text("source"),
        system=text("system"),
    )


def _software(framework: str, year: str) -> str:
    """The framework that describes a year's releases; as named where the year is not a plain number."""
    number = year.partition(".")[0]
    return release(framework, int(number)) if number.isdecimal() else framework


def predict(measured: Measurement) -> Case:
    """The prediction of one measurement, or the reason why there is none."""
    try:
        if measured.devices > 1 and measured.task in {"forward", "backward"}:
            raise UnsupportedError("a single pass on several devices is not modelled")
        device = device_of(measured.device)
        joined = _cluster_of(measured, device) if measured.devices > 1 else None
        simulation = simulate(workload_of(measured), device, options_of(measured), joined)
        return _case(measured, simulation)
    except SimulatorError as error:
        return Case(measured, reason=str(error))


def _cluster_of(measured: Measurement, device: Device) -> Cluster:
    """The named system with the row's devices, or where such devices usually sit."""
    if not measured.system:
        return usual_cluster(device, measured.devices)
    nodes = -(-measured.devices // load_system(measured.system).devices)
    return cluster_of_system(measured.system, nodes, measured.devices)


def _case(measured: Measurement, simulation: Simulation) -> Case:
    step, interval = simulation.step, simulation.interval
    seconds = {
        "train": step.time_s - (0.0 if measured.optimizer else step.update_s),
        "infer": step.time_s,
        "forward": step.forward_s,
        "backward": step.backward_s,
    }[measured.task]
    case = Case(measured, seconds, bound=step.bound.name.lower(), grade=simulation.grade)
    case = replace(case, waiting=step.bound_shares[Bound.OVERHEAD])
    if interval is None:
        return case
    return replace(case, low_s=seconds * interval.low, high_s=seconds * interval.high)


def options_of(measured: Measurement) -> Options:
    """The options of a measured step; whether it fits was settled by running it."""
    return Options(
        batch=measured.batch,
        precision=measured.precision,
        task="infer" if measured.task == "infer" else "train",
        framework=measured.framework,
        ignore_memory=True,
    )


def workload_of(measured: Measurement) -> Workload:
    """The network of a measured step."""
    return _workload(measured.workload, measured.input_size)


@lru_cache(maxsize=256)
def _workload(name: str, input_size: str) -> Workload:
    """A workload at an image size "224x224" or a sequence length "512"."""
    if not input_size:
        return load_workload(name)
    height, _, width = input_size.partition("x")
    if not height.isdigit() or (width and width != height):
        raise InputError(f"input size {input_size!r}: write a square image as 224x224 or a sequence length as 512")
    size = int(height)
    return load_workload(name, request=Request(image_size=size) if width else Request(sequence=size))


device_of = lru_cache(maxsize=256)(load_device)
"""A measured device by name, read once."""

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


def grouped(cases: Sequence[Case], key: str) -> dict[str, list[Case]]:
    """Cases by one of "task", "precision", "device", "workload", "framework"."""
    groups: dict[str, list[Case]] = {}
    for case in cases:
        groups.setdefault(str(getattr(case.measured, key)), []).append(case)
    return dict(sorted(groups.items()))

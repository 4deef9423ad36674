"""Fits how sure a step's time is to errors where whole groups were held out.

`python -m simulator.calibration.certainty tests/validation` reads the measured times and those predicted without a
row's measurer, framework, device or workload (`held_out.csv`), and writes `hardware_profiles/certainty/steps.yaml`.
"""

from __future__ import annotations

import csv
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from simulator import catalog
from simulator.calibration.validation import (
    Case,
    Measurement,
    device_of,
    predict,
    read_measurements,
    workload_of,
)
from simulator.device.framework import load_framework
from simulator.execution.certainty import EAGER, FOLDER, NARROW, SMALL_BATCH, CertaintyProfile, Widths, family_of
from simulator.op.kernels import FloatArray

COVERAGE = 0.8
TAIL = 0.95
"""Quantile that is fitted on each side: wider than the claim, since groups differ and each should be covered."""

BEYOND = 0.33
"""Logarithm by which step times that are in no table here lie farther off than those that were held out: 2,800 further
published ones err by 11.1 % in PyTorch at batch 16 and more, where held-out networks err by 8.0 %."""

HELD_OUT = "held_out.csv"
FOLDS = 4
KEYS = ("base", "waiting", "small_batch", "narrow", "graph", "workload", "device", "software")
SEEN = "seen"
"""Of rows whose measurer the coefficients have seen: narrower; a reader's measurer is never one of them."""

UNMEASURED = 0.5
"""Logarithm by which a family, or a number format on it, that nobody measured widens further: an assumption, since no
fit can tell; whole devices held out widen less."""

STEPS, RATE, SHRINK = 4000, 0.01, 0.002


@dataclass(frozen=True)
class Sample:
    """A row and a prediction of it.

    Attributes
    ----------
    split : what was held out of the fit: "measurer", "framework", "device", "workload", or "" for nothing.
    error : logarithm of measured over predicted.
    waiting : share of the step that waits for the host.
    unseen : which of its measurer, workload, device and software no row of the fit shared.
    """

    measured: Measurement
    split: str
    error: float
    waiting: float
    unseen: frozenset[str] = frozenset()


def _software(row: Measurement) -> tuple[str, str]:
    """The framework on a family of devices."""
    return row.framework, family_of(device_of(row.device))


ASPECTS: Mapping[str, Callable[[Measurement], Any]] = {
    "measurer": lambda row: row.source,
    "workload": lambda row: row.workload,
    "device": lambda row: row.device,
    "software": _software,
}
GROUPS: Mapping[str, Callable[[Measurement], str]] = {
    "measurer": lambda row: row.source,
    "framework": lambda row: row.framework,
    "device": lambda row: row.device,
    "workload": lambda row: row.workload,
}
"""Split -> the group of a row that was held out together, a quarter of the groups in each fit."""


def samples(folder: Path, cases: Sequence[Case]) -> list[Sample]:
    """The predicted rows of `networks.csv` as fitted, and as predicted with groups held out."""
    alone = [case for case in cases if case.measured.devices == 1]
    known = {case.measured.id: case for case in alone if case.predicted_s is not None}
    lines = [line for line in _held_out(folder / HELD_OUT) if line["id"] in known]
    fitted = [known[key].measured for key in dict.fromkeys(line["id"] for line in lines)]
    unseen = {split: _unseen(fitted, group) for split, group in GROUPS.items()}
    found = [Sample(case.measured, "", -float(np.log1p(case.error)), case.waiting) for case in known.values()]
    for line in lines:
        case, split = known[line["id"]], line["held_out"]
        error = float(np.log(case.measured.step_s / float(line["predicted_s"])))
        found.append(Sample(case.measured, split, error, case.waiting, unseen[split][case.measured.id]))
    return found


def _unseen(rows: Sequence[Measurement], group: Callable[[Measurement], str]) -> dict[str, frozenset[str]]:
    """Row -> the aspects of it that no row of its fit shared, when a quarter of the groups was held out."""
    names = sorted({group(row) for row in rows})
    fold = {name: place % FOLDS for place, name in enumerate(names)}
    known = {
        (number, aspect): {of(row) for row in rows if fold[group(row)] != number}
        for number in range(FOLDS)
        for aspect, of in ASPECTS.items()
    }
    return {
        row.id: frozenset(aspect for aspect, of in ASPECTS.items() if of(row) not in known[fold[group(row)], aspect])
        for row in rows
    }


def _held_out(path: Path) -> list[dict[str, str]]:
    lines = [line for line in catalog.read_text(path).splitlines() if not line.startswith("#")]
    return list(csv.DictReader(lines))


def fit_widths(found: Sequence[Sample], side: int) -> Widths:
    """The widths below (-1) or above (+1) the prediction, by quantile regression.

    What was held out can only widen: those coefficients are kept at or above zero.
    """
    design = np.array([[*_features(sample).values()] for sample in found])
    names = [*KEYS, SEEN]
    errors = side * np.array([sample.error for sample in found])
    weights = _weights(found)
    values = np.zeros(len(names))
    values[0] = -1.5
    first, second = np.zeros_like(values), np.zeros_like(values)
    widening = np.array([name in {"waiting", "small_batch", "workload", "device", "software"} for name in names])
    for step in range(1, STEPS + 1):
        width = np.exp(design @ values)
        inside = errors <= width
        slope = np.where(inside, 1 - TAIL, -TAIL) * weights * width
        gradient = slope @ design + SHRINK * np.where(np.arange(len(values)) > 0, values, 0.0)
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        values = values - RATE * first / (np.sqrt(second / (1 - 0.999**step)) + 1e-9)
        values = np.where(widening, np.maximum(values, 0.0), values)
    chosen = dict(zip(names, values.tolist(), strict=True))
    chosen["base"] += BEYOND
    return Widths(family=UNMEASURED, **{name: round(chosen[name], 2) for name in KEYS})


def _features(sample: Sample) -> dict[str, float]:
    row = sample.measured
    return {
        "base": 1.0,
        "waiting": sample.waiting,
        "small_batch": float(row.batch < SMALL_BATCH),
        "narrow": float(row.precision in NARROW),
        "graph": float(not row.framework.startswith(EAGER)),
        **{aspect: float(aspect in sample.unseen) for aspect in ("workload", "device", "software")},
        SEEN: float("measurer" not in sample.unseen),
    }


def _weights(found: Sequence[Sample]) -> FloatArray:
    """Each way of holding out weighs the same, and in it each (device, workload), however many rows it has."""
    counts = Counter((sample.split, sample.measured.setting) for sample in found)
    settings = Counter(split for split, _ in counts)
    weights = [1 / counts[s.split, s.measured.setting] / settings[s.split] for s in found]
    return np.array(weights) / len(settings)


def coverage(found: Sequence[Sample]) -> dict[str, tuple[int, float]]:
    """Split and group -> samples, and the share inside widths fitted without that group's rows."""
    result = {}
    for split, group in GROUPS.items():
        chosen = [sample for sample in found if sample.split == split]
        for name in sorted({group(sample.measured) for sample in chosen}):
            test = [sample for sample in chosen if group(sample.measured) == name]
            if len(test) > LEAST:
                train = [sample for sample in found if group(sample.measured) != name]
                result[f"{split} {name}"] = len(test), share_inside(test, fit_widths(train, -1), fit_widths(train, 1))
    return result


LEAST = 50
"""Samples from which on a group's coverage is stated."""


def share_inside(test: Sequence[Sample], low: Widths, high: Widths) -> float:
    """Share of the samples that their intervals hold."""
    design = np.array([list(_features(sample).values())[:-1] for sample in test])
    error = np.array([sample.error for sample in test])
    below, above = (np.exp(design @ np.array([getattr(widths, key) for key in KEYS])) for widths in (low, high))
    return float(np.mean((error >= -below) & (error <= above)))


def what_was_measured(rows: Iterable[Measurement]) -> dict[str, Any]:
    """The section `measured` of the profile."""
    kinds, devices, workloads = set(), set(), set()
    precisions: dict[str, set[str]] = {}
    frameworks: dict[str, set[str]] = {}
    for row in rows:
        family = family_of(device_of(row.device))
        kinds.add(device_of(row.device).kind)
        devices.add(device_of(row.device).name)
        workloads.add(workload_of(row).name)
        precisions.setdefault(family, set()).add(row.precision)
        frameworks.setdefault(family, set()).update((row.framework, load_framework(row.framework).release_of))
    return {
        "kinds": sorted(kinds),
        "devices": sorted(devices),
        "workloads": sorted(workloads),
        "precisions": {family: sorted(names) for family, names in sorted(precisions.items())},
        "frameworks": {family: sorted(names) for family, names in sorted(frameworks.items())},
    }


def main() -> None:
    """Fit, and write the profile."""
    import yaml

    folder = Path(sys.argv[1])
    found = samples(folder, [predict(row) for row in read_measurements(folder / "networks.csv")])
    content: Mapping[str, Any] = {
        "name": "steps",
        "kind": "certainty",
        "description": "How far measured step times lie from predicted ones, and what was measured",
        "coverage": COVERAGE,
        "low": _builtins(fit_widths(found, -1)),
        "high": _builtins(fit_widths(found, 1)),
        "measured": what_was_measured({sample.measured for sample in found}),
        "sources": [
            {"of": ["coverage"], "grade": "assumption", "source": "chosen: four of five"},
            {"of": ["measured"], "grade": "measured", "source": "the rows of tests/validation/networks.csv"},
            {
                "of": [f"{side}.{key}" for side in ("low", "high") for key in KEYS],
                "grade": "calibrated",
                "source": "errors where measurers, frameworks, devices or workloads were held out, tests/validation",
            },
            {"of": ["low.family", "high.family"], "grade": "assumption", "source": "no fit can tell"},
        ],
    }
    path = catalog.folder(FOLDER) / "steps.yaml"
    catalog.convert(dict(content), CertaintyProfile, str(path))
    path.write_text(yaml.safe_dump(content, sort_keys=False, width=118, default_flow_style=None), encoding="utf-8")
    for name, (count, share) in coverage(found).items():
        print(f"{name}: {count} rows, {share:.0%} inside")


def _builtins(widths: Widths) -> dict[str, float]:
    import msgspec

    return dict(msgspec.structs.asdict(widths))


if __name__ == "__main__":
    main()

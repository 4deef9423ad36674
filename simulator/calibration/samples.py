"""Errors where whole groups were held out of a fit: stored predictions, and what of each row no fit had seen.

`held_out.csv` lies beside a table of measured times and has, for some of its rows, the time predicted by coefficients
that were fitted without the row's measurer, framework, device or workload; `calibration/held_out.py` makes it.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import exp
from pathlib import Path
from typing import Any

import numpy as np

from simulator import catalog
from simulator.calibration.folds import predictions_without, read_folds
from simulator.calibration.measurements import Measurement, device_of
from simulator.calibration.validation import Case
from simulator.errors import InputError
from simulator.execution.certainty import (
    EAGER,
    NARROW,
    PROCESSOR,
    SMALL_BATCH,
    Widths,
    batch_amount,
    certainty,
    family_of,
)

HELD_OUT = "held_out.csv"
FOLDS = 4
KEYS = (
    *("base", "waiting", "batch", "small_batch", "narrow", "graph", "small_graph", "processor"),
    *("device", "framework", "seen"),
)
"""What widens or narrows an interval; `seen` is of rows whose measurer the coefficients have seen: never a reader's."""


@dataclass(frozen=True)
class Sample:
    """A row and a prediction of it.

    Attributes
    ----------
    split : what was held out of the fit: "measurer", "framework", "device", "workload", or "" for nothing.
    error : logarithm of measured over predicted.
    waiting : share of the step that waits for the host.
    unseen : which of its measurer, workload, device, framework and software no row of the fit shared.
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
    "framework": lambda row: row.framework,
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
    """The predicted rows of a table as fitted, and as predicted with groups held out (`held_out.csv` in the folder)."""
    known = {case.measured.id: case for case in cases if case.measured.devices == 1 and case.predicted_s is not None}
    stored = [line for line in read_held_out(folder / HELD_OUT) if line[1] in known]
    fitted = [known[key].measured for key in dict.fromkeys(key for _, key, _ in stored)]
    unseen = {split: unseen_of(fitted, group) for split, group in GROUPS.items()}
    found = [Sample(case.measured, "", -float(np.log1p(case.error)), case.waiting) for case in known.values()]
    for split, key, predicted_s in stored:
        case = known[key]
        error = float(np.log(case.measured.step_s / predicted_s))
        found.append(Sample(case.measured, split, error, case.waiting, unseen[split][key]))
    return found


def samples_of_folds(cases: Sequence[Case]) -> list[Sample]:
    """The predicted rows of any table, by coefficients that were fitted without a row's group; its measurer is new."""
    known = {case.measured.id: case for case in cases if case.measured.devices == 1 and case.predicted_s is not None}
    found = []
    for split in dict.fromkeys(fold.split for fold in read_folds()):
        rows = [(case.measured, GROUPS[split](case.measured)) for case in known.values()]
        for key, predicted_s in predictions_without(split, rows):
            case = known[key]
            error = float(np.log(case.measured.step_s / predicted_s))
            found.append(Sample(case.measured, split, error, case.waiting, frozenset({"measurer", split})))
    return found


def read_held_out(path: Path) -> list[tuple[str, str, float]]:
    """(what was held out, id of the row, predicted time [s]) of each line.

    Raises
    ------
    InputError
        If there is no such file, or a line of it is malformed.
    """
    if not path.is_file():
        raise InputError(f"{path}: no predictions of fits that held groups out; calibration/held_out.py makes them")
    lines = [line for line in catalog.read_text(path).splitlines() if not line.startswith("#")]
    try:
        found = [(row["held_out"], row["id"], float(row["predicted_s"])) for row in csv.DictReader(lines)]
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{path}: a line is held_out,id,predicted_s, such as device,row-1,0.002") from None
    wrong = {split for split, _, _ in found} - GROUPS.keys()
    if wrong:
        raise InputError(f"{path}: held_out is one of {', '.join(GROUPS)}, found {min(wrong)!r}")
    return found


def unseen_of(rows: Sequence[Measurement], group: Callable[[Measurement], str]) -> dict[str, frozenset[str]]:
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


def features(sample: Sample) -> dict[str, float]:
    """Key of `Widths` -> how much of it applies to a sample."""
    row = sample.measured
    small, processor = row.batch < SMALL_BATCH, device_of(row.device).kind == PROCESSOR
    graph = not processor and not row.framework.startswith(EAGER)
    return {
        "base": 1.0,
        "waiting": sample.waiting,
        "batch": batch_amount(row.batch),
        "small_batch": float(small),
        "narrow": float(row.precision in NARROW),
        "graph": float(graph),
        "small_graph": float(small and graph),
        "processor": float(processor),
        **{aspect: float(aspect in sample.unseen) for aspect in ("device", "framework")},
        "seen": float("measurer" not in sample.unseen),
    }


def distance(sample: Sample, widths: Widths) -> float:
    """Logarithm of how far a bound lies from the prediction."""
    return exp(sum(getattr(widths, key) * amount for key, amount in features(sample).items()))


def held_out_cases(folder: Path, cases: Sequence[Case]) -> dict[str, list[Case]]:
    """What was held out -> its rows as predicted without them, in the interval that is stated for what is unseen.

    Of a table beside which no predictions are stored, by the coefficients that ship (`folds.json`).

    Raises
    ------
    InputError
        If none of the predictions that lie in the folder is of these cases.
    """
    known = {case.measured.id: case for case in cases}
    low, high = certainty().low, certainty().high
    found: dict[str, list[Case]] = {split: [] for split in GROUPS}
    stored = (folder / HELD_OUT).is_file()
    for sample in samples(folder, cases) if stored else samples_of_folds(cases):
        if sample.split:
            predicted_s = sample.measured.step_s / exp(sample.error)
            below, above = exp(-distance(sample, low)), exp(distance(sample, high))
            case = replace(known[sample.measured.id], predicted_s=predicted_s)
            found[sample.split].append(replace(case, low_s=predicted_s * below, high_s=predicted_s * above))
    chosen = {split: rows for split, rows in found.items() if rows}
    if not chosen:
        problem = "none of its predictions is of a row here; ids must agree" if stored else "no row is predicted"
        raise InputError(f"{folder / HELD_OUT}: {problem}")
    return chosen

"""Errors where whole groups were held out of a fit: stored predictions, and what of each row no fit had seen.

`held_out.csv` lies beside a table of measured times and has, for some of its rows, the time predicted by coefficients
that were fitted without the row's measurer, framework, device or workload; `calibration/held_out.py` makes it.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import exp, hypot
from pathlib import Path
from typing import Any

import numpy as np

from simulator import catalog
from simulator.calibration.folds import predictions_without, read_folds
from simulator.calibration.measurements import Measurement, device_of
from simulator.calibration.validation import Case
from simulator.device.framework import load_framework
from simulator.errors import InputError
from simulator.execution.certainty import Question, Widths, certainty, family_of, held_back
from simulator.execution.certainty import features as features_of

HELD_OUT = "held_out.csv"
FOLDS = 4
KEYS = (
    *("base", "waiting", "batch", "small_batch", "narrow", "narrow_training", "graph", "small_graph", "compiled"),
    *("processor", "device", "framework"),
)
"""What widens or narrows an interval, and is fitted."""


@dataclass(frozen=True)
class Sample:
    """A row and a prediction of it.

    Attributes
    ----------
    split : what was held out of the fit: one of `SPLITS`, or "" for nothing.
    error : logarithm of measured over predicted.
    waiting : share of the step that waits for the host.
    unseen : which of its measurer, workload, device, framework, software and number format on its family of devices no
        row of the fit shared.
    """

    measured: Measurement
    split: str
    error: float
    waiting: float
    unseen: frozenset[str] = frozenset()


def _software(row: Measurement) -> tuple[str, str]:
    """The framework on a family of devices."""
    return row.framework, family_of(device_of(row.device))


def _format(row: Measurement) -> tuple[str, str]:
    """The number format on a family of devices."""
    return family_of(device_of(row.device)), row.precision


ASPECTS: Mapping[str, Callable[[Measurement], Any]] = {
    "measurer": lambda row: row.source,
    "workload": lambda row: row.workload,
    "device": lambda row: row.device,
    "framework": lambda row: row.framework,
    "software": _software,
    "family": _format,
}
GROUPS: Mapping[str, Callable[[Measurement], str]] = {
    "measurer": lambda row: row.source,
    "framework": lambda row: row.framework,
    "device": lambda row: row.device,
    "workload": lambda row: row.workload,
}
"""Split -> the group of a row that was held out together, a quarter of the groups in each fit."""

PAIRS = {f"measurer+{split}": split for split in GROUPS if split != "measurer"}
"""Split in which a quarter of the measurers was held out with a quarter of other groups -> what these are. It is what a
reader asks of: another host, and perhaps a device, a framework or a network that nobody measured."""

SPLITS = (*GROUPS, *PAIRS)


def group_of(split: str, row: Measurement) -> str:
    """The group of a row that a split is judged by: of a pair, what was held out beside its measurer."""
    return GROUPS[PAIRS.get(split, split)](row)


def parts_of(rows: Sequence[Measurement], split: str) -> list[tuple[int, ...]]:
    """The number of the quarter in which each row's groups were held out, one number for each group of the split."""
    kinds = ("measurer", PAIRS[split]) if split in PAIRS else (split,)
    numbers = [quarters(rows, GROUPS[kind]) for kind in kinds]
    return [tuple(number[GROUPS[kind](row)] for kind, number in zip(kinds, numbers, strict=True)) for row in rows]


def quarters(rows: Sequence[Measurement], group: Callable[[Measurement], str]) -> dict[str, int]:
    """Group -> the number of the fit that is made without it."""
    return {name: place % FOLDS for place, name in enumerate(sorted({group(row) for row in rows}))}


def samples(folder: Path, cases: Sequence[Case]) -> list[Sample]:
    """The predicted rows of a table as fitted, and as predicted with groups held out (`held_out.csv` in the folder)."""
    known = {case.measured.id: case for case in cases if case.measured.devices == 1 and case.predicted_s is not None}
    stored = [line for line in read_held_out(folder / HELD_OUT) if line[1] in known]
    fitted = [known[key].measured for key in dict.fromkeys(key for _, key, _ in stored)]
    unseen = {split: unseen_of(fitted, split) for split in dict.fromkeys(split for split, _, _ in stored)}
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
    wrong = {split for split, _, _ in found}.difference(SPLITS)
    if wrong:
        raise InputError(f"{path}: held_out is one of {', '.join(SPLITS)}, found {min(wrong)!r}")
    return found


def unseen_of(rows: Sequence[Measurement], split: str) -> dict[str, frozenset[str]]:
    """Row -> the aspects of it that no row of its fit shared; of a pair, neither group of a row was in its fit."""
    parts = parts_of(rows, split)
    known: dict[tuple[int, ...], dict[str, set[Any]]] = {}
    for part in set(parts):
        kept = [row for row, other in zip(rows, parts, strict=True) if is_kept(other, part)]
        known[part] = {aspect: {of(row) for row in kept} for aspect, of in ASPECTS.items()}
    return {
        row.id: frozenset(aspect for aspect, of in ASPECTS.items() if of(row) not in known[part][aspect])
        for row, part in zip(rows, parts, strict=True)
    }


def is_kept(part: tuple[int, ...], without: tuple[int, ...]) -> bool:
    """Whether a fit without some quarters has a row of these ones."""
    return all(one != other for one, other in zip(part, without, strict=True))


def features(sample: Sample) -> dict[str, float]:
    """Key of `KEYS` -> how much of it applies to a sample: as to a question, but for what no row of its fit shared."""
    row = sample.measured
    device, framework = device_of(row.device), load_framework(row.framework)
    training = row.task != "infer"
    asked = Question(row.workload, device, framework, row.precision, row.batch, sample.waiting, training=training)
    applies = dict(features_of(asked)) | {key: float(key in sample.unseen) for key in ("device", "framework")}
    return {key: applies[key] for key in KEYS}


def held_of(sample: Sample) -> float:
    """Share of its clock that a power limit takes from a sample's device."""
    return held_back(device_of(sample.measured.device), sample.measured.precision)


def distance(sample: Sample, widths: Widths) -> float:
    """Logarithm of how far a bound lies from the prediction, as a question is told that knows as little."""
    fitted = sum(getattr(widths, key) * amount for key, amount in features(sample).items())
    fitted += widths.family * ("family" in sample.unseen)
    return hypot(exp(fitted), widths.held * held_of(sample))


def held_out_cases(folder: Path, cases: Sequence[Case], splits: Iterable[str] = GROUPS) -> dict[str, list[Case]]:
    """What was held out -> its rows as predicted without them, in the interval that is stated for what is unseen.

    Of a table of whose rows none has a stored prediction, by the coefficients that ship (`folds.json`).

    splits : those that are asked for.

    Raises
    ------
    InputError
        If no row is predicted.
    """
    known = {case.measured.id: case for case in cases}
    low, high = certainty().low, certainty().high
    found: dict[str, list[Case]] = {split: [] for split in splits}
    stored = samples(folder, cases) if (folder / HELD_OUT).is_file() else []
    for sample in stored if any(one.split for one in stored) else samples_of_folds(cases):
        if sample.split in found:
            predicted_s = sample.measured.step_s / exp(sample.error)
            below, above = exp(-distance(sample, low)), exp(distance(sample, high))
            case = replace(known[sample.measured.id], predicted_s=predicted_s)
            found[sample.split].append(replace(case, low_s=predicted_s * below, high_s=predicted_s * above))
    chosen = {split: rows for split, rows in found.items() if rows}
    if not chosen:
        raise InputError("nothing was held out: no row is predicted")
    return chosen

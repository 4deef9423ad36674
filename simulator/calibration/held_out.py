"""How far predictions err where nothing was fitted: measurers, frameworks, workloads or devices held out in turn.

`python -m simulator.calibration.held_out tests/validation` makes sixteen fits, each without a quarter of the groups,
and 48 without a quarter of the measurers and a quarter of other groups, and writes the predictions of what was left
out to `held_out.csv` beside the measured times, the coefficients of the sixteen to
`hardware_profiles/certainty/folds.json`.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from simulator.calibration.command import run
from simulator.calibration.fit import predict_rows, values_at
from simulator.calibration.folds import Fold, write_folds
from simulator.calibration.profiles import problem
from simulator.calibration.refit import Sensitivities, refit, sensitivities, written
from simulator.calibration.samples import GROUPS, HELD_OUT, SPLITS, group_of, is_kept, parts_of
from simulator.calibration.validation import Case


def held_out(found: Sensitivities, split: str) -> list[tuple[Fold, list[Case]]]:
    """Fits without a quarter of the groups of a split each, or of both of a pair, and the rows of these by them."""
    whole = found.problem
    measured = [row.measured for row in whole.rows]
    parts = parts_of(measured, split)
    return [_fold(found, split, parts, part) for part in sorted(set(parts))]


def _fold(
    found: Sensitivities, split: str, parts: Sequence[tuple[int, ...]], without: tuple[int, ...]
) -> tuple[Fold, list[Case]]:
    """One fit, without the rows and the kernels of some quarters, and the rows of all of these as predicted by it."""
    whole = found.problem
    kept = np.array([is_kept(part, without) for part in parts])
    groups = {
        group_of(split, row.measured) for row, part in zip(whole.rows, parts, strict=True) if part[-1] == without[-1]
    }
    kernels = np.array([kernels.device not in groups for kernels in whole.kernels], dtype=bool)
    values = values_at(whole.parameters, refit(found, kept, kernels))
    test = [row for row, part in zip(whole.rows, parts, strict=True) if part == without]
    predicted = predict_rows(test, values)
    cases = [Case(row.measured, float(seconds)) for row, seconds in zip(test, predicted, strict=True)]
    return Fold(split, tuple(sorted(groups)), values), cases


def write_predictions(path: Path, cases: Mapping[str, Sequence[Case]]) -> None:
    """The predicted step times [s] by what was held out, one row each."""
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write("# Step times predicted by coefficients that were fitted without the row's group of rows\n")
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("held_out", "id", "predicted_s"))
        for split, rows in cases.items():
            writer.writerows((split, case.measured.id, f"{case.predicted_s:.6g}") for case in rows)


def main(folder: Path) -> None:
    """Fit to the tables in a folder, a quarter held out each time."""
    whole = problem(folder)
    found = sensitivities(whole, written(whole.parameters), os.cpu_count() or 1)
    fits = {split: held_out(found, split) for split in SPLITS}
    write_folds([fold for split in GROUPS for fold, _ in fits[split]])
    cases = {split: [case for _, rows in folds for case in rows] for split, folds in fits.items()}
    write_predictions(folder / HELD_OUT, cases)


if __name__ == "__main__":
    run(main)

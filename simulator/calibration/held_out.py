"""How far predictions err where nothing was fitted: measurers, frameworks, workloads or devices held out in turn.

`python -m simulator.calibration.held_out tests/validation` makes sixteen fits, each without a quarter of the groups,
and writes their predictions to `held_out.csv` beside the measured times, their coefficients to
`hardware_profiles/certainty/folds.json`.
"""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from simulator.calibration.fit import predict_rows, values_at
from simulator.calibration.folds import Fold, write_folds
from simulator.calibration.profiles import problem
from simulator.calibration.refit import Sensitivities, refit, sensitivities, written
from simulator.calibration.samples import FOLDS, GROUPS, HELD_OUT
from simulator.calibration.validation import Case


def held_out(found: Sensitivities, split: str) -> list[tuple[Fold, list[Case]]]:
    """Fits without a quarter of the groups of a split each, and the rows of these as predicted by them."""
    group = GROUPS[split]
    whole = found.problem
    of_rows = [group(row.measured) for row in whole.rows]
    names = sorted(set(of_rows))
    folds = []
    for place in range(min(FOLDS, len(names))):
        without = names[place::FOLDS]
        kept = ~np.isin(of_rows, without)
        kernels = np.array([kernels.device not in without for kernels in whole.kernels], dtype=bool)
        values = values_at(whole.parameters, refit(found, kept, kernels))
        test = [row for row, train in zip(whole.rows, kept, strict=True) if not train]
        predicted = predict_rows(test, values)
        cases = [Case(row.measured, float(seconds)) for row, seconds in zip(test, predicted, strict=True)]
        folds.append((Fold(split, tuple(without), values), cases))
    return folds


def write_predictions(path: Path, cases: Mapping[str, Sequence[Case]]) -> None:
    """The predicted step times [s] by what was held out, one row each."""
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write("# Step times predicted by coefficients that were fitted without the row's group of rows\n")
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("held_out", "id", "predicted_s"))
        for split, rows in cases.items():
            writer.writerows((split, case.measured.id, f"{case.predicted_s:.6g}") for case in rows)


def main() -> None:
    """Fit to the tables in the folder given as the first argument, a quarter held out each time."""
    whole = problem(Path(sys.argv[1]))
    found = sensitivities(whole, written(whole.parameters), os.cpu_count() or 1)
    fits = {split: held_out(found, split) for split in GROUPS}
    write_folds([fold for folds in fits.values() for fold, _ in folds])
    cases = {split: [case for _, rows in folds for case in rows] for split, folds in fits.items()}
    write_predictions(Path(sys.argv[1]) / HELD_OUT, cases)


if __name__ == "__main__":
    main()

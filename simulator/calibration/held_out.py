"""How far predictions err where nothing was fitted: measurers, frameworks, workloads or devices held out in turn.

`python -m simulator.calibration.held_out tests/validation` writes every prediction to `held_out.csv` beside the
measured times; each of the sixteen fits takes some minutes.
"""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from simulator.calibration.fit import Problem, fit, predict_rows
from simulator.calibration.measurements import Measurement
from simulator.calibration.profiles import problem
from simulator.calibration.rows import Row
from simulator.calibration.samples import FOLDS, GROUPS, HELD_OUT
from simulator.calibration.validation import Case

ROUNDS = 4
"""Rounds of each fit, two fewer than a full one; the third still lowers the sum of squares by a hundredth."""


def held_out(whole: Problem, group: Callable[[Measurement], str]) -> list[Case]:
    """Each row predicted by coefficients fitted without the rows, and kernels, of its quarter of the groups."""

    def key(row: Row) -> str:
        return group(row.measured)

    names = sorted({key(row) for row in whole.rows})
    cases = []
    for fold in range(FOLDS):
        without = set(names[fold::FOLDS])
        train = [row for row in whole.rows if key(row) not in without]
        kernels = [group for group in whole.kernels if group.device not in without]
        test = [row for row in whole.rows if key(row) in without]
        values = fit(Problem(train, kernels, whole.parameters), ROUNDS, os.cpu_count() or 1)
        predicted = predict_rows(test, values)
        cases += [Case(row.measured, float(seconds)) for row, seconds in zip(test, predicted, strict=True)]
    return cases


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
    write_predictions(Path(sys.argv[1]) / HELD_OUT, {split: held_out(whole, group) for split, group in GROUPS.items()})


if __name__ == "__main__":
    main()

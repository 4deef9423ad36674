"""How far predictions err where nothing was fitted: measurers, frameworks, workloads or devices held out in turn.

`python -m simulator.calibration.held_out tests/validation docs/accuracy/held_out.md` writes the table of the last two,
and every prediction to `held_out.csv` beside the measured times; each of the sixteen fits takes some minutes.
"""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path

from simulator.calibration.fit import Problem, Row, fit, predict_rows
from simulator.calibration.measurements import Measurement
from simulator.calibration.profiles import problem
from simulator.calibration.samples import FOLDS, GROUPS, HELD_OUT
from simulator.calibration.validation import Case, Errors, by_batch, errors

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


def is_transformer(case: Case) -> bool:
    """Whether a case is of a language model, the set of NeuSight."""
    return any(word in case.measured.workload for word in ("bert", "gpt", "opt"))


def table(by_workload: Sequence[Case], by_device: Sequence[Case]) -> str:
    """Markdown: errors of both, convolutional networks and transformers, large and small batches apart."""
    lines = [
        "| held out | networks | batch | cases | mean | median | bias | 90th pct | within 20 % |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    kinds = ((False, "convolutional"), (True, "transformers"))
    for (held, cases), (transformer, kind) in product((("workloads", by_workload), ("devices", by_device)), kinds):
        chosen = by_batch(case for case in cases if is_transformer(case) is transformer)
        for batch, group in zip((">= 16", "< 16"), chosen, strict=True):
            found = errors(group, by_setting=True)
            if found is not None:
                lines.append(f"| {held} | {kind} | {batch} | {_cells(found)} |")
    return "\n".join(lines) + "\n"


def _cells(found: Errors) -> str:
    sizes = (found.mean, found.median, found.bias, found.percentile_90, found.within_20)
    return " | ".join([str(found.cases), *(f"{100 * size:.1f}%" for size in sizes)])


def main() -> None:
    """Fit to the tables in the first folder, a quarter held out each time; write the table to the second path."""
    whole = problem(Path(sys.argv[1]))
    cases = {split: held_out(whole, group) for split, group in GROUPS.items()}
    write_predictions(Path(sys.argv[1]) / HELD_OUT, cases)
    by_workload, by_device = cases["workload"], cases["device"]
    Path(sys.argv[2]).write_text(
        "# Errors where nothing was fitted\n\n" + table(by_workload, by_device), encoding="utf-8"
    )


if __name__ == "__main__":
    main()

"""Validation: error statistics, the worst cases, errors where groups were held out, what moved since an earlier run."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from simulator.calibration.changes import Comparison
from simulator.calibration.validation import Case, Errors, by_batch, column_of, errors, grouped
from simulator.report.cases import reason_table
from simulator.report.csv_text import literal
from simulator.report.listing import Row, print_table
from simulator.report.moved import comparison_summary, comparison_tables
from simulator.report.parity import write_parity
from simulator.report.tables import rows_table
from simulator.units import duration

GROUPS = ("task", "precision", "device", "devices", "framework", "layout", "host", "year", "workload")
WORST = 10
CASE_KEYS = (
    *("id", "workload", "device", "task", "precision", "batch", "measured_s"),
    *("predicted_s", "low_s", "high_s", "bound", "grade", "reason", "framework", "layout", "host", "year"),
)


@dataclass(frozen=True)
class Validation:
    """What `simulate validate` shows.

    Attributes
    ----------
    by : columns to group by.
    held_out : what was held out -> cases predicted without their group; empty where that was not asked.
    against : what moved since an earlier run, if one was given.
    """

    cases: Sequence[Case]
    by: Sequence[str] = GROUPS
    held_out: Mapping[str, Sequence[Case]] = field(default_factory=dict)
    against: Comparison | None = None


def validation_summary(found: Validation) -> dict[str, Any]:
    """Statistics and every case; a case without a prediction has its reason. Keys and units: docs/json.md."""
    held_out = {
        split: {"all": _statistics(cases), "by": _by(cases, _columns(found, split))}
        for split, cases in found.held_out.items()
    }
    return {
        "all": _statistics(found.cases),
        "by": _by(found.cases, found.by),
        **({"held_out": held_out} if held_out else {}),
        **({"against": comparison_summary(found.against)} if found.against else {}),
        "cases": [_case(case) for case in found.cases],
    }


def _by(cases: Sequence[Case], keys: Sequence[str]) -> dict[str, Any]:
    return {key: {name: _statistics(group) for name, group in grouped(cases, key).items()} for key in keys}


def _columns(found: Validation, split: str) -> Sequence[str]:
    """By what held-out cases are grouped: as asked, or by what was held out."""
    return (split,) if tuple(found.by) == GROUPS else found.by


def _statistics(cases: Sequence[Case]) -> dict[str, Any]:
    """Errors over all cases, and for large and small batches apart, each (device, workload) weighing the same."""
    return {
        "rows": len(cases),
        "not_predicted": sum(case.predicted_s is None for case in cases),
        **{name: asdict(found) if found else None for name, found in _splits(cases).items()},
    }


def _splits(cases: Sequence[Case]) -> dict[str, Errors | None]:
    large, small = by_batch(cases)
    return {
        "by_row": errors(cases),
        "batch_16_and_more": errors(large, by_setting=True),
        "batch_below_16": errors(small, by_setting=True),
    }


def _case(case: Case) -> dict[str, Any]:
    measured = case.measured
    values = (
        *(measured.id, measured.workload, measured.device, measured.task, measured.precision, measured.batch),
        *(measured.step_s, case.predicted_s, case.low_s, case.high_s, case.bound, case.grade, case.reason),
        measured.framework,
        *(column_of(case, key) for key in ("layout", "host", "year")),
    )
    return dict(zip(CASE_KEYS, values, strict=True))


def statistics_rows(cases: Sequence[Case], key: str) -> list[Row]:
    """One row a group and batch range: number, errors, shares."""
    rows = []
    for name, group in grouped(cases, key).items():
        for label, found in list(_splits(group).items())[1:]:
            if found is not None:
                size = {"size" if key == "batch" else "batch": ">= 16" if "more" in label else "< 16"}
                rows.append({key: name or "not said", **size, **_cells(found)})
    return rows


def _cells(found: Errors) -> Row:
    return {
        "cases": found.cases,
        "mean": f"{found.mean:.1%}",
        "median": f"{found.median:.1%}",
        "bias": f"{found.bias:+.1%}",
        "90th pct": f"{found.percentile_90:.1%}",
        "within 10 %": f"{found.within_10:.0%}",
        "within 20 %": f"{found.within_20:.0%}",
        "in interval": f"{found.covered:.0%}",
    }


def overall_rows(cases: Sequence[Case]) -> list[Row]:
    """The totals: by row, and for large and small batches with each (device, workload) weighing the same."""
    return [{"all": name.replace("_", " "), **_cells(found)} for name, found in _splits(cases).items() if found]


def worst_rows(cases: Sequence[Case]) -> list[Row]:
    """The cases with the largest errors."""
    predicted = sorted((c for c in cases if c.predicted_s is not None), key=lambda case: -abs(case.error))
    return [
        {
            "worst": case.measured.workload,
            "device": case.measured.device,
            "framework": case.measured.framework,
            "task": f"{case.measured.task} {case.measured.precision}",
            "batch": case.measured.batch,
            "measured": duration(case.measured.step_s),
            "predicted": duration(case.predicted_s or 0),
            "error": f"{case.error:+.0%}",
            "bound": case.bound or "",
        }
        for case in predicted[:WORST]
    ]


def tables_of(found: Validation) -> Iterator[tuple[str, list[Row]]]:
    """Title and rows of every table that is shown."""
    yield f"{len(found.cases)} measured steps", overall_rows(found.cases)
    for split, cases in found.held_out.items():
        yield f"{len(cases)} steps, the {split} held out of the fit", overall_rows(cases)
        for key in _columns(found, split):
            yield f"{split} held out, by {key}", statistics_rows(cases, key)
    if found.against is not None:
        yield from comparison_tables(found.against)
    for key in found.by:
        yield f"by {key}", statistics_rows(found.cases, key)
    yield "worst cases", worst_rows(found.cases)
    yield from reason_table(case.reason for case in found.cases).items()


def print_validation(found: Validation, out: Path | None) -> None:
    """All tables on stdout."""
    for title, rows in tables_of(found):
        print_table(title, rows)
    if out is not None:
        print(f"parity plot and cases: {out}")


def write_validation(found: Validation, out: Path) -> None:
    """`tables.md`, `parity.png`, `parity.svg` and `cases.csv` in a folder."""
    out.mkdir(parents=True, exist_ok=True)
    with (out / "cases.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(CASE_KEYS)
        writer.writerows([literal(value) for value in _case(case).values()] for case in found.cases)
    (out / "tables.md").write_text(validation_page(found), encoding="utf-8")
    write_parity(found.cases, "family" if tuple(found.by) == GROUPS else found.by[0], out)


def validation_page(found: Validation) -> str:
    """All tables as Markdown."""
    parts = ["# Predicted against measured step times", "![Parity plot](parity.png)"]
    for title, rows in tables_of(found):
        if rows:
            heading = title[0].upper() + title[1:]
            parts += [f"## {heading}", rows_table(rows)]
    return "\n\n".join(parts) + "\n"

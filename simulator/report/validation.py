"""Validation: error statistics, a parity plot and the worst cases."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from simulator.calibration.validation import Case, Errors, by_batch, errors, grouped
from simulator.report.listing import Row, print_table
from simulator.report.style import BOUNDS
from simulator.report.tables import markdown_table
from simulator.units import duration

GROUPS = ("task", "precision", "device", "devices", "framework", "workload")
WORST = 10
CASE_KEYS = (
    *("id", "workload", "device", "task", "precision", "batch", "measured_s"),
    *("predicted_s", "low_s", "high_s", "bound", "grade", "reason"),
)


def validation_summary(cases: Sequence[Case]) -> dict[str, Any]:
    """Statistics and every case; a case without a prediction has its reason."""
    return {
        "all": _statistics(cases),
        "by": {key: {name: _statistics(group) for name, group in grouped(cases, key).items()} for key in GROUPS},
        "cases": [_case(case) for case in cases],
    }


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
    )
    return dict(zip(CASE_KEYS, values, strict=True))


def statistics_rows(cases: Sequence[Case], key: str) -> list[Row]:
    """One row a group and batch range: number, errors, shares."""
    rows = []
    for name, group in grouped(cases, key).items():
        for label, found in list(_splits(group).items())[1:]:
            if found is not None:
                rows.append({key: name, "batch": ">= 16" if "more" in label else "< 16", **_cells(found)})
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


def reason_rows(cases: Sequence[Case]) -> list[Row]:
    """Why rows have no prediction, most frequent first."""
    reasons = Counter(case.reason for case in cases if case.reason)
    return [{"rows": count, "not predicted because": reason} for reason, count in reasons.most_common(8)]


def worst_rows(cases: Sequence[Case]) -> list[Row]:
    """The cases with the largest errors."""
    predicted = sorted((c for c in cases if c.predicted_s is not None), key=lambda case: -abs(case.error))
    return [
        {
            "worst": case.measured.workload,
            "device": case.measured.device,
            "task": f"{case.measured.task} {case.measured.precision}",
            "batch": case.measured.batch,
            "measured": duration(case.measured.step_s),
            "predicted": duration(case.predicted_s or 0),
            "error": f"{case.error:+.0%}",
            "bound": case.bound or "",
        }
        for case in predicted[:WORST]
    ]


def print_validation(cases: Sequence[Case], out: Path | None) -> None:
    """All tables on stdout."""
    print_table(f"{len(cases)} measured steps", overall_rows(cases))
    for key in GROUPS:
        print_table(f"by {key}", statistics_rows(cases, key))
    print_table("worst cases", worst_rows(cases))
    print_table("rows without a prediction", reason_rows(cases))
    if out is not None:
        print(f"parity plot and cases: {out}")


def write_validation(cases: Sequence[Case], out: Path) -> None:
    """`tables.md`, `parity.png`, `parity.svg` and `cases.csv` in a folder."""
    out.mkdir(parents=True, exist_ok=True)
    with (out / "cases.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(CASE_KEYS)
        writer.writerows(_case(case).values() for case in cases)
    (out / "tables.md").write_text(validation_page(cases), encoding="utf-8")
    _parity_figure(cases, out)


def validation_page(cases: Sequence[Case]) -> str:
    """All tables as Markdown."""
    tables = {f"{len(cases)} measured steps": overall_rows(cases)}
    tables |= {f"By {key}": statistics_rows(cases, key) for key in GROUPS}
    tables |= {"Worst cases": worst_rows(cases), "Rows without a prediction": reason_rows(cases)}
    parts = ["# Predicted against measured step times", "![Parity plot](parity.png)"]
    for title, rows in tables.items():
        if rows:
            parts += [f"## {title}", markdown_table(list(rows[0]), [list(row.values()) for row in rows])]
    return "\n\n".join(parts) + "\n"


def _parity_figure(cases: Sequence[Case], out: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 7))
    axes = figure.subplots()
    seconds: list[float] = []
    for bound, (word, colour, marker) in BOUNDS.items():
        chosen = [case for case in cases if case.predicted_s is not None and case.bound == bound.name.lower()]
        if not chosen:
            continue
        measured = [case.measured.step_s for case in chosen]
        predicted = [case.predicted_s or 0.0 for case in chosen]
        seconds += [*measured, *predicted]
        label = f"bound by {word} ({len(chosen)})"
        axes.scatter(measured, predicted, s=14, c=colour, marker=marker, alpha=0.6, linewidths=0, label=label)
    low, high = (min(seconds, default=1e-3) / 1.5, max(seconds, default=1.0) * 1.5)
    axes.plot([low, high], [low, high], color="black", linewidth=1)
    axes.fill_between([low, high], [0.8 * low, 0.8 * high], [1.2 * low, 1.2 * high], color="#009E73", alpha=0.15, lw=0)
    axes.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high), aspect="equal")
    axes.set_xlabel("measured step [s]")
    axes.set_ylabel("predicted step [s]")
    axes.set_title("Predicted against measured step times; the band is ±20 %")
    if axes.collections[1:]:
        axes.legend(loc="upper left")
    for suffix in ("png", "svg"):
        figure.savefig(out / f"parity.{suffix}", dpi=130, bbox_inches="tight")

"""What moved between two runs of a validation: tables and JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from simulator.calibration.changes import MOVED, Change, Comparison
from simulator.report.listing import Row
from simulator.units import duration

SHOWN = 20


def comparison_tables(found: Comparison) -> Iterator[tuple[str, list[Row]]]:
    """The sums of what moved, and the rows that moved most."""
    moved, changes = found.moved, found.changes
    title = f"{len(changes)} rows of both runs ({found.new} new, {found.gone} gone)"
    yield title, [_sums("all rows", changes), *([_sums(f"moved by more than {MOVED:.0%}", moved)] if moved else [])]
    yield f"moved most, {min(SHOWN, len(moved))} of {len(moved)}", [_row(change) for change in moved[:SHOWN]]


def _sums(name: str, changes: Sequence[Change]) -> Row:
    before, now = _means(changes)
    return {
        "of": name,
        "rows": len(changes),
        "mean error before": f"{before:.2%}",
        "now": f"{now:.2%}",
        "nearer": sum(change.worse < 0 for change in changes),
        "farther": sum(change.worse > 0 for change in changes),
    }


def _means(changes: Sequence[Change]) -> tuple[float, float]:
    """Mean size of the errors before and now, each row alike."""
    count = max(len(changes), 1)
    return (
        sum(abs(change.error_before) for change in changes) / count,
        sum(abs(change.case.error) for change in changes) / count,
    )


def _row(change: Change) -> Row:
    measured = change.case.measured
    return {
        "id": measured.id,
        "workload": measured.workload,
        "device": measured.device,
        "task": f"{measured.task} {measured.precision}",
        "batch": measured.batch,
        "measured": duration(measured.step_s),
        "before": duration(change.before_s),
        "now": duration(change.case.predicted_s or 0.0),
        "moved": f"{change.moved:+.1%}",
        "error before": f"{change.error_before:+.1%}",
        "error now": f"{change.case.error:+.1%}",
    }


def comparison_summary(found: Comparison) -> dict[str, Any]:
    """The same as JSON; every row that moved, shares as fractions. [s]"""
    before, now = _means(found.changes)
    return {
        "rows": len(found.changes),
        "new": found.new,
        "gone": found.gone,
        "mean_error_before": before,
        "mean_error": now,
        "moved": [
            {
                "id": change.case.measured.id,
                "workload": change.case.measured.workload,
                "device": change.case.measured.device,
                "measured_s": change.case.measured.step_s,
                "before_s": change.before_s,
                "predicted_s": change.case.predicted_s,
                "moved": change.moved,
                "error_before": change.error_before,
                "error": change.case.error,
            }
            for change in found.moved
        ],
    }

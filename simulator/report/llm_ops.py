"""Validation of an engine's kernels: errors by device, operation and format, and why rows have no prediction."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from simulator.calibration.llm_ops import OpCase
from simulator.report.cases import print_tables, reason_rows, reason_table, write_cases
from simulator.report.listing import Row

if TYPE_CHECKING:
    import pandas as pd


def _all(case: OpCase) -> str:
    """One group of the cases that are predicted."""
    return "all" if not math.isnan(case.predicted_s) else ""


_KEYS: dict[str, Callable[[OpCase], str]] = {
    "device": lambda case: case.row.device,
    "operation": lambda case: case.row.op,
    "call": lambda case: case.row.call,
    "device and call": lambda case: f"{case.row.device}: {case.row.call}",
}


def error_rows(cases: Sequence[OpCase], key: Callable[[OpCase], str]) -> list[Row]:
    """One row a group: number, mean, median and bias of the errors of times."""
    groups: dict[str, list[float]] = {}
    for case in cases:
        if not math.isnan(case.predicted_s):
            groups.setdefault(key(case), []).append(case.error)
    return [statistics(name, np.array(errors)) for name, errors in sorted(groups.items())]


def statistics(name: str, error: Any) -> Row:
    """Number, median, mean, bias and 90th percentile of a group of errors."""
    return {
        "group": name,
        "rows": len(error),
        "median": f"{np.median(np.abs(error)):.1%}",
        "mean": f"{np.abs(error).mean():.1%}",
        "bias": f"{error.mean():+.1%}",
        "90th pct": f"{np.quantile(np.abs(error), 0.9):.1%}",
    }


def _tables(cases: Sequence[OpCase]) -> dict[str, list[Row]]:
    predicted = sum(not math.isnan(case.predicted_s) for case in cases)
    tables = {f"{predicted} of {len(cases)} kernels predicted": error_rows(cases, _all)}
    tables |= {f"by {title}": error_rows(cases, key) for title, key in _KEYS.items()}
    return tables | reason_table(case.reason for case in cases)


def print_ops(cases: Sequence[OpCase], out: Path | None) -> None:
    """All tables on stdout."""
    print_tables(_tables(cases), out)


def ops_frame(cases: Sequence[OpCase]) -> pd.DataFrame:
    """One row a case."""
    import pandas as pd

    return pd.DataFrame(_entries(cases))


def _entries(cases: Sequence[OpCase]) -> list[dict[str, Any]]:
    return [
        {
            "id": case.row.id,
            "metric": "time_s",
            "device": case.row.device,
            "call": case.row.call,
            "dims": ";".join(f"{key}={value}" for key, value in case.row.dims.items()),
            "measured": case.row.time_s,
            "predicted": None if math.isnan(case.predicted_s) else case.predicted_s,
            "reason": case.reason or None,
        }
        for case in cases
    ]


def write_ops(cases: Sequence[OpCase], out: Path) -> None:
    """`tables.md` and `cases.csv` in a folder."""
    write_cases(out, ops_frame(cases), "Predicted against measured kernels of a served model", _tables(cases))


def ops_summary(cases: Sequence[OpCase]) -> dict[str, Any]:
    """Statistics and every case; a case without a prediction has its reason. [s]"""
    return {
        "rows": len(cases),
        "not_predicted": sum(math.isnan(case.predicted_s) for case in cases),
        "by": {title: error_rows(cases, key) for title, key in _KEYS.items()},
        "reasons": reason_rows(case.reason for case in cases),
        "cases": _entries(cases),
    }

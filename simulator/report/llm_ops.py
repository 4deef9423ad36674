"""Validation of an engine's kernels: errors by device, operation and format, and why rows have no prediction."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulator.calibration.llm_ops import OpCase
from simulator.report.cases import Judged, error_rows, print_tables, reason_rows, reason_table, write_cases
from simulator.report.listing import Row

if TYPE_CHECKING:
    import pandas as pd


_KEYS: dict[str, Callable[[OpCase], str]] = {
    "device": lambda case: case.row.device,
    "operation": lambda case: case.row.op,
    "call": lambda case: case.row.call,
    "device and call": lambda case: f"{case.row.device}: {case.row.call}",
}


def _by(cases: Sequence[OpCase], key: Callable[[OpCase], str]) -> list[Row]:
    """Errors of times by group."""
    predicted = [case for case in cases if not math.isnan(case.predicted_s)]
    return error_rows([Judged((key(case),), case.error) for case in predicted], ["group"])


def _tables(cases: Sequence[OpCase]) -> dict[str, list[Row]]:
    predicted = sum(not math.isnan(case.predicted_s) for case in cases)
    tables = {f"{predicted} of {len(cases)} kernels predicted": _by(cases, lambda _: "all")}
    tables |= {f"by {title}": _by(cases, key) for title, key in _KEYS.items()}
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
        "by": {title: _by(cases, key) for title, key in _KEYS.items()},
        "reasons": reason_rows(case.reason for case in cases),
        "cases": _entries(cases),
    }

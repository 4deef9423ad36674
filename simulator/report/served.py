"""Validation of serving: errors by kind of measurement and engine, and why rows have no prediction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulator.calibration.doubt import doubt_of
from simulator.calibration.served import ServedCase
from simulator.report.cases import Judged, error_rows, print_tables, reason_rows, reason_table, write_cases
from simulator.report.listing import Row

if TYPE_CHECKING:
    import pandas as pd

GROUPS = ("kind", "engine", "device", "workload", "source")
COLUMNS = ("mean", "median", "bias", "within 20 %")


def served_frame(cases: Sequence[ServedCase]) -> pd.DataFrame:
    """One row a case: what was measured, predicted, the error, or the reason."""
    import pandas as pd

    rows = [
        {**asdict(case.row), "kind": case.kind, "predicted": case.predicted, "reason": case.reason, "error": case.error}
        | {"doubt": "" if case.reason else doubt_of(case.row)}
        for case in cases
    ]
    return pd.DataFrame(rows)


def _by(frame: pd.DataFrame, keys: Sequence[str]) -> list[Row]:
    """Errors by group, those of figures in doubt left out."""
    sure = frame[frame["predicted"].notna() & (frame["doubt"] == "")]
    groups = sure[list(keys)].itertuples(index=False, name=None)
    cases = [Judged(group, error) for group, error in zip(groups, sure["error"], strict=True)]
    return error_rows(cases, keys, COLUMNS)


def doubt_rows(frame: pd.DataFrame) -> list[Row]:
    """Measured figures that cannot be, which count in no error, and how far off the predictions are of them."""
    doubted = frame[frame["doubt"] != ""]
    return [
        {
            "rows": len(group),
            "measured": str(why),
            "predicted over measured": f"{1 + group['error'].median():.2f} (median)",
        }
        for why, group in doubted.groupby("doubt", sort=True)
    ]


def _tables(frame: pd.DataFrame) -> dict[str, list[Row]]:
    number = int(frame["predicted"].notna().sum())
    tables = {f"{number} of {len(frame)} figures predicted": _by(frame, ["kind", "engine"])}
    tables |= {f"by {key}": _by(frame, [key]) for key in GROUPS}
    tables |= {"rows in doubt, in no error above": doubt_rows(frame)}
    return tables | reason_table(frame["reason"])


def print_served(cases: Sequence[ServedCase], out: Path | None) -> None:
    """All tables on stdout."""
    print_tables(_tables(served_frame(cases)), out)


def write_served(cases: Sequence[ServedCase], out: Path) -> None:
    """`tables.md` and `cases.csv` in a folder."""
    frame = served_frame(cases)
    write_cases(out, frame, "Predicted against measured serving", _tables(frame))


def served_summary(cases: Sequence[ServedCase]) -> dict[str, Any]:
    """Statistics and every case; a case without a prediction has its reason."""
    frame = served_frame(cases)
    return {
        "rows": len(cases),
        "not_predicted": sum(math.isnan(case.predicted) for case in cases),
        "by": {key: _by(frame, [key]) for key in GROUPS},
        "reasons": reason_rows(case.reason for case in cases),
        "doubts": doubt_rows(frame),
        "cases": [
            {"id": case.row.id, "kind": case.kind, "metric": case.row.metric, "measured": case.row.value}
            | {"predicted": None if math.isnan(case.predicted) else case.predicted, "reason": case.reason or None}
            | {"doubt": doubt or None}
            for case, doubt in zip(cases, frame["doubt"], strict=True)
        ],
    }

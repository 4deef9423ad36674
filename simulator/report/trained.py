"""Validation of training plans: errors by system, precision, network and software, and why rows have no prediction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulator.calibration.trained import TrainedCase, framework_of
from simulator.report.cases import Judged, error_rows, print_tables, reason_rows, reason_table, write_tables
from simulator.report.csv_text import write_frame
from simulator.report.listing import Row

if TYPE_CHECKING:
    import pandas as pd

GROUPS = ("device", "precision", "workload", "framework", "kind")
COLUMNS = ("mean", "median", "bias", "in interval")
KINDS = {"step_s": "step", "tokens_per_s_per_gpu": "step", "memory_gib": "memory"}
"""Metric -> what is measured; times and tokens a second are judged alike, as errors of the time."""


def trained_frame(cases: Sequence[TrainedCase]) -> pd.DataFrame:
    """One row a case."""
    import pandas as pd

    rows = [
        {
            "id": case.row.id,
            "metric": case.metric,
            "kind": KINDS[case.metric],
            "workload": case.row.workload,
            "device": case.row.device,
            "devices": case.row.devices,
            "precision": case.row.precision,
            "framework": framework_of(case.row.software, case.row.note),
            "plan": case.plan,
            "measured": case.measured,
            "predicted": case.predicted,
            "low": case.low,
            "high": case.high,
            "error": case.error,
            "inside": case.low <= case.measured <= case.high,
            "reason": case.reason,
        }
        for case in cases
    ]
    return pd.DataFrame(rows)


def _by(frame: pd.DataFrame, key: str) -> list[Row]:
    """Errors by group, and how often the interval held."""
    found = frame[frame["predicted"].notna()]
    columns = zip(found[key], found["error"], found["inside"], strict=True)
    return error_rows([Judged((str(name),), error, inside) for name, error, inside in columns], [key], COLUMNS)


def _tables(frame: pd.DataFrame) -> dict[str, list[Row]]:
    times = frame[frame["kind"] == "step"]
    number = int(frame["predicted"].notna().sum())
    tables = {f"{number} of {len(frame)} figures predicted": _by(frame, "kind")}
    tables |= {f"time, by {key}": _by(times, key) for key in GROUPS if key != "kind"}
    return tables | reason_table(frame["reason"])


def print_trained(cases: Sequence[TrainedCase], out: Path | None) -> None:
    """All tables on stdout."""
    print_tables(_tables(trained_frame(cases)), out)


def write_trained(cases: Sequence[TrainedCase], out: Path) -> None:
    """`plans.md` and `plans.csv` in a folder."""
    out.mkdir(parents=True, exist_ok=True)
    frame = trained_frame(cases)
    write_frame(frame, out / "plans.csv")
    write_tables("Predicted against measured training on many devices", _tables(frame), out / "plans.md")


def trained_summary(cases: Sequence[TrainedCase]) -> dict[str, Any]:
    """Statistics and every case; a case without a prediction has its reason."""
    frame = trained_frame(cases)
    times = frame[frame["kind"] == "step"]
    return {
        "rows": len(cases),
        "not_predicted": int(frame["predicted"].isna().sum()),
        "by": {key: _by(times if key != "kind" else frame, key) for key in GROUPS},
        "reasons": reason_rows(case.reason for case in cases),
        "cases": [_case(case) for case in cases],
    }


def _case(case: TrainedCase) -> dict[str, Any]:
    def number(value: float) -> float | None:
        return None if math.isnan(value) else value

    return {
        "id": case.row.id,
        "metric": case.metric,
        "measured": number(case.measured),
        "predicted": number(case.predicted),
        "low": number(case.low),
        "high": number(case.high),
        "plan": case.plan or None,
        "reason": case.reason or None,
    }

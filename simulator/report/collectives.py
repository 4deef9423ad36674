"""Predicted against measured collectives: errors by link and operation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from simulator.calibration.collectives import LARGEST, SMALLEST, MeasuredCollective
from simulator.report.cases import Judged, error_rows, reason_table
from simulator.report.listing import Row, print_table

COLUMNS = ("mean", "median", "bias", "90th pct")


def print_collectives(rows: Sequence[MeasuredCollective]) -> None:
    """Errors of the bus bandwidth by link and by operation, and why rows have no prediction."""
    judged = [row for row in rows if row.predicted_s is not None and SMALLEST <= row.size_bytes <= LARGEST]
    print_table(f"{len(rows)} measured collectives, 1 KiB to 8 GiB", grouped_rows(judged, lambda _: "all"))
    for title, key in _KEYS.items():
        print_table(f"by {title}", grouped_rows(judged, key))
    for title, why in reason_table(row.reason for row in rows).items():
        print_table(title, why)


_KEYS: dict[str, Callable[[MeasuredCollective], str]] = {
    "link": lambda row: row.link,
    "operation": lambda row: row.op,
    "devices": lambda row: f"{row.devices} in {row.nodes} machine{'s' * (row.nodes > 1)}",
}


def grouped_rows(rows: Sequence[MeasuredCollective], key: Callable[[MeasuredCollective], str]) -> list[Row]:
    """Statistics of each group."""
    judged = [Judged((key(row),), error) for row, error in zip(rows, errors(rows).tolist(), strict=True)]
    return error_rows(judged, ["group"], COLUMNS)


def errors(rows: Sequence[MeasuredCollective]) -> Any:
    """(predicted - measured) / measured of the bus bandwidth, which is in inverse proportion to the time."""
    return np.array([row.time_s / (row.predicted_s or np.nan) - 1 for row in rows])


def collectives_summary(rows: Sequence[MeasuredCollective]) -> dict[str, Any]:
    """Statistics and cases: id, metric, measured and predicted time [s], reason."""
    judged = [row for row in rows if row.predicted_s is not None and SMALLEST <= row.size_bytes <= LARGEST]
    return {
        "rows": len(rows),
        "predicted": len([row for row in rows if row.predicted_s is not None]),
        "mean_error": float(np.abs(errors(judged)).mean()) if judged else None,
        "cases": [
            {
                "id": row.id,
                "metric": "time_s",
                "op": row.op,
                "link": row.link,
                "devices": row.devices,
                "size_bytes": row.size_bytes,
                "measured": row.time_s,
                "predicted": row.predicted_s,
                "low": None,
                "high": None,
                "reason": row.reason,
            }
            for row in rows
        ],
    }

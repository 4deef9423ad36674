"""Validation of single operations: errors by operation, number format and device."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from simulator.calibration.ops import OpCase
from simulator.report.listing import Row, print_table

if TYPE_CHECKING:
    import pandas as pd

KEYS = ("op", "dtype", "device")


def ops_frame(cases: Sequence[OpCase]) -> pd.DataFrame:
    """One row a case."""
    import pandas as pd

    rows = [(c.id, c.op, c.dtype, c.device, c.measured_s, c.predicted_s, c.error, c.reason) for c in cases]
    return pd.DataFrame(rows, columns=["id", *KEYS, "measured_s", "predicted_s", "error", "reason"])


def error_rows(frame: pd.DataFrame, keys: Sequence[str]) -> list[Row]:
    """One row a group."""
    rows = []
    for names, group in frame[frame["predicted_s"].notna()].groupby(list(keys), sort=True):
        error = group["error"]
        rows.append(
            {
                **dict(zip(keys, names, strict=True)),
                "rows": len(group),
                "median": f"{error.abs().median():.1%}",
                "mean": f"{error.abs().mean():.1%}",
                "bias": f"{error.median():+.1%}",
            }
        )
    return rows


def reason_rows(frame: pd.DataFrame) -> list[Row]:
    """Why rows have no prediction."""
    counts = frame.loc[frame["predicted_s"].isna(), "reason"].value_counts()
    return [{"rows": int(count), "not predicted because": str(reason)} for reason, count in counts.items()]


def print_ops(cases: Sequence[OpCase]) -> None:
    """All tables on stdout; the bias is the median's."""
    frame = ops_frame(cases)
    predicted = int(frame["predicted_s"].notna().sum())
    print_table(f"{predicted} of {len(frame)} operations predicted", error_rows(frame, KEYS[:2]))
    print_table("by device", error_rows(frame, KEYS))
    print_table("rows without a prediction", reason_rows(frame))


def ops_summary(cases: Sequence[OpCase]) -> dict[str, Any]:
    """Statistics and every case; a case without a prediction has its reason."""
    frame = ops_frame(cases)
    return {
        "rows": len(cases),
        "not_predicted": int(frame["predicted_s"].isna().sum()),
        "by": error_rows(frame, KEYS),
        "reasons": reason_rows(frame),
        "cases": [
            {"id": c.id, "metric": "time_s", "measured": c.measured_s}
            | {"predicted": None if math.isnan(c.predicted_s) else c.predicted_s, "reason": c.reason or None}
            for c in cases
        ],
    }

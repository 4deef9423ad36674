"""Validation of power: errors by device, task and number of devices, and why rows have no prediction."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulator.calibration.powered import PoweredCase
from simulator.report.cases import Judged, error_rows, print_tables, reason_rows, reason_table, write_cases
from simulator.report.listing import Row

if TYPE_CHECKING:
    import pandas as pd

_KEYS: dict[str, Callable[[PoweredCase], str]] = {
    "device": lambda case: case.device,
    "kind": lambda case: case.row.kind,
    "system": lambda case: case.row.system,
}


def _predicted(cases: Sequence[PoweredCase]) -> list[PoweredCase]:
    return [case for case in cases if not math.isnan(case.predicted_w)]


def _by(cases: Sequence[PoweredCase], key: Callable[[PoweredCase], str]) -> list[Row]:
    """Errors of power by group."""
    return error_rows([Judged((key(case),), case.error) for case in _predicted(cases)], ["group"])


def _within(cases: Sequence[PoweredCase]) -> float | None:
    """Share of the measured figures that lie in their intervals; None where nothing is predicted."""
    found = [case.low_w <= case.row.value <= case.high_w for case in _predicted(cases)]
    return sum(found) / len(found) if found else None


def _tables(cases: Sequence[PoweredCase]) -> dict[str, list[Row]]:
    number, within = len(_predicted(cases)), _within(cases)
    share = "" if within is None else f"; {within:.0%} of the figures lie in their intervals"
    tables = {f"power: {number} of {len(cases)} rows predicted{share}": _by(cases, lambda _: "all")}
    tables |= {f"by {title}": _by(cases, key) for title, key in _KEYS.items()}
    return tables | reason_table(case.reason for case in cases)


def print_powered(cases: Sequence[PoweredCase], out: Path | None) -> None:
    """All tables on stdout."""
    print_tables(_tables(cases), out)


def powered_frame(cases: Sequence[PoweredCase]) -> pd.DataFrame:
    """One row a case."""
    import pandas as pd

    return pd.DataFrame(_entries(cases))


def _entries(cases: Sequence[PoweredCase]) -> list[dict[str, Any]]:
    return [
        {
            "id": case.row.id,
            "metric": "power_w" if case.row.unit == "W" else case.row.kind,
            "device": case.device or None,
            "system": case.row.system,
            "quantity": case.row.quantity,
            "measured": case.row.value,
            "predicted": None if case.reason else case.predicted_w,
            "low": None if case.reason else case.low_w,
            "high": None if case.reason else case.high_w,
            "reason": case.reason or None,
        }
        for case in cases
    ]


def write_powered(cases: Sequence[PoweredCase], out: Path) -> None:
    """`tables.md` and `cases.csv` in a folder."""
    write_cases(out, powered_frame(cases), "Predicted against measured power", _tables(cases))


def powered_summary(cases: Sequence[PoweredCase]) -> dict[str, Any]:
    """Statistics and every case; a case without a prediction has its reason. [W]"""
    return {
        "rows": len(cases),
        "not_predicted": len(cases) - len(_predicted(cases)),
        "within_interval": _within(cases),
        "by": {title: _by(cases, key) for title, key in _KEYS.items()},
        "reasons": reason_rows(case.reason for case in cases),
        "cases": _entries(cases),
    }

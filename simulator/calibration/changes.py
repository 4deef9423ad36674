"""What moved between two runs of `simulate validate`: the cases of an earlier one's JSON beside those of this one."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simulator import catalog
from simulator.calibration.tables import MAX_BYTES
from simulator.calibration.validation import Case
from simulator.errors import InputError

MOVED = 0.02
"""Share by which a prediction must differ to be named as moved."""

SAME = ("id", "workload", "device", "task", "precision", "batch")
"""What two rows must share to be the same question."""


@dataclass(frozen=True)
class Change:
    """A case, and what an earlier run predicted of it. [s]"""

    case: Case
    before_s: float

    @property
    def moved(self) -> float:
        """(now - before) / before."""
        return (self.case.predicted_s or math.nan) / self.before_s - 1

    @property
    def error_before(self) -> float:
        """(predicted before - measured) / measured."""
        return self.before_s / self.case.measured.step_s - 1

    @property
    def worse(self) -> float:
        """By how much the size of the error rose; below zero where it fell."""
        return abs(self.case.error) - abs(self.error_before)


@dataclass(frozen=True)
class Comparison:
    """Rows that both runs predicted, and how many only one of them did."""

    changes: tuple[Change, ...]
    new: int
    gone: int

    @property
    def moved(self) -> list[Change]:
        """Those whose prediction differs by more than `MOVED`, the largest difference first."""
        chosen = [change for change in self.changes if abs(change.moved) > MOVED]
        return sorted(chosen, key=lambda change: -abs(math.log1p(change.moved)))


def compare(cases: Sequence[Case], earlier: Path) -> Comparison:
    """The cases beside those that an earlier run wrote with `--json`; a row is known by its id and what it asks.

    Raises
    ------
    InputError
        If the file is not the JSON of such a run, or none of its rows is among the cases.
    """
    before = _predicted(earlier)
    now = {_question(case): case for case in cases if case.predicted_s is not None}
    changes = tuple(Change(case, before[key]) for key, case in now.items() if key in before)
    if before and now and not changes:
        raise InputError(f"{earlier}: none of its {len(before)} rows is in the table; ids and settings must agree")
    return Comparison(changes, new=len(now.keys() - before.keys()), gone=len(before.keys() - now.keys()))


def _question(case: Case) -> tuple[object, ...]:
    return tuple(getattr(case.measured, key) for key in SAME)


def _predicted(path: Path) -> dict[tuple[object, ...], float]:
    """Question -> predicted time, of the rows that have one. [s]"""
    try:
        content = json.loads(catalog.read_text(path, MAX_BYTES))
        cases: list[Mapping[str, Any]] = content["cases"]
        return {
            tuple(case[key] for key in SAME): float(case["predicted_s"])
            for case in cases
            if case["predicted_s"] is not None
        }
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path}: not the output of `simulate validate FILE --json`") from None

"""Coefficients of fits that held groups out: `hardware_profiles/certainty/folds.json`, for any table of step times."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from simulator import catalog
from simulator.calibration.fit import Values, predict_rows
from simulator.calibration.measurements import Measurement
from simulator.calibration.rows import row_of
from simulator.execution.certainty import FOLDER

FILE = "folds.json"


@dataclass(frozen=True)
class Fold:
    """One fit.

    Attributes
    ----------
    split : what was held out: "measurer", "framework", "device" or "workload".
    groups : those that the fit did not see.
    values : (file of `hardware_profiles`, key) -> coefficient.
    """

    split: str
    groups: tuple[str, ...]
    values: Values


def write_folds(folds: Sequence[Fold]) -> None:
    """The fits, four digits a coefficient."""
    keys = list(folds[0].values)
    content = {
        "source": "fitted to tests/validation without the groups named, by make held-out",
        "coefficients": [f"{scope} {key}" for scope, key in keys],
        "fits": [
            {
                "held_out": fold.split,
                "groups": fold.groups,
                "values": [float(f"{fold.values[key]:.4g}") for key in keys],
            }
            for fold in folds
        ],
    }
    lines = json.dumps(content).replace('{"held_out"', '\n{"held_out"').replace('"fits": [', '\n"fits": [')
    _path().write_text(lines + "\n", encoding="utf-8")


@lru_cache
def read_folds() -> tuple[Fold, ...]:
    """The fits that ship."""
    content = json.loads(_path().read_text(encoding="utf-8"))
    keys = [(scope, key) for scope, _, key in (one.partition(" ") for one in content["coefficients"])]
    return tuple(
        Fold(one["held_out"], tuple(one["groups"]), dict(zip(keys, one["values"], strict=True)))
        for one in content["fits"]
    )


def values_without(split: str, group: str) -> Values:
    """The coefficients of the fit that did not see a group; none, so those that ship, where no fit has seen it."""
    return next((fold.values for fold in read_folds() if fold.split == split and group in fold.groups), {})


def predictions_without(split: str, rows: Iterable[tuple[Measurement, str]]) -> list[tuple[str, float]]:
    """(Id of a row, time predicted by the fit that did not see its group [s]) of (row, group) that can be predicted."""
    by_group: dict[str, list[Measurement]] = {}
    for measured, group in rows:
        by_group.setdefault(group, []).append(measured)
    found = []
    for group, members in by_group.items():
        lowered = [row_of(measured) for measured in members]
        predicted = predict_rows(lowered, values_without(split, group))
        found += [(row.measured.id, float(seconds)) for row, seconds in zip(lowered, predicted, strict=True)]
    return found


def _path() -> Path:
    return catalog.folder(FOLDER) / FILE

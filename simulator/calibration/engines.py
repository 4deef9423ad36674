"""What engines cost, fitted to whole steps that were measured.

`python -m simulator.calibration.engines TABLE ENGINE[/FAMILY]` fits the numbers that an engine's own file calls
calibrated to the table's rows under that engine, on the devices of each family that has a section and on all others
together, prints the errors before and after, and rewrites the file. An engine that others extend comes first. With
`--held-out` nothing is written: the errors of each device's rows under a fit to the others are printed, where there
are others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from simulator import catalog
from simulator.calibration.command import run
from simulator.calibration.doubt import doubt_of
from simulator.calibration.fit import SCALE, Parameter, Values, fit, robust, values_at
from simulator.calibration.profiles import microseconds, replaced
from simulator.calibration.served import kind_of, predicted_on
from simulator.calibration.served_rows import ServedRow, deployment_of, read_served
from simulator.errors import SimulatorError
from simulator.op.kernels import FloatArray
from simulator.serving.engine import ServingEngine, own_numbers
from simulator.serving.step import Deployment

FIELDS = {
    "gap": "gap_s",
    "prefill_gap": "prefill_gap_s",
    "dispatch": "dispatch_s",
    "weights": "weights",
    "experts": "experts",
    "cache": "cache",
    "again": "again",
    "matrix": "matrix",
    "attention": "attention",
    "narrow": "narrow",
    "scalar": "scalar",
    "expert_rate": "expert_rate",
    "queries": "queries",
    "unit_stream": "unit_bytes",
    "lanes": "lanes",
    "host": "host_s",
    "request": "request_s",
    "prompt": "prompt_s",
    "device": "device_s",
    "hand_over": "hand_over_s",
    "overlap": "overlap",
}
"""Last name of a key path -> attribute of the engine."""

SPREAD = 1.0
"""Of a coefficient's logarithm around the present value: rows decide."""

MOST = {"experts": 1.0, "weights": 1.0, "cache": 1.0, "matrix": 1.5, "attention": 1.5, "overlap": 1.0}
"""No stream beats the memory; sustained rates are two thirds of the peak or more."""

HOLD = 0.05
"""Weight of the spreads beside one row."""

ROUNDS = 8

FAR = 4.0
"""A row that is off by more than this factor tells of something else than of coefficients: of kernels that were
compiled at the first requests, of a cache that was too small."""

MOST_ROWS = 6
"""Of each device, network, format and kind of measurement: a table's long series say the same many times."""


@dataclass(frozen=True)
class MeasuredServing:
    """A row, and what it was measured on."""

    row: ServedRow
    deployment: Deployment

    @property
    def setting(self) -> tuple[str, ...]:
        """What rows are thinned by."""
        on, row = self.deployment, self.row
        return on.device.name, str(on.ways), row.workload, on.form.name, kind_of(row)

    def error(self, moved: Mapping[str, float]) -> float:
        """Logarithm of predicted over measured with some of its engine's coefficients moved."""
        changed: dict[str, Any] = dict(moved)
        engine = replace(self.deployment.engine, **changed)
        return float(np.log(predicted_on(self.row, replace(self.deployment, engine=engine)) / self.row.value))


@dataclass(frozen=True)
class EngineFit:
    """The fit of an engine's coefficients to rows of devices that share them."""

    scope: str
    keys: tuple[str, ...]
    rows: Sequence[MeasuredServing]

    @cached_property
    def start(self) -> ServingEngine:
        """The engine as its profile says now."""
        return self.rows[0].deployment.engine

    @property
    def parameters(self) -> Sequence[Parameter]:
        """What may move."""
        return [
            Parameter(self.scope, key, getattr(self.start, FIELDS[name(key)]), SPREAD, MOST.get(name(key), np.inf))
            for key in self.keys
        ]

    @property
    def size(self) -> int:
        """Number of residuals."""
        return len(self.rows) + len(self.keys)

    def residuals(
        self, logarithms: FloatArray, parameter: int | None = None, base: FloatArray | None = None
    ) -> FloatArray:
        """Robust errors, and how far the coefficients are from where they were; all anew each time."""
        del parameter, base  # each coefficient touches each row
        moved = attributes(values_at(self.parameters, logarithms))
        errors = robust(np.array([row.error(moved) for row in self.rows]))
        result: FloatArray = np.concatenate([errors, logarithms / SPREAD * HOLD * SCALE])
        return result

    def without(self, device: str) -> EngineFit:
        """The same fit, a device held out."""
        return replace(self, rows=[row for row in self.rows if row.deployment.device.name != device])


def attributes(values: Values) -> dict[str, float]:
    """Coefficients by the engine's attributes."""
    return {FIELDS[name(key)]: value for (_, key), value in values.items()}


def name(key: str) -> str:
    """The last name of a key path."""
    return key.rpartition(".")[2]


def calibrated(engine: str) -> dict[str | None, tuple[str, ...]]:
    """Family, or None for all others -> key paths that the engine's own file gives and calls calibrated."""
    own = own_numbers(engine)
    graded = [key for source in own.get("sources", ()) if source["grade"] == "calibrated" for key in source["of"]]
    found: dict[str | None, tuple[str, ...]] = {}
    for family, section in own.get("families", {}).items():
        keys = [f"families.{family}.{key}" for key in section if key in FIELDS]
        found[family] = tuple(key for key in keys if f"families.{family}" in graded or key in graded)
    found[None] = tuple(key for key in graded if name(key) in FIELDS and key.startswith(("kernel.", "step.")))
    return {family: keys for family, keys in found.items() if keys}


def measured_rows(rows: Iterable[ServedRow], engine: str) -> dict[str | None, list[MeasuredServing]]:
    """Family with a section that is fitted, or None -> an engine's rows that can be predicted and are in no doubt."""
    found: dict[str | None, list[MeasuredServing]] = {}
    fitted = calibrated(engine)
    for row in rows:
        measured = _measured(row, engine)
        if measured is not None:
            family = measured.deployment.device.profile.family
            found.setdefault(family if family in fitted else None, []).append(measured)
    return found


def _measured(row: ServedRow, engine: str) -> MeasuredServing | None:
    """A row under an engine, if it can be predicted and is in no doubt."""
    try:
        deployment = deployment_of(row)
        if deployment.engine.name != engine or doubt_of(row):
            return None
        predicted_on(row, deployment)
    except SimulatorError:
        return None
    return MeasuredServing(row, deployment)


def thinned(rows: Sequence[MeasuredServing]) -> list[MeasuredServing]:
    """At most `MOST_ROWS` of each setting, evenly spaced among its figures from small to large."""
    groups: dict[tuple[str, ...], list[MeasuredServing]] = {}
    for row in sorted(rows, key=lambda row: row.row.value):
        groups.setdefault(row.setting, []).append(row)
    kept = []
    for group in groups.values():
        places = np.unique(np.linspace(0, len(group) - 1, min(len(group), MOST_ROWS)).round().astype(int))
        kept += [group[place] for place in places]
    return kept


def fits(rows: Iterable[ServedRow], engine: str, only: str = "") -> Iterator[tuple[EngineFit, list[MeasuredServing]]]:
    """The fits of an engine's file, or of one family's section: rows to fit, and all rows of the same devices."""
    by_family = measured_rows(rows, engine)
    for family, keys in calibrated(engine).items():
        found = by_family.get(family)
        if found and (not only or only == family):
            near = [row for row in found if abs(row.error({})) < np.log(FAR)]
            yield EngineFit(f"engines/{engine}", keys, thinned(near)), found


def errors(rows: Iterable[MeasuredServing], moved: Mapping[str, float]) -> dict[str, FloatArray]:
    """Relative errors of rows by kind of measurement."""
    found: dict[str, list[float]] = {}
    for row in rows:
        found.setdefault(kind_of(row.row), []).append(np.expm1(row.error(moved)))
    return {kind: np.array(values) for kind, values in found.items()}


def held_out(problem: EngineFit, rows: Sequence[MeasuredServing]) -> Iterator[tuple[str, Mapping[str, FloatArray]]]:
    """Each device, and the errors of all its rows under a fit to the others; none where there is no other."""
    devices = sorted({row.deployment.device.name for row in rows})
    for device in devices if len(devices) > 1 else ():
        others = problem.without(device)
        moved = attributes(fit(others, rounds=ROUNDS))
        yield device, errors((row for row in rows if row.deployment.device.name == device), moved)


def shown(label: str, found: Mapping[str, FloatArray]) -> Iterator[str]:
    """Lines of errors by kind."""
    for kind, values in sorted(found.items()):
        size = np.abs(values)
        yield (
            f"    {label:24} {kind:26} {len(values):5} rows  mean {size.mean():6.1%}  "
            f"median {np.median(size):6.1%}  bias {values.mean():+6.1%}"
        )


def write(scope: str, values: Values) -> None:
    """Put fitted coefficients into a profile."""
    path = catalog.folder("hardware_profiles") / f"{scope}.yaml"
    text = path.read_text(encoding="utf-8")
    for (_, key), value in values.items():
        text = replaced(text, key, _time(value) if FIELDS[name(key)].endswith("_s") else f"{value:.3g}")
    path.write_text(text, encoding="utf-8")


def _time(value_s: float) -> str:
    return microseconds(value_s) if value_s < 1e-3 else f"{value_s * 1e3:.3g} ms"


def main(table: Path, engine: str, held_out: bool) -> None:
    """Fit, print and write; see the module's text."""
    name, _, family = engine.partition("/")
    for problem, rows in fits(read_served(table), name, family):
        print(f"{name}, {problem.keys[0].rpartition('.')[0]}: {len(problem.rows)} of {len(rows)} rows", flush=True)
        (_print_held_out if held_out else _refit)(problem, rows)


def _print_held_out(problem: EngineFit, rows: Sequence[MeasuredServing]) -> None:
    for device, found in held_out(problem, rows):
        print(*shown(f"without {device}", found), sep="\n", flush=True)


def _refit(problem: EngineFit, rows: Sequence[MeasuredServing]) -> None:
    values = fit(problem, rounds=ROUNDS)
    print(*shown("was", errors(rows, {})), sep="\n")
    print(*shown("is", errors(rows, attributes(values))), sep="\n", flush=True)
    write(problem.scope, values)


if __name__ == "__main__":
    run(main)

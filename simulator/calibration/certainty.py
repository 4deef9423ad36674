"""Fits how sure a step's time is to errors where whole groups were held out.

`python -m simulator.calibration.certainty tests/validation` reads the measured times and those predicted without a
row's measurer, framework, device or workload (`held_out.csv`), and writes `hardware_profiles/certainty/steps.yaml`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from simulator import catalog
from simulator.calibration.command import run
from simulator.calibration.measurements import Measurement, device_of, read_measurements, workload_of
from simulator.calibration.samples import KEYS, Sample, distance, group_of, samples
from simulator.calibration.validation import predict
from simulator.calibration.widths import HELD, UNMEASURED, descend
from simulator.device.framework import load_framework
from simulator.execution.certainty import FOLDER, CertaintyProfile, Widths, family_of
from simulator.op.kernels import FloatArray

COVERAGE = 0.8

WIDENED = 0.9
"""Logarithm by which half width on devices without lanes for it can take longer than predicted: steps published of
Pascal cards take as long as at fp32 or longer, 1.3 to 1.8 times the prediction; those of the one in the table fit.
With it the end is half as much again."""

KNOWN_HOST = -0.65
"""Logarithm by which the host's own figure narrows a step that waits for it alone: of steps that do so for more than
half, with the measurer held out, four of five err by up to 0.53, around the median of their measurer, device and
framework, which a host's figure stands for, by 0.27."""


def fit_widths(found: Sequence[Sample]) -> tuple[Widths, Widths]:
    """The widths below and above the prediction."""
    low, high = (dict(zip(KEYS, side.tolist(), strict=True)) for side in descend(found))
    return _widths(low, 0.0), _widths(high, WIDENED)


def _widths(fitted: Mapping[str, float], widened: float) -> Widths:
    rounded = {key: round(value, 2) + 0.0 for key, value in fitted.items()}
    return Widths(family=UNMEASURED, host=KNOWN_HOST, widened=widened, held=HELD, **rounded)


def held_out(found: Sequence[Sample]) -> list[Sample]:
    """Those that a fit had not seen: errors of rows that it had tell nothing of what nobody measured."""
    return [sample for sample in found if sample.split]


@dataclass(frozen=True)
class Coverage:
    """How often the interval held in a group that a fit of the times had not seen.

    Attributes
    ----------
    without : share inside widths that were fitted without its rows.
    shipped : inside those of all rows.
    """

    rows: int
    without: float
    shipped: float


def coverage(found: Sequence[Sample]) -> dict[tuple[str, str], Coverage]:
    """(Split, group) -> how often the interval that a question is told held."""
    result = {}
    low, high = fit_widths(held_out(found))
    for (split, name), test in by_group(found).items():
        train = [sample for sample in held_out(found) if group_of(split, sample.measured) != name]
        result[split, name] = Coverage(len(test), share_inside(test, *fit_widths(train)), share_inside(test, low, high))
    return result


def by_group(found: Sequence[Sample]) -> dict[tuple[str, str], list[Sample]]:
    """(Split, group) -> its samples, of the groups whose coverage is stated."""
    groups: dict[tuple[str, str], list[Sample]] = {}
    for sample in held_out(found):
        groups.setdefault((sample.split, group_of(sample.split, sample.measured)), []).append(sample)
    return {key: groups[key] for key in sorted(groups) if len(groups[key]) > LEAST}


def errors_in_widths(found: Sequence[Sample], low: Widths, high: Widths) -> list[FloatArray]:
    """Errors of each group whose coverage is stated, each over the distance of the bound on its side, (samples,)."""
    return [
        np.array([sample.error / distance(sample, low if sample.error < 0 else high) for sample in group])
        for group in by_group(found).values()
    ]


LEAST = 50
"""Samples from which on a group's coverage is stated."""


def share_inside(test: Sequence[Sample], low: Widths, high: Widths) -> float:
    """Share of the samples that their intervals hold."""
    error = np.array([sample.error for sample in test])
    below, above = (np.array([distance(sample, widths) for sample in test]) for widths in (low, high))
    return float(np.mean((error >= -below) & (error <= above)))


def what_was_measured(rows: Iterable[Measurement], others: Iterable[Measurement] = ()) -> dict[str, Any]:
    """The section `measured` of the profile.

    others : rows that no fit reads: their kinds of devices have an interval, that of families that nobody measured.
    """
    kinds = {device_of(row.device).kind for row in others}
    devices, workloads = set(), set()
    precisions: dict[str, set[str]] = {}
    frameworks: dict[str, set[str]] = {}
    for row in rows:
        family = family_of(device_of(row.device))
        kinds.add(device_of(row.device).kind)
        devices.add(device_of(row.device).name)
        workloads.add(workload_of(row).name)
        precisions.setdefault(family, set()).add(row.precision)
        frameworks.setdefault(family, set()).update((row.framework, load_framework(row.framework).release_of))
    return {
        "kinds": sorted(kinds),
        "devices": sorted(devices),
        "workloads": sorted(workloads),
        "precisions": {family: sorted(names) for family, names in sorted(precisions.items())},
        "frameworks": {family: sorted(names) for family, names in sorted(frameworks.items())},
    }


def main(folder: Path) -> None:
    """Fit, and write the profile."""
    import yaml

    found = samples(folder, [predict(row) for row in read_measurements(folder / "networks.csv")])
    low, high = fit_widths(held_out(found))
    content: Mapping[str, Any] = {
        "name": "steps",
        "kind": "certainty",
        "description": "How far measured step times lie from predicted ones, and what was measured",
        "coverage": COVERAGE,
        "low": _builtins(low),
        "high": _builtins(high),
        "measured": what_was_measured(
            {sample.measured for sample in found}, read_measurements(folder / "other_families.csv")
        ),
        "sources": [
            {"of": ["coverage"], "grade": "assumption", "source": "chosen: four of five"},
            {
                "of": ["measured"],
                "grade": "measured",
                "source": "the rows of tests/validation/networks.csv; kinds are those of other_families.csv too",
            },
            {
                "of": [f"{side}.{key}" for side in ("low", "high") for key in KEYS],
                "grade": "calibrated",
                "source": "errors where measurers, frameworks, devices or workloads were held out, tests/validation",
            },
            {"of": ["low.host", "high.host"], "grade": "calibrated", "source": "errors around the median of each host"},
            {"of": ["low.held", "high.held"], "grade": "calibrated", "source": "a T4's rates by two measurers"},
            {"of": ["low.widened", "high.widened"], "grade": "assumption", "source": "steps published elsewhere"},
            {"of": ["low.family", "high.family"], "grade": "assumption", "source": "no fit can tell"},
        ],
    }
    path = catalog.folder(FOLDER) / "steps.yaml"
    catalog.convert(dict(content), CertaintyProfile, str(path))
    path.write_text(yaml.safe_dump(content, sort_keys=False, width=118, default_flow_style=None), encoding="utf-8")


def _builtins(widths: Widths) -> dict[str, float]:
    import msgspec

    return dict(msgspec.structs.asdict(widths))


if __name__ == "__main__":
    run(main)

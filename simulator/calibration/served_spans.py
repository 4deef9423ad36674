"""Where measured latencies of served requests lie beside predicted ones.

`python -m simulator.calibration.served_spans FILE` prints `engines` and `others` of
`hardware_profiles/certainty/serving.yaml`; with `--held-out`, for each device, the share of its rows that lies in spans
found without it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from simulator.calibration.command import run
from simulator.calibration.doubt import doubt_of
from simulator.calibration.served import predict_served
from simulator.calibration.served_rows import deployment_of, read_served
from simulator.serving.certainty import Ends, LatencyEnds

SHARES = {"first": 0.9, "token": 0.95}
"""Share of the rows inside a span, where devices are among the rows; so many that of devices that were held out 0.83
and 0.81 of the rows are inside, of which 0.8 are claimed."""

LEAST_ROWS = 30
"""Rows of an engine below which its ends are those of all engines."""

KINDS = {"first token under load": "first", "time a token": "token", "static batch": "token"}
"""Kinds of measurements of requests that are served beside others -> what they tell of. A batch's whole time is all
but the time of its tokens."""


@dataclass(frozen=True)
class Seen:
    """One row: measured over predicted, as a logarithm."""

    part: str
    engine: str
    device: str
    ratio: float


def seen(path: Path) -> Iterator[Seen]:
    """The rows of a table that tell of latencies and that are not in doubt."""
    for row in read_served(path):
        case = predict_served(row)
        part = KINDS.get(case.kind)
        if part and not case.reason and not doubt_of(row):
            deployment = deployment_of(row)
            ratio = math.log(row.value / case.predicted)
            yield Seen(part, deployment.engine.name, deployment.device.name, ratio)


def span(ratios: Sequence[float], share: float) -> Ends:
    """The ends that as many rows lie beyond on either side, and 1 where that end is on the other side of it."""
    low, high = np.exp(np.quantile(ratios, [(1 - share) / 2, (1 + share) / 2]))
    return Ends(low=min(round(float(low), 2), 1.0), high=max(round(float(high), 2), 1.0))


def spans(rows: Sequence[Seen], engine: str | None = None) -> LatencyEnds:
    """Of an engine, or of all together where it has few rows or none is named."""
    found = {}
    for part, share in SHARES.items():
        every = [row.ratio for row in rows if row.part == part]
        own = [row.ratio for row in rows if row.part == part and row.engine == engine]
        found[part] = span(own if len(own) >= LEAST_ROWS else every, share)
    return LatencyEnds(**found)


def held_out(rows: Sequence[Seen]) -> Iterator[tuple[str, str, int, float]]:
    """Part, device, rows, and the share of them in spans that were found without the device."""
    for device in sorted({row.device for row in rows}):
        rest = [row for row in rows if row.device != device]
        for part in SHARES:
            own = [row for row in rows if row.device == device and row.part == part]
            ends = [getattr(spans(rest, row.engine), part) for row in own]
            inside = [one.low <= math.exp(row.ratio) <= one.high for one, row in zip(ends, own, strict=True)]
            if own:
                yield part, device, len(own), sum(inside) / len(own)


def main(file: Path, held_out: bool) -> None:
    """Print the sections of the profile, or what an option asks for."""
    rows = list(seen(file))
    (_print_held_out if held_out else _print_spans)(rows)


def _print_held_out(rows: Sequence[Seen]) -> None:
    for part, device, number, share in held_out(rows):
        print(f"{part:6} {device:24} {number:5} rows, {share:.0%} inside")


def _print_spans(rows: Sequence[Seen]) -> None:
    print("engines:")
    for engine in sorted({row.engine for row in rows}):
        print(f"  {engine}: {_section(spans(rows, engine))}")
    print(f"others: {_section(spans(rows))}")


def _section(found: LatencyEnds) -> str:
    parts = {"first": found.first, "token": found.token}
    return "{" + ", ".join(f"{part}: {{low: {one.low:g}, high: {one.high:g}}}" for part, one in parts.items()) + "}"


if __name__ == "__main__":
    run(main)

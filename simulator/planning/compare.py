"""Sides compared layer by layer: what gained, which bound moved, and from what; of answers, or of their JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from simulator import catalog
from simulator.errors import InputError
from simulator.pipeline import Simulation

if TYPE_CHECKING:
    import pandas as pd

MAX_BYTES = 64 * 2**20


@dataclass(frozen=True)
class SideLayer:
    """One layer of a side. [s], [FLOP], [byte]"""

    name: str
    time_s: float
    bound: str
    flops: float
    traffic_bytes: float

    @property
    def place(self) -> tuple[float, float] | None:
        """(intensity, performance) in a roofline; None where one of them is not. [FLOP/byte], [FLOP/s]"""
        if not (self.flops and self.traffic_bytes and self.time_s):
            return None
        return self.flops / self.traffic_bytes, self.flops / self.time_s


@dataclass(frozen=True)
class Side:
    """One side: its label, its step, its layers by name, and its roofs where they are known.

    Attributes
    ----------
    per_sample_s : of the step, so that sides of different batches compare. [s]
    by_bound : bound -> seconds of the step that wait for it.
    simulation : the answer itself, where the side is no file.
    """

    label: str
    workload: str
    batch: int
    devices: int
    step_s: float
    by_bound: Mapping[str, float]
    memory_bytes: float
    layers: Mapping[str, SideLayer]
    simulation: Simulation | None = None

    @property
    def per_sample_s(self) -> float:
        """Time of a step over all its samples. [s]"""
        return self.step_s / (self.batch * self.devices)


@dataclass(frozen=True)
class Moved:
    """A layer that two sides share: its times, of one sample of each, and its bounds. [s]"""

    name: str
    before: SideLayer
    after: SideLayer
    gained_s: float


@dataclass(frozen=True)
class Difference:
    """One side against the first.

    Attributes
    ----------
    speedup : how many times less a sample takes.
    moved : layers that both have, by how much of their time changed, the most first; times of one sample.
    bounds : (before, after) -> (layers, seconds of a sample before) whose bound is another.
    only : names of layers that one of them has alone, the first's and the other's.
    """

    first: Side
    other: Side
    speedup: float
    moved: tuple[Moved, ...]
    bounds: Mapping[tuple[str, str], tuple[int, float]]
    only: tuple[tuple[str, ...], tuple[str, ...]]

    def to_frame(self) -> pd.DataFrame:
        """One row a layer that both have, by name: times of one sample, what is gained of them, and both bounds."""
        import pandas as pd

        mine, theirs = self.first.batch * self.first.devices, self.other.batch * self.other.devices
        rows = [
            (one.before.time_s / mine, one.after.time_s / theirs, one.gained_s, one.before.bound, one.after.bound)
            for one in self.moved
        ]
        names = pd.Index([one.name for one in self.moved], name="layer")
        return pd.DataFrame(rows, names, ["before_s", "after_s", "gained_s", "bound_before", "bound_after"])


def side_of(simulation: Simulation, label: str) -> Side:
    """The side of an answer."""
    from simulator.roofline.times import Bound

    times, step = simulation.layers, simulation.step
    layers = {
        layer.name: SideLayer(layer.name, time_s, Bound(bound).word, flops, traffic)
        for layer, time_s, bound, flops, traffic in zip(
            simulation.workload.layers,
            times.time_s.tolist(),
            times.bound.tolist(),
            times.flops.tolist(),
            times.traffic_bytes.tolist(),
            strict=True,
        )
    }
    by_bound = {bound.word: seconds for bound, seconds in zip(Bound, step.seconds, strict=True)}
    return Side(
        label,
        simulation.workload.name,
        step.batch,
        step.devices,
        step.time_s,
        by_bound,
        simulation.memory.total_bytes,
        layers,
        simulation,
    )


def side_of_file(path: Path) -> Side:
    """The side of a `summary.json`.

    Raises
    ------
    InputError
        If the file is none, naming the key that is missing.
    """
    try:
        content = json.loads(catalog.read_text(path, MAX_BYTES))
        step, options = content["step"], content["options"]
        layers = {
            row["name"]: SideLayer(row["name"], row["time_s"], row["bound"] or "", row["flops"], row["traffic_bytes"])
            for row in content["layers"]
        }
        batch, step_s = int(options["batch"]), float(step["time_s"])
        return Side(
            f"{path.parent.name or path.stem} (file)",
            content["workload"]["name"],
            batch,
            max(round(step["samples_per_s"] * step_s / batch), 1),
            step_s,
            _by_bound(layers.values()),
            float(content["memory"]["total_bytes"]),
            layers,
        )
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: not JSON: {error}") from None
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: no summary.json of a simulation: {error} is missing or malformed") from None


def _by_bound(layers: Iterable[SideLayer]) -> dict[str, float]:
    """Seconds of layers by what most of each waits for, where a file does not say it of the step."""
    found: dict[str, float] = {}
    for layer in layers:
        if layer.bound:
            found[layer.bound] = found.get(layer.bound, 0.0) + layer.time_s
    return found


def compare(sides: Sequence[Side]) -> list[Difference]:
    """Each further side against the first.

    Raises
    ------
    InputError
        If there are fewer than two.
    """
    if len(sides) < 2:
        raise InputError("a comparison needs two sides: another --workload, --device, --precision or summary.json")
    return [_difference(sides[0], other) for other in sides[1:]]


def _difference(first: Side, other: Side) -> Difference:
    """Times are of one sample of each side."""
    mine, theirs = first.batch * first.devices, other.batch * other.devices
    moved = [
        Moved(name, layer, other.layers[name], layer.time_s / mine - other.layers[name].time_s / theirs)
        for name, layer in first.layers.items()
        if name in other.layers and (layer.time_s or other.layers[name].time_s)
    ]
    bounds: dict[tuple[str, str], tuple[int, float]] = {}
    for one in moved:
        if one.before.bound != one.after.bound and one.before.bound and one.after.bound:
            count, seconds = bounds.get((one.before.bound, one.after.bound), (0, 0.0))
            bounds[one.before.bound, one.after.bound] = (count + 1, seconds + one.before.time_s / mine)
    return Difference(
        first,
        other,
        first.per_sample_s / other.per_sample_s,
        tuple(sorted(moved, key=lambda one: -abs(one.gained_s))),
        bounds,
        (
            tuple(name for name in first.layers if name not in other.layers),
            tuple(name for name in other.layers if name not in first.layers),
        ),
    )

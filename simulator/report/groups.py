"""Layers that do the same work in the same time, taken together: networks repeat their blocks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import log10

import numpy as np

from simulator.op.kernels import FloatArray, IntArray
from simulator.pipeline import Simulation
from simulator.roofline.roofs import quotient

_TOKEN = re.compile(r"([./_])")


@dataclass(frozen=True, eq=False)
class AlikeLayers:
    """Layers of one operation with the same FLOPs, traffic and time, to three digits.

    Attributes
    ----------
    label : a name, or a pattern and how many, "layer3.*.conv2 (36x)", or "layer3.0.conv2 and 35 more".
    layers : their positions, shape (members,).
    time_s : of all of them together. [s]
    flops, traffic_bytes : of all of them together. [FLOP], [byte]
    by_phase : forward, backward, update of all together, shape (3,). [s]
    """

    label: str
    layers: IntArray
    time_s: float
    flops: float
    traffic_bytes: float
    by_phase: FloatArray
    bound: int

    @property
    def intensity_flop_per_byte(self) -> float:
        """Work for each byte of main memory traffic. [FLOP/byte]"""
        return float(quotient(self.flops, self.traffic_bytes))

    @property
    def flop_per_s(self) -> float:
        """What is done in their time. [FLOP/s]"""
        return float(quotient(self.flops, self.time_s))


def layer_groups(simulation: Simulation) -> list[AlikeLayers]:
    """All layers in groups, the slowest group first; layers that take no time are left out."""
    times = simulation.layers
    numbers = zip(times.flops.tolist(), times.traffic_bytes.tolist(), times.time_s.tolist(), strict=True)
    members: dict[tuple[object, ...], list[int]] = {}
    for position, (layer, work) in enumerate(zip(simulation.workload.layers, numbers, strict=True)):
        if work[2] > 0:
            members.setdefault((layer.op.kind, *map(_rounded, work)), []).append(position)
    groups = [_group(simulation, positions) for positions in members.values()]
    return sorted(groups, key=lambda group: -group.time_s)


def pattern(names: Sequence[str]) -> str:
    """What names have in common: "layer3.*.conv2"; the parts that differ become stars, or all of it.

    >>> pattern(["layer3.0.conv2", "layer3.1.conv2"])
    'layer3.*.conv2'
    """
    split = [_TOKEN.split(name) for name in names]
    if len({len(parts) for parts in split}) > 1:
        return "*"
    return "".join(column[0] if len(set(column)) == 1 else "*" for column in zip(*split, strict=True))


def _label(names: Sequence[str]) -> str:
    """A name, a pattern with one star, or the first name where that would say too little."""
    if len(names) == 1:
        return names[0]
    shared = pattern(names)
    telling = shared.count("*") == 1 and len(shared) > 3
    return f"{shared} ({len(names)}x)" if telling else f"{names[0]} and {len(names) - 1} more"


def _rounded(value: float) -> float:
    """Three digits, on a logarithmic scale so that no rounding step is large."""
    return round(log10(value), 3) if value > 0 else -1.0


def _group(simulation: Simulation, positions: list[int]) -> AlikeLayers:
    times, index = simulation.layers, np.array(positions)
    names = [simulation.workload.layers[position].name for position in positions]
    return AlikeLayers(
        label=_label(names),
        layers=index,
        time_s=float(times.time_s[index].sum()),
        flops=float(times.flops[index].sum()),
        traffic_bytes=float(times.traffic_bytes[index].sum()),
        by_phase=times.by_pass[:, index].sum(axis=1),
        bound=int(times.bound[positions[0]]),
    )

"""The discs of a roofline figure: which layers have a place between its roofs, where, and how large."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from simulator.pipeline import Simulation
from simulator.report.groups import AlikeLayers, layer_groups
from simulator.roofline.roofs import Roofs
from simulator.roofline.times import Bound

UNIMPORTANT = 0.003
"""Share of the time that may lie below the axes, so that the rest is seen better."""


@dataclass(frozen=True, slots=True)
class Disc:
    """A disc: layers that coincide are one. [FLOP/byte], [FLOP/s]"""

    label: str
    x: float
    y: float
    share: float
    bound: Bound
    layers: int


def visible_discs(simulation: Simulation) -> tuple[list[Disc], Disc]:
    """The marks to show, the slowest first, and that of the whole step."""
    found = discs_of(layer_groups(simulation), simulation.step.time_s)
    return visible(found)[0], step_disc(simulation)


def discs_of(groups: Sequence[AlikeLayers], step_s: float) -> list[Disc]:
    """Points of the groups that have a place on logarithmic axes, the slowest first."""
    return [
        Disc(
            group.label,
            group.intensity_flop_per_byte,
            group.flop_per_s,
            group.time_s / step_s,
            Bound(group.bound),
            len(group.layers),
        )
        for group in groups
        if group.flops > 0 and group.traffic_bytes > 0
    ]


def visible(points: Sequence[Disc]) -> tuple[list[Disc], list[Disc]]:
    """(points to show, points to leave out): the lowest few, if they hold next to no time, would squeeze the others."""
    ordered = sorted(points, key=lambda point: point.y)
    shares = np.cumsum([point.share for point in ordered])
    cut = int(np.searchsorted(shares, UNIMPORTANT))
    if not cut or ordered[cut].y < 30 * ordered[0].y:
        return list(points), []
    shown = {id(point) for point in ordered[cut:]}
    return [point for point in points if id(point) in shown], ordered[:cut]


def step_disc(simulation: Simulation) -> Disc:
    step = simulation.step
    layers = len(simulation.workload.layers)
    return Disc("whole step", step.intensity_flop_per_byte, step.flop_per_s, 1.0, step.bound, layers)


def limits(roofs: Roofs, points: Sequence[Disc]) -> tuple[float, float, float, float]:
    """Left, right, bottom and top that hold the points, the ridges and a stretch of each roof."""
    intensities = [point.x for point in points]
    rates = [point.y for point in points]
    ridges = [ridge for ridge, _ in roofs.ridges]
    highest, lowest = roofs.compute[0].datasheet, roofs.compute[-1].datasheet
    stretch = 15 if len(ridges) == 1 else 70
    left, right = min(min(ridges) / 15, min(intensities) / 2), max(max(ridges) * stretch, max(intensities) * 3)
    return left, right, min(lowest / 40, min(rates) / 2.5), 2.2 * max(highest, *rates)

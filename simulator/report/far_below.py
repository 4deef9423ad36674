"""Marks far below their roof, each with the cause that keeps it there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from simulator.pipeline import Simulation
from simulator.planning.explain import dominant_causes
from simulator.report.groups import layer_groups
from simulator.report.style import NORMAL, NOTE, SMALL, fitted, percent
from simulator.roofline.roofs import Roofs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from simulator.report.discs import Disc

FAR = 0.25
"""Share of its roof below which a reader asks why: good kernels reach half and more."""

MOST = 5
"""Marks that are explained, of those that are numbered."""


@dataclass(frozen=True)
class FarBelow:
    """A numbered mark, what of its roof it reaches, and the cause with the largest part of the rest."""

    number: int
    share: float
    cause: str


def far_below(simulation: Simulation, points: Sequence[Disc], roofs: Roofs) -> list[FarBelow]:
    """The numbered marks that reach less than `FAR` of their roof, in their order; of a calibrated time alone."""
    shares = {place: point.y / roofs.attainable(point.x) for place, point in enumerate(points, start=1)}
    low = [place for place, share in shares.items() if share < FAR][:MOST]
    if not simulation.calibrated or not low:
        return []
    causes = dominant_causes(simulation)
    layers = {group.label: int(group.layers[0]) for group in layer_groups(simulation)}
    return [FarBelow(place, shares[place], causes[layers[points[place - 1].label]]) for place in low]


def draw_far_below(figure: Figure, found: Sequence[FarBelow], corner: tuple[float, float], line: float) -> None:
    """A list of them, its left and top at a corner of the figure, a line apart."""
    left, top = corner
    if not found:
        return
    figure.text(left, top, "far below their roof, mostly for", fontsize=SMALL, color=NOTE, va="center")
    for place, one in enumerate(found, start=1):
        y = top - line * place
        looks: dict[str, Any] = {"fontsize": NORMAL, "fontweight": "bold", "ha": "right", "va": "center_baseline"}
        figure.text(left + 0.012, y, str(one.number), **looks)
        words = fitted(figure, one.cause, 235.0)
        figure.text(left + 0.02, y, words, fontsize=SMALL, va="center_baseline", gid="cause")
        reached = f"{percent(one.share)} of it"
        figure.text(0.985, y, reached, fontsize=SMALL, ha="right", va="center_baseline")

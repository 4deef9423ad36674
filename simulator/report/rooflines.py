"""Rooflines of several devices side by side, on equal axes."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import TYPE_CHECKING

from simulator.pipeline import Simulation
from simulator.report.comparison import Other
from simulator.report.discs import limits, visible_discs
from simulator.report.roofline import draw_points, set_axes
from simulator.report.roofs import draw_roofs, roofs_of
from simulator.report.style import (
    BOUNDS,
    NORMAL,
    SMALL,
    draw_key,
    fitted,
    footer,
    new_figure,
    setting,
    styled,
)
from simulator.roofline.times import OF_KERNELS
from simulator.units import duration

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST = 6
_LEFT, _RIGHT, _BOTTOM, _TOP = 0.105, 0.99, 0.135, 0.87


def rooflines_figure(simulation: Simulation, others: Sequence[Other]) -> Figure:
    """A panel for each device that can run the workload, six at most; [FLOP/s] over [FLOP/byte]."""
    shown = [simulation, *(other for other in others if isinstance(other, Simulation))][:MOST]
    found = [(one, roofs_of(one), *visible_discs(one)) for one in shown]
    sides = [limits(roofs, [*points, star]) for _, roofs, points, star in found]
    left, right, bottom, top = zip(*sides, strict=True)
    columns = min(len(shown), 3)
    rows = ceil(len(shown) / columns)
    with styled():
        title = setting(simulation).partition(", on ")[0]
        figure = new_figure(f"{title}, on {len(shown)} devices, equal axes", footer(simulation))
        for place, (one, roofs, points, star) in enumerate(found):
            axes = figure.add_axes(_panel(place, columns, rows))
            set_axes(axes, (min(left), max(right), min(bottom), max(top)))
            draw_roofs(axes, roofs)
            draw_points(figure, axes, points, star, f"device{place}", 0.25)
            word = BOUNDS[one.step.bound][0]
            name = fitted(figure, one.device.label, 900.0 / columns, NORMAL)
            axes.set_title(f"{name}\n{duration(one.step.time_s)} a step, bound by {word}", loc="left", fontsize=NORMAL)
            axes.tick_params(labelsize=SMALL)
            if place % columns:
                axes.tick_params(labelleft=False)
        figure.text(0.5, 0.075, "Operational intensity [FLOP/byte]", ha="center")
        figure.text(0.008, 0.5, "Performance [FLOP/s]", rotation=90, va="center")
        kernels = [BOUNDS[bound] for bound in OF_KERNELS]
        looks = [(f"bound by {word}", {"marker": mark, "color": colour}) for word, colour, mark in kernels]
        draw_key(figure, _LEFT, 0.925, looks)
    return figure


def _panel(place: int, columns: int, rows: int) -> tuple[float, float, float, float]:
    """Left, bottom, width and height of a panel, row by row."""
    width, height = (_RIGHT - _LEFT) / columns, (_TOP - _BOTTOM) / rows
    column, row = place % columns, place // columns
    return (_LEFT + column * width, _TOP - (row + 1) * height + 0.02, width - 0.02, height - 0.11)

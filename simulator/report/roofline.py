"""The roofline figure: each layer between the roofs of memory and compute.

Reference: Williams, Waterman, Patterson, "Roofline", Commun. ACM 52(4), 2009. doi:10.1145/1498765.1498785
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, floor, log10, pi, sqrt
from typing import TYPE_CHECKING

import numpy as np

from simulator.pipeline import Simulation
from simulator.report.groups import Group, layer_groups
from simulator.report.placement import Box, Canvas, FloatArray, Label, anchor
from simulator.report.roofs import Roofs, draw_roofs, roofs_of, write_on_roofs
from simulator.report.style import (
    BOUNDS,
    DPI,
    INK,
    SMALL,
    basis,
    draw_key,
    new_figure,
    percent,
    setting,
    short,
    styled,
    text_size,
)
from simulator.roofline.rates import Fidelity
from simulator.roofline.times import Bound
from simulator.units import duration, si

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LABELLED = 8
"""Layers that are named, the slowest ones."""
LARGEST_AREA, SMALLEST_AREA = 1000.0, 10.0
"""Areas of the largest and of the smallest disc. [pt^2]"""
STAR_AREA = 330.0
UNIMPORTANT = 0.003
"""Share of the time that may lie below the axes, so that the rest is seen better."""

_PLACE = (0.11, 0.165, 0.875, 0.675)
"""The axes' left, bottom, width and height, as fractions of the figure."""


@dataclass(frozen=True, slots=True)
class Point:
    """A disc: layers that coincide are one. [FLOP/byte], [FLOP/s]"""

    label: str
    x: float
    y: float
    share: float
    bound: Bound
    layers: int


def roofline_figure(simulation: Simulation, others: Sequence[object] = ()) -> Figure:  # noqa: ARG001
    """Log-log figure of performance [FLOP/s] over operational intensity of main memory traffic [FLOP/byte]."""
    groups = layer_groups(simulation)
    roofs = roofs_of(simulation)
    found = _points(groups, simulation.step.time_s)
    points = _visible(found)[0]
    with styled():
        figure = new_figure(_title(simulation), _notes(simulation, groups, found))
        axes = figure.add_axes(_PLACE)
        traffic = simulation.options.traffic
        axes.set_xlabel(f"Operational intensity, of main memory traffic ({traffic} model) [FLOP/byte]")
        figure.text(0.013, _PLACE[1] + _PLACE[3] / 2, "Performance [FLOP/s]", rotation=90, va="center")
        star = _step_point(simulation)
        _set_axes(axes, roofs, [*points, star])
        draw_roofs(axes, roofs)
        _draw_points(axes, points, star)
        _draw_words(figure, axes, roofs, [star, *points])
        _draw_legend(figure, dashed=roofs.memory.sustained is not None)
    return figure


def _title(simulation: Simulation) -> str:
    step = simulation.step
    if simulation.options.fidelity == Fidelity.NAPKIN:
        return f"{setting(simulation)}: {duration(step.time_s)} a step"
    word = BOUNDS[step.bound][0]
    share = percent(step.bound_shares[step.bound])
    return f"{setting(simulation)}: {duration(step.time_s)} a step, {share} of it bound by {word}"


def _notes(simulation: Simulation, groups: Sequence[Group], points: Sequence[Point]) -> list[str]:
    """The footer: what the figure rests on, what it does not show, and why points may lie above the roofs."""
    roofs, step_s = roofs_of(simulation), simulation.step.time_s
    shown, hidden = _visible(points)
    without = [group for group in groups if not group.flops or not group.traffic_bytes]
    absent = [
        _count("without FLOPs", sum(len(group.layers) for group in without), sum(g.time_s for g in without) / step_s),
        _count("below the axes", sum(p.layers for p in hidden), sum(p.share for p in hidden)),
    ]
    notes = [basis(simulation)]
    if any(absent):
        notes.append("not shown: " + "; ".join(text for text in absent if text))
    if simulation.options.fidelity == Fidelity.NAPKIN:
        notes.append(
            "The napkin estimate counts one operation a forward MAC and no traffic: "
            "what lies above a roof is faster than the device can be."
        )
    elif any(point.y > 1.02 * roofs.attainable(point.x) for point in shown):
        notes.append(
            "Above a roof: convolutions that need fewer operations than counted (Winograd), or data still in the cache."
        )
    return notes


def _count(what: str, layers: int, share: float) -> str:
    return f"{layers} layer{'s' * (layers > 1)} {what} ({percent(share)} of the time)" if layers else ""


def _points(groups: Sequence[Group], step_s: float) -> list[Point]:
    """Points of the groups that have a place on logarithmic axes, the slowest first."""
    return [
        Point(
            group.label,
            group.flops / group.traffic_bytes,
            group.flops / group.time_s,
            group.time_s / step_s,
            Bound(group.bound),
            len(group.layers),
        )
        for group in groups
        if group.flops > 0 and group.traffic_bytes > 0
    ]


def _visible(points: Sequence[Point]) -> tuple[list[Point], list[Point]]:
    """(points to show, points to leave out): the lowest few, if they hold next to no time, would squeeze the others."""
    ordered = sorted(points, key=lambda point: point.y)
    shares = np.cumsum([point.share for point in ordered])
    cut = int(np.searchsorted(shares, UNIMPORTANT))
    if not cut or ordered[cut].y < 30 * ordered[0].y:
        return list(points), []
    shown = {id(point) for point in ordered[cut:]}
    return [point for point in points if id(point) in shown], ordered[:cut]


def _step_point(simulation: Simulation) -> Point:
    step = simulation.step
    layers = len(simulation.workload.layers)
    return Point("whole step", step.flops / step.traffic_bytes, step.flops / step.time_s, 1.0, step.bound, layers)


def _set_axes(axes: Axes, roofs: Roofs, points: Sequence[Point]) -> None:
    """Limits that hold the points, the ridges and a stretch of each roof; ticks at the decades."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    intensities = [point.x for point in points]
    rates = [point.y for point in points]
    ridges = [ridge for ridge, _ in roofs.ridges]
    highest, lowest = roofs.compute[0].datasheet, roofs.compute[-1].datasheet
    stretch = 15 if len(ridges) == 1 else 40
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(min(min(ridges) / 15, min(intensities) / 2), max(max(ridges) * stretch, max(intensities) * 3))
    axes.set_ylim(min(lowest / 40, min(rates) / 2.5), 2.2 * max(highest, *rates))
    for axis, (low, high), unit in ((axes.xaxis, axes.get_xlim(), ""), (axes.yaxis, axes.get_ylim(), "FLOP/s")):
        decades = [10.0**power for power in range(ceil(log10(low)), floor(log10(high)) + 1)]
        axis.set_major_locator(FixedLocator(decades))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _, unit=unit: _tick(value, unit)))
    axes.grid(color="#E5E5E5", linewidth=0.7)
    axes.set_axisbelow(True)


def _tick(value: float, unit: str) -> str:
    return si(value, unit, 1) if unit else f"{value:,.10g}"


def _draw_points(axes: Axes, points: Sequence[Point], star: Point) -> None:
    scale = LARGEST_AREA / max((point.share for point in points), default=1.0)
    for bound, (word, colour, marker) in BOUNDS.items():
        chosen = [point for point in points if point.bound == bound]
        axes.scatter(
            [point.x for point in chosen],
            [point.y for point in chosen],
            s=[max(SMALLEST_AREA, point.share * scale) for point in chosen],
            c=colour,
            marker=marker,
            alpha=0.75,
            edgecolors="white",
            linewidths=0.6,
            zorder=4,
            label=f"bound by {word}",
        )
    axes.scatter([star.x], [star.y], s=STAR_AREA, c="black", marker="*", edgecolors="white", zorder=8)


def _draw_legend(figure: Figure, *, dashed: bool) -> None:
    entries: list[tuple[str, dict[str, object]]] = [
        (f"bound by {word}", {"marker": marker, "color": colour, "markersize": 10})
        for word, colour, marker in BOUNDS.values()
    ]
    entries.append(("whole step", {"marker": "*", "color": "black", "markersize": 14}))
    entries.append(("datasheet", {"linestyle": "-", "color": INK}))
    if dashed:
        entries.append(("sustained", {"linestyle": "--", "color": INK}))
    draw_key(figure, _PLACE[0], 0.905, entries)
    figure.text(
        _PLACE[0],
        0.868,
        "a mark: a layer, or several that coincide (3x); its area: their share of the step's time",
        fontsize=SMALL,
        color="#555555",
        va="center",
    )


def _draw_words(figure: Figure, axes: Axes, roofs: Roofs, points: Sequence[Point]) -> None:
    """Write on the roofs; name the whole step and the slowest layers, where there is room."""
    pixels = axes.transData.transform([(point.x, point.y) for point in points])
    discs = np.column_stack([pixels, _radii(points)])
    taken = write_on_roofs(figure, axes, roofs, discs)
    frame = axes.get_window_extent()
    inside = Box(frame.x0 + 4, frame.y0 + 4, frame.x1 - 2, frame.y1 - 2)
    _name_points(figure, axes, points, Canvas(inside, taken, np.vstack([discs, _line_samples(axes)])))


def _name_points(figure: Figure, axes: Axes, points: Sequence[Point], canvas: Canvas) -> None:
    from matplotlib.collections import LineCollection

    labels, texts = [], []
    for position, point in enumerate(points[: LABELLED + 1]):
        texts.append(f"{short(point.label, 46)}, {percent(point.share)}" if position else point.label)
        width, height = text_size(figure, texts[-1])
        x, y, radius = canvas.discs[position].tolist()
        labels.append(Label(x, y, radius, width + 4, height + 3))
    back = axes.transData.inverted()
    leaders = []
    for label, text, box in zip(labels, texts, canvas.place(labels), strict=True):
        if box is not None:
            x, y = back.transform(((box.left + box.right) / 2, (box.bottom + box.top) / 2))
            name = axes.text(x, y, text, fontsize=SMALL, ha="center", va="center_baseline", zorder=9, gid="name")
            name.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 1})  # a leader passes behind it
            leaders.append(back.transform([(label.x, label.y), anchor(box, label.x, label.y)]))
    axes.add_collection(LineCollection(leaders, colors=INK, linewidths=0.6, alpha=0.7, zorder=5), autolim=False)


def _radii(points: Sequence[Point]) -> list[float]:
    """Radii of the discs, the star's first. [px]"""
    scale = LARGEST_AREA / max((point.share for point in points[1:]), default=1.0)
    areas = [STAR_AREA, *(max(SMALLEST_AREA, point.share * scale) for point in points[1:])]
    return [sqrt(area / pi) * 1.1 * DPI / 72 for area in areas]


def _line_samples(axes: Axes) -> FloatArray:
    """The roofs as rows of small discs, shape (samples, 3). [px]"""
    steps = np.linspace(0, 1, 40)[:, None]
    rows = []
    for line in axes.lines:
        corners = axes.transData.transform(np.column_stack(line.get_data()))
        for start, end in pairwise(corners):
            rows.append(np.column_stack([start + (end - start) * steps, np.full_like(steps, 2.0)]))
    return np.vstack(rows)

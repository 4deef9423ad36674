"""The roofline figure: each layer between the roofs of memory and compute.

Reference: Williams, Waterman, Patterson, "Roofline", Commun. ACM 52(4), 2009. doi:10.1145/1498765.1498785
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import ceil, floor, log10, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from simulator.pipeline import Simulation
from simulator.report.discs import Disc, discs_of, limits, step_disc, visible
from simulator.report.far_below import draw_far_below, far_below
from simulator.report.groups import AlikeLayers, layer_groups
from simulator.report.placement import Box, Canvas, FloatArray, Label, anchor
from simulator.report.roofs import draw_roofs, roofs_of, write_on_roofs
from simulator.report.style import (
    BOUNDS,
    DPI,
    GRID,
    INK,
    NORMAL,
    NOTE,
    SMALL,
    draw_key,
    fitted,
    footer,
    hover,
    new_figure,
    percent,
    setting,
    styled,
    text_size,
)
from simulator.roofline.rates import Fidelity
from simulator.roofline.roofs import Roofs
from simulator.roofline.times import OF_KERNELS
from simulator.units import duration, si

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LABELLED = 8
"""Layers that are named, the slowest ones."""
LARGEST_AREA, SMALLEST_AREA = 1000.0, 10.0
"""Areas of the largest and of the smallest disc. [pt^2]"""
STAR_AREA = 330.0

_PLACE = (0.108, 0.195, 0.625, 0.645)
"""The axes' left, bottom, width and height, as fractions of the figure."""
_LIST = (0.752, 0.825)
"""Left and top of the list of named layers."""
_LINE = 0.031
_NAME_PIXELS = 255.0
_SPACING = 3.0
"""Between the dots that stand for a line where texts look for a place. [px]"""
_NEAR = 14.0
"""Pixels from a mark up to which its number needs no leader."""


def roofline_figure(simulation: Simulation, others: Sequence[object] = ()) -> Figure:  # noqa: ARG001
    """Log-log figure of performance [FLOP/s] over operational intensity of main memory traffic [FLOP/byte]."""
    groups = layer_groups(simulation)
    roofs = roofs_of(simulation)
    found = discs_of(groups, simulation.step.time_s)
    points = visible(found)[0]
    with styled():
        figure = new_figure(_title(simulation), _notes(simulation, groups, found))
        axes = figure.add_axes(_PLACE)
        traffic = simulation.options.traffic
        axes.set_xlabel(f"Operational intensity, of main memory traffic ({traffic} model) [FLOP/byte]")
        figure.text(0.013, _PLACE[1] + _PLACE[3] / 2, "Performance [FLOP/s]", rotation=90, va="center")
        star = step_disc(simulation)
        set_axes(axes, limits(roofs, [*points, star]))
        draw_roofs(axes, roofs)
        draw_points(figure, axes, points, star)
        unwritten = _draw_words(figure, axes, roofs, [star, *points])
        _draw_list(figure, points[:LABELLED], unwritten)
        lines = len(points[:LABELLED]) + len(unwritten) + (3.5 if unwritten else 2.5)
        far = far_below(simulation, points[:LABELLED], roofs)
        draw_far_below(figure, far, (_LIST[0], _LIST[1] - _LINE * lines), _LINE)
        _draw_legend(figure, dashed=roofs.memory.sustained is not None)
    return figure


def _title(simulation: Simulation) -> str:
    step = simulation.step
    if simulation.setting.fidelity is Fidelity.NAPKIN:
        return f"{setting(simulation)}: {duration(step.time_s)} a step"
    word = BOUNDS[step.bound][0]
    share = percent(step.bound_shares[step.bound])
    return f"{setting(simulation)}: {duration(step.time_s)} a step, {share} of it bound by {word}"


def _notes(simulation: Simulation, groups: Sequence[AlikeLayers], points: Sequence[Disc]) -> list[str]:
    """The footer: what the figure rests on, what it does not show, and why points may lie above the roofs."""
    roofs, step_s = roofs_of(simulation), simulation.step.time_s
    shown, hidden = visible(points)
    without = [group for group in groups if not group.flops or not group.traffic_bytes]
    absent = [
        _count("without FLOPs", sum(len(group.layers) for group in without), sum(g.time_s for g in without) / step_s),
        _count("below the axes", sum(p.layers for p in hidden), sum(p.share for p in hidden)),
    ]
    notes = footer(simulation)
    if any(absent):
        notes.append("not shown: " + "; ".join(text for text in absent if text))
    if simulation.setting.fidelity is Fidelity.NAPKIN:
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


def set_axes(axes: Axes, sides: tuple[float, float, float, float]) -> None:
    """Logarithmic axes between these sides, with ticks at the decades."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(*sides[:2])
    axes.set_ylim(*sides[2:])
    for axis, (low, high), unit in ((axes.xaxis, axes.get_xlim(), ""), (axes.yaxis, axes.get_ylim(), "FLOP/s")):
        decades = [10.0**power for power in range(ceil(log10(low)), floor(log10(high)) + 1)]
        axis.set_major_locator(FixedLocator(decades))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _, unit=unit: _tick(value, unit)))
    axes.grid(color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)


def _tick(value: float, unit: str) -> str:
    return si(value, unit, 1) if unit else f"{value:,.10g}"


def draw_points(
    figure: Figure, axes: Axes, points: Sequence[Disc], star: Disc, prefix: str = "marks", reduced: float = 1.0
) -> None:
    """Marks whose area is their share of the time, and a star for the whole step; all smaller where `reduced`."""
    scale = reduced * LARGEST_AREA / max((point.share for point in points), default=1.0)
    for bound in OF_KERNELS:
        word, colour, marker = BOUNDS[bound]
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
            gid=f"{prefix}-{word.split()[-1]}",
        )
        hover(figure, f"{prefix}-{word.split()[-1]}", [f"{p.label}: {percent(p.share)} of the step" for p in chosen])
    axes.scatter([star.x], [star.y], s=reduced * STAR_AREA, c="black", marker="*", edgecolors="white", zorder=8)


def _draw_legend(figure: Figure, *, dashed: bool) -> None:
    entries: list[tuple[str, dict[str, object]]] = [
        (f"bound by {word}", {"marker": marker, "color": colour, "markersize": 10})
        for word, colour, marker in (BOUNDS[bound] for bound in OF_KERNELS)
    ]
    entries.append(("whole step", {"marker": "*", "color": "black", "markersize": 14}))
    entries.append(("datasheet", {"linestyle": "-", "color": INK}))
    if dashed:
        entries.append(("sustained (in %)", {"linestyle": "--", "color": INK}))
    draw_key(figure, _PLACE[0], 0.905, entries)
    figure.text(
        _PLACE[0],
        0.868,
        "a mark: a layer, or several that coincide (3x); its area: their share of the step's time",
        fontsize=SMALL,
        color=NOTE,
        va="center",
    )


def _draw_words(figure: Figure, axes: Axes, roofs: Roofs, points: Sequence[Disc]) -> list[str]:
    """Write on the roofs and number the slowest layers, over nothing else; returns what found no room on its roof."""
    pixels = axes.transData.transform([(point.x, point.y) for point in points])
    discs = np.column_stack([pixels, _radii(points)])
    frame = axes.get_window_extent()
    inside = Box(frame.x0 + 4, frame.y0 + 4, frame.x1 - 2, frame.y1 - 2)
    canvas = Canvas(inside, [], np.vstack([discs, _line_samples(axes)]))
    unwritten = write_on_roofs(figure, axes, roofs, canvas)
    _number_points(figure, axes, min(LABELLED, len(points) - 1), canvas)
    return unwritten


def _number_points(figure: Figure, axes: Axes, count: int, canvas: Canvas) -> None:
    """A number beside each of the slowest layers' marks, with a leader where there is no room near it."""
    from matplotlib.collections import LineCollection

    labels = []
    for position in range(1, count + 1):
        width, height = text_size(figure, str(position), NORMAL)
        x, y, radius = canvas.discs[position].tolist()
        labels.append(Label(x, y, radius, width + 2, height + 2))
    back = axes.transData.inverted()
    leaders = []
    for position, (label, box) in enumerate(zip(labels, canvas.place(labels), strict=True), start=1):
        if box is None:
            continue
        middle = back.transform(((box.left + box.right) / 2, (box.bottom + box.top) / 2))
        looks: dict[str, Any] = {"ha": "center", "va": "center_baseline", "fontweight": "bold", "gid": "number"}
        axes.text(middle[0], middle[1], str(position), fontsize=NORMAL, zorder=9, **looks)
        end = anchor(box, label.x, label.y)
        if np.hypot(end[0] - label.x, end[1] - label.y) > label.radius + _NEAR:
            leaders.append(back.transform([(label.x, label.y), end]))
    axes.add_collection(LineCollection(leaders, colors=INK, linewidths=0.6, alpha=0.7, zorder=5), autolim=False)


def _draw_list(figure: Figure, points: Sequence[Disc], unwritten: Sequence[str]) -> None:
    """The numbered layers by name, with their share of the time; below, roofs whose number found no room on them."""
    left, top = _LIST
    figure.text(left, top, "slowest layers, share of the step", fontsize=SMALL, color=NOTE, va="center")
    for position, point in enumerate(points, start=1):
        y = top - _LINE * position
        name = fitted(figure, point.label, _NAME_PIXELS)
        figure.text(
            left + 0.012, y, str(position), fontsize=NORMAL, fontweight="bold", ha="right", va="center_baseline"
        )
        figure.text(left + 0.02, y, name, fontsize=SMALL, va="center_baseline", gid="name")
        figure.text(0.985, y, percent(point.share), fontsize=SMALL, ha="right", va="center_baseline")
    for line, text in enumerate(unwritten, start=len(points) + 2):
        words = fitted(figure, f"roof: {text}", 350.0)
        figure.text(left, top - _LINE * line, words, fontsize=SMALL, va="center_baseline")


def _radii(points: Sequence[Disc]) -> list[float]:
    """Distance of the farthest corner of each mark from its middle, the star's first. [px]"""
    scale = LARGEST_AREA / max((point.share for point in points[1:]), default=1.0)
    areas = [STAR_AREA, *(max(SMALLEST_AREA, point.share * scale) for point in points[1:])]
    return [(sqrt(area / 2) + 0.5) * DPI / 72 for area in areas]


def _line_samples(axes: Axes) -> FloatArray:
    """The roofs as rows of small discs, shape (samples, 3). [px]"""
    rows = []
    for line in axes.lines:
        corners = axes.transData.transform(np.column_stack(line.get_data()))
        for start, end in pairwise(corners):
            steps = np.linspace(0, 1, 2 + int(np.hypot(*(end - start)) / _SPACING))[:, None]
            rows.append(np.column_stack([start + (end - start) * steps, np.full_like(steps, 2.0)]))
    return np.vstack(rows)

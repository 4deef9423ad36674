"""The figure of time by layer and phase: along the depth of the network, and by name, the slowest first."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from simulator.op.kernels import FloatArray
from simulator.pipeline import Simulation
from simulator.report.groups import AlikeLayers, layer_groups
from simulator.report.style import (
    DPI,
    GRID,
    NORMAL,
    NOTE,
    PHASES,
    SMALL,
    WIDTH_INCHES,
    beside,
    clean,
    draw_key,
    fitted,
    footer,
    new_figure,
    percent,
    setting,
    styled,
    text_size,
)
from simulator.units import duration

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAMED = 15
"""Rows of the slowest layers."""
MOST_BARS = 220
"""Along the depth, so that each is some pixels wide."""
SEPARATE = 120
"""Up to so many bars along the depth, they stand apart."""

_BOTTOM, _HEIGHT = 0.15, 0.69
_SCALES = ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"), (1e-9, "ns"))


def layers_figure(simulation: Simulation, others: Sequence[object] = ()) -> Figure:  # noqa: ARG001
    """Time of a step along the layers, and of the slowest layers by name, split into forward, backward and update."""
    groups = layer_groups(simulation)
    rows = groups[:NAMED]
    alike = next((group for group in rows if len(group.layers) > 1), None)
    notes = footer(simulation)
    if alike is not None:
        notes.append(f"{alike.label}: {len(alike.layers)} layers of equal work and time, added up; others alike")
    with styled():
        figure = new_figure(f"{setting(simulation)}: {duration(simulation.step.time_s)} a step, by layer", notes)
        names = [fitted(figure, group.label, 255.0) for group in rows]
        widest = max((text_size(figure, name)[0] for name in names), default=0.0) / (WIDTH_INCHES * DPI)
        left = min(max(0.57, 0.53 + widest), 0.75)
        depth = figure.add_axes((0.065, _BOTTOM, left - widest - 0.105, _HEIGHT))
        _draw_depth(figure, depth, simulation)
        _draw_slowest(figure.add_axes((left, _BOTTOM, 0.925 - left, _HEIGHT)), rows, names, simulation)
        _draw_rest(figure, groups[NAMED:], simulation)
        shown = [name for name, values in zip(PHASES, simulation.layers.by_pass, strict=True) if values.any()]
        draw_key(figure, 0.065, 0.905, [(word, _patch(colour)) for word, colour in shown])
    return figure


def _patch(colour: str) -> dict[str, object]:
    return {"marker": "s", "color": colour, "markersize": 11}


def time_scale(seconds: float) -> tuple[float, str]:
    """A unit in which a time has one to four digits before the point."""
    return next((scale for scale in _SCALES if seconds >= scale[0]), _SCALES[-1])


def _draw_depth(figure: Figure, axes: Axes, simulation: Simulation) -> None:
    """Thin bars in the network's order: one a layer, or one a block of a deep network."""
    from matplotlib.patches import StepPatch
    from matplotlib.ticker import MaxNLocator

    names = [layer.name for layer in simulation.workload.layers]
    starts = _starts(names)
    times = np.add.reduceat(simulation.layers.by_pass, starts, axis=1)
    factor, unit = time_scale(float(times.sum(axis=0).max()))
    edges = _edges(starts, len(names), 0.12 * len(names) / len(starts) if len(starts) <= SEPARATE else 0.0)
    base = np.zeros(2 * times.shape[1] - 1)
    for row, (_, colour) in zip(times, PHASES, strict=True):
        if row.any():
            top = base + np.insert(row / factor, range(1, len(row)), 0.0)
            looks: dict[str, Any] = {"baseline": base, "fill": True, "color": colour, "linewidth": 0}
            axes.add_artist(StepPatch(top, edges, **looks))
            base = top
    axes.set_xlim(0.3, len(names) + 0.7)
    axes.set_ylim(0, 1.08 * base.max())
    axes.set_ylabel(f"time of a {'layer' if len(starts) == len(names) else 'block'} [{unit}]")
    axes.set_xlabel("layer number, in the network's order")
    axes.set_title("along the network", loc="left", fontsize=NORMAL)
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    _draw_stages(figure, axes, names, base.max())


def _starts(names: Sequence[str]) -> list[int]:
    """Where each bar begins: at each layer, or at each block, whose layers share their names up to the first number."""
    if len(names) <= MOST_BARS:
        return list(range(len(names)))
    starts = [0]
    for position in range(1, len(names)):
        if _block(names[position]) != _block(names[position - 1]):
            starts.append(position)
    return starts


def _block(name: str) -> str:
    """The name up to its first number, "layers.3" of "layers.3.mlp.up", or its first part."""
    parts = re.split(r"[./]", name)
    number = next((place for place, part in enumerate(parts) if part.isdigit()), 0)
    return ".".join(parts[: number + 1])


def _edges(starts: Sequence[int], layers: int, gap: float) -> FloatArray:
    """Left and right edges of bars that begin at these layers, numbered from 1, with gaps between them."""
    bounds = np.array([*starts, layers], dtype=float) + 0.5
    gaps = np.minimum(gap, 0.2 * np.diff(bounds))
    edges: FloatArray = np.column_stack([bounds[:-1] + gaps, bounds[1:] - gaps]).ravel()
    return edges


def _draw_stages(figure: Figure, axes: Axes, names: Sequence[str], highest: float) -> None:
    """Mark where the first part of the names changes, for stages long enough to be named."""
    position, room = 0, axes.get_window_extent().width / len(names)
    for stage, members in groupby(names, key=lambda name: re.split(r"[./]", name)[0]):
        count = len(list(members))
        if 3 < count < len(names) and text_size(figure, stage)[0] + 4 < count * room:
            axes.axvline(position + 0.5, color="#888888", linewidth=0.7, linestyle=":")
            place = (position + 0.5 + count / 2, 1.02 * highest)
            axes.text(*place, stage, ha="center", fontsize=SMALL, color=NOTE, clip_on=True)
        position += count


def _draw_slowest(axes: Axes, rows: Sequence[AlikeLayers], names: Sequence[str], simulation: Simulation) -> None:
    """Bars by name, the slowest on top."""
    factor, unit = time_scale(max((group.time_s for group in rows), default=1.0))
    places = np.arange(len(rows), dtype=float)
    table = np.array([group.by_phase for group in rows]).reshape(-1, len(PHASES)) / factor
    starts = np.zeros(len(rows))
    for column, (_, colour) in zip(table.T, PHASES, strict=True):
        _draw_bars(axes, places, starts, column, colour)
        starts = starts + column
    for place, group, end in zip(places, rows, starts, strict=True):
        share = percent(group.time_s / simulation.step.time_s)
        beside(axes, (end, place), f"{duration(group.time_s)}, {share}", SMALL)
    axes.set_yticks(places, names, fontsize=SMALL)
    axes.set_ylim(max(len(rows), 8) - 0.4, -0.6)
    axes.set_xlim(0, 1.45 * starts.max(initial=1e-30))
    axes.set_xlabel(f"time [{unit}]")
    axes.set_title("the slowest", loc="left", fontsize=NORMAL)
    clean(axes)


def _draw_bars(axes: Axes, places: FloatArray, starts: FloatArray, widths: FloatArray, colour: str) -> None:
    """Horizontal bars as one collection."""
    from matplotlib.collections import PolyCollection

    bars = [
        [(start, place - 0.36), (start + width, place - 0.36), (start + width, place + 0.36), (start, place + 0.36)]
        for place, start, width in zip(places, starts, widths, strict=True)
        if width > 0
    ]
    axes.add_collection(PolyCollection(bars, facecolors=colour, edgecolors="white", linewidths=0.4), autolim=False)


def _draw_rest(figure: Figure, rest: Sequence[AlikeLayers], simulation: Simulation) -> None:
    """Say how much time the rows leave out."""
    if rest:
        layers, time_s = sum(len(group.layers) for group in rest), sum(group.time_s for group in rest)
        text = f"{layers} other layers: {duration(time_s)}, {percent(time_s / simulation.step.time_s)}"
        figure.text(0.985, 0.045, text, ha="right", va="bottom", fontsize=SMALL, color=NOTE)

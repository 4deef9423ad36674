"""The roofs of a roofline figure, drawn: the memory slope and one flat for each engine, with their numbers."""

from __future__ import annotations

from itertools import product
from math import degrees
from typing import TYPE_CHECKING, Any

import numpy as np

from simulator.pipeline import Simulation
from simulator.report.placement import Box, Canvas, along
from simulator.report.style import INK, NORMAL, SMALL, percent, text_size
from simulator.roofline.roofs import Rate, Roofs, device_roofs
from simulator.units import si

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def roofs_of(simulation: Simulation) -> Roofs:
    """The roofs of a simulation's device, precision and fidelity."""
    return device_roofs(simulation.setting)


def rate_text(rate: Rate, unit: str) -> str:
    """The number as it is written on its roof, with the share of it that is sustained."""
    sustained = f" ({percent(rate.sustained / rate.datasheet)})" if rate.sustained else ""
    return f"{si(rate.datasheet, unit)} {rate.name}{sustained}"


def draw_roofs(axes: Axes, roofs: Roofs) -> None:
    """The lines and the ridge points, on axes whose limits are set."""
    left, right = axes.get_xlim()
    bottom = axes.get_ylim()[0]
    memory = roofs.memory
    for rate in roofs.compute:
        width = 1.7 if rate is roofs.compute[0] else 1.1
        for bandwidth, peak, dash in (
            (memory.datasheet, rate.datasheet, "-"),
            (memory.sustained, rate.sustained, "--"),
        ):
            if bandwidth and peak:
                start = left if rate is roofs.compute[0] else peak / bandwidth
                x = [start, peak / bandwidth, right]
                axes.plot(x, [start * bandwidth, peak, peak], dash, color=INK, linewidth=width, zorder=3)
    for x_ridge, y_ridge in roofs.ridges:
        axes.plot([x_ridge], [y_ridge], marker="d", markersize=8, color="white", markeredgecolor=INK, zorder=7)
        axes.plot([x_ridge, x_ridge], [bottom, y_ridge], ":", color=INK, linewidth=0.8, zorder=1)


def write_on_roofs(figure: Figure, axes: Axes, roofs: Roofs, canvas: Canvas) -> list[str]:
    """Write each roof's number along it, and the ridges' near the axis, over nothing else.

    Returns the texts for which there was no room. What is written is added to the canvas.
    """
    _write_ridges(figure, axes, roofs, canvas)
    left, right = axes.get_xlim()
    bottom = axes.get_ylim()[0]
    bandwidth = roofs.memory.datasheet
    start = max(left, bottom / bandwidth)
    lowest_ridge = roofs.ridges[-1][0]
    lines = [((start, start * bandwidth), (lowest_ridge, lowest_ridge * bandwidth), rate_text(roofs.memory, "B/s"))]
    for rate, (x, y) in zip(roofs.compute, roofs.ridges, strict=True):
        lines.append(((x, y), (right, y), rate_text(rate, "FLOP/s")))
    return [text for first, last, text in lines if not _write_along(figure, axes, (first, last), text, canvas)]


def _write_along(
    figure: Figure, axes: Axes, line: tuple[tuple[float, float], tuple[float, float]], text: str, canvas: Canvas
) -> bool:
    """Write a text along a line if it has a place there."""
    start, end = axes.transData.transform(line)
    found = along(tuple(start), tuple(end), text_size(figure, text, NORMAL), canvas)
    if found is None:
        return False
    x, y = axes.transData.inverted().transform((found.x, found.y))
    looks: dict[str, Any] = {"rotation": degrees(found.angle), "rotation_mode": "anchor", "gid": "roof"}
    axes.text(x, y, text, ha="center", va="center_baseline", fontsize=NORMAL, zorder=6, **looks)
    canvas.boxes += found.boxes
    return True


def _write_ridges(figure: Figure, axes: Axes, roofs: Roofs, canvas: Canvas) -> None:
    """Each ridge's intensity beside its dotted line, near the axis and over nothing else."""
    for x, _ in sorted(roofs.ridges):
        text = f"ridge {x:.3g} FLOP/byte"
        width, height = text_size(figure, text)
        left, bottom = axes.transData.transform((x, axes.get_ylim()[0]))
        for side, lift in product((4.0, -width - 4.0), np.arange(4.0, 300.0, 12.0)):
            box = Box(left + side, bottom + lift, left + side + width, bottom + lift + height)
            if canvas.holds([box]) and canvas.is_clear(box):
                place = axes.transData.inverted().transform((box.left, box.bottom))
                axes.text(place[0], place[1], text, fontsize=SMALL, va="bottom", zorder=6, gid="ridge")
                canvas.boxes.append(box)
                break

"""Speed-up and efficiency against devices: on a terminal, as JSON, as a figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulator.errors import InputError
from simulator.planning.scaling import CAUSES, ScalingPoint
from simulator.report.listing import Row, print_table
from simulator.report.writing import writing
from simulator.units import duration

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def rows(points: Sequence[ScalingPoint]) -> list[Row]:
    """One row a number of devices."""
    return [_row(point) for point in points]


def _row(point: ScalingPoint) -> Row:
    ran = not point.reason
    return {
        "devices": str(point.devices),
        "batch": str(point.batch),
        "step": duration(point.time_s) if ran else "none",
        "samples/s": f"{point.samples_per_s:,.0f}" if ran else "",
        "speed-up": f"{point.speed_up:.2f}" if ran else "",
        "efficiency": f"{point.efficiency:.1%}" if ran else "",
        **{f"to {cause}": f"{share:.1%}" if ran else "" for cause, share in zip(CAUSES, point.lost, strict=True)},
    }


def print_scaling(title: str, points: Sequence[ScalingPoint]) -> None:
    """A table, whose shares are of the speed of as many single devices; then why some have no step."""
    print_table(title, rows(points))
    for point in points:
        if point.reason:
            print(f"{point.devices}: {point.reason}")


def scaling_summary(workload: str, device: str, points: Sequence[ScalingPoint]) -> dict[str, Any]:
    """Stable keys; docs/json.md describes them."""
    known = [
        asdict(point) | {"lost": dict(zip(CAUSES, point.lost, strict=True)), "reason": point.reason or None}
        for point in points
    ]
    return {"workload": workload, "device": device, "points": known}


def write_scaling(title: str, points: Sequence[ScalingPoint], path: Path) -> None:
    """The figure as PNG and SVG beside each other.

    Raises
    ------
    InputError
        If nothing runs, or the folder cannot be written.
    """
    from simulator.report.style import save

    if all(point.reason for point in points):
        raise InputError(points[0].reason)
    with writing("the figure", path):
        path.parent.mkdir(parents=True, exist_ok=True)
        save(scaling_figure(title, points), path.parent, path.stem)


def scaling_figure(title: str, points: Sequence[ScalingPoint]) -> Figure:
    """Left the speed-up beside the ideal one, right what of each device's speed is kept and where the rest goes."""
    from matplotlib.ticker import FixedLocator, NullLocator

    from simulator.report.style import BLUE, GREEN, GREY, GRID, ORANGE, PINK, SKY, new_figure, styled, version

    ran = [point for point in points if not point.reason]
    names = [str(point.devices) for point in ran]
    with styled():
        figure = new_figure(title, [f"simulator {version()}"])
        left = figure.add_axes((0.07, 0.14, 0.4, 0.72))
        counts = [point.devices for point in ran]
        left.plot(counts, counts, color=GREY, linestyle="--", label="ideal")
        left.plot(counts, [point.speed_up for point in ran], color=BLUE, marker="o", label="predicted")
        left.set(xscale="log", yscale="log", xlabel="devices", ylabel="speed-up")
        for axis in (left.xaxis, left.yaxis):
            axis.set_major_locator(FixedLocator(counts))
            axis.set_minor_locator(NullLocator())
            axis.set_major_formatter("{x:g}")
        left.grid(color=GRID, linewidth=0.8)
        left.legend(frameon=False, loc="upper left")
        right = figure.add_axes((0.56, 0.14, 0.27, 0.72))
        bottom = [0.0] * len(ran)
        for cause, colour in zip(("kept", *CAUSES), (GREEN, ORANGE, PINK, SKY), strict=True):
            place = CAUSES.index(cause) if cause in CAUSES else -1
            shares = [100 * max(point.lost[place] if place >= 0 else point.efficiency, 0.0) for point in ran]
            right.bar(names, shares, bottom=bottom, color=colour, label=cause, width=0.8)
            bottom = [before + share for before, share in zip(bottom, shares, strict=True)]
        right.set(xlabel="devices", ylabel="of each device's speed alone [%]", ylim=(0, max(100.0, *bottom) * 1.02))
        looks: dict[str, Any] = {"title": "kept, or lost to", "alignment": "left", "frameon": False}
        right.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), **looks)
        return figure

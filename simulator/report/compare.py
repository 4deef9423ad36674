"""A comparison on the terminal, as JSON, and as a roofline with arrows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulator.planning.compare import Difference, Moved, Side
from simulator.report.listing import Row, print_table
from simulator.report.roofs import roofs_of
from simulator.report.style import BLUE, INK, ORANGE, SMALL, decades, draw_key, new_figure, save, styled, version
from simulator.report.writing import writing
from simulator.units import binary_bytes, duration, si

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN = 12
ARROWS = 10


def print_comparison(differences: Sequence[Difference], folder: Path | None) -> None:
    """Sides, then each further one against the first: why, and layer by layer."""
    sides = [differences[0].first, *(one.other for one in differences)]
    print_table("sides", [side_row(side, sides[0]) for side in sides])
    for found in differences:
        print(f"{found.other.label} against {found.first.label}:")
        for line in why(found):
            print(f"  {line}")
        print()
        print_table("", [layer_row(one, found) for one in found.moved[:SHOWN]])
    if folder is not None:
        print(f"report: {folder}")


def side_row(side: Side, first: Side) -> Row:
    """One side."""
    return {
        "side": side.label,
        "step": duration(side.step_s),
        "a sample": duration(side.per_sample_s),
        "faster": f"{first.per_sample_s / side.per_sample_s:.2f} x",
        "bound": max(side.by_bound, key=lambda name: side.by_bound[name]),
        "memory": binary_bytes(side.memory_bytes),
    }


def why(found: Difference) -> list[str]:
    """In words: how much faster, what each bound gave, which bounds moved, what one side has alone."""
    first, other = found.first, found.other
    word = "faster" if found.speedup >= 1 else "slower"
    times = max(found.speedup, 1 / found.speedup)
    lines = [f"a sample is {times:.2f} times {word}: {duration(first.per_sample_s)} to {duration(other.per_sample_s)}"]
    total = first.per_sample_s - other.per_sample_s
    parts = []
    for bound in first.by_bound:
        gained = first.by_bound[bound] / (first.batch * first.devices)
        gained -= other.by_bound.get(bound, 0.0) / (other.batch * other.devices)
        if abs(gained) > 0.01 * max(abs(total), 1e-12):
            parts.append(f"{bound} {'-' if gained > 0 else '+'}{duration(abs(gained))}")
    if parts:
        lines.append(f"time of a sample by what it waits for: {', '.join(parts)}")
    for (before, after), (count, seconds) in sorted(found.bounds.items(), key=lambda item: -item[1][1]):
        share = seconds / first.per_sample_s
        lines.append(f"{count} layers went from {before} to {after}, which were {share:.0%} of the time")
    if any(found.only):
        lines.append(f"{len(found.only[0])} layers are in the first alone, {len(found.only[1])} in the other alone")
    return lines


def layer_row(one: Moved, found: Difference) -> Row:
    """One layer on both sides; times of one sample."""
    mine = one.before.time_s / (found.first.batch * found.first.devices)
    theirs = one.after.time_s / (found.other.batch * found.other.devices)
    return {
        "layer": one.name,
        "before": duration(mine),
        "after": duration(theirs),
        "faster": f"{mine / theirs:.2f} x" if theirs else "gone",
        "of the gain": f"{one.gained_s / (found.first.per_sample_s - found.other.per_sample_s or 1):.1%}",
        "bound": one.before.bound
        if one.before.bound == one.after.bound
        else f"{one.before.bound} to {one.after.bound}",
    }


def comparison_summary(differences: Sequence[Difference]) -> dict[str, Any]:
    """Stable keys, SI units; times of layers are of one sample."""
    sides = [differences[0].first, *(one.other for one in differences)]
    return {
        "sides": [
            {
                "label": side.label,
                "workload": side.workload,
                "batch": side.batch,
                "devices": side.devices,
                "step_s": side.step_s,
                "sample_s": side.per_sample_s,
                "by_bound_s": dict(side.by_bound),
                "memory_bytes": side.memory_bytes,
            }
            for side in sides
        ],
        "differences": [_difference(found) for found in differences],
    }


def _difference(found: Difference) -> dict[str, Any]:
    return {
        "other": found.other.label,
        "speedup": found.speedup,
        "bounds_moved": [
            {"before": before, "after": after, "layers": count, "sample_s": seconds}
            for (before, after), (count, seconds) in found.bounds.items()
        ],
        "layers": [
            {"name": one.name, "gained_s": one.gained_s, "before": one.before.bound, "after": one.after.bound}
            for one in found.moved
        ],
        "only_first": list(found.only[0]),
        "only_other": list(found.only[1]),
    }


def write_comparison(differences: Sequence[Difference], out: Path) -> Path:
    """`roofline-N` for each further side as PNG and SVG, and `comparison.json`.

    Raises
    ------
    InputError
        If the folder cannot be written.
    """
    from simulator.report.summary import json_text

    with writing("the comparison", out):
        out.mkdir(parents=True, exist_ok=True)
        for number, found in enumerate(differences, 1):
            save(arrows_figure(found), out, f"roofline-{number}")
        (out / "comparison.json").write_text(json_text(comparison_summary(differences)) + "\n", encoding="utf-8")
    return out


def arrows_figure(found: Difference) -> Figure:
    """Where the layers with the largest change stand on both sides, and the roofs of each."""
    with styled():
        title = f"{found.other.label} against {found.first.label}: {found.speedup:.2f} times faster a sample"
        figure = new_figure(title, [f"the layers whose time changes most, equal ones once · simulator {version()}"])
        axes = figure.add_axes((0.09, 0.14, 0.62, 0.7))
        axes.set(xscale="log", yscale="log", xlabel="operational intensity [FLOP/byte]", ylabel="performance [FLOP/s]")
        decades(axes, "x", "y")
        shown = _apart([one for one in found.moved if one.before.place and one.after.place])[:ARROWS]
        marks = [place for one, _ in shown for place in (one.before.place, one.after.place) if place]
        _limits(axes, marks, found)
        for side, colour in ((found.first, BLUE), (found.other, ORANGE)):
            if side.simulation is not None:
                _roof(axes, side, colour)
        for number, (one, _) in enumerate(shown, 1):
            _arrow(axes, one, number)
        lines = [
            f"{number}  {one.name}" + (f" and {more} alike" if more else "")
            for number, (one, more) in enumerate(shown, 1)
        ]
        figure.text(0.735, 0.82, "\n".join(lines), va="top", fontsize=SMALL, linespacing=1.7)
        entries = [("first side", {"marker": "o", "color": BLUE}), ("other side", {"marker": "s", "color": ORANGE})]
        draw_key(figure, 0.09, 0.89, entries)
        return figure


def _apart(moved: Sequence[Moved]) -> list[tuple[Moved, int]]:
    """Layers that stand at places of their own, each with how many others stand there too."""
    found: dict[tuple[Any, ...], list[Moved]] = {}
    for one in moved:
        before, after = one.before.place, one.after.place
        key = tuple(f"{value:.3g}" for value in (*(before or ()), *(after or ())))
        found.setdefault(key, []).append(one)
    return [(alike[0], len(alike) - 1) for alike in found.values()]


def _limits(axes: Axes, marks: Sequence[tuple[float, float]], found: Difference) -> None:
    """Room for all marks, and for the roofs' ridges."""
    x, y = [mark[0] for mark in marks] or [1.0], [mark[1] for mark in marks] or [1e12]
    for side in (found.first, found.other):
        if side.simulation is not None:
            roofs = roofs_of(side.simulation)
            x += [ridge for ridge, _ in roofs.ridges]
            y += [flat for _, flat in roofs.ridges]
    axes.set_xlim(min(x) / 3, max(x) * 3)
    axes.set_ylim(min(y) / 3, max(y) * 2)


def _roof(axes: Axes, side: Side, colour: str) -> None:
    """The datasheet's slope and highest flat in the side's colour."""
    assert side.simulation is not None  # noqa: S101 - the caller looked
    roofs = roofs_of(side.simulation)
    left, right = axes.get_xlim()
    ridge, peak = roofs.ridges[0]
    axes.plot([left, ridge, right], [roofs.attainable(left), peak, peak], color=colour, linewidth=1.6)
    axes.text(right, peak, f"{si(peak, 'FLOP/s')} ", ha="right", va="bottom", color=colour, fontsize=SMALL)


def _arrow(axes: Axes, one: Moved, number: int) -> None:
    before, after = one.before.place, one.after.place
    if before is None or after is None:
        return
    axes.plot(*before, marker="o", color=BLUE, markersize=7)
    axes.plot(*after, marker="s", color=ORANGE, markersize=7)
    look = {"arrowstyle": "->", "color": INK, "linewidth": 1.0, "shrinkA": 4, "shrinkB": 4}
    axes.annotate("", after, before, arrowprops=look)
    axes.annotate(f"{number}", before, xytext=(0, -14), textcoords="offset points", ha="center", fontsize=SMALL)

"""The parity plot: predicted against measured step times, groups by colour, stated intervals as bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from simulator.calibration.validation import Case, errors, grouped
from simulator.report.style import (
    BLUE,
    GREEN,
    GREY,
    HEIGHT_INCHES,
    INK,
    ORANGE,
    PINK,
    SKY,
    SMALL,
    WIDTH_INCHES,
    clean,
    new_figure,
    percent,
    save,
    styled,
)
from simulator.units import duration

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOOKS = (
    (BLUE, "o"), (ORANGE, "s"), (GREEN, "^"), (PINK, "D"), (SKY, "v"), ("#D55E00", "P"),
    (INK, "X"),
)  # fmt: skip
"""Colour and marker of the largest groups, in this order: Okabe, Ito, "Color Universal Design", 2008."""

OTHERS = (GREY, ".")
BOTTOM, HIGH = 0.155, 0.765
NOTES = [
    "left: the band is ±20 %; right: a point is a measured over a predicted time, a bar a group's median interval",
    "(meant to hold four of five), each figure the share of the group that lies in its own interval",
]


def write_parity(cases: Sequence[Case], key: str, folder: Path) -> None:
    """`parity.png` and `parity.svg`: times on the left, errors and intervals on the right, by a column's values."""
    predicted = [case for case in cases if case.predicted_s is not None]
    groups = _largest(predicted, key)
    with styled():
        figure = new_figure(f"Predicted against {len(predicted)} measured step times, by {key}", NOTES)
        times = figure.add_axes((0.075, BOTTOM, HIGH * HEIGHT_INCHES / WIDTH_INCHES, HIGH))
        ratios = figure.add_axes((0.71, BOTTOM, 0.21, HIGH))
        for group, look in zip(groups.values(), [*LOOKS, OTHERS], strict=False):
            _points(times, group, look)
        _scale(times, predicted)
        _rows(ratios, groups)
        save(figure, folder, "parity")


def _largest(cases: Sequence[Case], key: str) -> dict[str, list[Case]]:
    """The largest groups, and what is left as one."""
    groups = sorted(grouped(cases, key).items(), key=lambda item: -len(item[1]))
    chosen = {name or "not said": group for name, group in groups[: len(LOOKS)]}
    rest = [case for _, group in groups[len(LOOKS) :] for case in group]
    return chosen | ({f"{len(groups) - len(LOOKS)} others": rest} if rest else {})


def _points(axes: Axes, cases: Sequence[Case], look: tuple[str, str]) -> None:
    measured = [case.measured.step_s for case in cases]
    predicted = [case.predicted_s or 0.0 for case in cases]
    axes.scatter(measured, predicted, s=13, c=look[0], marker=look[1], alpha=0.6, linewidths=0)


def _scale(axes: Axes, cases: Sequence[Case]) -> None:
    """Equal axes around all times, the line of no error and a band of a fifth."""
    seconds = [time for case in cases for time in (case.measured.step_s, case.predicted_s or 0.0)]
    low, high = (min(seconds, default=1e-3) / 1.5, max(seconds, default=1.0) * 1.5)
    axes.plot([low, high], [low, high], color=INK, linewidth=1)
    axes.fill_between([low, high], [0.8 * low, 0.8 * high], [1.2 * low, 1.2 * high], color=GREEN, alpha=0.15, lw=0)
    axes.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: duration(value).replace(".00", "").replace(".0 ", " "))
        axis.set_minor_formatter(lambda *_: "")
    axes.set(xlabel="measured step", ylabel="predicted step")


def _rows(axes: Axes, groups: Mapping[str, Sequence[Case]]) -> None:
    """A row a group, the largest on top."""
    for row, (group, look) in enumerate(zip(groups.values(), [*LOOKS, OTHERS], strict=False)):
        _row(axes, -row, group, look)
    axes.axvline(1.0, color=INK, linewidth=1)
    axes.set(xscale="log", xlim=(1 / 3, 3), ylim=(0.6 - max(len(groups), 1), 0.6))
    axes.set_xticks([0.5, 0.8, 1, 1.25, 2], labels=["½", "0.8", "1", "1.25", "2"])
    axes.minorticks_off()
    axes.set_yticks([-row for row in range(len(groups))], labels=[f"{n} ({len(c)})" for n, c in groups.items()])
    axes.set_xlabel("measured over predicted step")
    clean(axes)


def _row(axes: Axes, height: float, cases: Sequence[Case], look: tuple[str, str]) -> None:
    """Points spread over the row's height in the table's order; the bar of the interval; the share inside."""
    ratios = [case.measured.step_s / (case.predicted_s or 1.0) for case in cases]
    places = [height + 0.5 * ((7 * number) % 16 / 15 - 0.5) for number in range(len(cases))]
    axes.scatter(ratios, places, s=9, c=look[0], marker=look[1], alpha=0.6, linewidths=0, zorder=3)
    stated = [
        (c.low_s / c.predicted_s, c.high_s / c.predicted_s) for c in cases if c.predicted_s and c.low_s and c.high_s
    ]
    found = errors(cases)
    if stated and found:
        low, high = (sorted(side)[len(stated) // 2] for side in zip(*stated, strict=True))
        axes.barh(height, high - low, left=low, height=0.72, color=look[0], alpha=0.22, linewidth=0)
        axes.annotate(
            percent(found.covered), (1, height), xycoords=("axes fraction", "data"), xytext=(6, 0),
            textcoords="offset points", va="center", fontsize=SMALL,
        )  # fmt: skip

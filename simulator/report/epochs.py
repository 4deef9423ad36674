"""The figure of epoch time and total time, beside other devices; or, alone, what the epoch's time is made of."""

from __future__ import annotations

from collections.abc import Sequence
from math import log
from typing import TYPE_CHECKING

from simulator.pipeline import Simulation
from simulator.report.comparison import Other
from simulator.report.style import (
    BLUE,
    BOUNDS,
    DPI,
    INK,
    NORMAL,
    PHASES,
    SMALL,
    WIDTH_INCHES,
    beside,
    binding,
    clean,
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

MOST_BARS = 20
LOGARITHMIC_ABOVE = 20.0
"""Ratio of the longest to the shortest time from which the axis is logarithmic."""
_UNITS = (
    ("years", 365.25 * 86400),
    ("days", 86400.0),
    ("hours", 3600.0),
    ("minutes", 60.0),
    ("s", 1.0),
    ("ms", 1e-3),
    ("us", 1e-6),
    ("ns", 1e-9),
)
_ROUND_TIMES = {k * 10.0**power: f"{k} {unit}" for unit, power in (("us", -6), ("ms", -3)) for k in (1, 10, 100)}
_ROUND_TIMES |= {1.0: "1 s", 10.0: "10 s", 60.0: "1 min", 600.0: "10 min", 3600.0: "1 hour", 36000.0: "10 hours"}
_ROUND_TIMES |= {k * 86400.0: f"{k} day{'s' * (k > 1)}" for k in (3, 10, 30, 100)}
_ROUND_TIMES |= {k * 365.25 * 86400: f"{k:,} year{'s' * (k > 1)}" for k in (1, 3, 10, 30, 100, 1000)}
_PALE = "#A9C9DD"
_BOTTOM, _HEIGHT = 0.16, 0.68


def epochs_figure(simulation: Simulation, others: Sequence[Other] = ()) -> Figure:
    """Epoch time and the time of all epochs, this device beside the others; split by phase and bound if alone."""
    run = simulation.run
    compared = [other for other in others if isinstance(other, Simulation)]
    epochs = "1 epoch" if run.epochs == 1 else f"{run.epochs} epochs"
    what = f"{epochs} of {simulation.workload.dataset.name} in {duration(run.total_s)}"
    if not simulation.counts_epochs:
        what = f"{duration(simulation.step.time_s)} a step"
    with styled():
        figure = new_figure(f"{setting(simulation)}: {what}", _notes(simulation, others, len(compared)))
        if compared:
            _compare(figure, simulation, compared)
        else:
            _split(figure, simulation)
    return figure


def _notes(simulation: Simulation, others: Sequence[Other], compared: int) -> list[str]:
    run = simulation.run
    first, *rest = footer(simulation)
    epoch = f"an epoch: {run.samples:,} samples, {run.steps_per_epoch:,} steps · " if simulation.counts_epochs else ""
    notes = [f"{epoch}{first}", *rest]
    failed = [other[0] for other in others if isinstance(other, tuple)]
    if failed:
        notes.append(f"cannot run it (report.md says why): {', '.join(failed[:6])}{' …' * (len(failed) > 6)}")
    if compared >= MOST_BARS:
        notes.append(f"the {MOST_BARS} shown of {compared + 1} devices are the nearest; all are in report.md")
    return notes


def _compare(figure: Figure, simulation: Simulation, others: Sequence[Simulation]) -> None:
    """Two panels of bars, the fastest device on top."""
    rows = _nearest(simulation, others)
    names = labels(rows)
    widest = max(text_size(figure, name, NORMAL)[0] for name in names) / (WIDTH_INCHES * DPI)
    left = min(0.03 + widest, 0.3)
    width = (0.985 - left) / 2
    own = next(place for place, row in enumerate(rows) if row is simulation)
    run = simulation.run
    epoch = figure.add_axes((left, _BOTTOM, width - 0.02, _HEIGHT))
    word, times = ("one epoch", [row.run.epoch_s for row in rows]) if simulation.counts_epochs else _samples(rows)
    _bars(epoch, times, own, word, rows)
    epoch.set_yticks(range(len(rows)), names)
    second = figure.add_axes((left + width + 0.01, _BOTTOM, width - 0.02, _HEIGHT))
    if run.epochs > 1:
        _bars(second, [row.run.total_s for row in rows], own, f"{run.epochs} epochs", rows)
    else:
        _bars(second, [row.step.time_s for row in rows], own, f"one step of {simulation.batch} samples", rows)
    second.set_yticks([])
    epoch.get_yticklabels()[own].set_fontweight("bold")


def _samples(rows: Sequence[Simulation]) -> tuple[str, list[float]]:
    """Where there are no epochs: the time of one sample, which devices at other batches share."""
    return "one sample", [1 / row.step.samples_per_s for row in rows]


def _nearest(simulation: Simulation, others: Sequence[Simulation]) -> list[Simulation]:
    """Those nearest in time to the simulation, and itself, the fastest first."""
    nearest = sorted(others, key=lambda other: abs(log(other.run.epoch_s / simulation.run.epoch_s)))
    return sorted([simulation, *nearest[: MOST_BARS - 1]], key=lambda row: row.run.epoch_s)


def labels(rows: Sequence[Simulation]) -> list[str]:
    """Device names; where one stands twice, with what differs."""
    names = [row.device.name for row in rows]
    if len(set(names)) == len(names):
        return names
    details = [(row.options.precision, f"batch {row.batch}", row.device.memory.technology) for row in rows]
    differing = [at for at in range(3) if len({detail[at] for detail in details}) > 1]
    return [", ".join([name, *(detail[at] for at in differing)]) for name, detail in zip(names, details, strict=True)]


def _bars(axes: Axes, seconds: Sequence[float], own: int, title: str, rows: Sequence[Simulation]) -> None:
    """Bars of times, this device's dark, each with its interval as whiskers, its time and how it compares."""
    longest, shortest = max(seconds), min(seconds)
    logarithmic = longest > LOGARITHMIC_ABOVE * shortest
    start = shortest / 5 if logarithmic else 0.0
    if logarithmic:
        axes.set_xscale("log")
        axes.set_xlim(start, start * (longest / start) ** 1.5)
    else:
        axes.set_xlim(0, 1.75 * longest)
    colours = [BLUE if place == own else _PALE for place in range(len(seconds))]
    axes.barh(range(len(seconds)), [value - start for value in seconds], 0.7, left=start, color=colours)
    for place, value in enumerate(seconds):
        ratio = value / seconds[own]
        compared = "" if place == own else f" ({ratio:.3g}x)"
        weight = "bold" if place == own else "normal"
        interval = rows[place].interval
        end = value * interval.high if interval else value
        if interval:
            axes.plot([value * interval.low, end], [place, place], color=INK, linewidth=1.2, marker="|", markersize=8)
        beside(axes, (end, place), f"{duration(value)}{compared}", weight=weight)
    axes.set_ylim(max(len(seconds), 3) - 0.4, -0.6)
    _label_times(axes, title)
    clean(axes)


def _label_times(axes: Axes, title: str) -> None:
    """Plain numbers of one unit along a linear axis; times of many units along a logarithmic one."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

    first, last = axes.get_xlim()
    axes.xaxis.set_minor_locator(NullLocator())
    axes.tick_params(axis="x", labelsize=SMALL)
    if axes.get_xscale() == "log":
        inside = [time_s for time_s in _ROUND_TIMES if first <= time_s <= last]
        axes.xaxis.set_major_locator(FixedLocator(inside[:: 1 + len(inside) // 6]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _ROUND_TIMES.get(value, "")))
        axes.set_title(f"{title}, logarithmic axis", loc="left", fontsize=NORMAL)
        return
    unit, factor = next(found for found in _UNITS if last >= found[1] or found[0] == "ns")
    ticks = [factor * tick for tick in MaxNLocator(5).tick_values(0, last / factor)]
    axes.xaxis.set_major_locator(FixedLocator([tick for tick in ticks if tick <= last]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / factor:g}"))
    axes.set_title(f"{title} [{unit}]", loc="left", fontsize=NORMAL)


def _split(figure: Figure, simulation: Simulation) -> None:
    """What the time of an epoch, or of a step, is made of: phases on the left, bounds on the right."""
    step = simulation.step
    word, epoch_s = ("epoch", simulation.run.epoch_s) if simulation.counts_epochs else ("step", step.time_s)
    parts = zip(PHASES, (step.forward_s, step.backward_s, step.update_s), strict=True)
    by_phase = [(word, colour, time_s / step.time_s) for (word, colour), time_s in parts if time_s]
    by_bound = [
        (f"waits for {BOUNDS[bound][0]}", BOUNDS[bound][1], step.bound_shares[bound]) for bound in binding(step)
    ]
    for left, title, rows in (
        (0.1, f"one {word} by phase", by_phase),
        (0.65, f"one {word} by what binds it", by_bound),
    ):
        axes = figure.add_axes((left, 0.18, 0.335, 0.66))
        axes.barh(range(len(rows)), [share * epoch_s for *_, share in rows], 0.6, color=[row[1] for row in rows])
        for place, (_, _, share) in enumerate(rows):
            beside(axes, (share * epoch_s, place), f"{duration(share * epoch_s)}, {percent(share)}")
        axes.set_yticks(range(len(rows)), [row[0] for row in rows])
        axes.set_ylim(max(len(rows), 3) - 0.4, -0.6)
        axes.set_xlim(0, 1.5 * epoch_s * max(share for *_, share in rows))
        _label_times(axes, title)
        clean(axes)

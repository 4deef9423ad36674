"""The figure of where a run's money, or its energy, or its time goes: by cause, and the energy by what draws it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simulator.execution.bill import JOULES_PER_KWH, Bill
from simulator.execution.course import Course
from simulator.report.style import (
    BLUE,
    BOUNDS,
    DARK_GREEN,
    GREY,
    ORANGE,
    PALE,
    SKY,
    VIOLET,
    YELLOW,
    beside,
    binding,
    clean,
    footer,
    new_figure,
    percent,
    setting,
    styled,
)
from simulator.units import duration

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from simulator.pipeline import Simulation


@dataclass(frozen=True)
class Slice:
    """A share of something: its name, colour, and size in the thing's own unit."""

    name: str
    colour: str
    size: float


def step_parts(simulation: Simulation) -> list[Slice]:
    """A step's seconds by what it waits for."""
    step = simulation.step
    return [Slice(f"steps: {BOUNDS[b][0]}", BOUNDS[b][1], step.seconds[b]) for b in binding(step)]


def time_parts(steps: Sequence[Slice], run_s: float, course: Course | None, bill: Bill) -> list[Slice]:
    """A run's seconds by cause: its steps as a step has them, and what the calendar and failures add.

    steps : a step's seconds by cause.
    run_s : of all steps.
    """
    step_s, broken = _sum(steps), bill.interrupted
    parts = [Slice(part.name, part.colour, part.size / step_s * run_s) for part in steps]
    if course is not None:
        parts += [
            Slice("devices that stay slower", PALE, course.late_s),
            Slice("warm-up", YELLOW, course.warm_up_s),
            Slice("evaluation", SKY, course.evaluation_s),
        ]
    if broken is not None:
        parts += [
            Slice("checkpoints", DARK_GREEN, broken.checkpoints_s),
            Slice("lost to failures", VIOLET, broken.lost_s),
        ]
    return [part for part in parts if part.size > 0]


def money_figure(title: str, notes: list[str], parts: Sequence[Slice], bill: Bill) -> Figure:
    """Left the run's cost by cause, in time where no price is known; right its energy by what draws it."""
    with styled():
        figure = new_figure(title, notes)
        left = figure.add_axes((0.27, 0.17, 0.26 if bill.drawn else 0.6, 0.68))
        if bill.cost_usd is None:
            _bars(left, parts, [duration(part.size) for part in parts], f"{duration(bill.time_s)} by cause [s]")
        else:
            spent = [Slice(part.name, part.colour, part.size / bill.time_s * bill.cost_usd) for part in parts]
            _bars(left, spent, [f"{part.size:,.3g} USD" for part in spent], f"{bill.cost_usd:,.2f} USD by cause [USD]")
        if bill.drawn and bill.run.energy_j is not None:
            right = figure.add_axes((0.69, 0.17, 0.22, 0.68))
            drawn = energy_parts(bill, bill.run.energy_j / JOULES_PER_KWH)
            _bars(
                right,
                drawn,
                [f"{part.size:,.3g} kWh" for part in drawn],
                f"{_sum(drawn):,.3g} kWh by what draws it [kWh]",
            )
        return figure


def bill_figure(simulation: Simulation, others: Sequence[object] = ()) -> Figure:  # noqa: ARG001
    """Of a step on like devices."""
    bill, course = simulation.bill, simulation.course
    if bill is None:
        raise TypeError("no bill was asked for")
    parts = time_parts(step_parts(simulation), simulation.run.total_s, course, bill)
    return money_figure(setting(simulation), footer(simulation), parts, bill)


def energy_parts(bill: Bill, total: float) -> list[Slice]:
    """A run's energy by what draws it, in the unit of the total; a limit that binds lowers all parts alike."""
    drawn = bill.drawn
    if drawn is None:
        return []
    boards = (
        Slice("boards: at rest", GREY, drawn.static_w),
        Slice("boards: running", SKY, drawn.running_w),
        Slice("boards: computing", ORANGE, drawn.computing_w),
        Slice("boards: memory", BLUE, drawn.memory_w),
    )
    beside_w = bill.wall.power_w - drawn.power_w if bill.wall else 0.0
    whole_w, share = drawn.power_w + beside_w, drawn.power_w / _sum(boards)
    each = [Slice(part.name, part.colour, part.size * share) for part in boards]
    rest = [Slice("rest of the machines", PALE, beside_w)] if bill.wall else []
    return [Slice(part.name, part.colour, part.size / whole_w * total) for part in each + rest]


def _sum(parts: Sequence[Slice]) -> float:
    return sum(part.size for part in parts)


def _bars(axes: Axes, parts: Sequence[Slice], texts: Sequence[str], title: str) -> None:
    """A bar each, with its size and its share."""
    whole = _sum(parts)
    axes.barh(range(len(parts)), [part.size for part in parts], 0.6, color=[part.colour for part in parts])
    for place, (part, text) in enumerate(zip(parts, texts, strict=True)):
        beside(axes, (part.size, place), f"{text}, {percent(part.size / whole)}")
    axes.set_yticks(range(len(parts)), [part.name for part in parts])
    axes.set_ylim(max(len(parts), 3) - 0.4, -0.6)
    axes.set_xlim(0, 1.6 * max(part.size for part in parts))
    axes.set_title(title, loc="left", fontsize="medium")
    clean(axes)

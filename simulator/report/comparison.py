"""Several devices side by side: the same facts of each, for the terminal, the page, JSON and figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from simulator.errors import SimulatorError
from simulator.pipeline import Simulation
from simulator.planning.hints import busy_batch
from simulator.report.style import percent
from simulator.units import duration, duration_range

Row = dict[str, str]
Other = Simulation | tuple[str, SimulatorError]

UNIMPORTANT = ("step", "grade")
"""Columns that give way on a narrow terminal, the least important first."""


def comparison_rows(simulation: Simulation, others: Sequence[Other]) -> list[Row]:
    """One row for each device that can run it, the first one first; `ratio` is its time over the first's."""
    ran = [simulation, *(other for other in others if isinstance(other, Simulation))]
    return [_row(simulation, other) for other in ran]


def failure_lines(others: Sequence[Other]) -> list[str]:
    """Each device that cannot run it, and why."""
    return [f"{name} cannot run it: {error}" for name, error in (o for o in others if isinstance(o, tuple))]


def waiting_lines(simulation: Simulation, others: Sequence[Other]) -> Iterator[str]:
    """For each device that waits for its host, the batch that would show what it can do."""
    for ran in (simulation, *(other for other in others if isinstance(other, Simulation))):
        batch = busy_batch(ran)
        if batch is not None:
            yield (
                f"{ran.device.label} mostly waits for its host at batch {ran.batch:,}; "
                f"from --batch {batch} on the device itself decides"
            )


def total_s(simulation: Simulation) -> float:
    """The time that is compared: of all epochs, or of one step where there are none. [s]"""
    if not simulation.counts_epochs:
        return simulation.step.time_s
    return simulation.course.total_s if simulation.course else simulation.run.total_s


def _row(simulation: Simulation, other: Simulation) -> Row:
    interval = other.interval
    likely = duration_range(total_s(other) * interval.low, total_s(other) * interval.high) if interval else "?"
    if interval and not interval.validated:
        likely += "?"
    return {
        "device": other.device.label,
        "total" if simulation.counts_epochs else "one step": duration(total_s(other)),
        "ratio": f"{total_s(other) / total_s(simulation):.3g}x",
        "likely": likely,
        "bound": other.step.bound.word,
        "memory": percent(other.memory.total_bytes / other.memory.capacity_bytes),
        "step": duration(other.step.time_s),
        "grade": other.grade,
    }

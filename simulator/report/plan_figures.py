"""Figures of a plan: where the step's time goes, the pipeline's play, memory by stage."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from simulator.parallel.bound import PlanBound
from simulator.parallel.schedule import TaskKind
from simulator.planned import Planned
from simulator.report.money import Slice, money_figure, time_parts
from simulator.report.style import (
    BLUE,
    DARK_GREEN,
    GREY,
    INK,
    ORANGE,
    PLAN_BOUNDS,
    SKY,
    YELLOW,
    clean,
    draw_key,
    new_figure,
    percent,
    styled,
    version,
)
from simulator.units import duration

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

KINDS = {TaskKind.FORWARD: SKY, TaskKind.BACKWARD: DARK_GREEN, TaskKind.WEIGHTS: YELLOW}
GIB = 2.0**30
CROWDED = 200
"""Tasks of a stage beyond which white edges would hide them."""


def _new(answer: Planned, what: str, notes: list[str]) -> Figure:
    return new_figure(f"{title_of(answer)}: {what}", [*basis_of(answer), *notes])


def title_of(answer: Planned) -> str:
    """What was asked, in one line."""
    return f"{answer.workload.name}, {answer.plan.label} on {answer.plan.devices} x {answer.device.name}"


def basis_of(answer: Planned) -> list[str]:
    """What the numbers rest on, and the command line that asked."""
    made = f"made by: {' '.join(answer.command.split())}" if answer.command else ""
    basis = (
        f"global batch {answer.global_batch:,}, micro-batch {answer.microbatch}, {answer.options.precision}, "
        f"{answer.plan.schedule_label}, fidelity: calibrated · simulator {version()}"
    )
    return [line for line in (basis, made) if line]


def parts_figure(answer: Planned) -> Figure:
    """A bar for each part of the step, on the average over the stages."""
    with styled():
        figure = _new(answer, f"{duration(answer.step.time_s)} a step, and where it goes", [])
        axes = figure.add_axes((0.27, 0.17, 0.66, 0.72))
        shown = [bound for bound in PlanBound if answer.step.seconds[bound] > 0]
        seconds = [answer.step.seconds[bound] for bound in shown]
        places = np.arange(len(shown))[::-1]
        axes.barh(places, seconds, color=[PLAN_BOUNDS[bound][1] for bound in shown], edgecolor=INK, linewidth=0.5)
        axes.set_yticks(places, [PLAN_BOUNDS[bound][0] for bound in shown])
        for place, value in zip(places.tolist(), seconds, strict=True):
            text = f"{duration(value)}, {percent(value / answer.step.time_s)}"
            axes.annotate(text, (value, place), xytext=(5, 0), textcoords="offset points", va="center_baseline")
        axes.set(xlabel="time [s]", xlim=(0, 1.22 * max(seconds)))
        clean(axes)
        return figure


def bill_figure(answer: Planned) -> Figure:
    """Where the run's money and energy go; of a plan with a bill."""
    bill = answer.bill
    assert bill is not None  # noqa: S101 - the registry of outputs asks for it
    steps = [
        Slice(f"steps: {word}", colour, answer.step.seconds[bound]) for bound, (word, colour) in PLAN_BOUNDS.items()
    ]
    run_s = answer.run.total_s if answer.run else bill.time_s
    return money_figure(title_of(answer), basis_of(answer), time_parts(steps, run_s, answer.course, bill), bill)


def timeline_figure(answer: Planned) -> Figure:
    """The play of the micro-batches over the stages; gaps are the bubble."""
    with styled():
        timeline, stages = answer.step.timeline, answer.plan.pipeline
        figure = _new(answer, "a step on the stages", play_note(answer))
        axes = figure.add_axes((0.09, 0.19, 0.88, 0.66))
        for event in timeline.events:
            axes.barh(
                event.device,
                event.end_s - event.start_s,
                left=event.start_s,
                height=0.8,
                color=KINDS[event.task.kind],
                edgecolor="white",
                linewidth=0.4 if len(timeline.by_device[0]) < CROWDED else 0,
            )
        _stage_axis(axes, stages)
        axes.set(xlabel="time [s]", xlim=(0, timeline.end_s))
        used = {event.task.kind for event in timeline.events}
        words = {TaskKind.FORWARD: "forward", TaskKind.BACKWARD: "backward", TaskKind.WEIGHTS: "gradients of weights"}
        square = {"marker": "s", "markersize": 10}
        draw_key(figure, 0.09, 0.9, [(words[kind], {**square, "color": KINDS[kind]}) for kind in KINDS if kind in used])
        return figure


def play_note(answer: Planned) -> list[str]:
    """That not all micro-batches were played, where they were not."""
    played = max(event.task.microbatch for event in answer.step.timeline.events) + 1
    if played == answer.step.microbatches:
        return []
    return [f"{played} of {answer.step.microbatches} micro-batches are drawn: between, the same repeats"]


def _stage_axis(axes: Axes, stages: int) -> None:
    step = max(1, stages // 16)
    places = range(0, stages, step)
    axes.set_yticks(list(places), [f"stage {place + 1}" for place in places])
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)


PARTS_OF_MEMORY = (
    ("parameters", "parameters_bytes", ORANGE),
    ("gradients", "gradients_bytes", BLUE),
    ("optimizer", "optimizer_bytes", DARK_GREEN),
    ("activations", "activations_bytes", SKY),
    ("framework", "reserved_bytes", GREY),
)


def memory_figure(answer: Planned) -> Figure:
    """Memory of a device of each stage, by component, against what it has."""
    with styled():
        figure = _new(answer, "memory of a device of each stage", [])
        axes = figure.add_axes((0.09, 0.19, 0.86, 0.66))
        stages = answer.plan.pipeline
        left = np.zeros(stages)
        for _, key, colour in PARTS_OF_MEMORY:
            values = np.array([getattr(memory, key) for memory in answer.stages]) / GIB
            axes.barh(range(stages), values, left=left, color=colour, edgecolor="white", linewidth=0.5, height=0.75)
            left += values
        capacity = answer.memory.capacity_bytes / GIB
        axes.axvline(capacity, color=INK, linestyle="--")
        axes.annotate(
            f"{capacity:.0f} GiB",
            (capacity, 1),
            xycoords=("data", "axes fraction"),
            xytext=(-4, 5),
            textcoords="offset points",
            ha="right",
        )
        _stage_axis(axes, stages)
        axes.set(xlabel="memory [GiB]", xlim=(0, 1.05 * max(capacity, float(left.max()))))
        square = {"marker": "s", "markersize": 10}
        draw_key(figure, 0.09, 0.905, [(word, {**square, "color": colour}) for word, _, colour in PARTS_OF_MEMORY])
        return figure

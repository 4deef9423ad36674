"""The figure of memory over the time of a step: by component, its fullest moment marked, and what the device has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from simulator.execution.over_step import NO_LAYER, MemoryOverStep
from simulator.op.kernels import FloatArray, IntArray
from simulator.pipeline import Simulation
from simulator.pipeline.over_step import memory_over_step
from simulator.planned import Planned
from simulator.planned.over_step import memory_over_step as plan_memory_over_step
from simulator.report.layers import time_scale
from simulator.report.plan_figures import GIB, PARTS_OF_MEMORY, basis_of, play_note, title_of
from simulator.report.style import GREY, INK, draw_key, footer, new_figure, setting, styled
from simulator.units import binary_bytes, duration
from simulator.workload.workload import Workload

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 1200
"""Spans that are drawn at most, each as wide as a pixel: of those that share one, the fullest."""
TOLD = 4.0
"""Times the peak, beyond which what the device has is written and not drawn."""
NARROW = 0.07
"""Share of a step below which a pass has no word."""
ORDER = (0, 2, 4, 1, 3)
"""Parts from below: what stays the same first, then what comes and goes."""


def memory_figure(simulation: Simulation, others: object = ()) -> Figure:  # noqa: ARG001
    """Of a step on one device."""
    title, step = f"{setting(simulation)}: memory over a step", simulation.step
    passes = {"forward": step.input_s + step.forward_s, "backward": step.backward_s, "update": step.update_s}
    notes, over = footer(simulation), memory_over_step(simulation)
    return _figure(title, notes, over, simulation.workload, passes if simulation.options.training else {})


def plan_memory_figure(answer: Planned) -> Figure:
    """Of the fullest stage of a plan."""
    stage = f"of stage {answer.fullest + 1}, the fullest, " if answer.plan.pipeline > 1 else ""
    title, notes = f"{title_of(answer)}: memory {stage}over a step", [*basis_of(answer), *play_note(answer)]
    return _figure(title, notes, plan_memory_over_step(answer), answer.share.workload, {})


def fullest_words(over: MemoryOverStep, workload: Workload) -> str:
    """The fullest moment: "12.1 GiB at 31 ms, in the backward pass of conv1"."""
    place, layer = over.fullest, int(over.layers[over.fullest])
    found = f"{binary_bytes(float(over.total_bytes[place]))} at {duration(float(over.edges_s[place]))}"
    return f"{found}, while {workload.layers[layer].name} runs" if layer != NO_LAYER else found


def _figure(
    title: str, notes: list[str], over: MemoryOverStep, workload: Workload, passes: Mapping[str, float]
) -> Figure:
    with styled():
        figure = new_figure(title, notes)
        axes = figure.add_axes((0.075, 0.17, 0.9, 0.68))
        edges, chosen = thinned(over)
        factor, unit = time_scale(float(edges[-1]))
        parts = over.parts
        _stack(axes, edges / factor, parts[:, chosen] / GIB)
        peak, capacity = float(over.total_bytes[over.fullest]) / GIB, over.footprint.capacity_bytes / GIB
        shown = capacity <= TOLD * peak
        top = 1.12 * max(peak, capacity if shown else 0.0)
        axes.set(xlabel=f"time [{unit}]", ylabel="memory [GiB]", xlim=(0, float(edges[-1]) / factor), ylim=(0, top))
        _draw_capacity(axes, over.footprint.capacity_bytes, shown=shown)
        _draw_peak(axes, over, fullest_words(over, workload), factor)
        _draw_passes(axes, passes, float(edges[-1]))
        used = [PARTS_OF_MEMORY[at] for at in ORDER if parts[at].any()]
        square = {"marker": "s", "markersize": 10}
        draw_key(figure, 0.075, 0.905, [(word, {**square, "color": colour}) for word, _, colour in used])
        return figure


def thinned(over: MemoryOverStep) -> tuple[FloatArray, IntArray]:
    """Edges of no more spans than can be seen, and of each which span it stands for: the fullest of those in it."""
    edges, count = over.edges_s, len(over.layers)
    if count <= COLUMNS:
        return edges, np.arange(count)
    bins = np.minimum((edges[:-1] / edges[-1] * COLUMNS).astype(int), COLUMNS - 1)
    order = np.lexsort((over.total_bytes, bins))
    last = np.flatnonzero(np.append(np.diff(bins[order]) > 0, True))
    starts = np.searchsorted(bins, bins[order][last])
    return np.append(edges[starts], edges[-1]), order[last]


def _stack(axes: Axes, edges: FloatArray, parts: FloatArray) -> None:
    from matplotlib.patches import StepPatch

    base = np.zeros(parts.shape[1])
    for at in ORDER:
        if parts[at].any():
            looks: dict[str, Any] = {"baseline": base, "fill": True, "color": PARTS_OF_MEMORY[at][2], "linewidth": 0}
            axes.add_artist(StepPatch(base + parts[at], edges, **looks))
            base = base + parts[at]


def _draw_capacity(axes: Axes, capacity_bytes: float, *, shown: bool) -> None:
    words = f"the device has {binary_bytes(capacity_bytes)}"
    above: dict[str, Any] = {"textcoords": "offset points", "ha": "right"}
    if shown:
        axes.axhline(capacity_bytes / GIB, color=INK, linestyle="--")
        axes.annotate(words, (1, capacity_bytes / GIB), xycoords=("axes fraction", "data"), xytext=(-2, 5), **above)
    else:
        axes.annotate(words, (1, 1), xycoords="axes fraction", xytext=(-2, 5), **above)


def _draw_peak(axes: Axes, over: MemoryOverStep, words: str, factor: float) -> None:
    """The fullest moment, with its words towards the middle."""
    moment, held = float(over.edges_s[over.fullest]) / factor, float(over.total_bytes[over.fullest]) / GIB
    axes.plot([moment], [held], marker=7, color=INK, markersize=9, clip_on=False)  # 7: its tip is at the point
    left = moment > over.edges_s[-1] / factor / 2
    side: dict[str, Any] = {"ha": "right" if left else "left", "va": "bottom", "textcoords": "offset points"}
    axes.annotate(f"peak {words}", (moment, held), xytext=(-8 if left else 8, 3), **side)


def _draw_passes(axes: Axes, passes: Mapping[str, float], whole_s: float) -> None:
    """The words of the passes above where they are, but of those too short for theirs."""
    start = 0.0
    for word, length in passes.items():
        share = length / whole_s
        if share > NARROW:
            axes.annotate(word, (start + share / 2, 0.985), xycoords="axes fraction", ha="center", va="top", color=GREY)
        if 0 < start < 1:
            axes.plot([start, start], [0.94, 1], color=GREY, linewidth=0.8, transform=axes.transAxes)
        start += share

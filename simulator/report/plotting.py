"""An answer's plots on axes of your own: `simulation.plot.roofline(ax=...)`, `.layers(...)`, `.phases(...)`."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from simulator.pipeline import Simulation
from simulator.report.facts import slowest
from simulator.report.roofs import draw_roofs, roofs_of
from simulator.report.style import BOUNDS, PHASES, decades

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHOWN = 15
"""Layers of a bar chart, and of the table in a notebook: the slowest."""


class Plots:
    """The plots of one answer; each draws on `ax`, or on axes of a new figure, and returns them."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation

    def roofline(self, ax: Axes | None = None) -> Axes:
        """Each layer between the roofs: intensity [FLOP/byte] and performance [FLOP/s], coloured by what binds it."""
        axes, times = _axes(ax), self._simulation.layers
        known = (times.flops > 0) & (times.traffic_bytes > 0) & (times.time_s > 0)
        x, y = times.intensity_flop_per_byte[known], times.flop_per_s[known]
        roofs = roofs_of(self._simulation)
        ridges = [ridge for ridge, _ in roofs.ridges]
        axes.set(xscale="log", yscale="log", xlabel="operational intensity [FLOP/byte]", ylabel="performance [FLOP/s]")
        axes.set_xlim(min([*x, *ridges]) / 3, max([*x, *ridges]) * 3)
        axes.set_ylim(min(y) / 3, 2 * roofs.compute[0].datasheet)
        decades(axes, "x", "y")
        draw_roofs(axes, roofs)
        for bound, (word, colour, marker) in BOUNDS.items():
            mine = times.bound[known] == bound
            if mine.any():
                axes.scatter(x[mine], y[mine], s=28, color=colour, marker=marker, label=word, zorder=4)
        axes.legend(loc="lower right", frameon=False)
        return axes

    def layers(self, ax: Axes | None = None) -> Axes:
        """Time of the slowest layers. [s]"""
        axes, simulation = _axes(ax), self._simulation
        facts = slowest(simulation, SHOWN)[::-1]
        colours = [BOUNDS[fact.bound][1] for fact in facts]
        axes.barh([fact.layer.name for fact in facts], [fact.time_s for fact in facts], color=colours)
        axes.set(xlabel="time [s]")
        return axes

    def phases(self, ax: Axes | None = None) -> Axes:
        """Time of forward pass, backward pass and update. [s]"""
        axes, step = _axes(ax), self._simulation.step
        seconds = (step.forward_s, step.backward_s, step.update_s)
        axes.bar([word for word, _ in PHASES], seconds, color=[colour for _, colour in PHASES])
        axes.set(ylabel="time [s]")
        return axes


def _axes(ax: Axes | None) -> Axes:
    if ax is not None:
        return ax
    from matplotlib.figure import Figure

    return Figure(figsize=(9.6, 5.4), layout="constrained").add_subplot()


def html(simulation: Simulation) -> str:
    """The answer in a notebook: its first lines, and the slowest layers."""
    import pandas as pd

    from simulator.report.scorecard import bound_line, headline, steps_line

    lines = [f"<strong>{escape(headline(simulation))}</strong>", escape(steps_line(simulation))]
    lines.append(escape(bound_line(simulation)))
    facts = slowest(simulation, SHOWN)
    columns = {
        "op": [fact.layer.op.kind for fact in facts],
        "time_s": [fact.time_s for fact in facts],
        "bound": [fact.bound_name for fact in facts],
        "flops": [fact.flops for fact in facts],
        "traffic_bytes": [fact.traffic_bytes for fact in facts],
    }
    frame = pd.DataFrame(columns, index=pd.Index([fact.layer.name for fact in facts], name="layer"))
    return "<br>".join(lines) + str(frame.to_html(float_format=lambda value: f"{value:.3g}"))


def attach() -> None:
    """Give answers their plots, and what a notebook shows of them."""
    Simulation.plot = property(Plots)
    Simulation._repr_html_ = html  # type: ignore[attr-defined]

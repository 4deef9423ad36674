"""How every figure looks: a 16:9 slide, colours safe for the colour-blind and for grey print, equal bytes each time."""

from __future__ import annotations

import io
import logging
import re
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from simulator.execution.step import Step
from simulator.parallel.bound import PlanBound
from simulator.pipeline import Simulation
from simulator.report.asked import asked_line
from simulator.report.placement import Box
from simulator.roofline.times import Bound

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

WIDTH_INCHES, HEIGHT_INCHES = 12.8, 7.2
DPI = 120
SMALL, NORMAL, LARGE = 9.5, 11.0, 13.5
"""Font sizes; on a slide of usual width they appear as they are. [pt]"""

BLUE, ORANGE, GREY, INK = "#0072B2", "#E69F00", "#999999", "#222222"
GREEN, SKY, YELLOW, PINK = "#009E73", "#56B4E9", "#F0E442", "#CC79A7"
DARK_GREEN, PALE, VIOLET, OLIVE = "#00694D", "#D9D9D9", "#882255", "#999933"
NOTE, GRID = "#555555", "#E5E5E5"

# Colours: Okabe, Ito, "Color Universal Design", 2008.
BOUNDS = {
    Bound.COMPUTE: ("compute", ORANGE, "s"),
    Bound.MEMORY: ("memory", BLUE, "o"),
    Bound.OVERHEAD: ("launch overhead", GREY, "D"),
    Bound.COMMUNICATION: ("communication", PINK, "^"),
    Bound.INPUT: ("input", GREEN, "v"),
}
"""Bound -> (word, colour, marker)."""

PLAN_BOUNDS = {
    PlanBound.COMPUTE: ("computing", ORANGE),
    PlanBound.RECOMPUTE: ("computing again", YELLOW),
    PlanBound.EXCHANGE: ("exchange inside layers", PINK),
    PlanBound.GATHERS: ("waiting for gathered weights", VIOLET),
    PlanBound.BUBBLE: ("waiting for other stages", GREY),
    PlanBound.GRADIENTS: ("exchange of gradients and weights", BLUE),
    PlanBound.UPDATE: ("update", DARK_GREEN),
    PlanBound.LATE: ("waiting for the slowest device", PALE),
    PlanBound.INPUT: ("waiting for samples", OLIVE),
}
"""What a plan's step waits for -> (words, colour)."""

EXPOSED = {
    Bound.COMMUNICATION: "communication that hides behind nothing",
    Bound.INPUT: "waiting for input",
}
"""What a step alone waits for, as tables of its parts say it."""


def binding(step: Step) -> list[Bound]:
    """What a step may wait for: communication only where several devices exchange, input where it is late."""
    absent = {Bound.COMMUNICATION: step.devices == 1, Bound.INPUT: not step.input_s}
    return [bound for bound in Bound if not absent.get(bound, False)]


PHASES = (("forward", SKY), ("backward", DARK_GREEN), ("update", YELLOW))
"""(word, colour), of three clearly different greys; backward is the input and the weight gradient."""

_PARAMETERS = {
    "font.size": NORMAL,
    "font.family": ["sans-serif"],
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "svg.hashsalt": "simulator",
    "svg.fonttype": "none",
    "path.simplify": True,
}


_PNG = {"compress_level": 1}
"""A third of the usual level's time, for files no larger than a tenth more."""


@contextmanager
def styled() -> Iterator[None]:
    """Drawing and saving inside it follow the house look, whatever the user's matplotlibrc says."""
    # Where its own folder cannot be written, matplotlib says so and goes on in a temporary one: no reader's concern.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    from matplotlib import rc_context, rcParamsDefault

    settings: Any = {key: value for key, value in rcParamsDefault.items() if not key.startswith(("backend", "_"))}
    with rc_context(settings | _PARAMETERS), warnings.catch_warnings():
        # A script that the font lacks shows as boxes in PNG; SVG leaves it to the reader's fonts.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def new_figure(title: str, notes: list[str]) -> Figure:
    """An empty slide with a title and a footer of small lines."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH_INCHES, HEIGHT_INCHES), dpi=DPI, facecolor="white")
    figure.text(0.015, 0.985, title, fontsize=LARGE, fontweight="bold", va="top", gid="title")
    lines = [fitted(figure, note, 0.97 * WIDTH_INCHES * DPI) for note in notes]
    figure.text(0.015, 0.012, "\n".join(lines), fontsize=SMALL, color=NOTE, va="bottom", linespacing=1.35)
    return figure


def save(figure: Figure, folder: Path, stem: str) -> None:
    """Write `stem`.png and `stem`.svg, without dates or versions, so that equal figures are equal bytes."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    with styled():
        canvas_of(figure).print_png(folder / f"{stem}.png", metadata={"Software": None}, pil_kwargs=_PNG)
        canvas: Any = FigureCanvasSVG(figure)
        drawn = io.StringIO()
        canvas.print_svg(drawn, metadata={"Date": None, "Creator": None})
        text = _with_titles(drawn.getvalue(), _HOVER.get(figure, {}))
        (folder / f"{stem}.svg").write_text(text, encoding="utf-8", newline="\n")


_HOVER: WeakKeyDictionary[Figure, dict[str, list[str]]] = WeakKeyDictionary()


def hover(figure: Figure, gid: str, texts: list[str]) -> None:
    """What an SVG shows when the pointer rests on the marks of an artist, in their order."""
    _HOVER.setdefault(figure, {})[gid] = texts


def _with_titles(svg: str, texts: Mapping[str, list[str]]) -> str:
    """A `<title>` in each mark of the groups of those names."""
    for gid, titles in texts.items():
        start = svg.find(f'<g id="{gid}"')
        if start >= 0 and titles:
            margin = svg[svg.rfind("\n", 0, start) : start]
            end = svg.find(f"{margin}</g>", start)
            svg = svg[:start] + _titled(svg[start:end], titles) + svg[end:]
    return svg


def _titled(group: str, titles: Sequence[str]) -> str:
    """The marks of a group, paths or uses of one, each with a title inside."""
    kind = "use" if "<use " in group else "path"
    parts = re.split(rf"(<{kind} [^>]*?)/>", group)
    marks = zip(parts[1::2], titles, parts[2::2], strict=True)
    return parts[0] + "".join(f"{mark}><title>{escape(title)}</title></{kind}>{rest}" for mark, title, rest in marks)


def text_box(figure: Figure, text: Text) -> Box:
    """Where a text stands. [px]"""
    extent = text.get_window_extent(canvas_of(figure).get_renderer())
    return Box(extent.x0, extent.y0, extent.x1, extent.y1)


def text_size(figure: Figure, text: str, size: float = SMALL) -> tuple[float, float]:
    """Width and height of a text that is not drawn yet. [px]"""
    from matplotlib.font_manager import FontProperties

    width, height, _ = (
        canvas_of(figure).get_renderer().get_text_width_height_descent(text, FontProperties(size=size), False)
    )
    return float(width), float(height)


def canvas_of(figure: Figure) -> Any:
    """The figure's raster canvas; its renderer measures texts."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = figure.canvas
    return canvas if isinstance(canvas, FigureCanvasAgg) else FigureCanvasAgg(figure)


def draw_key(figure: Figure, x: float, y: float, entries: Sequence[tuple[str, dict[str, Any]]]) -> None:
    """A legend in one row, outside the axes: (word, properties of a line or marker) from (x, y) of the figure on."""
    from matplotlib.lines import Line2D

    for word, look in entries:
        wide = 0.024 if look.get("linestyle", "") else 0.009
        figure.add_artist(Line2D([x, x + wide / 2, x + wide], [y] * 3, **({"linestyle": "", "markevery": [1]} | look)))
        figure.text(x + wide + 0.006, y, word, va="center_baseline", fontsize=NORMAL)
        x += wide + 0.024 + text_size(figure, word, NORMAL)[0] / (WIDTH_INCHES * DPI)


def beside(axes: Axes, end: tuple[float, float], text: str, size: float = NORMAL, weight: str = "normal") -> None:
    """Write a bar's number a little right of its end."""
    place: dict[str, Any] = {"xytext": (4, 0), "textcoords": "offset points", "va": "center_baseline"}
    axes.annotate(text, end, fontsize=size, fontweight=weight, **place)


def clean(axes: Axes) -> None:
    """A list of bars: no ticks on the category axis, a light grid along the other."""
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)


def decades(axes: Axes, *sides: str) -> None:
    """Numbers with SI prefixes along logarithmic axes ("x", "y"): "1", "10", "1 k", "100 T"."""
    from simulator.units import si

    def short(value: float, _: object) -> str:
        number, _, prefix = si(value, "", 3).strip().partition(" ")
        return f"{float(number):g} {prefix}".strip()

    for side in sides:
        axis = axes.xaxis if side == "x" else axes.yaxis
        axis.set_major_formatter(short)
        axis.set_minor_formatter(lambda *_: "")


def version() -> str:
    """The program's version."""
    return str(sys.modules["simulator"].__version__)


def setting(simulation: Simulation) -> str:
    """What was asked, in one line."""
    options = simulation.options
    task = "training" if options.task == "train" else "inference"
    return (
        f"{simulation.workload.name}, {task}, batch {simulation.batch}, {options.precision}, on {machine(simulation)}"
    )


def machine(simulation: Simulation) -> str:
    """The device, or how many of it over which link."""
    cluster = simulation.cluster
    if cluster is None or cluster.devices == 1:
        return simulation.device.label
    count, _, rest = cluster.label.partition(" ")
    return f"{count} x {simulation.device.label} {rest}"


def footer(simulation: Simulation, *notes: str) -> list[str]:
    """The lines below a figure: what the numbers rest on, the command line that asked, and notes."""
    command = f"made by: {' '.join(simulation.command.split())}" if simulation.command else ""
    return [line for line in (basis(simulation), command, *notes) if line]


def basis(simulation: Simulation) -> str:
    """What the numbers rest on, in one line."""
    options, asked = simulation.options, asked_line(simulation)
    line = (
        f"traffic model: {options.traffic} · fidelity: {options.fidelity} · grade: {simulation.grade} · "
        f"simulator {version()}"
    )
    return f"asked: {asked} · {line}" if asked else line


def fitted(figure: Figure, text: str, width: float, size: float = SMALL) -> str:
    """A text that takes at most so many pixels: its middle gives way, since its start and its end both tell."""
    kept = len(text)
    while kept > 1 and text_size(figure, _cut(text, kept), size)[0] > width:
        kept -= 1
    return _cut(text, kept)


def _cut(text: str, kept: int) -> str:
    if kept >= len(text):
        return text
    return f"{text[: (kept + 1) // 2]}…{text[len(text) - kept // 2 :]}"


def percent(share: float) -> str:
    """A share for people: "71 %", "3.4 %", "0.2 %", "< 0.1 %"."""
    if 0 < share < 0.001:
        return "< 0.1 %"
    return f"{share:.0%}".replace("%", " %") if share >= 0.0995 or share == 0 else f"{100 * share:.1f} %"

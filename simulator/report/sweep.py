"""A sweep as a table: on the terminal, as CSV, JSON or Parquet, and as a picture of two of its axes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulator.errors import InputError
from simulator.report.csv_text import write_frame
from simulator.report.listing import print_table
from simulator.report.style import (
    BLUE,
    GREEN,
    GREY,
    GRID,
    INK,
    ORANGE,
    PINK,
    SKY,
    YELLOW,
    decades,
    new_figure,
    save,
    styled,
    version,
)
from simulator.units import binary_bytes, duration

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN = 40
"""Rows on the terminal; files have all of them."""

DROPPED = (
    "price.usd_per_hour", "price.total_usd", "device.power_w", "memory.capacity_bytes", "interval.low_s",
    "interval.high_s", "memory.fits", "step.mfu", "run.epoch_s",
)  # fmt: skip
PALETTE = (BLUE, ORANGE, GREEN, PINK, SKY, INK, YELLOW, GREY)
MARKERS = "osD^vP*X"
DENSITY = "density"
CELLS = 40
"""Cells from left to right."""


def write(frame: pd.DataFrame, path: Path) -> None:
    """The table in the form that the name's ending says.

    Raises
    ------
    InputError
        For another ending, or a file that cannot be written.
    """
    kinds = {".csv": "csv", ".json": "json", ".parquet": "parquet"}
    if path.suffix not in kinds:
        raise InputError(f"--out {path}: a name that ends in {', '.join(kinds)}")
    try:
        if path.suffix == ".csv":
            write_frame(frame, path)
        elif path.suffix == ".json":
            path.write_text(as_json(frame) + "\n", encoding="utf-8")
        else:
            frame.to_parquet(path, index=False)
    except ImportError:
        raise InputError(f"--out {path}: Parquet needs pyarrow: pip install '.[parquet]'") from None
    except OSError as error:
        raise InputError(f"--out {path}: cannot be written: {error.strerror or error}") from error


def as_json(frame: pd.DataFrame) -> str:
    """One object a row, null for what is unknown."""
    return str(frame.to_json(orient="records", indent=2))


def print_sweep(frame: pd.DataFrame, total: int) -> None:
    """The first rows, and how many there are."""
    shown = frame.head(SHOWN).dropna(axis=1, how="all")
    constant = [name for name in shown.columns if len(shown) > 1 and shown[name].nunique(dropna=False) == 1]
    shown = shown.drop(columns=[name for name in constant if name != "reason"])
    rows = [{str(name): _cell(str(name), value) for name, value in row.items()} for row in shown.to_dict("records")]
    for name in constant:
        if name != "reason":
            print(f"{name}: {_cell(name, frame[name].iloc[0])}")
    print_table("", rows, DROPPED)
    more = f"; {len(frame) - SHOWN} more rows" if len(frame) > SHOWN else ""
    print(f"{len(frame)} of {total} configurations{more}")


def _cell(name: str, value: Any) -> str:
    if value is None or value != value:
        return ""
    if name.endswith("_bytes"):
        return binary_bytes(float(value))
    if name.endswith("_s") and not name.endswith("per_s"):
        return duration(float(value))
    if isinstance(value, float):
        return f"{value:.0%}" if name.endswith("mfu") else f"{value:,.4g}"
    return str(value)


def plot(frame: pd.DataFrame, columns: str, path: Path) -> None:
    """Lines of "x,y", one for each other axis; a heat map of "x,y,value"; or how many configurations lie where, of
    "density:x,y"; as PNG and SVG.

    Raises
    ------
    InputError
        For unknown columns, or another number of them.
    """
    kind, colon, rest = columns.rpartition(":")
    names = [name.strip() for name in rest.split(",")]
    if (colon and kind != DENSITY) or len(names) not in ((2,) if colon else (2, 3)):
        raise InputError(f"--plot {columns!r}: two columns for lines or {DENSITY}:X,Y, three for a heat map")
    for name in names:
        if name not in frame.columns:
            raise InputError(f"--plot {columns!r}: no column {name!r}; there are {', '.join(frame.columns)}")
    known = frame.dropna(subset=names)
    if known.empty:
        raise InputError(f"--plot {columns!r}: no configuration has a value of all of them")
    draw = _density if colon else _lines if len(names) == 2 else _heat_map
    figure = draw(known, names)
    path.parent.mkdir(parents=True, exist_ok=True)
    save(figure, path.parent, path.stem)


def _labels(frame: pd.DataFrame, used: list[str]) -> pd.Series[str]:
    """What tells the lines apart: axes of several values that are on no side of the picture."""
    from simulator.planning.answers import COLUMNS

    axes = [c for c in frame.columns if c not in COLUMNS and c not in used and frame[c].nunique() > 1]
    return frame[axes].astype(str).agg(", ".join, axis=1) if axes else frame[used[0]].map(lambda _: "")


def _lines(frame: pd.DataFrame, names: list[str]) -> Figure:
    with styled():
        figure = new_figure(f"{names[1]} over {names[0]}", [f"simulator {version()}"])
        axes = figure.add_axes((0.09, 0.14, 0.62, 0.72))
        groups = list(frame.groupby(_labels(frame, names), sort=False))
        for place, (label, group) in enumerate(groups[:24]):
            looks: dict[str, Any] = {"color": PALETTE[place % 8], "marker": MARKERS[place % 8], "label": str(label)}
            group = group.sort_values(names[0])
            axes.plot(_plain(group[names[0]]), group[names[1]].astype(float), linewidth=1.6, markersize=5, **looks)
        _scale(axes, frame, names)
        axes.set(xlabel=names[0], ylabel=names[1])
        axes.grid(color=GRID, linewidth=0.8)
        if len(groups) > 1:
            axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False)
        return figure


def _plain(column: pd.Series[Any]) -> list[Any]:
    """Numbers where they are numbers, "2x" and "5 TFLOP/s" by their number, else text."""
    found = column.astype(str).str.extract(r"^\s*([-+0-9.eE]+)")[0]
    return list(found.astype(float)) if found.notna().all() else list(column.astype(str))


def _scale(axes: Axes, frame: pd.DataFrame, names: list[str]) -> None:
    """Logarithms where values span more than twenty times."""
    for name, side, which in zip(names, (axes.set_xscale, axes.set_yscale), "xy", strict=True):
        values = _plain(frame[name])
        numbers = [value for value in values if isinstance(value, float) and value > 0]
        if len(numbers) == len(values) and max(numbers) > 20 * min(numbers):
            side("log")
            decades(axes, which)


def _density(frame: pd.DataFrame, names: list[str]) -> Figure:
    """Cells of the plane by the number of configurations in them, on logarithmic sides where values span decades."""
    with styled():
        figure = new_figure(f"{len(frame):,} configurations: {names[1]} over {names[0]}", [f"simulator {version()}"])
        axes = figure.add_axes((0.1, 0.16, 0.72, 0.7))
        sides = [_plain(frame[name]) for name in names]
        if not all(isinstance(value, float) for side in sides for value in side[:1]):
            raise InputError(f"--plot {DENSITY}:{','.join(names)}: both columns are numbers")
        _scale(axes, frame, names)
        looks: dict[str, Any] = {"xscale": axes.get_xscale(), "yscale": axes.get_yscale(), "cmap": "cividis"}
        cells = axes.hexbin(*sides, gridsize=CELLS, mincnt=1, bins="log", linewidths=0.2, **looks)
        axes.set(xlabel=names[0], ylabel=names[1])
        axes.grid(color=GRID, linewidth=0.8)
        axes.set_axisbelow(True)
        _scale(axes, frame, names)  # again, since cells bring ticks of their own
        bar = figure.colorbar(cells, cax=figure.add_axes((0.85, 0.16, 0.02, 0.7)), format="{x:,.0f}")
        bar.ax.yaxis.set_minor_formatter("")
        bar.set_label("configurations")
        return figure


def _heat_map(frame: pd.DataFrame, names: list[str]) -> Figure:
    import numpy as np

    with styled():
        figure = new_figure(f"{names[2]} over {names[0]} and {names[1]}", [f"simulator {version()}"])
        axes = figure.add_axes((0.12, 0.16, 0.7, 0.7))
        table = frame.pivot_table(index=names[1], columns=names[0], values=names[2], aggfunc="min", sort=False)
        cells = table.to_numpy(dtype=float)
        picture = axes.imshow(cells, aspect="auto", cmap="cividis", origin="lower")
        for side, labels in ((axes.set_xticks, table.columns), (axes.set_yticks, table.index)):
            places = np.unique(np.linspace(0, len(labels) - 1, min(len(labels), 12)).round().astype(int))
            side(places, [str(labels[place]) for place in places])
        axes.set(xlabel=names[0], ylabel=names[1])
        bar = figure.colorbar(picture, cax=figure.add_axes((0.85, 0.16, 0.02, 0.7)))
        bar.set_label(names[2])
        return figure

"""A figure in words: every line, bar, mark and text with its place, size and colour, as a golden file holds it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FOLDER = Path(__file__).with_name("golden") / "figures"
NEAR, NOTHING = 0.03, 0.004
"""Numbers that differ by a smaller share, or lie nearer to nothing, look alike: fonts of other versions are as wide."""

PLACED_BY_ROOM = {"number", "ridge", "roof"}
"""Texts that look for a place themselves, which tests of overlaps judge."""


KINDS = {"PathCollection": "marks", "LineCollection": "lines", "QuadMesh": "mesh"}


def described(figure: Figure) -> list[str]:
    """A line for each thing that is drawn."""
    found = [f"figure {numbers(figure.get_size_inches())} dpi {figure.dpi:g} {colour(figure.get_facecolor())}"]
    found += [line for text in figure.texts for line in of_text(text)]
    found += [line for artist in figure.artists for line in of_line(artist)]
    for axes in figure.axes:
        found += [f"axes {numbers(axes.get_position().bounds)}", *(f"  {line}" for line in of_axes(axes))]
    return found


def of_axes(axes: Axes) -> Iterator[str]:
    from matplotlib.patches import StepPatch

    for name, side, scale in (("x", axes.xaxis, axes.get_xscale()), ("y", axes.yaxis, axes.get_yscale())):
        grid = side.get_gridlines()[0] if side.get_gridlines() and side._major_tick_kw.get("gridOn") else None  # type: ignore[attr-defined]
        shown = f" grid {colour(grid.get_color())} {grid.get_linewidth():g}" if grid else ""
        yield f"{name} {scale} {numbers(side.get_view_interval())}{shown} {side.get_label_text()}".rstrip()
        low, high = sorted(side.get_view_interval())
        yield f"{name} ticks {numbers([tick for tick in side.get_majorticklocs() if low <= tick <= high])}"
    if axes.get_title(loc="left"):
        yield f"title {axes.get_title(loc='left')!r}"
    for things, words in (
        (axes.lines, of_line),
        ([*axes.patches, *axes.findobj(StepPatch)], of_patch),
        (axes.collections, of_collection),
        (axes.texts, of_text),
    ):
        for thing in things:
            yield from words(thing)
    legend = axes.get_legend()
    if legend is not None:
        words = ", ".join(text.get_text() for text in legend.get_texts())
        frame = "framed" if legend.get_frame_on() else "plain"
        corner = numbers(legend.get_bbox_to_anchor().transformed(axes.transAxes.inverted()).bounds)
        yield f"legend {legend._loc} at {corner} {legend._ncols} {frame} {words}"  # type: ignore[attr-defined]


def of_line(line: Any) -> Iterator[str]:
    points = np.column_stack(line.get_data())
    marker = f" marker {line.get_marker()} {line.get_markersize():g} {colour(line.get_markerfacecolor())}"
    marker += f" at {line.get_markevery()}" if line.get_markevery() is not None else ""
    looks = f"{line.get_linestyle()} {line.get_linewidth():g}{marker} order {line.get_zorder():g}"
    yield f"line {colour(line.get_color())} {looks} {few(points)}"


def of_patch(patch: Any) -> Iterator[str]:
    looks = f"edge {colour(patch.get_edgecolor())} {patch.get_linewidth():g}"
    points = patch.get_path().transformed(patch.get_patch_transform()).vertices
    yield f"area {colour(patch.get_facecolor())} {looks} {few(points)}"


def of_collection(found: Any) -> Iterator[str]:
    sizes = found.get_sizes() if hasattr(found, "get_sizes") else []
    faces, edges = found.get_facecolor(), found.get_edgecolor()
    looks = f"{colour(faces[0]) if len(faces) else 'none'} edge {colour(edges[0]) if len(edges) else 'none'}"
    looks += f" {numbers(found.get_linewidth()[:1])} order {found.get_zorder():g} sizes {few(np.array(sizes))}"
    offsets = np.ma.filled(found.get_offsets(), np.nan)
    corners = [one.vertices for one in found.get_paths()[:20]]
    points = offsets if len(offsets) > 1 or np.any(offsets) else np.concatenate(corners or [np.zeros((0, 2))])
    if found.get_array() is not None:  # cells, whose colours tell their numbers
        points = np.ma.compressed(found.get_array()).reshape(-1, 1)
    yield f"{KINDS.get(type(found).__name__, 'shapes')} {looks} {few(points)}"


def of_text(text: Any) -> Iterator[str]:
    if not text.get_text():
        return
    place = getattr(text, "xyann", text.get_position())
    at = "where there is room" if text.get_gid() in PLACED_BY_ROOM else numbers(place)
    at += f" from {numbers(text.xy)}" if hasattr(text, "xy") else ""
    looks = (
        f"{text.get_fontsize():g} {text.get_fontweight()} {text.get_ha()} {text.get_va()} {colour(text.get_color())}"
    )
    looks += "" if text.get_gid() in PLACED_BY_ROOM else f" turned {text.get_rotation():g}"
    yield f"text {at} {looks} {version_free(text.get_text())!r}"


def version_free(text: str) -> str:
    """A text that is the same at the next release."""
    return re.sub(r"simulator \d+\.\S+", "simulator VERSION", text)


def colour(found: Any) -> str:
    from matplotlib.colors import to_hex, to_rgba

    return to_hex(to_rgba(found), keep_alpha=to_rgba(found)[3] not in (0, 1)) if np.any(to_rgba(found)) else "clear"


def numbers(values: Any) -> str:
    return " ".join(f"{float(value):.4g}" for value in np.ravel(values))


def few(points: Any) -> str:
    """Some of many points, and how many there are."""
    flat = np.asarray(points, dtype=float).reshape(len(points), -1) if len(points) else np.zeros((0, 0))
    chosen = flat[np.unique(np.linspace(0, len(flat) - 1, 8).round().astype(int))] if len(flat) > 8 else flat
    return f"[{len(flat)}] {numbers(chosen)}".strip()


def alike(found: str, expected: str) -> bool:
    """Whether two lines say the same, what they quote word for word and their numbers nearly."""
    (ours, said), (theirs, wanted) = map(_parts, (found, expected))
    return said == wanted and len(ours) == len(theirs) and all(map(_alike, ours, theirs))


def _parts(line: str) -> tuple[list[str], str]:
    """The words before the first quotation mark, and the rest."""
    start = min((place for mark in "\"'" if (place := line.find(mark)) >= 0), default=len(line))
    return line[:start].split(), line[start:]


def _alike(ours: str, theirs: str) -> bool:
    try:
        one, other = float(ours), float(theirs)
    except ValueError:
        return ours == theirs
    return abs(one - other) <= max(NOTHING if max(abs(one), abs(other)) < 1 else 0, NEAR * abs(other)) or ours == theirs


Compare = Callable[["Figure", str], None]


def comparison(update: bool) -> Compare:
    """Compares a figure with the golden file of a name, or writes it."""

    def compare(figure: Figure, name: str) -> None:
        figure.draw_without_rendering()
        found, path = described(figure), FOLDER / f"{name}.txt"
        if update:
            path.parent.mkdir(exist_ok=True)
            path.write_text("\n".join(found) + "\n", encoding="utf-8")
        expected = path.read_text(encoding="utf-8").splitlines()
        different = [(one, other) for one, other in zip(found, expected, strict=False) if not alike(one, other)]
        assert not different, f"(is, was): {different[:3]}"
        assert len(found) == len(expected), found[len(expected) :] or expected[len(found) :]

    return compare

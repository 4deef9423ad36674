"""What a figure holds: its bars, lines, shades and words, as tests compare them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GIB = 2.0**30


def bars_of(axes: Axes) -> list[tuple[float, float]]:
    """Where each bar begins and how high it is."""
    return [(float(bar.get_y()), float(bar.get_height())) for bar in axes.patches]  # type: ignore[attr-defined]


def inside(figure: Figure) -> None:
    """Every text and every pair of axes lies on the figure."""
    figure.draw_without_rendering()
    for axes in figure.axes:
        box = axes.get_position()
        assert 0 < box.x0 < box.x1 < 1
        assert 0 < box.y0 < box.y1 < 1


def near(pairs: list[tuple[float, float]]) -> list[Any]:
    """Pairs that are as good as equal to these."""
    return [pytest.approx(pair) for pair in pairs]


def points_of(line: Any) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in zip(*line.get_data(), strict=True)]


def span(axes: Axes) -> tuple[float, float]:
    """Left and right end of the shade."""
    (patch,) = axes.patches
    xs = (
        patch.get_path().vertices[:, 0]
        if not hasattr(patch, "get_x")
        else [patch.get_x(), patch.get_x() + patch.get_width()]
    )
    return float(min(xs)), float(max(xs))


def texts(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts if text.get_text()]


def written(figure: Figure) -> str:
    """Title, footer and what else stands beside the axes."""
    return "\n".join(text.get_text() for text in figure.texts)

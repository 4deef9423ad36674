"""Where labels go: near their point, over nothing else. Pure geometry in pixels; it knows no figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Pair = tuple[float, float]

_ANGLES = np.linspace(0, 2 * np.pi, 24, endpoint=False)
_DISTANCES = np.array([5.0, 12.0, 22.0, 36.0, 54.0, 76.0, 104.0, 140.0, 185.0, 240.0])
_HIDES_AT_MOST = 0
"""Points or lines under a label; one that would hide more is left out."""

_HIDES_A_POINT = 60.0
"""Pixels further that a label goes rather than hide a point or cross a line."""
_CROSSES_A_LABEL = 400.0
_GAP = 4.0
_LIFTS = (4.0, 8.0, 14.0, 22.0, 32.0, 44.0)
"""How far above its line a text stands. [px]"""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle. [px]"""

    left: float
    bottom: float
    right: float
    top: float

    def overlaps(self, other: Box, gap: float = 0.0) -> bool:
        """Whether they come nearer than the gap."""
        return (
            self.left < other.right + gap
            and other.left < self.right + gap
            and self.bottom < other.top + gap
            and other.bottom < self.top + gap
        )


@dataclass(frozen=True, slots=True)
class Label:
    """A point and the size of its text. [px]"""

    x: float
    y: float
    radius: float
    width: float
    height: float


@dataclass
class Canvas:
    """What labels must keep clear of.

    Attributes
    ----------
    frame : labels stay inside it.
    boxes : labels never touch these.
    discs : labels should not hide these; rows of x, y, radius, shape (discs, 3).
    """

    frame: Box
    boxes: list[Box] = field(default_factory=list)
    discs: FloatArray = field(default_factory=lambda: np.empty((0, 3)))
    leaders: list[tuple[FloatArray, FloatArray]] = field(default_factory=list)

    def place(self, labels: Sequence[Label]) -> list[Box | None]:
        """A box for each label, the important first; None where there is no room. Boxes never overlap."""
        return [self._place(label) for label in labels]

    def _place(self, label: Label) -> Box | None:
        candidates = _candidates(label)
        free = self._free(candidates)
        if not free.any():
            return None
        candidates = candidates[free]
        clear = self._hidden(candidates) <= _HIDES_AT_MOST
        if not clear.any():
            return None
        candidates = candidates[clear]
        leaders = _leaders(label, candidates)
        cost = np.hypot(*(leaders[:, -1] - (label.x, label.y)).T) - label.radius
        cost += _HIDES_A_POINT * self._hidden(candidates)
        cost += _CROSSES_A_LABEL * _crossed(leaders, self.boxes) + _HIDES_A_POINT * self._tangled(leaders)
        best = int(cost.argmin())
        box = Box(*candidates[best].tolist())
        self.boxes.append(box)
        self.leaders.append((leaders[best, 0], leaders[best, -1]))
        self.discs = np.vstack([self.discs, np.column_stack([leaders[best], np.ones(len(leaders[best]))])])
        return box

    def is_free(self, middle: FloatArray, axes: tuple[FloatArray, FloatArray], size: Pair) -> bool:
        """Whether a slanted text hides no disc; `axes` are the directions along and across it."""
        away = self.discs[:, :2] - middle
        beside = np.maximum(np.abs(away @ axes[0]) - size[0] / 2, 0)
        above = np.maximum(np.abs(away @ axes[1]) - size[1] / 2, 0)
        return not (np.hypot(beside, above) < self.discs[:, 2] + 1).any()

    def holds(self, boxes: Sequence[Box]) -> bool:
        """Whether all boxes lie in the frame and touch none of those that are taken."""
        corners = np.array([(box.left, box.bottom, box.right, box.top) for box in boxes])
        return bool(self._free(corners).all())

    def is_clear(self, box: Box) -> bool:
        """Whether a box hides no disc."""
        return not self._hidden(np.array([[box.left, box.bottom, box.right, box.top]]))[0]

    def _tangled(self, leaders: FloatArray) -> FloatArray:
        """How many placed leaders each new one (n, 16, 2) crosses."""
        start, end = leaders[:, 0], leaders[:, -1]
        crossings = np.zeros(len(leaders))
        for first, last in self.leaders:
            apart = _side(first, last, start) * _side(first, last, end) < 0
            crossings += apart & (_side(start, end, first) * _side(start, end, last) < 0)
        return crossings

    def _free(self, boxes: FloatArray) -> NDArray[np.bool_]:
        """Which candidates (n, 4) lie in the frame and touch no box."""
        left, bottom, right, top = boxes.T
        frame = self.frame
        free = (left >= frame.left) & (bottom >= frame.bottom) & (right <= frame.right) & (top <= frame.top)
        for box in self.boxes:
            beside = (right + _GAP <= box.left) | (box.right + _GAP <= left)
            free &= beside | (top + _GAP <= box.bottom) | (box.top + _GAP <= bottom)
        result: NDArray[np.bool_] = free
        return result

    def _hidden(self, boxes: FloatArray) -> FloatArray:
        """How many discs each candidate (n, 4) covers, ten at most counted."""
        if not len(self.discs):
            return np.zeros(len(boxes))
        x, y, radius = self.discs.T
        across = np.maximum(np.maximum(boxes[:, :1] - x, x - boxes[:, 2:3]), 0)
        along = np.maximum(np.maximum(boxes[:, 1:2] - y, y - boxes[:, 3:4]), 0)
        covered: FloatArray = np.minimum((np.hypot(across, along) < radius + 1).sum(axis=1), 10).astype(float)
        return covered


@dataclass(frozen=True, slots=True)
class Stretch:
    """A text along a line: its middle, its angle in radians, and small boxes that cover it. [px]"""

    x: float
    y: float
    angle: float
    boxes: tuple[Box, ...]


def along(start: Pair, end: Pair, size: Pair, canvas: Canvas) -> Stretch | None:
    """Where along and above a line, from start to end, a text of (width, height) hides nothing; None if nowhere."""
    origin, reach = np.array(start), np.subtract(end, start)
    length, angle = float(np.hypot(*reach)), float(np.arctan2(reach[1], reach[0]))
    forward, upward = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
    last = length - size[0] / 2 - 4
    first = min(size[0] / 2 + 4, last)
    for lift, place in product(_LIFTS, np.linspace(last, first, 33)):
        middle = origin + forward * place + upward * (lift + size[1] / 2)
        cover = _cover(middle, forward, size)
        if canvas.is_free(middle, (forward, upward), size) and canvas.holds(cover):
            return Stretch(float(middle[0]), float(middle[1]), angle, cover)
    return None


def _cover(middle: FloatArray, forward: FloatArray, size: Pair) -> tuple[Box, ...]:
    """Small upright boxes along a slanted text."""
    count = max(2, round(size[0] / size[1]))
    half = size[1] / 2 + 1
    centres = [middle + forward * size[0] * step for step in np.linspace(-0.5, 0.5, count)]
    return tuple(Box(x - half, y - half, x + half, y + half) for x, y in centres)


def _side(start: FloatArray, end: FloatArray, point: FloatArray) -> FloatArray:
    """On which side of a line points lie: the sign of a cross product."""
    reach, away = end - start, point - start
    side: FloatArray = reach[..., 0] * away[..., 1] - reach[..., 1] * away[..., 0]
    return side


def anchor(box: Box, x: float, y: float) -> Pair:
    """The point of a box that is nearest to (x, y), where a leader line ends."""
    return min(max(x, box.left), box.right), min(max(y, box.bottom), box.top)


def _candidates(label: Label) -> FloatArray:
    """Boxes (n, 4) around a point, at every angle and growing distance from its disc."""
    distance = (label.radius + _DISTANCES)[:, None]
    x = label.x + distance * np.cos(_ANGLES) + np.sign(np.round(np.cos(_ANGLES), 6)) * label.width / 2
    y = label.y + distance * np.sin(_ANGLES) + np.sin(_ANGLES) * label.height / 2
    centre_x, centre_y = x.ravel(), y.ravel()
    half_width, half_height = label.width / 2, label.height / 2
    return np.column_stack(
        [centre_x - half_width, centre_y - half_height, centre_x + half_width, centre_y + half_height]
    )


def _leaders(label: Label, boxes: FloatArray) -> FloatArray:
    """Points of the line from the label's point to each candidate (n, 4): shape (n, 16, 2)."""
    ends = np.column_stack([np.clip(label.x, boxes[:, 0], boxes[:, 2]), np.clip(label.y, boxes[:, 1], boxes[:, 3])])
    start = np.array([label.x, label.y])
    steps = np.linspace(0.1, 1.0, 16)[None, :, None]
    line: FloatArray = start + (ends[:, None, :] - start) * steps
    return line


def _crossed(leaders: FloatArray, boxes: Sequence[Box]) -> FloatArray:
    """How many boxes each leader (n, 16, 2) runs through."""
    crossed = np.zeros(len(leaders))
    x, y = leaders[..., 0], leaders[..., 1]
    for box in boxes:
        inside = (x > box.left) & (x < box.right) & (y > box.bottom) & (y < box.top)
        crossed += inside.any(axis=1)
    return crossed

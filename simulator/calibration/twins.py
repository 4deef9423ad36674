"""Measured rows that are marked as of one build, and show another: those with the figure of the same run without it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simulator.calibration.served_rows import ServedRow

SAME = 0.08
"""Figures of one build on one machine differ by less from run to run; matrix instructions make a prompt's attention
several times as fast, prompts of 512 tokens a fifth and more."""

MARK = "attention reads prompts as fast as without rocWMMA"

PLAIN, OTHER = "-hip", "-rocwmma"


def marked(rows: Sequence[ServedRow]) -> list[ServedRow]:
    """The rows, of which those that say rocWMMA and show none say so in their notes."""
    plain: dict[tuple[str, ...], list[float]] = {}
    for row in _reading(rows, PLAIN):
        plain.setdefault(_place(row), []).append(row.value)
    alike = {id(row) for row in _reading(rows, OTHER) if _is_among(row.value, plain.get(_place(row), ()))}
    return [replace(row, note=f"{row.note}; {MARK}") if id(row) in alike else row for row in rows]


def _reading(rows: Iterable[ServedRow], build: str) -> Iterable[ServedRow]:
    """Rows of prompts that are read with one kernel for attention, by a build."""
    return (row for row in rows if row.metric == "prefill_tok_s" and build in row.engine and "fa=-fa 1" in row.note)


def _place(row: ServedRow) -> tuple[str, ...]:
    """What rows of two builds share: the file, the options, the prompt."""
    options = next(part for part in row.note.split(";") if "fa=" in part)
    return row.file, row.workload, row.format, row.device, options, str(row.prompt)


def _is_among(value: float, others: Iterable[float]) -> bool:
    return any(abs(value / other - 1) < SAME for other in others)


__all__ = ["MARK", "marked"]

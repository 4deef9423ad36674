"""Tables of predicted against measured cases, whatever was measured: on stdout, and in a folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from simulator.op.kernels import FloatArray
from simulator.report.csv_text import write_frame
from simulator.report.listing import Row, print_table
from simulator.report.tables import rows_table

if TYPE_CHECKING:
    import pandas as pd

MOST_REASONS = 12
"""Reasons that a table shows by themselves."""

Tables = Mapping[str, Sequence[Row]]
"""Title -> rows."""


class Judged(NamedTuple):
    """A predicted case: its group, its error (predicted over measured, less one), and whether its interval held."""

    group: tuple[str, ...]
    error: float
    inside: bool = False


STATISTICS: Mapping[str, Callable[[FloatArray, FloatArray], str]] = {
    "mean": lambda error, _: f"{np.abs(error).mean():.1%}",
    "median": lambda error, _: f"{np.median(np.abs(error)):.1%}",
    "bias": lambda error, _: f"{error.mean():+.1%}",
    "90th pct": lambda error, _: f"{np.quantile(np.abs(error), 0.9):.1%}",
    "within 20 %": lambda error, _: f"{(np.abs(error) <= 0.2).mean():.0%}",
    "in interval": lambda _, inside: f"{inside.mean():.0%}",
}
"""What tables say of a group's errors, by column."""

OF_KERNELS = ("median", "mean", "bias", "90th pct")
"""Those of tables whose rows are many and alike."""


def error_rows(cases: Iterable[Judged], keys: Sequence[str], columns: Sequence[str] = OF_KERNELS) -> list[Row]:
    """One row a group: what it is, how many cases it has, and statistics of their errors.

    keys : names of what cases are grouped by. columns : of `STATISTICS`.
    """
    groups: dict[tuple[str, ...], list[Judged]] = {}
    for case in cases:
        groups.setdefault(case.group, []).append(case)
    rows = []
    for group, found in sorted(groups.items()):
        error, inside = np.array([case.error for case in found]), np.array([case.inside for case in found])
        cells = {column: STATISTICS[column](error, inside) for column in columns}
        rows.append({**dict(zip(keys, group, strict=True)), "rows": len(found), **cells})
    return rows


def reason_rows(reasons: Iterable[str | None], most: int | None = None) -> list[Row]:
    """Why cases have no prediction, a row a reason: the most frequent first, then by the alphabet.

    most : reasons that have a row by themselves; one more row counts the others. All if None.
    """
    counts = Counter(reason for reason in reasons if reason)
    found = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    rest = found[most:] if most is not None else []
    shown = found[: len(found) - len(rest)]
    others = [(f"{len(rest)} other reasons", sum(count for _, count in rest))] if rest else []
    return [{"rows": count, "not predicted because": reason} for reason, count in [*shown, *others]]


def reason_table(reasons: Iterable[str | None]) -> dict[str, list[Row]]:
    """The table of them that ends every list of tables."""
    return {"rows without a prediction": reason_rows(reasons, MOST_REASONS)}


def print_tables(tables: Tables, out: Path | None) -> None:
    """All tables on stdout, and where they and the cases were written."""
    for title, rows in tables.items():
        print_table(title, list(rows))
    if out is not None:
        print(f"cases and tables: {out}")


def write_tables(heading: str, tables: Tables, path: Path) -> None:
    """The tables that have rows as one page of Markdown."""
    parts = [f"# {heading}"]
    for title, rows in tables.items():
        if rows:
            parts += [f"## {title}", rows_table(rows)]
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def write_cases(out: Path, frame: pd.DataFrame, heading: str, tables: Tables) -> None:
    """`tables.md` and `cases.csv` in a folder."""
    out.mkdir(parents=True, exist_ok=True)
    write_frame(frame, out / "cases.csv")
    write_tables(heading, tables, out / "tables.md")

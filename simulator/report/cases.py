"""Tables of predicted against measured cases, whatever was measured: on stdout, and in a folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from simulator.report.csv_text import write_frame
from simulator.report.listing import Row, print_table
from simulator.report.tables import rows_table

if TYPE_CHECKING:
    import pandas as pd

MOST_REASONS = 12
"""Reasons that a table shows by themselves."""

Tables = Mapping[str, Sequence[Row]]
"""Title -> rows."""


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

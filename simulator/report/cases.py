"""Tables of predicted against measured cases, whatever was measured: on stdout, and in a folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from simulator.report.csv_text import write_frame
from simulator.report.listing import Row, print_table
from simulator.report.tables import markdown_table

if TYPE_CHECKING:
    import pandas as pd

Tables = Mapping[str, Sequence[Row]]
"""Title -> rows."""


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
            parts += [f"## {title}", markdown_table(list(rows[0]), [list(row.values()) for row in rows])]
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def write_cases(out: Path, frame: pd.DataFrame, heading: str, tables: Tables) -> None:
    """`tables.md` and `cases.csv` in a folder."""
    out.mkdir(parents=True, exist_ok=True)
    write_frame(frame, out / "cases.csv")
    write_tables(heading, tables, out / "tables.md")

"""Texts of CSV files, which spreadsheets must not take for formulas."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""Beginnings of what a spreadsheet computes. Source: OWASP, "CSV Injection"."""


def literal(value: Any) -> Any:
    """A text behind an apostrophe where a spreadsheet would compute it; anything else as it is."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def frame_text(frame: pd.DataFrame) -> str:
    """A frame as the text of a CSV file."""
    written = StringIO()
    write_frame(frame, written)
    return written.getvalue()


def write_frame(frame: pd.DataFrame, path: Path | StringIO, *, append: bool = False) -> None:
    """A frame as CSV without its index; without its header where it is appended to a file that has one."""
    import pandas as pd

    texts = [name for name in frame.columns if not pd.api.types.is_numeric_dtype(frame[name])]
    changed = {name: frame[name].map(literal) for name in texts}
    frame.assign(**changed).to_csv(path, index=False, header=not append, mode="a" if append else "w")

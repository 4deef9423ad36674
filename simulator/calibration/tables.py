"""Tables of measurements as text, plain or compressed, row by row."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from math import inf
from pathlib import Path

from simulator import catalog
from simulator.errors import InputError

MAX_BYTES = 64 * 2**20

Row = Mapping[str, str | None]


def read_table(path: Path) -> str:
    """The text of a table, plain or compressed (.gz).

    Raises
    ------
    InputError
        If the file cannot be read or is larger than any table.
    """
    state = path.stat() if path.is_file() else None
    return _text(path, state.st_mtime_ns, state.st_size) if state else catalog.read_text(path)


@lru_cache(maxsize=4)
def _text(path: Path, _changed_ns: int, _size: int) -> str:
    """A file is read once, until it is another: what kind of table it is asks for it several times."""
    if path.suffix != ".gz":
        return catalog.read_text(path, MAX_BYTES)
    try:
        with gzip.open(path, "rb") as file:
            content = file.read(MAX_BYTES + 1)
        text = content.decode("utf-8")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    if len(content) > MAX_BYTES:
        raise InputError(f"{path}: larger than {MAX_BYTES} bytes")
    return text


def heading(path: Path) -> list[str]:
    """The columns that the first line names."""
    return read_table(path).partition("\n")[0].strip().split(",")


def read_rows(path: Path, columns: Sequence[str]) -> list[tuple[str, Row]]:
    """Each row with the words that say where it stands.

    Raises
    ------
    InputError
        If a column is missing, the text is no CSV, or there is no row.
    """
    rows = rows_below(path, columns)
    if not rows:
        raise InputError(f"{path}: no row stands below the columns")
    return rows


def rows_below(path: Path, columns: Sequence[str]) -> list[tuple[str, Row]]:
    """The same, of a table that may have none; lines that start with # are passed over."""
    lines = enumerate(io.StringIO(read_table(path)), start=1)
    numbered = [(number, line) for number, line in lines if not line.startswith("#")]
    reader = csv.DictReader(line for _, line in numbered)

    def where() -> str:
        return f"{path}: line {numbered[max(reader.line_num, 1) - 1][0]}"

    try:
        missing = [column for column in columns if column not in (reader.fieldnames or ())]
        if missing:
            raise InputError(f"{path}: the column {missing[0]!r} is missing; a table has {', '.join(columns)}")
        return [(where(), row) for row in reader]
    except csv.Error as error:
        raise InputError(f"{where()}: {error}") from None


UNSAID = ("", "n/a", "nan")
"""What tables write for a figure that they do not have."""


def number(row: Row, column: str, where: str) -> float:
    """A figure that is not negative, 0 where the table does not have it.

    Raises
    ------
    InputError
        Naming the line and the column.
    """
    text = (row.get(column) or "").strip()
    try:
        value = 0.0 if text.lower() in UNSAID else float(text)
    except ValueError:
        raise InputError(f"{where}: {column} {text!r} is no number") from None
    if not 0 <= value < inf:
        raise InputError(f"{where}: {column} must be positive, found {text}")
    return value

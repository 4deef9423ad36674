"""Sweeps on disk: parts of a table as they come, in CSV, or in Parquet of one schema."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulator.errors import InputError
from simulator.planning.answers import COLUMNS, NO_NUMBERS
from simulator.planning.sweep import Axes, parts, table

if TYPE_CHECKING:
    import pandas as pd

WHOLE = ("devices", "batch", "epochs")

BYTES_A_ROW = 80.0
"""Of a row of a sweep as Parquet keeps it; measured 30 to 70."""


def schema_of(axes: Axes) -> Any:
    """Names and types of a sweep's columns, for pyarrow.

    Raises
    ------
    InputError
        If pyarrow is not installed.
    """
    try:
        import pyarrow as arrow
    except ImportError:
        raise InputError("Parquet needs pyarrow: pip install '.[parquet]'") from None
    labels = ["workload", "device", *axes.requests, *axes.options, *axes.inside(1)]
    numbers = {name for name in axes.requests if name != "attention"} | set(WHOLE)
    kinds = {name: arrow.int64() if name in numbers else arrow.string() for name in labels}
    kinds |= {name: arrow.float64() for name in ("price", *COLUMNS) if name in (*labels, *COLUMNS)}
    kinds |= {name: arrow.string() for name in NO_NUMBERS} | {"memory.fits": arrow.bool_()}
    return arrow.schema(list(kinds.items()))


def stored(frame: pd.DataFrame, schema: Any) -> Any:
    """A part as a pyarrow table."""
    import pyarrow as arrow

    return arrow.Table.from_pandas(frame, schema=schema, preserve_index=False)


def write_parts(axes: Axes, path: Path, done: Any = lambda _: None) -> int:
    """A sweep of any size as one Parquet file, part by part, so that memory holds one part; returns its rows.

    Raises
    ------
    InputError
        If pyarrow is not installed, the disk is too small, or the file cannot be written.
    """
    schema = schema_of(axes)
    check_disk(path, len(axes), BYTES_A_ROW)
    from pyarrow import parquet

    try:
        with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
            for part in parts(axes):
                writer.write_table(stored(table(part), schema))
                done(len(part))
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from error
    return len(axes)


def check_disk(path: Path, rows: int, bytes_a_row: float) -> None:
    """Refuse what would not go on the disk, before any work."""
    from shutil import disk_usage

    free, needed = disk_usage(path.resolve().parent).free, rows * bytes_a_row
    if needed > free:
        raise InputError(f"{path}: {rows:,} rows need about {needed / 1e9:.1f} GB, and {free / 1e9:.1f} are free")

"""Measured products and attention of served language models, as a table lists them.

Rows are kernels called back to back from a recorded graph, as an engine's libraries run them: a product of `m` tokens
with n x k weights, and attention over a cache in the two phases of serving. In 8 and 4 bits the call first rounds its
activations in kernels of their own, which are part of the measured time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from simulator.calibration.tables import Row, heading, number, read_rows
from simulator.errors import InputError

COLUMNS = ("device", "op", "dtype", "dims", "time_s")
"""Columns by which a table of kernels is known."""


@dataclass(frozen=True, slots=True)
class MeasuredOp:
    """One measured kernel. [s]

    Attributes
    ----------
    dims : sizes by name: m, n, k of a product; batch_size, isl, num_heads, ... of attention.
    """

    id: str
    device: str
    op: str
    dtype: str
    kernel: str
    dims: Mapping[str, str]
    time_s: float

    @property
    def call(self) -> str:
        """The library's call: operation, format, format of the cache where it has one, and library where not usual."""
        parts = (
            self.op,
            self.dtype,
            self.dims.get("kv_cache_dtype", ""),
            "flashinfer" if "flashinfer" in self.kernel else "",
        )
        return " ".join(part for part in parts if part)

    @property
    def group(self) -> tuple[str, str]:
        """What is predicted together."""
        return self.device, self.call


def is_ops(path: Path) -> bool:
    """Whether a table's heading is that of kernels."""
    return {"op", "dims", "time_s"} <= set(heading(path))


def read_ops(path: Path) -> list[MeasuredOp]:
    """Rows of a table, plain or compressed.

    Raises
    ------
    InputError
        Naming the file, the line and the column that is missing or malformed.
    """
    return [_row(row, where) for where, row in read_rows(path, COLUMNS)]


def _row(row: Row, where: str) -> MeasuredOp:
    text = {column: row.get(column) or "" for column in (*COLUMNS, "id", "kernel")}
    try:
        dims = dict(part.split("=", 1) for part in text["dims"].split(";"))
    except ValueError as error:
        raise InputError(f"{where}: {error}") from None
    time_s = number(row, "time_s", where)
    if not time_s:
        raise InputError(f"{where}: time_s must be positive, found {text['time_s'] or 'none'}")
    name = text["id"] or where.rpartition(" ")[2]
    return MeasuredOp(name, text["device"], text["op"], text["dtype"], text["kernel"], dims, time_s)


def by_group(rows: Sequence[MeasuredOp]) -> dict[tuple[str, str], list[int]]:
    """Positions of the rows that are predicted together."""
    groups: dict[tuple[str, str], list[int]] = {}
    for position, row in enumerate(rows):
        groups.setdefault(row.group, []).append(position)
    return groups

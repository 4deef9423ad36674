"""Tables of measured training steps: their rows as they stand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from simulator.calibration.tables import Row, heading, number, read_rows

COLUMNS = ("workload", "profile", "devices", "precision", "global_batch", "micro_batch", "tp", "pp")
"""Columns by which a table of plans is known."""


@dataclass(frozen=True, slots=True)
class TrainedRow:
    """One measured step; 0, "" and None where the table does not say.

    Attributes
    ----------
    device : our profile, or the table's own name of a device where it names none.
    model : the table's own name of the network.
    measured : metric -> value: `step_s` [s] or `tokens_per_s_per_gpu` [1/s], and `memory_gib` [GiB].
    """

    id: str
    workload: str
    model: str
    device: str
    devices: int
    precision: str
    global_batch: int
    microbatch: int
    sequence: int
    degrees: tuple[int, int, int, int, int]
    """tp, pp, cp, ep, pieces a stage; 0 where unsaid."""
    zero: str
    recompute: str
    software: str
    note: str
    measured: Mapping[str, float]


def is_trained(path: Path) -> bool:
    """Whether a table's heading is that of training plans."""
    return {"global_batch", "tp", "pp"} <= set(heading(path))


def read_trained(path: Path) -> list[TrainedRow]:
    """Rows of a table.

    Raises
    ------
    InputError
        Naming the file, the line and the column that is missing or malformed.
    """
    return [_row(row, where) for where, row in read_rows(path, COLUMNS)]


METRICS = ("step_s", "tokens_per_s_per_gpu", "memory_gib")


def _row(row: Row, where: str) -> TrainedRow:
    def count(column: str) -> int:
        return int(number(row, column, where))

    def text(column: str) -> str:
        return (row.get(column) or "").strip()

    found = {metric: value for metric in METRICS if (value := number(row, metric, where))}
    if "step_s" in found:
        found.pop("tokens_per_s_per_gpu", None)
    return TrainedRow(
        id=text("id") or where.rpartition(" ")[2],
        workload=text("workload"),
        model=text("model"),
        device=text("profile") or text("device"),
        devices=count("devices"),
        precision=text("precision"),
        global_batch=count("global_batch"),
        microbatch=count("micro_batch"),
        sequence=count("sequence"),
        degrees=(count("tp"), count("pp"), count("cp"), count("ep"), count("vp")),
        zero=text("zero_or_fsdp"),
        recompute=text("recompute"),
        software=text("software"),
        note=text("note"),
        measured=found,
    )

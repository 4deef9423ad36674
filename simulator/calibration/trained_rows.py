"""Tables of measured training steps: their rows as they stand."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from simulator.calibration.served import read_table
from simulator.errors import InputError

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
    heading = read_table(path).partition("\n")[0].split(",")
    return all(column in heading for column in ("global_batch", "tp", "pp"))


def read_trained(path: Path) -> list[TrainedRow]:
    """Rows of a table.

    Raises
    ------
    InputError
        Naming the file, the line and the column that is missing or malformed.
    """
    reader = csv.DictReader(io.StringIO(read_table(path)))
    missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
    if missing:
        raise InputError(f"{path}: the column {missing[0]!r} is missing; a table has {', '.join(COLUMNS)}")
    return [_row(row, f"{path}: line {reader.line_num}") for row in reader]


METRICS = ("step_s", "tokens_per_s_per_gpu", "memory_gib")


def _row(row: Mapping[str, str | None], where: str) -> TrainedRow:
    def number(column: str) -> float:
        text = (row.get(column) or "").strip()
        try:
            value = float(text) if text and text.lower() != "nan" else 0.0
        except ValueError:
            raise InputError(f"{where}: {column} {text!r} is no number") from None
        if not 0 <= value < math.inf:
            raise InputError(f"{where}: {column} must be positive, found {text}")
        return value

    def text(column: str) -> str:
        return (row.get(column) or "").strip()

    found = {metric: value for metric in METRICS if (value := number(metric))}
    if "step_s" in found:
        found.pop("tokens_per_s_per_gpu", None)
    return TrainedRow(
        id=text("id") or where.rpartition(" ")[2],
        workload=text("workload"),
        model=text("model"),
        device=text("profile") or text("device"),
        devices=int(number("devices")),
        precision=text("precision"),
        global_batch=int(number("global_batch")),
        microbatch=int(number("micro_batch")),
        sequence=int(number("sequence")),
        degrees=(int(number("tp")), int(number("pp")), int(number("cp")), int(number("ep")), int(number("vp"))),
        zero=text("zero_or_fsdp"),
        recompute=text("recompute"),
        software=text("software"),
        note=text("note"),
        measured=found,
    )

"""layers.csv, and the tables of report.md."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from io import StringIO
from typing import Any

from simulator.pipeline import Simulation
from simulator.report.csv_text import literal
from simulator.report.facts import layer_facts
from simulator.roofline.times import OF_KERNELS

COLUMNS = (
    "name",
    "op",
    "output_shape",
    "parameters",
    "macs",
    "flops",
    "traffic_bytes",
    "intensity_flop_per_byte",
    *(f"{bound.word}_s" for bound in OF_KERNELS),
    "time_s",
    "forward_s",
    "backward_s",
    "update_s",
    "bound",
    "forward_bound",
    "backward_bound",
    "update_bound",
)
"""Of layers.csv. macs: forward pass of one sample; the rest: the whole step."""


def layers_text(simulation: Simulation, others: Sequence[object] = ()) -> str:  # noqa: ARG001
    """One row a layer as CSV, in the network's order. [FLOP], [byte], [s]"""
    written = StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([literal(value) for value in row] for row in layer_rows(simulation))
    return written.getvalue()


def layer_rows(simulation: Simulation) -> Iterator[tuple[Any, ...]]:
    """Rows in the order of `COLUMNS`; no intensity without traffic, no bound without time."""
    for fact in layer_facts(simulation):
        shape = "x".join(map(str, fact.layer.output))
        intensity = "" if fact.intensity_flop_per_byte is None else fact.intensity_flop_per_byte
        seconds = [*fact.seconds, fact.time_s, *(one.time_s for one in fact.passes)]
        known = [fact.flops, fact.traffic_bytes, intensity, *seconds]
        words = [fact.bound_name, *(one.bound_name for one in fact.passes)]
        yield fact.layer.name, fact.layer.op.kind, shape, fact.layer.parameters, fact.macs, *map(_number, known), *words


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[object]], right: int | None = None) -> str:
    """A Markdown table; columns from `right` on (all but the first if None) are set flush right."""
    first = 1 if right is None else right
    rule = ["---"] * first + ["---:"] * (len(header) - first)
    return "\n".join("| " + " | ".join(map(cell, row)) + " |" for row in (header, rule, *rows))


def rows_table(rows: Sequence[Mapping[str, object]], right: int | None = None) -> str:
    """A Markdown table of rows with the same keys, which head its columns; `right` as of `markdown_table`."""
    return markdown_table(list(rows[0]), [list(row.values()) for row in rows], right)


def listed(lines: Iterable[str]) -> str:
    """A Markdown list."""
    return "\n".join(f"- {cell(line)}" for line in lines)


def cell(value: object) -> str:
    """Text that cannot end a table's cell, nor be taken for markup."""
    return escape(" ".join(str(value).split()), quote=False).replace("|", "\\|")


def _number(value: float | str) -> float | int | str:
    """Whole numbers without a fraction; all digits otherwise, so that totals can be checked."""
    return int(value) if isinstance(value, float) and value.is_integer() else value

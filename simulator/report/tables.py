"""layers.csv, and the tables of report.md."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

from simulator.op.kernels import FloatArray
from simulator.pipeline import Simulation
from simulator.report.csv_text import literal
from simulator.roofline.times import Bound

COLUMNS = (
    "name",
    "op",
    "output_shape",
    "parameters",
    "macs",
    "flops",
    "traffic_bytes",
    "intensity_flop_per_byte",
    "compute_s",
    "memory_s",
    "overhead_s",
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


def write_layers(simulation: Simulation, path: Path) -> None:
    """Write one row a layer, in the network's order. [FLOP], [byte], [s]"""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows([literal(value) for value in row] for row in layer_rows(simulation))


def layer_rows(simulation: Simulation) -> Iterator[tuple[Any, ...]]:
    """Rows in the order of `COLUMNS`; no intensity without traffic, no bound without time."""
    times, workload = simulation.layers, simulation.workload
    counts = workload.counts if simulation.options.count == "exact" else workload.article_counts
    columns = [times.flops, times.traffic_bytes, _ratio(times.flops, times.traffic_bytes)]
    columns += [times.compute_s, times.memory_s, times.overhead_s, times.time_s, *times.by_pass]
    work = zip(*(column.tolist() for column in columns), strict=True)
    bounds = zip(times.bound.tolist(), *times.bound_by_pass.tolist(), strict=True)
    for layer, count, (flops, traffic, intensity, *seconds), bound in zip(
        workload.layers, counts, work, bounds, strict=True
    ):
        shape = "x".join(map(str, layer.output))
        known = [flops, traffic, intensity if traffic else "", *seconds]
        words = [Bound(b).name.lower() if s else "" for b, s in zip(bound, seconds[3:], strict=True)]
        yield layer.name, layer.op.kind, shape, layer.parameters, count.macs, *map(_number, known), *words


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[object]], right: int | None = None) -> str:
    """A Markdown table; columns from `right` on (all but the first if None) are set flush right."""
    first = 1 if right is None else right
    rule = ["---"] * first + ["---:"] * (len(header) - first)
    return "\n".join("| " + " | ".join(map(cell, row)) + " |" for row in (header, rule, *rows))


def cell(value: object) -> str:
    """Text that cannot end a table's cell, nor be taken for markup."""
    return escape(" ".join(str(value).split()), quote=False).replace("|", "\\|")


def _number(value: float | str) -> float | int | str:
    """Whole numbers without a fraction; all digits otherwise, so that totals can be checked."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _ratio(flops: FloatArray, traffic: FloatArray) -> FloatArray:
    import numpy as np

    ratio: FloatArray = flops / np.where(traffic > 0, traffic, 1.0)
    return ratio

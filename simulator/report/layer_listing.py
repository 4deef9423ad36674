"""The table of layers on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from simulator.op.base import Shape
from simulator.report.listing import Row, print_table
from simulator.workload.comparison import differences, totals
from simulator.workload.table import LayerRow
from simulator.workload.workload import Workload

DROPPED = ("stride", "MACs/param", "field", "activations", "backward FLOPs")
"""Columns that give way on a narrow terminal, the least important first."""


def print_layers(workload: Workload, rows: Sequence[LayerRow]) -> None:
    """Each layer for one sample, and the totals."""
    cells: list[Row] = [
        {
            "layer": row.name,
            "op": row.op,
            "output": shape_text(row.output_shape),
            "parameters": row.parameters,
            "MACs": row.macs,
            "FLOPs": row.flops,
            "backward FLOPs": row.backward_flops,
            "activations": row.activations,
            "field": shape_text(row.receptive_field or ()),
            "stride": shape_text(row.stride or ()),
            "MACs/param": f"{row.macs_per_parameter:,.4g}" if row.macs_per_parameter else "",
        }
        for row in rows
    ]
    totals = {key: sum(row[key] for row in cells) for key in ("parameters", "MACs", "FLOPs", "backward FLOPs")}
    cells.append(dict.fromkeys(cells[0], "") | {"layer": "total"} | totals | {"activations": _sum(rows)})
    print_table(f"{workload.name}: one sample, forward unless said otherwise; a MAC is 2 FLOP", cells, DROPPED)
    print(f"coverage {workload.coverage:.1%}: the share of layers whose operation has a cost rule")
    if workload.unknown:
        print(f"without one: {', '.join(workload.unknown)}")
    if "; " in workload.description:
        print(workload.description)  # with what an importer has to say of its counts


def comparison_summary(first: Workload, second: Workload) -> dict[str, Any]:
    """What `print_comparison` shows, for `--json`."""

    def listed(layers: Sequence[tuple[str, int, int]]) -> list[dict[str, Any]]:
        return [{"name": name, "macs": macs, "parameters": parameters} for name, macs, parameters in layers]

    return {
        "first": first.name,
        "against": second.name,
        "totals": [{"what": t.what, "first": t.first, "against": t.second} for t in totals(first, second)],
        "differences": [{"first": listed(d.first), "against": listed(d.second)} for d in differences(first, second)],
    }


def print_comparison(first: Workload, second: Workload) -> None:
    """Totals of both, and the layers with MACs in which they part."""
    rows: list[Row] = [
        {
            "one sample": total.what,
            first.name: f"{total.first:,.0f}",
            f"against {second.name}": f"{total.second:,.0f}",
            "difference": f"{total.second / total.first - 1:+.3%}" if total.first else "",
        }
        for total in totals(first, second)
    ]
    print_table("totals", rows)
    found = differences(first, second)
    if not found:
        print("every layer with MACs has the same MACs and parameters, in the same order")
        return
    parts = [
        {"in": side, "layer": name, "MACs": macs, "parameters": parameters}
        for difference in found
        for side, layers in ((first.name, difference.first), (f"against {second.name}", difference.second))
        for name, macs, parameters in layers
    ]
    print_table(f"{len(found)} places where they part", parts)


def shape_text(shape: Shape) -> str:
    """(64, 112, 112) -> "64x112x112"."""
    return "x".join(str(side) for side in shape)


def _sum(rows: Sequence[LayerRow]) -> int:
    return sum(row.activations for row in rows)

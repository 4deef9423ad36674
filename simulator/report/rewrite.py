"""A network before and after its rewrites, as a whole and layer by layer."""

from __future__ import annotations

from typing import Any

from simulator.report.listing import Row, print_table
from simulator.units import binary_bytes, si
from simulator.workload.rewrites import Encoding, Rewritten, stored_bytes
from simulator.workload.workload import Layer, Workload, activations

SHOWN = 40


def totals(before: Workload, after: Rewritten) -> list[Row]:
    """Parameters, MACs, activations and bytes on disk."""
    rows: list[tuple[str, float, float]] = [
        ("parameters", before.parameters, after.workload.parameters),
        ("MACs of a sample", before.macs, after.workload.macs),
        ("activations of a sample", sum(map(activations, before.layers)), sum(map(activations, after.workload.layers))),
        ("on disk", stored_bytes(before, {}), after.bytes),
    ]
    return [
        {
            "": name,
            "before": binary_bytes(old) if name == "on disk" else si(old, ""),
            "after": binary_bytes(new) if name == "on disk" else si(new, ""),
            "times less": f"{old / new:.2f}",
        }
        for name, old, new in rows
    ]


def changed_rows(before: Workload, after: Rewritten) -> list[Row]:
    """Layers whose parameters, MACs or bytes are others; what a layer became is summed under its name."""
    plain = Encoding()
    old = {layer.name: layer for layer in before.layers}
    macs_before = dict(zip(old, (count.macs for count in before.counts), strict=True))
    found: dict[str, list[float]] = {}
    for layer, count in zip(after.workload.layers, after.workload.counts, strict=True):
        name = _origin(layer, old)
        kept = after.storage.get(layer.name, plain).bytes_of(layer.parameters)
        sums = found.setdefault(name, [0.0, 0.0, 0.0])
        for place, value in enumerate((layer.parameters, count.macs, kept)):
            sums[place] += value
    rows = []
    for name, layer in old.items():
        parameters, macs, kept = found.get(name, [0.0, 0.0, 0.0])
        if (parameters, macs, kept) != (layer.parameters, macs_before[name], plain.bytes_of(layer.parameters)):
            rows.append(
                {
                    "layer": name,
                    "parameters": f"{layer.parameters:,} to {parameters:,.0f}",
                    "MACs": f"{si(macs_before[name], '')} to {si(macs, '')}",
                    "on disk": f"{binary_bytes(plain.bytes_of(layer.parameters))} to {binary_bytes(kept)}",
                }
            )
    return rows


def _origin(layer: Layer, old: dict[str, Layer]) -> str:
    name = layer.name
    return name if name in old else name.rpartition(".")[0]


def print_rewrite(before: Workload, after: Rewritten) -> None:
    """Both tables on stdout."""
    print_table(f"{before.name}: {after.workload.changes.get('apply', 'unchanged')}", totals(before, after))
    rows = changed_rows(before, after)
    print_table("layers", rows[:SHOWN], ("MACs",))
    if len(rows) > SHOWN:
        print(f"and {len(rows) - SHOWN} more layers")


def rewrite_summary(before: Workload, after: Rewritten) -> dict[str, Any]:
    """Stable keys."""
    return {
        "workload": before.name,
        "apply": after.workload.changes.get("apply"),
        "before": _side(before, stored_bytes(before, {})),
        "after": _side(after.workload, after.bytes),
        "layers": changed_rows(before, after),
    }


def _side(workload: Workload, kept: float) -> dict[str, float]:
    return {
        "parameters": workload.parameters,
        "macs": workload.macs,
        "activations": sum(map(activations, workload.layers)),
        "disk_bytes": kept,
    }

"""Lists of what ships with the program, as rows and as terminal tables."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from simulator import catalog
from simulator.device.device import FOLDER as DEVICES
from simulator.device.device import Device, load_device, read_profile
from simulator.device.framework import FOLDER as FRAMEWORKS
from simulator.device.framework import load_framework
from simulator.device.memory import MEMORIES, load_memory
from simulator.device.profile import GRADES, DeviceProfile, MemoryProfile
from simulator.device.provenance import Provenance, leaves
from simulator.precision import PRECISIONS, Role
from simulator.units import duration
from simulator.workload.dataset import FOLDER as DATASETS
from simulator.workload.dataset import load_dataset

Row = dict[str, Any]

_NUMBER = re.compile(r"[-+]?[\d.,]+( ?[a-zA-Z%]{0,4})?$|$")
"""A cell that lines up at the right: a number, perhaps with a unit, or nothing."""

LONGEST = 36
"""Characters that a column of long texts asks for; beyond them it folds."""


def workload_rows() -> list[Row]:
    """Name, description, dataset and batch of each workload."""
    return [
        {
            "name": name,
            "aliases": ", ".join(content.get("aliases", [])),
            "description": content.get("description", ""),
            "dataset": content.get("dataset", "imagenet"),
            "batch": content.get("batch", 32),
        }
        for name in catalog.names("workloads")
        for content in [catalog.read_yaml(catalog.find("workloads", name))]
    ]


def dataset_rows() -> list[Row]:
    """Name, size and description of each dataset."""
    return [
        {
            "name": data.name,
            "samples": data.samples,
            "classes": data.classes or "",
            "tokens": data.tokens or "",
            "bytes": data.sample_bytes or "",
            "description": data.description,
        }
        for data in (load_dataset(name) for name in catalog.names(DATASETS))
    ]


def framework_rows() -> list[Row]:
    """Name, what it is and the weakest grade of its values, of each framework."""
    return [
        {
            "name": framework.name,
            "aliases": ", ".join(framework.aliases),
            "description": framework.description,
            "releases": framework.release_of if framework.release_of != framework.name else "in use",
            "grade": max((found.grade for found in framework.provenance.values()), key=GRADES.index),
        }
        for framework in map(load_framework, catalog.names(FRAMEWORKS))
    ]


def precision_rows() -> list[Row]:
    """Bytes of each kind of value, and the peaks that products run at, of each precision."""
    return [
        {
            "name": precision.name,
            "weights": precision.widths[Role.WEIGHT],
            "activations": precision.widths[Role.ACTIVATION],
            "gradients": "" if precision.inference_only else precision.widths[Role.GRADIENT],
            "states": "" if precision.inference_only else precision.widths[Role.STATE],
            "products": " or ".join(name.replace("_tensor", " tensor") for name in precision.matrix_peaks),
            "description": precision.description,
        }
        for precision in PRECISIONS.values()
    ]


def matching(rows: Sequence[Row], words: Sequence[str]) -> list[Row]:
    """Rows that hold every word, in any cell and any case."""
    texts = [" ".join(map(str, row.values())).lower() for row in rows]
    return [row for row, text in zip(rows, texts, strict=True) if all(word.lower() in text for word in words)]


def device_rows() -> list[Row]:
    """Peaks, bandwidth and capacity of each device, as its file writes them."""
    return [
        {
            "name": profile.name,
            "aliases": ", ".join(profile.aliases),
            "kind": profile.kind,
            "family": profile.family or "",
            "year": str(profile.year or ""),
            "fp32": profile.peak.fp32 or "",
            "tf32": profile.peak.tf32_tensor or "",
            "fp16": profile.peak.fp16_tensor or profile.peak.fp16 or "",
            "bf16": profile.peak.bf16_tensor or profile.peak.bf16 or "",
            "bandwidth": profile.memory.bandwidth or f"{_units(profile)} x {profile.memory.technology}",
            "capacity": profile.memory.capacity or "",
            "grade": _grade(profile.name),
        }
        for profile in map(read_profile, catalog.names(DEVICES))
        if isinstance(profile, DeviceProfile)
    ]


def _grade(name: str) -> str:
    """The weakest grade of the coefficients that a calibrated time on a device reads."""
    provenance = load_device(name).provenance
    read = [found.grade for path, found in provenance.items() if path.startswith(("sustained.", "kernel.", "launch"))]
    return max(read, key=GRADES.index)


def memory_rows() -> list[Row]:
    """One unit of each memory technology."""
    return [
        {
            "name": profile.name,
            "unit": profile.unit,
            "bandwidth": profile.bandwidth,
            "capacity": profile.capacity,
            "description": profile.description,
        }
        for profile in map(load_memory, catalog.names(MEMORIES))
    ]


def value_rows(name: str) -> list[Row]:
    """Every value of a device or memory technology, with its grade and source."""
    profile = read_profile(name)
    if isinstance(profile, MemoryProfile):
        source = profile.sources[0] if profile.sources else None
        grade, text = (source.grade, source.source) if source else ("assumption", "")
        return [
            {"value": key, "is": getattr(profile, key), "grade": grade, "source": text}
            for key in ("unit", "bandwidth", "capacity")
        ]
    device = load_device(name)
    content = msgspec.to_builtins(profile)
    values = {path: _value(content, path) for path in leaves(content)} | _inherited(device)
    unknown = Provenance("assumption", "the profile names no source")
    return [
        {
            "value": path,
            "is": value,
            "grade": device.provenance.get(path, unknown).grade,
            "source": device.provenance.get(path, unknown).source,
        }
        for path, value in values.items()
    ]


def _inherited(device: Device) -> Row:
    """Every coefficient, whether the device's own or of its family."""
    sections = {"sustained": device.sustained, "kernel": device.kernel}
    values = {f"{name}.{key}": value for name, section in sections.items() for key, value in section.items()}
    return {"utilisation": device.utilisation, "launch": duration(device.launch_s)} | values


def print_tables(tables: Mapping[str, Sequence[Row]], *, as_json: bool, drop: Sequence[str] = ()) -> None:
    """Lists on stdout, as tables or as one JSON object."""
    if as_json:
        print(json.dumps(tables, indent=2))
        return
    for title, rows in tables.items():
        print_table(title, rows, drop)


def print_table(title: str, rows: Sequence[Row], drop: Sequence[str] = ()) -> None:
    """Rows as a table on stdout, no wider than the terminal; the keys of the first row are the columns.

    drop : columns that give way where there is no room, the least important first; then long texts fold.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not rows:
        return
    console = Console()
    kept = _columns_that_fit(rows, drop, console.width)
    console.width = max(console.width, _room(kept))
    table = Table(title=Text(title, style="bold"), title_justify="left", box=None, pad_edge=False, header_style="bold")
    for key in kept:
        right = all(_NUMBER.match(_cell(row[key])) for row in rows)
        long = kept[key] == LONGEST
        table.add_column(Text(key), justify="right" if right else "left", no_wrap=not long, overflow="fold")
    for row in rows:
        table.add_row(*[Text(_cell(row[key])) for key in kept])
    console.print(table)
    left_out = [key for key in rows[0] if key not in kept]
    if left_out:
        console.print(Text(f"(for want of room without {', '.join(left_out)})", style="dim"))
    console.print()


def _columns_that_fit(rows: Sequence[Row], drop: Sequence[str], width: int) -> dict[str, int]:
    """The columns left when the least important have made room, and the width of each; a long text has `LONGEST`."""
    needs = {key: min(max(len(_cell(value)) for value in (key, *(r[key] for r in rows))), LONGEST) for key in rows[0]}
    for key in drop:
        if _room(needs) <= width:
            break
        needs.pop(key, None)
    return needs


def _room(widths: Mapping[str, int]) -> int:
    return sum(widths.values()) + 2 * (len(widths) - 1)


def _cell(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _units(profile: DeviceProfile) -> int | str:
    memory = profile.memory
    return memory.stacks or memory.channels or memory.chips or "?"


def _value(content: Any, path: str) -> Any:
    for key in path.split("."):
        content = content[key]
    return content

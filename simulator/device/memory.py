"""The main memory of a device, and the technologies that it is made of."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from simulator import catalog
from simulator.device.profile import MemoryProfile, MemorySection
from simulator.errors import InputError, UnknownNameError
from simulator.units import parse

MEMORIES = "hardware_profiles/memories"


@dataclass(frozen=True)
class Memory:
    """The main memory. [byte], [byte/s]"""

    technology: str
    count: int
    unit: str
    capacity_bytes: float
    bandwidth_byte_per_s: float


@lru_cache
def load_memory(name: str) -> MemoryProfile:
    """A memory technology by name."""
    if not is_memory(name):
        raise UnknownNameError("memory technology", name, catalog.names(MEMORIES))
    path = catalog.find(MEMORIES, name)
    profile: MemoryProfile = catalog.convert(catalog.read_yaml(path), MemoryProfile, str(path))
    return profile


def is_memory(name: str) -> bool:
    """Whether a name or an alias is that of a shipped memory technology."""
    return bool(catalog.shipped(MEMORIES, name.lower())) or name.lower() in catalog.aliases(MEMORIES)


def swapped_memory(text: str) -> dict[str, Any]:
    """The memory section of "hbm2:4": count times one unit of the technology."""
    name, _, count = text.partition(":")
    unit = load_memory(name).unit
    if not count.isdigit() or int(count) < 1:
        raise InputError(f"--memory {text!r}: say how many {unit}s, for example {name}:4")
    return {"technology": name, f"{unit}s": int(count)}


def memory_of(section: MemorySection, where: str) -> Memory:
    """Totals from the datasheet where it prints them, else count times one unit of the technology."""
    if section.technology is None:
        return _unnamed_memory(section, where)
    technology = load_memory(section.technology)
    counts = {"stack": section.stacks, "channel": section.channels, "chip": section.chips}
    written = [unit for unit, count in counts.items() if count is not None]
    count = counts[technology.unit]
    if written and count is None:
        raise InputError(f"{where}: memory: {technology.name} comes in {technology.unit}s, not {written[0]}s")
    if count is None and (section.capacity is None or section.bandwidth is None):
        raise InputError(f"{where}: memory: give `{technology.unit}s`, or both `capacity` and `bandwidth`")
    units = count or 1
    capacity = parse(section.capacity or technology.capacity, "byte", f"{where}: memory.capacity")
    bandwidth = parse(section.bandwidth or technology.bandwidth, "byte/s", f"{where}: memory.bandwidth")
    return Memory(
        technology.name,
        units,
        technology.unit,
        capacity if section.capacity else capacity * units,
        bandwidth if section.bandwidth else bandwidth * units,
    )


def _unnamed_memory(section: MemorySection, where: str) -> Memory:
    """A memory of which only the totals are known, as a machine measures its own."""
    if section.capacity is None or section.bandwidth is None:
        raise InputError(f"{where}: memory: give `technology`, or both `capacity` and `bandwidth`")
    capacity = parse(section.capacity, "byte", f"{where}: memory.capacity")
    bandwidth = parse(section.bandwidth, "byte/s", f"{where}: memory.bandwidth")
    return Memory("memory", 1, "system", capacity, bandwidth)

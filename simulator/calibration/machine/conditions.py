"""Under what conditions a machine was measured: its parts, its software, what else ran."""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from simulator.errors import InputError
from simulator.units import parse

CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
USUAL_CACHES = {1: 32 * 2**10, 2: 2**20, 3: 32 * 2**20}
"""Where the system does not say. [byte]"""
USUAL_MEMORY = 8 * 2**30


@dataclass(frozen=True)
class Conditions:
    """The machine. `caches`: level -> bytes that all threads used have at that level together. [byte]"""

    processor: str
    cores: int
    threads: int
    caches: dict[int, int]
    caches_known: bool
    memory_bytes: int
    system: str
    software: str
    date: str
    load: float

    @property
    def text(self) -> str:
        """One line, for a profile's notes."""
        return (
            f"measured {self.date} on {self.processor}, {self.threads} of {self.cores} cores, {self.system}, "
            f"{self.software}; load average {self.load:.2f} before"
        )


def conditions(threads: int | None = None) -> Conditions:
    """What the system says of itself, and how many threads will be used: all cores that may be, if None."""
    cores = usable_cores()
    if threads is not None and not 1 <= threads <= cores:
        raise InputError(f"--threads must be between 1 and {cores}, the cores that may be used, found {threads}")
    used = threads or cores
    caches = cache_sizes(used)
    return Conditions(
        processor=processor_name(),
        cores=cores,
        threads=used,
        caches=caches or USUAL_CACHES,
        caches_known=bool(caches),
        memory_bytes=memory_bytes(),
        system=f"{platform.system()} {platform.release()}",
        software=", ".join(_versions()),
        date=datetime.now(tz=UTC).strftime("%Y-%m-%d %H:%M UTC"),
        load=os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0,
    )


def usable_cores() -> int:
    """Logical processors that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor_name() -> str:
    """The processor's name from Linux, else what Python knows."""
    info = Path("/proc/cpuinfo")
    match = re.search(r"^model name\s*:\s*(.+)$", info.read_text(encoding="utf-8"), re.M) if info.is_file() else None
    return " ".join((match[1] if match else platform.processor() or platform.machine() or "unknown").split())


def cache_sizes(threads: int, folder: Path = CACHES) -> dict[int, int]:
    """Level -> bytes of data or unified cache for so many threads: a level of one core counts once a thread."""
    sizes: dict[int, int] = {}
    for index in sorted(folder.glob("index*")):
        kind, level, size, shared = (_read(index / name) for name in ("type", "level", "size", "shared_cpu_list"))
        if kind in ("Data", "Unified") and level.isdigit() and size:
            copies = -(-threads // max(_count(shared), 1))
            sizes[int(level)] = int(parse(f"{size}iB", "byte")) * copies
    return sizes


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8").strip() if path.is_file() else ""


def _count(cpus: str) -> int:
    """How many a list such as "0-3,8" names."""
    ends = [part.split("-") for part in cpus.split(",") if part]
    return sum(int(part[-1]) - int(part[0]) + 1 for part in ends)


def memory_bytes() -> int:
    """Physical memory. [byte]"""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return USUAL_MEMORY


def _versions() -> list[str]:
    found = [f"Python {platform.python_version()}"]
    for package in ("numpy", "torch"):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return found

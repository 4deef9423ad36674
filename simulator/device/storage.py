"""Storage that samples are read from: `hardware_profiles/storage/<name>.yaml`, in SI units."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Literal

from msgspec import Meta

from simulator import catalog
from simulator.device.profile import Bandwidth, Source, Strict, Time
from simulator.errors import InputError
from simulator.units import parse

FOLDER = "hardware_profiles/storage"

TIMES = "*"
"""Between a storage's name and how many of it there are."""


class StorageProfile(Strict, frozen=True, kw_only=True):
    """A kind of storage."""

    name: Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9.-]*$")]
    kind: Literal["storage"]
    description: str
    read: Bandwidth
    write: Bandwidth | None = None
    file: Annotated[Time | None, Meta(description="before each file, as long as nothing else is read")] = None
    aliases: tuple[str, ...] = ()
    sources: tuple[Source, ...] = ()


@dataclass(frozen=True)
class Storage:
    """What a machine reads samples from and writes its state to. [byte/s], and the time lost before each file [s]

    write_byte_per_s : None where it is not known.
    """

    name: str
    read_byte_per_s: float
    file_s: float
    write_byte_per_s: float | None = None


@lru_cache
def load_storage(name: str) -> Storage:
    """Storage by name, alias or path of a YAML file; `nvme-pcie4*8` is eight disks side by side.

    Raises
    ------
    UnknownNameError, InputError
        One line that names the file, the key and the nearest valid name, or the number of disks.
    """
    one, star, many = name.rpartition(TIMES)
    if star:
        return _side_by_side(load_storage(one), many)
    path = catalog.find(FOLDER, name)
    profile: StorageProfile = catalog.convert(catalog.read_yaml(path), StorageProfile, str(path))
    lost_s = parse(profile.file, "s", f"{path}: file") if profile.file else 0.0
    write = parse(profile.write, "byte/s", f"{path}: write") if profile.write else None
    return Storage(profile.name, parse(profile.read, "byte/s", f"{path}: read"), lost_s, write)


def _side_by_side(one: Storage, many: str) -> Storage:
    """So many disks, each with its share of all files: rates add up, and what is lost before files is shared out."""
    if not many.isdecimal() or not 0 < int(many) <= MOST_DISKS:
        raise InputError(f"storage {one.name}{TIMES}{many}: the number of disks is 1 to {MOST_DISKS}, found {many!r}")
    count = int(many)
    write = None if one.write_byte_per_s is None else count * one.write_byte_per_s
    return Storage(f"{one.name}{TIMES}{count}", count * one.read_byte_per_s, one.file_s / count, write)


MOST_DISKS = 100_000

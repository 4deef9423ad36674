"""Where each number of a profile comes from: key paths to sources and grades."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from simulator.device.profile import DeviceProfile, Grade, Source


class Provenance(msgspec.Struct, frozen=True):
    """Where a number comes from, and how far to trust it."""

    grade: Grade
    source: str


def provenance_of(sources: Sequence[Source]) -> dict[str, Provenance]:
    """Key path -> provenance, from a profile's `sources`."""
    return {path: Provenance(entry.grade, entry.source) for entry in sources for path in entry.of}


def nearest(provenance: Mapping[str, Provenance], path: str) -> Provenance | None:
    """The entry of a key path, or of the nearest section above it."""
    while path:
        if path in provenance:
            return provenance[path]
        path = path.rpartition(".")[0]
    return None


def below(path: str, section: str) -> bool:
    """Whether a key path is a section or lies in it."""
    return path == section or path.startswith(section + ".")


def spread(provenance: Mapping[str, Provenance], profile: DeviceProfile) -> dict[str, Provenance]:
    """Provenance of every leaf that the device has, sections' entries handed down."""
    result = dict(provenance)
    for path in leaves(msgspec.to_builtins(profile)):
        found = nearest(provenance, path)
        if found is not None:
            result[path] = found
    return result


def leaves(content: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Key paths of a profile's values, sources and texts about the device left out."""
    skipped = {"name", "kind", "description", "aliases", "vendor", "host", "family", "year", "notes", "sources"}
    paths: list[str] = []
    for key, value in content.items():
        if not prefix and key in skipped and not isinstance(value, Mapping):  # a system's host is a section
            continue
        path = f"{prefix}{key}"
        if isinstance(value, Mapping):
            paths.extend(leaves(value, f"{path}."))
        elif value is not None:
            paths.append(path)
    return paths

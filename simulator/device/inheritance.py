"""What a device has from its kind, its family and its own file: the one place where profiles inherit."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import msgspec

from simulator import catalog
from simulator.device.profile import Coefficients, DeviceProfile, FamilyProfile
from simulator.device.provenance import Provenance, nearest, provenance_of
from simulator.errors import UnknownNameError
from simulator.units import parse

FAMILIES = "hardware_profiles/families"

Replaced = Mapping[tuple[str, str], float]
"""(file of `hardware_profiles`, key path) -> a value in place of the file's: ("families/gpu", "kernel.cache")."""


class Inherited(msgspec.Struct, frozen=True):
    """Coefficients of a device, from the last of its kind, its family and its own file that gives each.

    Attributes
    ----------
    values : key path ("launch", "kernel.cache") -> value. [SI units]
    provenance : key path -> source and grade.
    own : the key paths that the device's own file gives.
    """

    values: Mapping[str, float]
    provenance: Mapping[str, Provenance]
    own: frozenset[str]

    def section(self, name: str) -> dict[str, float]:
        """The values of one section by their names in it."""
        prefix = f"{name}."
        return {key.removeprefix(prefix): value for key, value in self.values.items() if key.startswith(prefix)}


def inherited(profile: DeviceProfile, where: str, replaced: Replaced | None = None) -> Inherited:
    """Every coefficient of a device, and where it comes from.

    Parameters
    ----------
    where : the device's file, as messages name it.
    replaced : values in place of those of families' files, as a fit tries them.

    Raises
    ------
    UnknownNameError
        If there is no file of its family, with the nearest name.
    """
    values: dict[str, float] = {}
    provenance: dict[str, Provenance] = {}
    for family in families_of(profile):
        found = load_family(family, where)
        given = dict(_given_by_family(family)) | _tried(replaced, family)
        values |= given
        provenance |= _sourced(found, given)
    own = given_by(profile, where)
    return Inherited(values | own, provenance | _sourced(profile, own), frozenset(own))


def families_of(profile: DeviceProfile) -> list[str]:
    """Where a device's missing coefficients come from, the most general first: its kind, its family."""
    return [name for name in (profile.kind, profile.family) if name is not None]


@lru_cache
def _given_by_family(name: str) -> Mapping[str, float]:
    return given_by(load_family(name), name)


def _tried(replaced: Replaced | None, family: str) -> dict[str, float]:
    return {key: value for (scope, key), value in (replaced or {}).items() if scope == f"families/{family}"}


def _sourced(rung: Coefficients, given: Mapping[str, float]) -> dict[str, Provenance]:
    sources = provenance_of(rung.sources)
    unknown = Provenance("assumption", "the profile names no source")
    return {key: nearest(sources, key) or unknown for key in given}


@lru_cache
def load_family(name: str, where: str = "") -> FamilyProfile:
    """What the devices of a family, or of a kind, have in common; an `UnknownNameError` with the nearest name."""
    path = catalog.shipped(FAMILIES, name)
    if path is None:
        raise UnknownNameError("family", name, catalog.names(FAMILIES), where)
    profile: FamilyProfile = catalog.convert(catalog.read_yaml(path), FamilyProfile, str(path))
    return profile


def given_by(rung: Coefficients, where: str) -> dict[str, float]:
    """Key path -> value of each coefficient that a profile gives itself. [SI units]"""
    given: dict[str, float] = {}
    if rung.utilisation is not None:
        given["utilisation"] = rung.utilisation
    if rung.launch is not None:
        given["launch"] = parse(rung.launch, "s", f"{where}: launch", positive=False)
    if rung.start is not None:
        given["start"] = parse(rung.start, "s", f"{where}: start", positive=False)
    for key, text in msgspec.structs.asdict(rung.calls).items() if rung.calls else ():
        given[f"calls.{key}"] = parse(text, "s", f"{where}: calls.{key}", positive=False)
    for name, section in (("sustained", rung.sustained), ("kernel", rung.kernel)):
        for key, value in msgspec.structs.asdict(section).items() if section else ():
            if value is not None:
                given[f"{name}.{key}"] = value
    return given

"""Links between devices and between machines: `hardware_profiles/links/<name>.yaml`, in SI units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Literal

from msgspec import Meta, field

from simulator import catalog
from simulator.device.profile import Bandwidth, Source, Strict, Time
from simulator.units import parse

FOLDER = "hardware_profiles/links"


class CostSection(Strict, frozen=True, kw_only=True):
    """What a collective over a link costs (`roofline/collectives.py` has the formula)."""

    start: Time
    hop: Annotated[str, Meta(description="each doubling of the devices, such as '5 us'")]
    rate: Annotated[str, Meta(description="bytes a second that each device sends, sustained")]


class LinkProfile(Strict, frozen=True, kw_only=True):
    """One kind of link: `hardware_profiles/links/<name>.yaml`."""

    name: Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9.-]*$")]
    kind: Literal["link"]
    description: str
    bandwidth: Bandwidth
    aliases: tuple[str, ...] = ()
    network: Annotated[bool, Meta(description="between machines; `bandwidth` is of one port")] = False
    collectives: dict[str, CostSection] = field(default_factory=dict)
    sources: tuple[Source, ...] = ()


@dataclass(frozen=True)
class Cost:
    """Start [s], time of a doubling of the devices [s], and bytes that each device sends in a second [byte/s]."""

    start_s: float
    hop_s: float
    rate_byte_per_s: float


@dataclass(frozen=True, eq=False)
class Link:
    """A link, one direction, of one device (inside a machine) or of one port (between machines).

    Attributes
    ----------
    costs : by collective ("all_reduce"); what is not measured is derived by `roofline/collectives.py`.
    """

    name: str
    description: str
    bandwidth_byte_per_s: float
    network: bool
    costs: Mapping[str, Cost]


@lru_cache
def load_link(name: str) -> Link:
    """A link by name, alias or path of a YAML file.

    Raises
    ------
    UnknownNameError, InputError
        One line that names the file, the key and the nearest valid name.
    """
    path = catalog.find(FOLDER, name)
    profile: LinkProfile = catalog.convert(catalog.read_yaml(path), LinkProfile, str(path))
    return Link(
        name=profile.name,
        description=profile.description,
        bandwidth_byte_per_s=parse(profile.bandwidth, "byte/s", f"{path}: bandwidth"),
        network=profile.network,
        costs={kind: _cost(section, f"{path}: collectives.{kind}") for kind, section in profile.collectives.items()},
    )


def _cost(section: CostSection, where: str) -> Cost:
    return Cost(
        parse(section.start, "s", f"{where}.start", positive=False),
        parse(section.hop, "s", f"{where}.hop", positive=False),
        parse(section.rate, "byte/s", f"{where}.rate"),
    )

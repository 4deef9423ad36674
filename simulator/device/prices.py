"""Price lists: `hardware_profiles/prices/<name>.yaml`, what a device costs an hour, of when, and from whom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from simulator import catalog
from simulator.device.device import Device
from simulator.device.profile import Price, Source, Strict
from simulator.errors import InputError

FOLDER = "hardware_profiles/prices"

UNDATED = "unknown date"
"""What is said where a list does not know of when it is."""


class Listed(Strict, frozen=True, kw_only=True):
    """A device's price; `note` says of what machine it is a part, or where it is let."""

    device: Annotated[str, Meta(description="a device profile, by name or alias")]
    usd_per_hour: Annotated[float, Meta(gt=0, description="on demand")]
    spot_usd_per_hour: (
        Annotated[float, Meta(gt=0, description="of one that the provider may take away; left out where not known")]
        | None
    ) = None
    note: str


class PriceList(Strict, frozen=True, kw_only=True):
    """One provider's prices: `hardware_profiles/prices/<name>.yaml`."""

    name: Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9.-]*$")]
    kind: Literal["prices"]
    description: str
    date: Annotated[str | None, Meta(description="of all prices, such as 2026-11-09; left out where not known")] = None
    prices: Annotated[tuple[Listed, ...], Meta(min_length=1)]
    aliases: tuple[str, ...] = ()
    sources: tuple[Source, ...] = ()


def load_prices(name: str) -> PriceList:
    """A price list by name, alias or path of a YAML file.

    Raises
    ------
    UnknownNameError, InputError
        One line that names the file, the key and the nearest valid name.
    """
    path = catalog.find(FOLDER, name)
    found: PriceList = catalog.convert(catalog.read_yaml(path), PriceList, str(path))
    names = [listed.device for listed in found.prices]
    twice = next((device for device in names if names.count(device) > 1), None)
    if twice is not None:
        raise InputError(f"{path}: the price of {twice} stands there twice")
    return found


SPOT = ":spot"
"""Behind the name of a list: its prices of devices that may be taken away."""


def priced(device: Device, name: str) -> Device:
    """The device with its price of a list; without one where the list has none, since lists are not mixed.

    name : of the list, with `SPOT` behind it for prices of spot devices.
    """
    spot = name.endswith(SPOT)
    prices, names = load_prices(name.removesuffix(SPOT)), {device.name, *device.profile.aliases}
    listed = next((listed for listed in prices.prices if listed.device in names), None)
    usd = None if listed is None else listed.spot_usd_per_hour if spot else listed.usd_per_hour
    price = None
    if listed is not None and usd is not None:
        note = f"{prices.name}, {'spot, ' if spot else ''}{listed.note}"
        price = Price(usd_per_hour=usd, date=prices.date or UNDATED, note=note)
    return _at(device, price)


def _at(device: Device, price: Price | None) -> Device:
    return replace(device, profile=msgspec.structs.replace(device.profile, price=price))


@dataclass(frozen=True)
class Pricing:
    """Where prices of devices come from: the user's own, then a list, and without a list their profiles.

    Attributes
    ----------
    own : name or alias of a device -> its price an hour. [USD]
    listed : name or path of a price list; "" for none.
    """

    own: Mapping[str, float] = field(default_factory=dict)
    listed: str = ""

    def of(self, device: Device) -> Device:
        """The device with its price; without one where neither the user nor the list has any."""
        names = {device.name, *device.profile.aliases} & set(self.own)
        if names:
            return _at(device, Price(usd_per_hour=self.own[names.pop()], date="your own", note="given"))
        return priced(device, self.listed) if self.listed else device

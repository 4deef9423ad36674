"""Price lists: `hardware_profiles/prices/<name>.yaml`, what a device costs an hour, of when, and from whom."""

from __future__ import annotations

from dataclasses import replace
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
    usd_per_hour: Annotated[float, Meta(gt=0)]
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


def priced(device: Device, name: str) -> Device:
    """The device with its price of a list; without one where the list has none, since lists are not mixed."""
    prices, names = load_prices(name), {device.name, *device.profile.aliases}
    listed = next((listed for listed in prices.prices if listed.device in names), None)
    price = None
    if listed is not None:
        date = prices.date or UNDATED
        price = Price(usd_per_hour=listed.usd_per_hour, date=date, note=f"{prices.name}, {listed.note}")
    return replace(device, profile=msgspec.structs.replace(device.profile, price=price))

"""Amounts of money on the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from simulator.errors import InputError

if TYPE_CHECKING:
    from simulator.device.device import Device
    from simulator.device.prices import Pricing


def pricing(options: dict[str, Any]) -> Pricing:
    """Where prices come from, by `--price NAME=USD` and `--prices`."""
    from simulator.device.prices import Pricing

    return Pricing(prices_of(options["price"]), _known(options["prices"]))


def list_named(options: dict[str, Any]) -> str:
    """The list that `--prices` names, "" for none.

    Raises
    ------
    InputError
        If a price is given beside it.
    """
    if options["prices"] is not None and options["price"] is not None:
        raise InputError("--price is one device's price, --prices a list of them; give one of the two")
    return _known(options["prices"])


def of_one(device: Device, options: dict[str, Any]) -> Device:
    """The only device, with the price that `--price USD` gives or `--prices` has."""
    from simulator.device.prices import Pricing

    listed, own = list_named(options), options["price"]
    if own is not None and not 0 <= own < float("inf"):
        raise InputError(f"--price {own}: a price is not negative")
    return Pricing({} if own is None else {device.name: own}, listed).of(device)


def _known(name: str | None) -> str:
    """A list's name, looked at before any work."""
    from simulator.device.prices import SPOT, load_prices

    if name is not None:
        load_prices(name.removesuffix(SPOT))
    return name or ""


def prices_of(texts: tuple[str, ...]) -> dict[str, float]:
    """Device -> USD an hour of "v100=2.5"."""
    found = {}
    for text in texts:
        name, equals, price = text.partition("=")
        if not equals:
            raise InputError(f"--price {text!r}: write NAME=USD, such as t4=0.35")
        found[name.strip()] = dollars(price, "--price")
    return found


def dollars(text: str, option: str) -> float:
    """The amount of "2000usd" or "$2,000"."""
    number = text.lower().replace("usd", "").replace("$", "").replace(",", "").strip()
    try:
        value = float(number)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise InputError(f"{option} {text!r}: write an amount in dollars, such as 2000usd")
    return value

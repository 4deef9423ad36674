"""Amounts of money on the command line."""

from __future__ import annotations

from simulator.errors import InputError


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

"""Quantities as people write them: "900 GB/s" -> 9e11, and back.

`GB` is 1e9 bytes and `GiB` 2**30; `Gbit/s` counts bits; a multiply-accumulate is two FLOP, here and nowhere else.
"""

from __future__ import annotations

import math
import re

from simulator.errors import InputError, suggestion

FLOPS_PER_MAC = 2
"""A multiply-accumulate is one multiplication and one addition."""

BITS_PER_BYTE = 8

_PREFIX = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18}
_BINARY = {"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40, "Pi": 2.0**50}
_SMALL = {"": 1.0, "m": 1e-3, "u": 1e-6, "µ": 1e-6, "n": 1e-9, "p": 1e-12}


def _units(prefixes: dict[str, float], unit: str, scale: float = 1.0) -> dict[str, float]:
    return {prefix + unit: factor * scale for prefix, factor in prefixes.items()}


_DECIMAL_AND_BINARY = _PREFIX | _BINARY
_TIME = _units(_SMALL, "s") | {"min": 60.0, "h": 3600.0, "d": 86400.0}

UNITS: dict[str, dict[str, float]] = {
    "FLOP/s": _units(_PREFIX, "FLOP/s") | _units(_PREFIX, "OP/s"),
    "byte/s": _units(_DECIMAL_AND_BINARY, "B/s") | _units(_PREFIX, "bit/s", 1 / BITS_PER_BYTE),
    "byte": _units(_DECIMAL_AND_BINARY, "B"),
    "s": _TIME,
    "Hz": _units(_PREFIX, "Hz"),
    "W": _units(_PREFIX, "W") | {"mW": 1e-3},
    "J": _units(_PREFIX | _SMALL, "J"),
    "count": _PREFIX,
    "fraction": {"": 1.0, "%": 0.01},
}

_QUANTITY = re.compile(r"\s*([+-]?(?:\d+(?:_\d+)*\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(\S*)\s*\Z")


def parse(value: str | float, dimension: str, where: str = "value", *, positive: bool = True) -> float:
    """A quantity in SI base units.

    Parameters
    ----------
    value : text such as "900 GB/s"; a bare number only for dimensions "count" and "fraction".
    dimension : a key of `UNITS`.
    where : the file and key, named in errors.
    positive : refuse zero as well as negative values.

    Raises
    ------
    InputError
        For an unknown unit (with the nearest valid one), a missing unit, or a value out of range.
    """
    units = UNITS[dimension]
    match = _QUANTITY.match(str(value)) if not isinstance(value, bool) else None
    if match is None:
        raise InputError(f"{where}: {value!r} is not a quantity; write for example {_example(dimension)!r}")
    number, unit = float(match[1]), match[2]
    if unit not in units:
        problem = f"unknown unit {unit!r}{suggestion(unit, units)}" if unit else "the unit is missing"
        raise InputError(f"{where}: {value!r}: {problem} (for example {_example(dimension)!r})")
    result = number * units[unit]
    if not math.isfinite(result) or result < 0 or (positive and result == 0):
        raise InputError(f"{where}: {value!r} must be {'above' if positive else 'at least'} zero and finite")
    return result


def _example(dimension: str) -> str:
    return {
        "FLOP/s": "14 TFLOP/s",
        "byte/s": "900 GB/s",
        "byte": "16 GiB",
        "s": "4 us",
        "Hz": "1380 MHz",
        "W": "250 W",
        "count": "1.2 M",
        "fraction": "80 %",
    }[dimension]


def si(value: float, unit: str, digits: int = 3) -> str:
    """A number with an SI prefix: 9e11, "B/s" -> "900 GB/s"."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g} {unit}".rstrip()
    prefixes = [("E", 1e18), ("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3), ("", 1.0)]
    for prefix, factor in prefixes:
        if abs(value) >= factor * (1 - 0.5 * 10**-digits):
            break
    return f"{_digits(value / factor, digits)} {prefix}{unit}".rstrip()


def binary_bytes(value: float) -> str:
    """Bytes with a binary prefix: 17179869184 -> "16.0 GiB"."""
    for prefix, factor in (("TiB", 2.0**40), ("GiB", 2.0**30), ("MiB", 2.0**20), ("KiB", 2.0**10)):
        if abs(value) >= factor:
            return f"{_digits(value / factor, 3)} {prefix}"
    return f"{value:.0f} B"


_TIME_UNITS = (
    ("ns", 1e-9, 9.995e-7),
    ("us", 1e-6, 9.995e-4),
    ("ms", 1e-3, 0.9995),
    ("s", 1.0, 60.0),
    ("min", 60.0, 3600.0),
    ("hours", 3600.0, 2 * 86400.0),
    ("days", 86400.0, 2 * 365.25 * 86400),
    ("years", 365.25 * 86400, math.inf),
)
"""Unit, how long it is, and from what time on the next one serves. [s]"""


def duration(seconds: float) -> str:
    """A time for people: "1.76 us", "412 ms", "3.33 min", "4.10 days", "2.9 years"."""
    unit, factor = _time_unit(seconds)
    return f"{_digits(seconds / factor, 3)} {unit}"


def duration_range(low_s: float, high_s: float) -> str:
    """Two times in the unit of the longer: "1.00 to 1.34 hours"."""
    unit, factor = _time_unit(high_s)
    return f"{_digits(low_s / factor, 3)} to {_digits(high_s / factor, 3)} {unit}"


def _time_unit(seconds: float) -> tuple[str, float]:
    return next((unit, factor) for unit, factor, end in _TIME_UNITS if seconds < end or end == math.inf)


def _digits(value: float, digits: int) -> str:
    """Fixed-point text with the given number of significant digits, never an exponent below 1e6."""
    if value == 0:
        return "0"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value) * (1 + 0.5 * 10**-digits))))
    return f"{value:,.{decimals}f}"

"""Ranges and wildcards that a sweep's options are written with."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from math import isfinite

from simulator import catalog
from simulator.errors import InputError, UnknownNameError
from simulator.units import parse

MOST_VALUES = 10_000_000
"""Values of one axis."""

_NUMBER = re.compile(r"([-+]?[0-9.]+(?:[eE][-+]?\d+)?)(.*)\Z")


def whole_numbers(text: str, option: str) -> list[int]:
    """The numbers of "32", "1,8,32", "16:512:x2" (each twice the last) or "8:64:8" (steps of 8); "1:64" doubles.

    Raises
    ------
    InputError
        For what is none of these, or a number below one.
    """
    found: list[int] = []
    for part in text.split(","):
        try:
            found += _span(part) if ":" in part else [int(part)]
        except ValueError:
            raise InputError(f"{option} {text!r}: write 32, 1,8,32, 16:512:x2 or 8:64:8") from None
    if any(number < 1 for number in found):
        raise InputError(f"{option} {text!r}: each number is at least 1")
    return list(dict.fromkeys(found))


def numbers(text: str, option: str) -> list[float]:
    """The numbers of "2.48" or "1,2.5", each finite and above zero.

    Raises
    ------
    InputError
        For what is none of these.
    """
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or not all(isfinite(number) and number > 0 for number in found):
        raise InputError(f"{option} {text!r}: write numbers above zero, 2.48 or 1,2.5")
    return list(dict.fromkeys(found))


def _span(text: str) -> list[int]:
    low, high, *rest = text.split(":")
    step = rest[0] if rest else "x2"
    by, first, last = int(step.removeprefix("x")), int(low), int(high)
    if len(rest) > 1 or first < 1 or last < first or by < (2 if step.startswith("x") else 1):
        raise ValueError(text)
    found = [first]
    while found[-1] < last:
        if len(found) > MOST_VALUES:
            raise ValueError(text)
        found.append(min(found[-1] * by if step.startswith("x") else found[-1] + by, last))
    return found


def names(patterns: Sequence[str], kind: str) -> list[str]:
    """Shipped names that match "v100*", or the name, path or FORMAT:FILE itself where it has no wildcard.

    Raises
    ------
    UnknownNameError
        If a pattern matches nothing.
    """
    found: list[str] = []
    for pattern in _parts(patterns):
        if not any(sign in pattern for sign in "*?") or "[" in pattern:
            found.append(pattern)
            continue
        known = [*catalog.names(kind), *catalog.aliases(kind)]
        matches = [name for name in catalog.names(kind) if fnmatchcase(name, pattern)]
        if not matches:
            raise UnknownNameError(catalog.WHAT.get(kind, kind), pattern, known)
        found += matches
    return list(dict.fromkeys(found))


def _parts(patterns: Sequence[str]) -> list[str]:
    """Parts at commas, but not inside the brackets of "v100[memory.bandwidth=2x,peak.fp32=2x]"."""
    return [part.strip() for text in patterns for part in re.split(r",(?![^\[]*\])", text) if part.strip()]


def values(text: str) -> tuple[str, list[str]]:
    """Key and values of "memory.bandwidth=0.5x:4x:20" (20 values, evenly spaced) or "peak.fp32=10 TFLOP/s,20 TFLOP/s".

    Raises
    ------
    InputError
        For what is neither.
    """
    key, equals, rest = text.partition("=")
    if not equals or not rest.strip():
        raise InputError(f"--set {text!r}: write KEY=VALUE, KEY=LOW:HIGH:COUNT or KEY=VALUE,VALUE")
    if ":" not in rest:
        return key.strip(), [part.strip() for part in rest.split(",")]
    low, high, *count = (part.strip() for part in rest.split(":"))
    if len(count) != 1 or not count[0].isdigit() or not 2 <= int(count[0]) <= MOST_VALUES:
        raise InputError(f"--set {text!r}: a range is LOW:HIGH:COUNT, with a count of at least 2")
    return key.strip(), _spaced(low, high, int(count[0]), text)


def _spaced(low: str, high: str, count: int, where: str) -> list[str]:
    first, last = _NUMBER.match(low), _NUMBER.match(high)
    if first is None or last is None or (first[2].strip() or last[2].strip()) != last[2].strip():
        raise InputError(f"--set {where!r}: both ends of a range are numbers of one unit")
    start, stop, unit = float(first[1]), float(last[1]), last[2].strip()
    step = (stop - start) / (count - 1)
    return [f"{start + step * place:.10g}{' ' if len(unit) > 1 else ''}{unit}" for place in range(count)]


def duration_s(text: str, option: str) -> float:
    """Seconds of "24h", "90min", "3d" or "500ms"."""
    match = re.fullmatch(r"\s*([0-9.]+)\s*(d|h|min|days?|hours?)\s*", text)
    if match is None:
        return parse(text, "s", option)
    return float(match[1]) * {"d": 86400.0, "h": 3600.0, "m": 60.0}[match[2][0]]

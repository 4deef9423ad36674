"""Changes to a device's profile that a user asks for: `memory.bandwidth=450GB/s`, `=2x`, `=+10%`.

What follows from a changed count or clock follows: eight stacks for four double capacity and bandwidth, twice the
units double the peaks. What is given in the same breath stays as given.
"""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import msgspec

from simulator.device.profile import DeviceProfile
from simulator.errors import InputError, suggestion
from simulator.units import parse

Inherited = Callable[[str], float | None]
"""The value of a key path that a profile leaves to its family, in SI units; None where there is none."""

RELATIVE = re.compile(r"(?:([0-9.]+(?:[eE][+-]?\d+)?)x|([+-][0-9.]+)%)\Z")
_AMOUNT = re.compile(r"\s*([+-]?(?:\d+(?:_\d+)*\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(.*)\Z")
_BRACKETS = re.compile(r"(.*?)\[(.*)\]\Z", re.DOTALL)

FOLLOWS: Mapping[str, tuple[str, ...]] = {
    "memory.stacks": ("memory.capacity", "memory.bandwidth"),
    "memory.channels": ("memory.capacity", "memory.bandwidth"),
    "memory.chips": ("memory.capacity", "memory.bandwidth"),
    "units.count": ("units.lanes", "units.matrix", "peak.*"),
    "units.clock": ("peak.*",),
    "units.lanes": ("peak.lanes",),
    "units.matrix": ("peak.tensor",),
}
"""Key path -> what is proportional to it; `peak.tensor` are the peaks of matrix units, `peak.lanes` the others."""


class Override(msgspec.Struct, frozen=True):
    """One value to replace: its key path, and the value as written."""

    path: str
    value: str


def split_device(text: str) -> tuple[str, tuple[str, ...]]:
    """("v100", ("memory.bandwidth=450GB/s",)) of "v100[memory.bandwidth=450GB/s]"."""
    match = _BRACKETS.match(text)
    if match is None:
        return text, ()
    if not match[1] or not match[2].strip():
        raise InputError(f"--device {text!r}: write NAME[KEY=VALUE,KEY=VALUE]")
    return match[1], tuple(part.strip() for part in match[2].split(",") if part.strip())


def spaced(text: str) -> str:
    """A number and its unit apart: "450GB/s" -> "450 GB/s"."""
    return re.sub(r"(?<=\d)(?=[A-Za-z]{2})", " ", " ".join(text.split()))


def read_override(text: str) -> Override:
    """An override from "peak.fp32=20TFLOP/s".

    Raises
    ------
    InputError
        If it is not KEY=VALUE, or the key is none of a device's (with the full path of the nearest).
    """
    path, equals, value = text.partition("=")
    path, value = path.strip(), value.strip()
    if not equals or not path or not value:
        raise InputError(f"--set {text!r}: write KEY=VALUE, for example peak.fp32=20TFLOP/s")
    known = known_paths()
    if path not in known:
        ends = [key for key in known if key.rpartition(".")[2] == path.rpartition(".")[2]]
        hint = f"; did you mean {' or '.join(map(repr, ends[:3]))}?" if ends else suggestion(path, known)
        raise InputError(f"--set {text!r}: a device has no value {path!r}{hint}")
    return Override(path, value)


@cache
def known_paths() -> tuple[str, ...]:
    """All key paths of a device."""
    return tuple(key_paths())


def key_paths(struct: type = DeviceProfile, prefix: str = "") -> Iterator[str]:
    """Key path of every value that a device's file may give, those of sections joined by dots."""
    for name, hint in get_type_hints(struct, include_extras=True).items():
        section = _section(hint)
        if section is not None:
            yield from key_paths(section, f"{prefix}{name}.")
        elif prefix or name in {"launch", "start", "utilisation", "power", "host", "family"}:
            yield prefix + name


def _section(hint: Any) -> type | None:
    """The struct in an annotation such as `Annotated[Peak | None, ...]`, if it holds one."""
    origin = get_origin(hint)
    if origin is Annotated:
        return _section(get_args(hint)[0])
    if origin in {Union, types.UnionType}:
        return next((found for part in get_args(hint) if (found := _section(part)) is not None), None)
    return hint if isinstance(hint, type) and issubclass(hint, msgspec.Struct) else None


def apply_overrides(content: dict[str, Any], texts: Sequence[str], inherited: Inherited) -> list[str]:
    """Change a profile's mapping in place; the key paths that are the user's now, or follow from what is.

    Raises
    ------
    InputError
        For a key that no device has, or a relative value of something that the device does not say.
    """
    changes = [read_override(text) for text in texts]
    given = {change.path for change in changes}
    touched: list[str] = []
    for change in changes:
        before = _get(content, change.path)
        value = _absolute(change, before, inherited)
        _put(content, change.path, value)
        touched.append(change.path)
        ratio = _ratio(before, value) if change.path in FOLLOWS else None
        for path in _followers(content, change.path):
            if path not in given and ratio:
                _put(content, path, _scaled(_get(content, path), ratio))
                touched.append(path)
    return touched


def _followers(content: Mapping[str, Any], path: str) -> Iterator[str]:
    """Key paths, among those that the profile gives, of what is proportional to a value."""
    for follower in FOLLOWS.get(path, ()):
        section, _, key = follower.partition(".")
        for name in content.get(section) or ():
            tensor = name.endswith("_tensor")
            if key in {name, "*"} or key == ("tensor" if tensor else "lanes"):
                yield f"{section}.{name}"


def _absolute(change: Override, before: Any, inherited: Inherited) -> Any:
    """The value as a profile would write it; "2x" and "+10%" are of what stands there."""
    relative = RELATIVE.match(change.value)
    if relative is None:
        return _typed(change.value, before)
    present = inherited(change.path) if before is None else before
    if present is None or not _amount(present):
        raise InputError(f"--set {change.path}={change.value}: the device does not say {change.path}; give a value")
    factor = float(relative[1]) if relative[1] else 1 + float(relative[2]) / 100
    return _scaled(present, factor, "" if before is not None else _unit(change.path))


def _unit(path: str) -> str:
    """The SI unit of an inherited value that a profile writes with one."""
    if path.startswith("memory."):
        return "B/s" if path == "memory.bandwidth" else "B"
    return "s" if path.split(".")[0] in {"launch", "start", "calls"} else ""


def _scaled(present: Any, factor: float, unit: str = "") -> Any:
    """A number, or text with a unit, times a factor; a count stays one."""
    if isinstance(present, str):
        number, unit = _amount(present) or (0.0, "")
        return f"{number * factor:.12g} {unit}".strip()
    result = present * factor
    if unit:
        return f"{result:.12g} {unit}"
    return max(round(result), 1) if isinstance(present, int) else result


def _amount(value: Any) -> tuple[float, str] | None:
    """Number and unit of "900 GB/s" or 640."""
    match = _AMOUNT.match(str(value))
    return (float(match[1]), match[2]) if match else None


def _ratio(before: Any, after: Any) -> float | None:
    """How many times the old count or clock a new one is; None where either is unknown."""
    old, new = _count_or_clock(before), _count_or_clock(after)
    return new / old if old and new else None


def _count_or_clock(value: Any) -> float | None:
    if isinstance(value, str):
        return parse(value, "Hz", "--set units.clock")
    return float(value) if isinstance(value, int | float) else None


def _get(content: Mapping[str, Any], path: str) -> Any:
    found: Any = content
    for key in path.split("."):
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def _put(content: dict[str, Any], path: str, value: Any) -> None:
    *sections, key = path.split(".")
    for section in sections:
        content = content.setdefault(section, {})
    content[key] = value


def _typed(value: str, present: object) -> object:
    """A number where the profile has a number or none, else text."""
    if isinstance(present, str):
        return value
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value

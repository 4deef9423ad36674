"""A device whose numbers are columns: many variants of one profile, which the same functions answer at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from itertools import product
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.device.device import Device, load_device

Numbers = NDArray[np.float64]

COLUMNS = (
    "cache_bytes", "cache_speedup", "launch_s", "start_s", "step_s", "call_scale", "utilisation", "unit_count",
    "clock_hz",
)  # fmt: skip
"""Numbers that may be columns, beside those of the memory, costs of calls, and all of `SECTIONS`: every number of a
device that a time reads. What reads them broadcasts."""

SECTIONS = ("peak", "sustained", "clocks", "kernel")
"""Mappings whose numbers may be columns."""

CALLS = "calls_s"
"""Costs of a call by phase, which may be columns each."""

KEYS = (
    "memory.bandwidth",
    "memory.capacity",
    "cache.last_level",
    "cache.bandwidth",
    "launch",
    "start",
    "calls.",
    "utilisation",
    "units.count",
    "units.clock",
    "peak.",
    "sustained.",
    "kernel.",
)
"""Key paths of a profile that change these numbers alone."""


@dataclass(frozen=True)
class DeviceColumns:
    """Variants of a device.

    Attributes
    ----------
    one : the first of them.
    changed : path of a number -> its values, shape (variants,), where they differ.
    """

    one: Device
    changed: Mapping[str, Numbers]
    count: int = 1

    def __len__(self) -> int:
        """Variants."""
        return self.count

    def at(self, which: NDArray[np.int64]) -> Device:
        """Some of the variants as one device whose numbers have the shape (variants, 1); the plain device if one."""
        if not self.changed:
            return self.one
        return _with(self.one, {path: values[which][:, None] for path, values in self.changed.items()})

    def number(self, path: str) -> Numbers:
        """A number of every variant, shape (variants,)."""
        stock = self.one.peak[path.removeprefix("peak.")] if path.startswith("peak.") else _numbers(self.one)[path]
        return self.changed.get(path, np.full(self.count, stock))

    def some(self, which: NDArray[np.int64]) -> DeviceColumns:
        """Some of the variants."""
        changed = {path: values[which] for path, values in self.changed.items()}
        one = _with(self.one, {path: float(values[0]) for path, values in changed.items()})
        return DeviceColumns(one, {path: values for path, values in changed.items() if np.ptp(values)}, len(which))


def device_columns(name: str, axes: Mapping[str, Sequence[str]]) -> list[DeviceColumns]:
    """Every combination of a device's overrides, in their order, the last axis fastest.

    Parameters
    ----------
    axes : key path of the profile -> values as written, such as "2x".

    Returns
    -------
    One set of columns that holds all, or one for each combination where they differ in more than columns.
    """
    if prod(map(len, axes.values())) > 1 and all(key.startswith(KEYS) for key in axes):
        found = _separate(name, axes) or _together([_loaded(name, axes, one) for one in product(*axes.values())])
        if found:
            return [found]
    return [DeviceColumns(_loaded(name, axes, one), {}) for one in product(*axes.values())]


def _loaded(name: str, keys: Mapping[str, Sequence[str]], values: Sequence[str]) -> Device:
    return _variant(name, tuple(f"{key}={value}" for key, value in zip(keys, values, strict=True)))


@lru_cache(maxsize=1024)
def _variant(name: str, overrides: tuple[str, ...]) -> Device:
    return load_device(name, overrides=overrides)


def _separate(name: str, axes: Mapping[str, Sequence[str]]) -> DeviceColumns | None:
    """All combinations from one variant a value, where no number follows from two axes; None otherwise.

    What is derived from several numbers, a clock under a power limit, falls with each of them, so that it shows where
    all axes are at an end; these corners are loaded and compared.
    """
    stock = [values[0] for values in axes.values()]
    along = [
        _together([_loaded(name, axes, [*stock[:place], value, *stock[place + 1 :]]) for value in values])
        for place, values in enumerate(axes.values())
    ]
    sets = [one for one in along if one is not None]
    paths = [path for one in sets for path in one.changed]
    if len(sets) < len(along) or len(paths) != len(set(paths)):
        return None
    shape = tuple(map(len, sets))
    places = np.indices(shape).reshape(len(shape), -1)
    changed = {
        path: values[place] for one, place in zip(sets, places, strict=True) for path, values in one.changed.items()
    }
    found = DeviceColumns(sets[0].one, changed, prod(shape))
    corners = {
        tuple(each)
        for each in product(*({0, int(np.argmin(v)), int(np.argmax(v)), size - 1} for v, size in _ends(sets)))
    }
    return found if all(_agrees(found, shape, corner, name, axes) for corner in corners) else None


def _ends(sets: Sequence[DeviceColumns]) -> Iterator[tuple[Numbers, int]]:
    for one in sets:
        yield next(iter(one.changed.values()), np.zeros(len(one))), len(one)


def _agrees(
    found: DeviceColumns, shape: tuple[int, ...], corner: tuple[int, ...], name: str, axes: Mapping[str, Sequence[str]]
) -> bool:
    """Whether a combination is what loading it gives."""
    place = int(np.ravel_multi_index(corner, shape))
    loaded = _loaded(name, axes, [values[at] for values, at in zip(axes.values(), corner, strict=True)])
    expected = _numbers(found.one) | {path: float(values[place]) for path, values in found.changed.items()}
    return _numbers(loaded) == expected


def _together(devices: Sequence[Device]) -> DeviceColumns | None:
    """Columns of devices that are alike but for their numbers; None for others."""
    one = devices[0]
    alike = all(_rest(device) == _rest(one) for device in devices[1:])
    if not alike:
        return None
    numbers = [_numbers(device) for device in devices]
    table = {path: np.array([each[path] for each in numbers]) for path in numbers[0]}
    return DeviceColumns(one, {path: values for path, values in table.items() if np.ptp(values)}, len(devices))


def _numbers(device: Device) -> dict[str, float]:
    """Path -> number, of all that may be columns; what is unknown is absent."""
    sections = {section: getattr(device, section) for section in SECTIONS}
    found = {f"{section}.{key}": value for section, each in sections.items() for key, value in each.items()}
    memory = {
        "memory.bandwidth_byte_per_s": device.memory.bandwidth_byte_per_s,
        "memory.capacity_bytes": device.memory.capacity_bytes,
    }
    plain = {path: getattr(device, path) for path in COLUMNS}
    plain |= {f"{CALLS}.{phase}": seconds for phase, seconds in enumerate(device.calls_s or ())}
    return found | memory | {path: float(value) for path, value in plain.items() if value is not None}


def _rest(device: Device) -> tuple[Any, ...]:
    """What may not differ: names of the numbers that are known, and every other value that a time reads."""
    given = {*SECTIONS, "memory", "provenance", "profile", "limits", "overrides", CALLS, *COLUMNS}
    return (
        sorted(_numbers(device)),
        device.memory.technology,
        [getattr(device, field.name) for field in fields(device) if field.name not in given],
    )


def _with(device: Device, columns: Mapping[str, Any]) -> Device:
    """A device with columns for numbers."""
    own: dict[str, Any] = {path: column for path, column in columns.items() if "." not in path}
    for section in SECTIONS:
        inside = {path.partition(".")[2]: column for path, column in columns.items() if path.startswith(f"{section}.")}
        own[section] = {**getattr(device, section), **inside}
    if device.calls_s is not None:
        own[CALLS] = tuple(columns.get(f"{CALLS}.{phase}", seconds) for phase, seconds in enumerate(device.calls_s))
    memory = {path.partition(".")[2]: column for path, column in columns.items() if path.startswith("memory.")}
    return replace(device, **own, memory=replace(device.memory, **memory))

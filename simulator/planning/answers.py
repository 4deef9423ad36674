"""What is known of many configurations, as columns over the axes of a sweep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from simulator.device.columns import DeviceColumns
from simulator.device.system import Cluster, usual_cluster
from simulator.errors import SimulatorError
from simulator.op.kernels import FloatArray
from simulator.pipeline import Options, footprint_of
from simulator.planning.points import Points, alike, factors_at, steps_at
from simulator.roofline.times import Bound
from simulator.units import parse
from simulator.workload.dataset import NO_DATASET
from simulator.workload.workload import Workload

COLUMNS = (
    "step.time_s", "step.samples_per_s", "step.mfu", "step.bound", "interval.low_s", "interval.high_s", "run.epoch_s",
    "run.total_s", "memory.total_bytes", "memory.capacity_bytes", "memory.fits", "device.power_w", "price.usd_per_hour",
    "price.total_usd", "reason",
)  # fmt: skip
"""What is known of a configuration, in order."""

NO_NUMBERS = ("step.bound", "memory.fits", "reason")
"""Those that are texts or truths; all others are floats."""

HOUR_S = 3600.0
TOO_LARGE = "does not fit the device's memory"

Column = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Asked:
    """A workload and the axes beside the variants of a device.

    Attributes
    ----------
    batches : samples of each device.
    counts : how many devices step together, joined as they usually are.
    epochs : passes over the dataset.
    prices : of a device an hour; its profile's where empty. [USD]
    """

    workload: Workload
    batches: Sequence[int]
    counts: Sequence[int] = (1,)
    epochs: Sequence[int] = (1,)
    prices: Sequence[float] = ()


def answers(devices: DeviceColumns, options: Options, asked: Asked) -> dict[str, Column]:
    """`COLUMNS` of every combination, each of shape (variants, counts, batches, epochs, prices); SI units.

    Raises
    ------
    SimulatorError
        If nothing of it can run: no such peak, no cost rule.
    """
    steps, reasons = _steps(devices, options, asked)
    found = {**_stepped(steps, asked), **_memory(devices, options, asked)}
    found = {name: column[..., None, None] for name, column in found.items()}
    found |= _run(found["step.samples_per_s"], devices, asked)
    found["reason"] = np.array([TOO_LARGE, None], dtype=object)[found["memory.fits"].astype(int)]
    for place, reason in enumerate(reasons):
        if reason is not None:
            found = _without(found, place, reason)
    shape = (len(devices), *map(len, (asked.counts, asked.batches, asked.epochs, asked.prices or (None,))))
    return {name: np.broadcast_to(found[name], shape) for name in COLUMNS}


def _without(found: dict[str, Column], place: int, reason: str) -> dict[str, Column]:
    """The answers with a reason in place of those of one number of devices."""
    lacking = np.arange(found["step.time_s"].shape[1])[:, None, None, None] == place
    nothing = unanswered((), reason)
    return {name: np.where(lacking, nothing[name], column) for name, column in found.items()}


def unanswered(shape: tuple[int, ...], reason: str) -> dict[str, Column]:
    """`COLUMNS` of configurations that have a reason and no answer: numbers stay numbers, NaN, and texts None."""
    unknown = {name: np.full(shape, None if name in NO_NUMBERS else np.nan) for name in COLUMNS}
    return {**unknown, "reason": np.full(shape, reason, dtype=object)}


def _steps(devices: DeviceColumns, options: Options, asked: Asked) -> tuple[dict[str, Column], list[str | None]]:
    """Time, shares by bound, utilisation and interval of each step, and why a number of devices cannot be joined."""
    clusters, reasons = _clusters(devices, asked.counts)
    shape = (len(devices), len(asked.counts), len(asked.batches))
    names = ("time_s", "mfu", "low", "high")
    found: dict[str, Column] = {name: np.empty(shape) for name in names} | {"bound": np.empty(shape, dtype=int)}
    for which in alike(devices, options.on(devices.one).precision):
        points = Points(asked.workload, devices.some(which), options, np.array(asked.batches), clusters)
        steps = steps_at(points)
        low, high = factors_at(points, steps) or (np.full_like(steps.time_s, np.nan),) * 2
        found["time_s"][which], found["mfu"][which] = steps.time_s, steps.mfu
        found["low"][which], found["high"][which] = steps.time_s * low, steps.time_s * high
        found["bound"][which] = steps.shares.argmax(axis=0)
    return found, reasons


def _clusters(devices: DeviceColumns, counts: Sequence[int]) -> tuple[list[Cluster | None], list[str | None]]:
    """How so many devices are joined, and why they cannot be."""
    found: list[tuple[Cluster | None, str | None]] = []
    for count in counts:
        try:
            found.append((usual_cluster(devices.one, count) if count > 1 else None, None))
        except SimulatorError as error:
            found.append((None, str(error)))
    clusters, reasons = zip(*found, strict=True)
    return list(clusters), list(reasons)


_BOUNDS = np.array([bound.word for bound in Bound], dtype=object)


def _stepped(steps: dict[str, Column], asked: Asked) -> dict[str, Column]:
    together = np.array(asked.counts)[:, None] * np.array(asked.batches)
    return {
        "step.time_s": steps["time_s"],
        "step.samples_per_s": together / steps["time_s"],
        "step.mfu": steps["mfu"],
        "step.bound": _BOUNDS[steps["bound"]],
        "interval.low_s": steps["low"],
        "interval.high_s": steps["high"],
    }


def _memory(devices: DeviceColumns, options: Options, asked: Asked) -> dict[str, Column]:
    """Footprints, (variants or 1, 1, batches)."""
    first = footprint_of(asked.workload, devices.one, replace(options, batch=1))
    total = np.array([first.at(batch).total_bytes for batch in asked.batches])
    capacity = devices.number("memory.capacity_bytes")[:, None, None]
    return {
        "memory.total_bytes": total[None, None, :],
        "memory.capacity_bytes": capacity,
        "memory.fits": total <= capacity,
    }


def _run(samples_per_s: FloatArray, devices: DeviceColumns, asked: Asked) -> dict[str, Column]:
    """Epoch, run and its price, of whole steps; the last, smaller step of an epoch counts by its samples."""
    profile, counts = devices.one.profile, np.array(asked.counts)[None, :, None, None, None]
    power = parse(profile.power, "W", devices.one.name) if profile.power else np.nan
    own = profile.price.usd_per_hour if profile.price else np.nan
    usd_per_hour = counts * np.array(asked.prices or [own], dtype=float)
    samples = asked.workload.dataset.samples if asked.workload.dataset != NO_DATASET else np.nan
    epoch_s = samples / samples_per_s
    total_s = epoch_s * np.array(asked.epochs)[:, None]
    return {
        "run.epoch_s": epoch_s,
        "run.total_s": total_s,
        "device.power_w": counts * power,
        "price.usd_per_hour": usd_per_hour,
        "price.total_usd": usd_per_hour * total_s / HOUR_S,
    }

"""Sweeps: the product of any options, each configuration a row of a table; those that cannot run have their reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from simulator.device.device import Device, load_device
from simulator.device.system import Cluster, usual_cluster
from simulator.errors import InputError, SimulatorError
from simulator.execution.memory import Footprint
from simulator.op.kernels import FloatArray, Kernels
from simulator.pipeline import Options, footprint_of, interval_at, kernels_of, simulate, times_of
from simulator.precision import Engine, get_precision
from simulator.roofline.rates import peak_name
from simulator.roofline.times import Bound
from simulator.units import parse
from simulator.workload.dataset import NO_DATASET
from simulator.workload.importers import Request
from simulator.workload.reading import load_workload
from simulator.workload.workload import Workload

if TYPE_CHECKING:
    import pandas as pd

CHUNK = 32
"""Batches that are evaluated together, so that their columns stay in the processor's cache."""

OPTIONS = ("precision", "framework", "optimizer", "task", "fidelity", "traffic", "host")
"""Options of a step that may have several values."""

REQUESTS = ("sequence", "image_size", "attention")
"""Options of a network that may have several values."""


@dataclass(frozen=True)
class Axes:
    """Values of each axis.

    Attributes
    ----------
    workloads, devices : names, paths or FORMAT:FILE.
    batches : samples of each device; the workload's own where empty.
    devices_each : how many devices step together, joined as they usually are.
    options, requests : name -> values.
    overrides : key path of a device's profile -> values, such as "2x".
    """

    workloads: Sequence[str]
    devices: Sequence[str]
    batches: Sequence[int] = ()
    devices_each: Sequence[int] = (1,)
    options: Mapping[str, Sequence[str]] = field(default_factory=dict)
    requests: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    overrides: Mapping[str, Sequence[str]] = field(default_factory=dict)
    epochs: int | None = None

    def __post_init__(self) -> None:
        """Refuse empty axes and unknown names, before any work starts."""
        for what, values in (("workload", self.workloads), ("device", self.devices), ("devices", self.devices_each)):
            if not values:
                raise InputError(f"a sweep needs at least one {what}")
        for given, known in ((self.options, OPTIONS), (self.requests, REQUESTS)):
            for name in given:
                if name not in known:
                    raise InputError(f"{name} is no axis of a sweep; axes are {', '.join((*OPTIONS, *REQUESTS))}")
        for combination in _combinations(self.options):
            if not (combination.get("task", "train") == "train" and _only_infers(combination)):
                Options(**combination)

    def __len__(self) -> int:
        """Configurations."""
        axes = (*self.options.values(), *self.requests.values(), *self.overrides.values())
        return prod(map(len, (self.workloads, self.devices, self.devices_each, self.batches or (1,), *axes)))


def _only_infers(combination: Mapping[str, str]) -> bool:
    return "precision" in combination and get_precision(combination["precision"]).inference_only


def _combinations(axes: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    for values in product(*axes.values()):
        yield dict(zip(axes, values, strict=True))


def sweep(
    workload: str | Sequence[str], device: str | Sequence[str], *, batch: Sequence[int] | int = (), **axes: Any
) -> pd.DataFrame:
    """Every configuration of some axes, a row each.

    Parameters
    ----------
    workload, device : one or several names.
    batch : samples of each device.
    axes : `devices` (how many), `set` (key path -> values), `epochs`, and any of `OPTIONS` and `REQUESTS`, each one
        value or several.

    Returns
    -------
    A frame with the axes as columns, then `step.time_s`, `step.samples_per_s`, `step.mfu`, `step.bound`, `memory.*`,
    `run.*`, `interval.*`, `device.power_w`, `reason`. SI units.

    >>> sweep("resnet50", ["v100", "t4"], batch=[16, 32], precision=["fp32", "amp"])  # doctest: +SKIP
    """
    import pandas as pd

    chosen = Axes(
        workloads=_several(workload),
        devices=_several(device),
        batches=_several(batch),
        devices_each=_several(axes.pop("devices", 1)),
        epochs=axes.pop("epochs", None),
        overrides={key: _several(values) for key, values in axes.pop("set", {}).items()},
        options={name: _several(axes.pop(name)) for name in OPTIONS if name in axes},
        requests={name: _several(axes.pop(name)) for name in REQUESTS if name in axes},
    )
    if axes:
        raise InputError(f"{', '.join(axes)}: no axis of a sweep; axes are {', '.join((*OPTIONS, *REQUESTS))}")
    return pd.DataFrame(list(rows(chosen)))


def _several(values: Any) -> Sequence[Any]:
    return [values] if isinstance(values, (str, int, float)) else list(values)


def rows(axes: Axes) -> Iterator[dict[str, Any]]:
    """All configurations in the order of the axes, batches last, each with its answer or the reason why it has none."""
    for name, request in product(axes.workloads, _combinations(axes.requests)):
        workload = load_workload(name, request=Request(**request))
        for device, overrides in product(axes.devices, _combinations(axes.overrides)):
            machine = load_device(device, overrides=[f"{key}={value}" for key, value in overrides.items()])
            for options, count in product(_combinations(axes.options), axes.devices_each):
                key = {"workload": workload.name, "device": machine.name, **request, **overrides, **options}
                yield from _of_batches(workload, machine, axes, (options, count), key | {"devices": count})


def _of_batches(
    workload: Workload, device: Device, axes: Axes, asked: tuple[dict[str, str], int], key: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """Rows of one configuration's batches; one reason for all of them where none can run."""
    batches = list(axes.batches) or [workload.batch]
    options, count = asked
    try:
        chosen = Options(**options, epochs=axes.epochs, ignore_memory=True)  # type: ignore[arg-type]
        if count == 1:
            answers = one_device(workload, device, chosen, batches)
        else:
            answers = several_devices(workload, device, chosen, batches, usual_cluster(device, count))
    except SimulatorError as error:
        answers = [{"reason": str(error)}] * len(batches)
    for batch, answer in zip(batches, answers, strict=True):
        yield {**key, "batch": batch, **_unknown(), **answer}


COLUMNS = (
    "step.time_s", "step.samples_per_s", "step.mfu", "step.bound", "interval.low_s", "interval.high_s", "run.epoch_s",
    "run.total_s", "memory.total_bytes", "memory.capacity_bytes", "memory.fits", "device.power_w", "price.usd_per_hour",
    "price.total_usd", "reason",
)  # fmt: skip
"""What is known of a configuration, in order."""


def _unknown() -> dict[str, Any]:
    return dict.fromkeys(COLUMNS)


def one_device(workload: Workload, device: Device, options: Options, batches: Sequence[int]) -> list[dict[str, Any]]:
    """Answers of many batches of one device, in broadcasts of `CHUNK`."""
    kernels, found = kernels_of(workload, options), []
    for start in range(0, len(batches), CHUNK):
        part = batches[start : start + CHUNK]
        time_s, shares, flops = _steps(workload, kernels, device, options, np.array(part, dtype=float))
        peak = device.peak[peak_name(device, get_precision(options.precision), Engine.MATRIX)]
        memory = footprint_of(workload, device, replace(options, batch=part[0]))
        for place, batch in enumerate(part):
            answer = _answer(workload, device, options, batch, (float(time_s[place]), shares[:, place]))
            answer["step.mfu"] = float(flops[place]) / (float(time_s[place]) * peak)
            found.append(answer | _memory(memory, batch / part[0]))
    return found


def _steps(
    workload: Workload, kernels: Kernels, device: Device, options: Options, batches: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Time (batches,), share by bound (bounds, batches) and products' FLOPs (batches,) of steps."""
    times = times_of(workload, kernels, device, options, batches[:, None])
    total = times.time_s.sum(axis=-1)
    shares = np.array([np.where(times.bound == bound, times.time_s, 0.0).sum(axis=-1) / total for bound in Bound])
    return total, shares, times.flops[..., kernels.engine == Engine.MATRIX].sum(axis=-1)


def _answer(
    workload: Workload, device: Device, options: Options, batch: int, step: tuple[float, FloatArray], devices: int = 1
) -> dict[str, Any]:
    time_s, shares = step
    interval = interval_at(workload, device, options, batch, float(shares[Bound.OVERHEAD]))
    answer: dict[str, Any] = {
        "step.time_s": time_s,
        "step.samples_per_s": batch * devices / time_s,
        "step.bound": Bound(int(shares.argmax())).name.lower(),
        "interval.low_s": time_s * interval.low if interval else None,
        "interval.high_s": time_s * interval.high if interval else None,
    }
    return answer | _run(workload, options, answer["step.samples_per_s"]) | _bill(device, devices)


def _run(workload: Workload, options: Options, samples_per_s: float) -> dict[str, Any]:
    """Epoch and run, of whole steps; the last, smaller step of an epoch counts by its samples."""
    if workload.dataset == NO_DATASET:
        return {}
    epoch_s = workload.dataset.samples / samples_per_s
    return {"run.epoch_s": epoch_s, "run.total_s": epoch_s * (options.epochs or 1)}


def _bill(device: Device, devices: int) -> dict[str, Any]:
    """What the profile knows of power and price; nothing where it knows nothing."""
    profile = device.profile
    power = parse(profile.power, "W", device.name) * devices if profile.power else None
    return {
        "device.power_w": power,
        "price.usd_per_hour": profile.price.usd_per_hour * devices if profile.price else None,
    }


def _memory(memory: Footprint, scale: float) -> dict[str, Any]:
    """A footprint whose activations are scaled to another batch."""
    scaled = replace(memory, activations_bytes=memory.activations_bytes * scale)
    return {
        "memory.total_bytes": scaled.total_bytes,
        "memory.capacity_bytes": scaled.capacity_bytes,
        "memory.fits": scaled.fits,
        "reason": None if scaled.fits else "does not fit the device's memory",
    }


def several_devices(
    workload: Workload, device: Device, options: Options, batches: Sequence[int], cluster: Cluster
) -> list[dict[str, Any]]:
    """Answers of many batches of several devices, one after the other, since exchange is played out for each."""
    found = []
    for batch in batches:
        step = simulate(workload, device, replace(options, batch=batch), cluster).step
        shares = np.array(step.bound_shares)
        answer = _answer(workload, device, options, batch, (step.time_s, shares), cluster.devices)
        answer["step.mfu"] = step.mfu
        found.append(answer | _memory(footprint_of(workload, device, replace(options, batch=batch)), 1.0))
    return found


def pareto(frame: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Rows that no other row beats in every column; smaller is better, larger of a column written "-name".

    Raises
    ------
    InputError
        If a column is none of the frame's, or not of numbers.
    """
    names = [column.removeprefix("-") for column in columns]
    for name in names:
        if name not in frame.columns:
            raise InputError(f"--pareto {name!r}: no column; there are {', '.join(frame.columns)}")
    known = frame.dropna(subset=names)
    try:
        signs = np.array([-1.0 if column.startswith("-") else 1.0 for column in columns])
        points = known[names].to_numpy(dtype=float) * signs
    except (TypeError, ValueError):
        raise InputError(f"--pareto {','.join(columns)}: not all columns are numbers") from None
    return known[_front(points)]


def _front(points: FloatArray) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which points no other one is at least as good as everywhere and better somewhere."""
    kept = np.zeros(len(points), dtype=bool)
    best = np.empty((0, points.shape[1]))
    for place in np.lexsort(points.T[::-1]):
        point = points[place]
        beaten = ((best <= point).all(axis=1) & (best < point).any(axis=1)).any()
        if not beaten:
            kept[place] = True
            best = np.vstack([best, point])
    return kept

"""Sweeps: the product of any options, each configuration a row of a table; those that cannot run have their reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from simulator.device.columns import DeviceColumns, device_columns
from simulator.device.host import hosted
from simulator.device.prices import Pricing
from simulator.errors import InputError, SimulatorError
from simulator.op.kernels import FloatArray
from simulator.pipeline import Options
from simulator.planning.answers import COLUMNS, Asked, answers, unanswered
from simulator.precision import get_precision
from simulator.workload.importers import Request
from simulator.workload.reading import load_workload
from simulator.workload.workload import Workload

if TYPE_CHECKING:
    import pandas as pd

PART = 2**16
"""Rows that are worked out, kept and handed on together."""

OPTIONS = ("precision", "framework", "optimizer", "task", "fidelity", "traffic", "host")
"""Options of a step that may have several values."""

REQUESTS = ("sequence", "image_size", "attention")
"""Options of a network that may have several values."""


INSIDE = ("devices_each", "batches", "epochs", "prices")
"""Axes that come after all overrides, in order."""


@dataclass(frozen=True)
class Axes:
    """Values of each axis.

    Attributes
    ----------
    workloads, devices : names, paths or FORMAT:FILE.
    options, requests : name -> values.
    overrides : key path of a device's profile -> values, such as "2x".
    devices_each : how many devices step together, joined as they usually are.
    batches : samples of each device; the workload's own where empty.
    epochs : passes over the dataset; one where empty.
    prices : of a device an hour, instead of its profile's. [USD]
    listed : a price list that has those of devices; "" for their profiles.
    """

    workloads: Sequence[str]
    devices: Sequence[str]
    requests: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    options: Mapping[str, Sequence[str]] = field(default_factory=dict)
    overrides: Mapping[str, Sequence[str]] = field(default_factory=dict)
    devices_each: Sequence[int] = (1,)
    batches: Sequence[int] = ()
    epochs: Sequence[int] = ()
    prices: Sequence[float] = ()
    listed: str = ""

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

    def inside(self, batch: int) -> dict[str, Sequence[Any]]:
        """Column -> values of the axes that vary inside a part, in order; `batch` is the workload's own."""
        further = {"epochs": self.epochs, "price": self.prices}
        counted = {"devices": self.devices_each, "batch": self.batches or [batch]}
        return {**self.overrides, **counted, **{name: values for name, values in further.items() if values}}

    def __len__(self) -> int:
        """Configurations."""
        mapped = [*self.requests.values(), *self.options.values(), *self.overrides.values()]
        plain = [getattr(self, name) or (None,) for name in INSIDE]
        return prod(map(len, (self.workloads, self.devices, *mapped, *plain)))


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
    axes : `devices` (how many), `set` (key path -> values), `epochs`, `price` (of a device an hour, USD), and any of
        `OPTIONS` and `REQUESTS`, each one value or several.

    Returns
    -------
    A frame with the axes as columns, then `step.time_s`, `step.samples_per_s`, `step.mfu`, `step.bound`, `memory.*`,
    `run.*`, `interval.*`, `device.power_w`, `price.*`, `reason`. SI units.

    >>> found = sweep("lenet5", ["v100", "t4"], batch=[16, 32], precision=["fp32", "amp"])
    >>> found.shape[0]
    8
    """
    import pandas as pd

    chosen = Axes(
        workloads=_several(workload),
        devices=_several(device),
        batches=_several(batch),
        devices_each=_several(axes.pop("devices", 1)),
        epochs=_several(axes.pop("epochs", ())),
        prices=_several(axes.pop("price", ())),
        overrides={key: _several(values) for key, values in axes.pop("set", {}).items()},
        options={name: _several(axes.pop(name)) for name in OPTIONS if name in axes},
        requests={name: _several(axes.pop(name)) for name in REQUESTS if name in axes},
    )
    if axes:
        raise InputError(f"{', '.join(axes)}: no axis of a sweep; axes are {', '.join((*OPTIONS, *REQUESTS))}")
    return pd.concat([table(part) for part in parts(chosen)], ignore_index=True)


def _several(values: Any) -> Sequence[Any]:
    return [values] if isinstance(values, (str, int, float)) else list(values)


def parts(axes: Axes) -> Iterator[Axes]:
    """The sweep in parts of at most `PART` rows, in order: each of one workload, device and set of options."""
    for name, request in product(axes.workloads, _combinations(axes.requests)):
        for device, options in product(axes.devices, _combinations(axes.options)):
            one: dict[str, Any] = {"workloads": [name], "devices": [device]}
            one |= {"requests": _single(request), "options": _single(options)}
            yield from _cut(replace(axes, **one))


def _single(values: Mapping[str, Any]) -> dict[str, list[Any]]:
    return {key: [value] for key, value in values.items()}


def _cut(axes: Axes) -> Iterator[Axes]:
    """Halves, along the first axis that has several values, until each is small enough."""
    if len(axes) <= PART:
        yield axes
        return
    inside: dict[str, Sequence[Any]] = {name: getattr(axes, name) for name in INSIDE}
    key = next(key for key, values in {**axes.overrides, **inside}.items() if len(values) > 1)
    values = axes.overrides.get(key) or inside[key]
    for half in (values[: len(values) // 2], values[len(values) // 2 :]):
        own: dict[str, Any] = {key: half} if key in inside else {"overrides": {**axes.overrides, key: half}}
        yield from _cut(replace(axes, **own))


_workload = lru_cache(maxsize=4)(lambda name, request: load_workload(name, request=Request(**dict(request))))
"""A network is built once for all parts of a sweep."""


def table(part: Axes) -> pd.DataFrame:
    """All rows of one part, in the order of its axes, each with its answer or the reason why it has none."""
    import pandas as pd

    request, options = next(_combinations(part.requests)), next(_combinations(part.options))
    workload = _workload(part.workloads[0], tuple(request.items()))
    variants = device_columns(part.devices[0], part.overrides)
    key = {"workload": workload.name, "device": variants[0].one.name, **request, **options}
    found = [_columns(part, workload, options, devices) for devices in variants]
    known = {name: np.concatenate([np.ravel(columns[name]) for columns in found]) for name in COLUMNS}
    return pd.DataFrame(_labels(part, key, workload) | known)


def _labels(part: Axes, key: Mapping[str, Any], workload: Workload) -> dict[str, Any]:
    """The axes as columns; texts are taken from the few that there are, which is faster than to convert each row's."""
    import pandas as pd

    axes: dict[str, Sequence[Any]] = {**_single(key), **part.inside(workload.batch)}
    places = np.indices(tuple(map(len, axes.values()))).reshape(len(axes), -1)
    return {
        name: pd.Series(values).take(place).array for (name, values), place in zip(axes.items(), places, strict=True)
    }


def _columns(
    part: Axes, workload: Workload, options: Mapping[str, str], devices: DeviceColumns
) -> dict[str, np.ndarray[Any, Any]]:
    """Answers of variants of a device, each of the shape of the axes, or one reason for all."""
    shape = (len(devices), *(len(getattr(part, name)) or 1 for name in INSIDE))
    asked = Asked(
        workload=workload,
        batches=part.batches or [workload.batch],
        counts=part.devices_each,
        epochs=part.epochs or [1],
        prices=part.prices,
    )
    try:
        chosen = Options(**options, ignore_memory=True)  # type: ignore[arg-type]
        one = Pricing(listed=part.listed).of(hosted(devices.one, chosen.host))
        return answers(replace(devices, one=one), chosen, asked)
    except SimulatorError as error:
        return unanswered(shape, str(error))


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

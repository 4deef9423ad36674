"""How sure a step's time is: an interval as wide as the question is far from what was measured.

The width is learned from errors where whole groups were held out of the fit (measurers, frameworks, devices, networks),
since a reader's machine is never one that the coefficients were fitted to. `calibration/certainty.py` fits it; the
numbers stand in `hardware_profiles/certainty/steps.yaml`.

Reference: quantile regression, Koenker, Bassett, "Regression quantiles", Econometrica 46(1), 1978. doi:10.2307/1913643
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from math import log
from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta

from simulator import catalog
from simulator.device.device import Device
from simulator.device.framework import Framework
from simulator.device.profile import Source, Strict

if TYPE_CHECKING:
    from simulator.op.kernels import FloatArray

FOLDER = "hardware_profiles/certainty"

SMALL_BATCH = 16
"""Batches below this leave more to the host, and to kernels that no fit saw."""

WIDE_BATCH = 256
"""From here on a larger batch changes no more."""

NARROW = ("amp", "fp16", "bf16", "fp8", "fp4", "int8")
EAGER = ("pytorch", "torch7")
"""Frameworks whose names begin so call one kernel after another; the others compile or schedule graphs."""

FULL_WIDTH = "fp32"
"""Runs in lanes, on every device."""

PROCESSOR = "cpu"

WAITING = 0.25
"""Share of overhead from which on a reader is told that the host decides."""


class Widths(Strict, frozen=True, kw_only=True):
    """Logarithm of the distance of a bound from the prediction, itself a logarithm: a base, and what widens it."""

    base: float
    waiting: Annotated[float, Meta(description="times the share of the step that waits for the host")] = 0.0
    host: Annotated[float, Meta(description="times the same share, where the host's own time of a call is given")] = 0.0
    batch: Annotated[float, Meta(description="times how far a batch is from 16 to 256, in logarithms")] = 0.0
    small_batch: float = 0.0
    narrow: Annotated[float, Meta(description="number formats of two bytes and less")] = 0.0
    narrow_training: Annotated[float, Meta(description="training in them, further")] = 0.0
    widened: Annotated[
        float, Meta(description="half width on a device without lanes for it, whose values are widened")
    ] = 0.0
    graph: Annotated[float, Meta(description="frameworks that compile or schedule graphs, on GPUs")] = 0.0
    small_graph: Annotated[float, Meta(description="small batches in such frameworks, further")] = 0.0
    processor: Annotated[float, Meta(description="processors, whose threads and pages are their system's")] = 0.0
    device: Annotated[float, Meta(description="a device of which no step was measured")] = 0.0
    framework: Annotated[float, Meta(description="a framework of which no step was measured")] = 0.0
    family: Annotated[float, Meta(description="a family, or a number format on it, that nobody measured")] = 0.0
    compiled: Annotated[float, Meta(description="compilers that choose kernels and layouts, on GPUs")] = 0.0
    held: Annotated[
        float,
        Meta(
            ge=0,
            description="times the share of its rated clock that the power limit takes from a board: a distance of its "
            "own, added in squares",
        ),
    ] = 0.0


class Measured(Strict, frozen=True, kw_only=True):
    """What the widths, and the coefficients, have seen."""

    kinds: Annotated[list[str], Meta(description="of devices")]
    devices: list[str]
    workloads: list[str]
    precisions: Annotated[dict[str, list[str]], Meta(description="by family of devices")]
    frameworks: Annotated[dict[str, list[str]], Meta(description="by family of devices")]


class CertaintyProfile(Strict, frozen=True, kw_only=True):
    """`hardware_profiles/certainty/<name>.yaml`."""

    name: str
    kind: Literal["certainty"]
    description: str
    coverage: Annotated[float, Meta(gt=0, lt=1, description="probability that the interval claims")]
    low: Widths
    high: Widths
    measured: Measured
    sources: tuple[Source, ...] = ()


@dataclass(frozen=True)
class Question:
    """What of a step decides how sure its time is.

    Attributes
    ----------
    waiting : share of its time that waits for the host, 0 to 1.
    host : "measured" where the time of a call on it was given, "named" for a class of computers, else "unknown".
    training : whether gradients are worked out, too.
    """

    workload: str
    device: Device
    framework: Framework
    precision: str
    batch: int
    waiting: float
    host: str = "unknown"
    training: bool = True


@dataclass(frozen=True)
class Interval:
    """Where the true time lies with the stated probability, as factors of the predicted time.

    Attributes
    ----------
    validated : whether steps of the device's family were measured in this number format.
    reasons : what makes it wide.
    """

    low: float
    high: float
    coverage: float
    validated: bool = True
    reasons: tuple[str, ...] = ()


@lru_cache
def certainty() -> CertaintyProfile:
    """The fitted widths, and what was measured."""
    path = catalog.find(FOLDER, "steps")
    profile: CertaintyProfile = catalog.convert(catalog.read_yaml(path), CertaintyProfile, str(path))
    return profile


def interval_of(question: Question) -> Interval | None:
    """The interval of a calibrated step; None for kinds of devices of which no step was measured."""
    factors = factors_of(question, question.waiting)
    if factors is None:
        return None
    found = dict(features(question))
    low, high = map(float, factors)
    return Interval(low, high, certainty().coverage, not found["family"], tuple(_reasons(question, found)))


def factors_of(
    question: Question, waiting: FloatArray | float, further: Mapping[str, FloatArray] | None = None
) -> tuple[FloatArray, FloatArray] | None:
    """Both bounds over the predicted time where many steps wait for so much of their time, each the shape of `waiting`.

    A width's logarithm is linear in that share and in the rest; what a held clock adds is added in squares.

    further : key of `Widths` -> how much more of it applies to each step than to the question.
    """
    import numpy as np

    if question.device.kind not in certainty().measured.kinds:
        return None
    profile, none, all_of_it = certainty(), *(dict(features(replace(question, waiting=share))) for share in (0.0, 1.0))
    more = dict(further or {})
    held = held_back(question.device, question.precision) + more.pop("held", np.zeros(()))

    def bound(widths: Widths) -> FloatArray:
        least, most = _sum(widths, none), _sum(widths, all_of_it)
        logarithm = least + (most - least) * np.asarray(waiting)
        for key, amount in more.items():
            logarithm = logarithm + getattr(widths, key) * amount
        return np.exp(-np.hypot(np.exp(logarithm), widths.held * held))

    return bound(profile.low), 1 / bound(profile.high)


def why_none(device: Device) -> str:
    """Why a device's times have no interval."""
    return f"no interval: no step of a {device.kind} was measured"


def features(question: Question) -> Iterator[tuple[str, float]]:
    """Key of `Widths` -> how much of it applies, 0 to 1."""
    measured, family = certainty().measured, family_of(question.device)
    yield "base", 1.0
    yield "waiting", question.waiting
    yield "host", question.waiting * (question.host == "measured")
    small, processor = question.batch < SMALL_BATCH, question.device.kind == PROCESSOR
    graph = not processor and not question.framework.name.startswith(EAGER)
    yield "batch", batch_amount(question.batch)
    yield "small_batch", float(small)
    yield "narrow", float(question.precision in NARROW)
    yield "narrow_training", float(question.precision in NARROW and question.training)
    yield "widened", float(is_widened(question.device, question.precision))
    yield "graph", float(graph)
    yield "small_graph", float(small and graph)
    yield "compiled", float(is_compiled(question.framework, question.device))
    yield "processor", float(processor)
    yield "device", float(question.device.name not in measured.devices)
    everywhere = {name for names in measured.frameworks.values() for name in names}
    yield "framework", float(question.framework.name not in everywhere)
    yield "family", float(question.precision not in measured.precisions.get(family, ()))


def batch_amount(batch: int) -> float:
    """How far a batch is on the way from `SMALL_BATCH` to `WIDE_BATCH`, in logarithms."""
    return min(max(log(batch / SMALL_BATCH) / log(WIDE_BATCH / SMALL_BATCH), 0.0), 1.0)


def is_widened(device: Device, precision: str) -> bool:
    """Whether a device has no fast lanes for half-width values, so that libraries compute with full: GeForce 10."""
    full = device.peak.get("fp32", 0.0)
    has_tensor = any(name.endswith("_tensor") for name in device.peak)
    return precision in NARROW and not has_tensor and device.peak.get("fp16", 0.0) < full


def held_back(device: Device, precision: str) -> float:
    """Share of its rated clock that a board's power limit takes while products keep it busy."""
    return 1 - device.clocks.get(clock_of(device, precision), 1.0)


def clock_of(device: Device, precision: str) -> str:
    """Whose clock holds in a number format: "matrix" where products run on tensor cores, else "vector"."""
    has_tensor = any(name.endswith("_tensor") for name in device.peak)
    return "matrix" if has_tensor and precision != FULL_WIDTH else "vector"


def family_of(device: Device) -> str:
    """The family whose measurements speak for a device: its own, or its kind."""
    return device.profile.family or device.kind


def is_compiled(framework: Framework, device: Device) -> bool:
    """Whether a compiler chooses a GPU's kernels and layouts."""
    return framework.plain.fuses and device.kind != PROCESSOR


def _sum(widths: Widths, found: Mapping[str, float]) -> float:
    return sum(float(getattr(widths, key)) * amount for key, amount in found.items())


def _reasons(question: Question, found: Mapping[str, float]) -> Iterator[str]:
    """In words, what of the question was not measured or is not known, whether it widens or not."""
    measured, family = certainty().measured, family_of(question.device)
    if found["family"]:
        yield f"no step in {question.precision} on the family {family} was measured"
    if found["device"]:
        yield f"no measured step on {question.device.name}"
        if question.device.limits.keys() & {"vector", "matrix"}:
            yield f"the clock that its {question.device.profile.power} hold is estimated"
    elif held_back(question.device, question.precision):
        yield f"the clock that {question.device.profile.power} hold depends on how cool {question.device.name} is kept"
    if found["framework"]:
        yield f"no measured step of {question.framework.name}"
    elif question.framework.name not in measured.frameworks.get(family, ()):
        yield f"no measured step of {question.framework.name} on the family {family}"
    if question.workload not in measured.workloads:
        yield f"no measured step of the network {question.workload}"
    if found["compiled"]:
        yield f"{question.framework.name}'s compiler chooses kernels and layouts"
    if found["widened"]:
        yield f"{question.device.name} has no lanes for {question.precision}"
    if found["waiting"] > WAITING and question.host != "measured":
        known = "whose class alone is known" if question.host == "named" else "whose processor is not known (--host)"
        yield f"much of it waits for the host, {known}"

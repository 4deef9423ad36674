"""Engines: how the software that serves a model runs its kernels and schedules its requests."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from simulator import catalog
from simulator.device.framework_profile import Release
from simulator.device.profile import Source, Strict
from simulator.errors import InputError, UnknownNameError
from simulator.serving.holding import EngineHolding, MemorySectionOfEngine, holding_of
from simulator.units import parse

FOLDER = "hardware_profiles/engines"


class KernelSection(Strict, frozen=True, kw_only=True):
    """How an engine's kernels run, beside what the device does to them."""

    merges: Annotated[bool, Meta(description="products of the same input run as one")] = True
    fuses: Annotated[bool, Meta(description="element-wise kernels in a row run as one")] = True
    gap: Annotated[str, Meta(description="from one kernel to the next while decoding, such as '1.2 us'")]
    prefill_gap: Annotated[str, Meta(description="the same while reading prompts, without recorded graphs")]
    helpers: Annotated[float, Meta(ge=0, description="further launches a layer with attention")] = 0.0
    weights: Annotated[float, Meta(gt=0, description="fraction of the memory's peak bandwidth, products of few rows")]
    experts: Annotated[float, Meta(gt=0, description="the same of experts' products beside calls")] | None = None
    cache: Annotated[float, Meta(gt=0, description="fraction of the memory's peak bandwidth, attention's cache")]
    again: Annotated[float, Meta(gt=0, description="the same, where heads of a group read keys again")] | None = None
    matrix: Annotated[float, Meta(gt=0, description="rate of products, of the device's calibrated one")] = 1.0
    attention: Annotated[float, Meta(gt=0, description="rate of attention over a prompt, of the device's")] = 1.0
    unpacks_apart: Annotated[bool, Meta(description="narrow weights are widened in memory before a product")] = False
    half_sums: Annotated[bool, Meta(description="products of half-width values are summed in half width")] = False
    unit_stream: Annotated[float, Meta(gt=0, description="bytes that one unit gets each clock")] | None = None
    lanes: Annotated[float, Meta(gt=0, description="rate of products of few rows on vector lanes alone")] | None = None
    calls: Annotated[
        bool,
        Meta(description="products and attention are calls whose times are fitted, where the device's kind has any"),
    ] = False
    dispatch: Annotated[
        str, Meta(description="host time of issuing a kernel, ahead of the device, without recorded graphs")
    ] = "0 s"
    sum: Annotated[str, Meta(description="start of a small sum over the devices that share a layer")] = "8 us"


class FamilySection(Strict, frozen=True, kw_only=True):
    """What of an engine differs on devices of a family, for which its kernels are other ones."""

    gap: str | None = None
    prefill_gap: str | None = None
    weights: float | None = None
    cache: float | None = None
    matrix: float | None = None
    attention: float | None = None
    unit_stream: float | None = None
    lanes: float | None = None
    dispatch: str | None = None
    sum: str | None = None
    host: str | None = None
    request: str | None = None
    device: str | None = None
    hand_over: str | None = None


class StepSection(Strict, frozen=True, kw_only=True):
    """What a step of the scheduler costs on the host, one after the device's work."""

    host: Annotated[str, Meta(description="each step, such as '200 us'")]
    request: Annotated[str, Meta(description="each running request in a step")] = "0 s"
    prompt: Annotated[str, Meta(description="each request that is taken in")] = "0 s"
    overlap: Annotated[
        float, Meta(ge=0, le=1, description="share of a prompt's pieces that overlap in groups of layers")
    ] = 1.0
    hand_over: Annotated[str, Meta(description="from one group of layers to the next, beside the link")] = "0 s"
    device: Annotated[str, Meta(description="each further device that shares the layers")] = "0 s"


class SchedulerSection(Strict, frozen=True, kw_only=True):
    """How requests are put together."""

    block: Annotated[int, Meta(ge=1, description="tokens of a block of the paged cache")] = 16
    tokens: Annotated[int, Meta(ge=1, description="most tokens a step")] = 8192
    requests: Annotated[int, Meta(ge=1, description="most requests at a time")] = 256
    chunked: Annotated[bool, Meta(description="prompts are read in pieces beside decoding requests")] = True
    interval: Annotated[int, Meta(ge=1, description="steps from one look for new requests to the next")] = 1
    gather: Annotated[int, Meta(ge=0, description="steps that a prompt waits for others to be read with")] = 0


class EngineProfile(Strict, frozen=True, kw_only=True):
    """One engine: `hardware_profiles/engines/<name>.yaml`."""

    name: str
    kind: Literal["engine"]
    description: str
    aliases: tuple[str, ...] = ()
    like: Annotated[str, Meta(description="engine whose numbers stand where this file gives none")] = ""
    kernel: KernelSection
    step: StepSection
    scheduler: SchedulerSection = SchedulerSection()
    memory: MemorySectionOfEngine = MemorySectionOfEngine()
    families: dict[str, FamilySection] = msgspec.field(default_factory=dict)
    release: Release | None = None
    sources: tuple[Source, ...] = ()


@dataclass(frozen=True)
class ServingEngine:
    """An engine in SI units.

    Attributes
    ----------
    gap_s, prefill_gap_s : from one kernel's end to the next one's start, decoding and reading prompts. [s]
    helpers : further launches a layer with attention.
    weights, cache : fractions of the memory's peak bandwidth that products of few rows and attention's cache reach.
    again : the same of keys that further heads of a group read again; None where a group reads them together.
    experts : fraction of the memory's bandwidth of experts' products where others are calls; `weights` where None.
    matrix, attention : rates of products, and of attention over a prompt, of the device's.
    unpacks_apart, half_sums : how products of narrow weights, and of half-width values, are run.
    calls : whether products and attention take what fitted calls of a library do, where the device's kind has them.
    sum_s : start of a small sum over the devices that share a layer. [s]
    dispatch_s : host time of issuing a kernel, ahead of the device, where no graph is recorded. [s]
    recorded : whether steps that decode alone are recorded graphs.
    lanes : rate of products of few rows on vector lanes; None where tensor cores may run them.
    unit_bytes : what one unit of a device gets each clock; None where the memory alone limits. [byte]
    host_s, request_s, prompt_s : host time of a step, of each running request, of each request taken in. [s]
    overlap : share of a prompt's pieces that overlap in groups of layers.
    hand_over_s, device_s : between groups of layers; of each further device that shares the layers, a step. [s]
    memory : how it fills a device's memory.
    """

    name: str
    description: str
    merges: bool
    fuses: bool
    gap_s: float
    prefill_gap_s: float
    helpers: float
    weights: float
    experts: float | None
    cache: float
    again: float | None
    matrix: float
    attention: float
    unpacks_apart: bool
    half_sums: bool
    unit_bytes: float | None
    lanes: float | None
    calls: bool
    dispatch_s: float
    sum_s: float
    host_s: float
    request_s: float
    prompt_s: float
    hand_over_s: float
    overlap: float
    device_s: float
    scheduler: SchedulerSection
    memory: EngineHolding
    recorded: bool = True


@lru_cache
def load_engine(name: str, family: str | None = None) -> ServingEngine:
    """An engine as it is on devices of a family, by name or alias, in any case, or by its own file.

    Raises
    ------
    UnknownNameError
        With the nearest engine.
    InputError
        If a file is none, says what is not understood, or is like itself.
    """
    return engine_of(_on_family(profile_of(name), family), str(_path(name)))


@lru_cache
def profile_of(name: str) -> EngineProfile:
    """An engine's profile as written, by name or alias.

    Raises
    ------
    UnknownNameError
        With the nearest engine.
    """
    profile: EngineProfile = catalog.convert(_written(name), EngineProfile, str(_path(name)))
    return profile


def own_numbers(name: str) -> dict[str, Any]:
    """What an engine's file itself says."""
    return catalog.read_yaml(_path(name))


def _written(name: str, *heirs: str) -> dict[str, Any]:
    """What an engine's file says, over what the engine says that it extends."""
    own = own_numbers(name)
    like = own.get("like")
    if like in (name, *heirs):
        raise InputError(f"{_path(name)}: like: {like!r} goes in a circle")
    return _over(own, _written(str(like), name, *heirs)) if like else own


def _over(own: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Keys of both, one's own values before the other's; aliases and releases are each engine's own."""
    kept = {key: value for key, value in other.items() if key not in ("aliases", "release")}
    both = {key: _over(own[key], kept[key]) for key in own.keys() & kept.keys() if isinstance(own[key], dict)}
    return {**kept, **own, **both}


def _path(name: str) -> Path:
    key = name.lower()
    path = catalog.shipped(FOLDER, key) or catalog.shipped(FOLDER, catalog.aliases(FOLDER).get(key, ""))
    if path is None and not key.endswith((".yaml", ".yml")):
        raise UnknownNameError("engine", name, [*catalog.names(FOLDER), *catalog.aliases(FOLDER)])
    return path or catalog.find(FOLDER, name)


@lru_cache
def release(name: str, year: int) -> str:
    """The engine that stands for what another's releases of a year did; the other's own name where none does."""
    for candidate in catalog.names(FOLDER):
        found = profile_of(candidate).release
        if found and found.of == name and found.since <= year <= found.until:
            return candidate
    return name


def _on_family(profile: EngineProfile, family: str | None) -> EngineProfile:
    own = profile.families.get(family or "")
    if own is None:
        return profile
    given = {key: value for key, value in msgspec.structs.asdict(own).items() if value is not None}
    step = {key: given.pop(key) for key in ("host", "request", "device", "hand_over") if key in given}
    return msgspec.structs.replace(
        profile,
        kernel=msgspec.structs.replace(profile.kernel, **given),
        step=msgspec.structs.replace(profile.step, **step),
    )


def engine_of(profile: EngineProfile, where: str) -> ServingEngine:
    """An engine's profile in SI units."""
    kernel, step = profile.kernel, profile.step

    def seconds(text: str, key: str) -> float:
        return parse(text, "s", f"{where}: {key}", positive=False)

    return ServingEngine(
        name=profile.name,
        description=profile.description,
        merges=kernel.merges,
        fuses=kernel.fuses,
        gap_s=seconds(kernel.gap, "kernel.gap"),
        prefill_gap_s=seconds(kernel.prefill_gap, "kernel.prefill_gap"),
        helpers=kernel.helpers,
        weights=kernel.weights,
        experts=kernel.experts,
        cache=kernel.cache,
        again=kernel.again,
        matrix=kernel.matrix,
        attention=kernel.attention,
        unpacks_apart=kernel.unpacks_apart,
        half_sums=kernel.half_sums,
        unit_bytes=kernel.unit_stream,
        lanes=kernel.lanes,
        calls=kernel.calls,
        dispatch_s=seconds(kernel.dispatch, "kernel.dispatch"),
        sum_s=seconds(kernel.sum, "kernel.sum"),
        host_s=seconds(step.host, "step.host"),
        request_s=seconds(step.request, "step.request"),
        prompt_s=seconds(step.prompt, "step.prompt"),
        overlap=step.overlap,
        hand_over_s=seconds(step.hand_over, "step.hand_over"),
        device_s=seconds(step.device, "step.device"),
        scheduler=profile.scheduler,
        memory=holding_of(profile.memory, where),
    )


def names() -> list[str]:
    """The engines that ship with the program."""
    return catalog.names(FOLDER)


__all__ = [
    "EngineProfile",
    "ServingEngine",
    "engine_of",
    "load_engine",
    "names",
    "own_numbers",
    "profile_of",
    "release",
]

"""Engines: how the software that serves a model runs its kernels and schedules its requests."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from simulator import catalog
from simulator.errors import InputError, UnknownNameError
from simulator.serving.engine_profile import EngineProfile, SchedulerSection
from simulator.serving.holding import EngineHolding, holding_of
from simulator.units import parse

FOLDER = "hardware_profiles/engines"


@dataclass(frozen=True)
class ServingEngine:
    """An engine in SI units.

    Attributes
    ----------
    gap_s, prefill_gap_s : from one kernel's end to the next one's start, decoding and reading prompts. [s]
    helpers : further launches a layer with attention.
    weights, cache : fractions of the memory's peak bandwidth that products of few rows and attention's cache reach.
    again : the same of keys that further heads of a group read again; None where a group reads them together.
    experts : fraction of the memory's bandwidth of experts' products, `weights` where None; of an engine whose other
        products are calls, only where they are.
    matrix, attention : rates of products, and of attention over a prompt, of the device's.
    scores : that each score of a query and a key passes through the memory; 0 where attention is one kernel. [byte]
    absorbs : whether prompts too attend over latent keys that all heads share.
    narrow : rate of products that widen weights in their kernel, of those that need not.
    scalar : rate of bf16 products on vector lanes; None where they have kernels on matrix units.
    tile : rows that products of more than a few are filled up to; None where kernels of all sizes are.
    expert_tile, expert_rate : rows that each expert's tokens are filled up to, and the rate of experts' products.
    groups : weights of the experts whose products run as one kernel: "all", "narrow" or "none".
    queries : of a prompt, that attention works on at a time, reading keys for each anew; None where caches hold them.
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
    scores: float
    absorbs: bool
    narrow: float
    scalar: float | None
    tile: int | None
    expert_tile: int | None
    expert_rate: float
    groups: str
    queries: float | None
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
        **{key: getattr(kernel, key) for key in AS_WRITTEN},
        gap_s=seconds(kernel.gap, "kernel.gap"),
        prefill_gap_s=seconds(kernel.prefill_gap, "kernel.prefill_gap"),
        unit_bytes=kernel.unit_stream,
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


AS_WRITTEN = ("merges", "fuses", "helpers", "weights", "experts", "cache", "again", "matrix", "attention", "scores",
              "absorbs", "narrow", "scalar", "tile", "expert_tile", "expert_rate", "groups", "queries", "unpacks_apart",
              "half_sums", "lanes", "calls")  # fmt: skip
"""Of a profile's kernels: what has no unit, and the same name."""


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

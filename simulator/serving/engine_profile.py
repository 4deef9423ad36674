"""Profiles of engines: the sections of `hardware_profiles/engines/<name>.yaml`, as written."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from simulator.device.framework_profile import Release
from simulator.device.profile import Source, Strict
from simulator.serving.holding import MemorySectionOfEngine


class KernelSection(Strict, frozen=True, kw_only=True):
    """How an engine's kernels run, beside what the device does to them."""

    merges: Annotated[bool, Meta(description="products of the same input run as one")] = True
    fuses: Annotated[bool, Meta(description="element-wise kernels in a row run as one")] = True
    gap: Annotated[str, Meta(description="from one kernel to the next while decoding, such as '1.2 us'")]
    prefill_gap: Annotated[str, Meta(description="the same while reading prompts, without recorded graphs")]
    helpers: Annotated[float, Meta(ge=0, description="further launches a layer with attention")] = 0.0
    weights: Annotated[float, Meta(gt=0, description="fraction of the memory's peak bandwidth, products of few rows")]
    experts: Annotated[float, Meta(gt=0, description="the same of experts' products")] | None = None
    cache: Annotated[float, Meta(gt=0, description="fraction of the memory's peak bandwidth, attention's cache")]
    again: Annotated[float, Meta(gt=0, description="the same, where heads of a group read keys again")] | None = None
    matrix: Annotated[float, Meta(gt=0, description="rate of products, of the device's calibrated one")] = 1.0
    attention: Annotated[float, Meta(gt=0, description="rate of attention over a prompt, of the device's")] = 1.0
    scores: Annotated[
        float,
        Meta(ge=0, description="bytes that each score passes through the memory, where attention is no one kernel"),
    ] = 0.0
    absorbs: Annotated[bool, Meta(description="prompts too attend over latent keys that heads share")] = False
    narrow: Annotated[float, Meta(gt=0, description="rate of products that widen weights, of those that need not")] = (
        1.0
    )
    scalar: (
        Annotated[float, Meta(gt=0, description="rate of bf16 products on vector lanes, their only kernels")] | None
    ) = None
    tile: Annotated[int, Meta(ge=1, description="rows that products of more than a few are filled up to")] | None = None
    expert_tile: Annotated[int, Meta(ge=1, description="rows that each expert's tokens are filled up to")] | None = None
    expert_rate: Annotated[float, Meta(gt=0, description="rate of experts' products, of others'")] = 1.0
    groups: Annotated[
        Literal["all", "narrow", "none"], Meta(description="weights of the experts whose products run as one kernel")
    ] = "all"
    queries: (
        Annotated[
            float, Meta(gt=0, description="of a prompt, that attention works on at a time, reading keys for each anew")
        ]
        | None
    ) = None
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
    experts: float | None = None
    cache: float | None = None
    again: float | None = None
    matrix: float | None = None
    attention: float | None = None
    scores: float | None = None
    narrow: float | None = None
    scalar: float | None = None
    tile: int | None = None
    expert_tile: int | None = None
    expert_rate: float | None = None
    groups: Literal["all", "narrow", "none"] | None = None
    queries: float | None = None
    unpacks_apart: bool | None = None
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
    reserves: Annotated[bool, Meta(description="a request has room for all of its tokens from its start on")] = False
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

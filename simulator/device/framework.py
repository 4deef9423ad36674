"""Frameworks: what the software between a network and a device adds or takes away."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from math import inf
from pathlib import Path as FilePath
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from simulator import catalog
from simulator.device.profile import Source, Strict
from simulator.device.provenance import Provenance, nearest, provenance_of
from simulator.errors import InputError
from simulator.precision import Precision
from simulator.units import parse

FOLDER = "hardware_profiles/frameworks"


class Dispatch(Strict, frozen=True, kw_only=True):
    """Host time to issue one call of each phase, and to begin a step; device time of a call's helper kernels."""

    forward: str
    backward: str
    update: str
    step: str = "0 s"
    helpers: str = "0 s"


class Path(Strict, frozen=True, kw_only=True):
    """How a framework runs kernels: one path for plain precisions, one for mixed precision."""

    elementwise: Annotated[float, Meta(gt=0, description="element-wise traffic left after fusion")] = 1.0
    convolution: Annotated[float, Meta(gt=0, description="rate of its convolutions, of the device's")] = 1.0
    attention: Annotated[float, Meta(gt=0, description="rate of its fused attention, of the device's")] = 1.0
    hopper_attention: Annotated[
        bool, Meta(description="has fused attention for Hopper's matrix instructions, not for those of Ampere alone")
    ] = True
    transposes: Annotated[
        float, Meta(ge=0, description="times a tensor-core convolution's operands are copied into channels-last layout")
    ] = 0.0
    layout: Annotated[
        Literal["channels first", "channels last", "chosen"],
        Meta(
            description="of tensors; tensor cores take channels last as they are; chosen for each network by a compiler"
        ),
    ] = "channels first"
    odd_groups: Annotated[
        bool,
        Meta(description="has tensor-core kernels for channels-last groups of any width, not of powers of two alone"),
    ] = True
    poor_groups: Annotated[
        tuple[str, ...], Meta(description="families for whose grouped convolutions its library has poor kernels alone")
    ] = ()
    tf32_groups: Annotated[bool, Meta(description="has tensor-core kernels for groups at tf32")] = True
    folds: Annotated[bool, Meta(description="folds batch normalisation into convolutions at inference")] = False
    fuses: Annotated[bool, Meta(description="compiles element-wise operations in a row to one kernel")] = False
    joins: Annotated[
        bool, Meta(description="trains with normalisation, the addition and the activation after it in one kernel")
    ] = False
    promotes: Annotated[
        bool, Meta(description="keeps softmax, layer norms and what they are added to in full width in mixed precision")
    ] = False
    casts: Annotated[bool, Meta(description="casts master weights again in each forward pass at inference")] = False


class MemorySection(Strict, frozen=True, kw_only=True):
    """What a framework holds of a device's memory beside the tensors of a step."""

    context: Annotated[str, Meta(description="the driver's context and the loaded kernels, such as '500 MiB'")] = "0 B"
    workspace: Annotated[str, Meta(description="scratch space of its libraries")] = "0 B"
    fragmentation: Annotated[float, Meta(ge=0, lt=1, description="allocated but unused, of the activations")] = 0.0


class GradientSection(Strict, frozen=True, kw_only=True):
    """How gradients are summed over devices that work on one step."""

    bucket: Annotated[
        str, Meta(description="gradients summed together, such as '25 MiB'; 'all' waits for the last")
    ] = "25 MiB"


class ProcessorSection(Strict, frozen=True, kw_only=True):
    """What a framework's calls cost on a processor that did not measure them (`roofline/processor.py`)."""

    call: Annotated[str, Meta(description="a forward call, one after the other; left out where calls queue")] | None = (
        None
    )
    convolution: Annotated[str, Meta(description="further time of a call of the convolution library")] = "0 s"
    layout: Annotated[float, Meta(ge=0, description="times a convolution's operands change layout at each call")] = 0.0
    packing: Annotated[float, Meta(ge=0, description="times operands of a matrix product are packed")] = 0.0
    new_pages: Annotated[
        float, Meta(ge=0, description="large tensors are new pages, written at this share of the bandwidth; 0: kept")
    ] = 0.0


class Release(Strict, frozen=True, kw_only=True):
    """Which releases of a framework another file describes."""

    of: Annotated[str, Meta(description="the framework whose own file describes the releases in use")]
    since: Annotated[int, Meta(description="first year")] = 0
    until: Annotated[int, Meta(description="last year")] = 9999


class FrameworkProfile(Strict, frozen=True, kw_only=True):
    """One framework: `hardware_profiles/frameworks/<name>.yaml`; what it leaves out is as in the one it is `like`."""

    name: str
    kind: Literal["framework"]
    description: str
    aliases: tuple[str, ...] = ()
    like: Annotated[str | None, Meta(description="the framework whose values hold where this one gives none")] = None
    release: Release | None = None
    eager_attention: Annotated[bool, Meta(description="has no fused attention: its parts run one by one")] = False
    dispatch: Dispatch | None = None
    plain: Path = Path()
    mixed: Path = Path()
    processor: ProcessorSection = ProcessorSection()
    memory: MemorySection = MemorySection()
    gradients: GradientSection = GradientSection()
    sources: tuple[Source, ...] = ()


@dataclass(frozen=True)
class ProcessorCalls:
    """What a framework's calls cost on a processor, in SI units.

    Attributes
    ----------
    call_s : time of a forward call before its work begins; None where calls are queued, as on other devices. [s]
    convolution_s : further time of a call of the convolution library. [s]
    layout : times a convolution's operands change layout at each call.
    channels_last : whether activations keep the library's layout, so that only weights change it.
    packing : times operands of a matrix product are packed.
    new_pages : share of the bandwidth at which large tensors, new from the system, are first written; 0 where kept.
    """

    call_s: float | None = None
    convolution_s: float = 0.0
    layout: float = 0.0
    channels_last: bool = False
    packing: float = 0.0
    new_pages: float = 0.0


@dataclass(frozen=True)
class Reserve:
    """What a framework holds of a device's memory beside the tensors of a step. [byte]

    `fragmentation` is what lies allocated but unused, as a fraction of the activations.
    """

    context_bytes: float = 0.0
    workspace_bytes: float = 0.0
    fragmentation: float = 0.0


@dataclass(frozen=True)
class Framework:
    """A framework in SI units.

    Attributes
    ----------
    dispatch_s : host time of a call by phase (forward, input gradient, weight gradient, update). [s]
    step_s : host time before the first call of a step. [s]
    helpers_s : device time of the small kernels that a call launches beside its own (fills, layouts, scalings). [s]
    plain, mixed : how it runs kernels in one number format, and in mixed precision.
    processor : what its calls cost on a processor.
    reserve : what it holds of a device's memory beside the tensors; nothing of a processor's.
    bucket_bytes : gradients summed together over devices, infinite where all wait for the last. [byte]
    eager_attention : whether attention runs as products, mask and softmax, for want of a fused kernel.
    release_of : the framework whose releases of some years it describes; its own name for those in use.
    origin : the framework whose file gives a value, by key ("mixed.convolution"); none for defaults.
    provenance : source and grade of each value that a file gives, by key.
    written : the same values as the files write them.
    """

    name: str
    dispatch_s: tuple[float, float, float, float]
    step_s: float
    helpers_s: float
    plain: Path
    mixed: Path
    processor: ProcessorCalls = ProcessorCalls()
    reserve: Reserve = Reserve()
    bucket_bytes: float = inf
    eager_attention: bool = False
    release_of: str = ""
    description: str = ""
    aliases: tuple[str, ...] = ()
    origin: Mapping[str, str] = field(default_factory=dict, compare=False)
    provenance: Mapping[str, Provenance] = field(default_factory=dict, compare=False)
    written: Mapping[str, str] = field(default_factory=dict, compare=False)

    def path(self, precision: Precision) -> Path:
        """How it runs kernels at a precision."""
        return self.mixed if precision.master_weights else self.plain


SECTIONS = ("dispatch", "plain", "mixed", "processor", "memory", "gradients")
"""Parts of a framework's file that are merged, value by value, over those of the framework it is like."""


@lru_cache
def load_framework(name: str) -> Framework:
    """A framework by name or alias, in any case, or an `UnknownNameError` with the nearest one."""
    name = _canonical(name)
    profile, where = _profile(name), _where(name)
    if profile.dispatch is None:
        raise InputError(f"{where}: give dispatch, or the framework that it is like")
    forward, backward, update, step, helpers = (
        parse(text, "s", f"{where}: dispatch", positive=False) for text in msgspec.structs.astuple(profile.dispatch)
    )
    return Framework(
        name=profile.name,
        dispatch_s=(forward, backward, backward, update),
        step_s=step,
        helpers_s=helpers,
        plain=profile.plain,
        mixed=profile.mixed,
        processor=_processor_calls(profile, f"{where}: processor"),
        reserve=_reserve(profile.memory, f"{where}: memory"),
        bucket_bytes=_bucket_bytes(profile.gradients.bucket, f"{where}: gradients.bucket"),
        eager_attention=profile.eager_attention,
        release_of=profile.release.of if profile.release else name,
        description=profile.description,
        aliases=profile.aliases,
        origin=_merged(name)[1],
        provenance=_provenance(name),
        written={key: _written(name, key) for key in _provenance(name)},
    )


@lru_cache
def release(name: str, year: int) -> str:
    """The framework that stands for what another's releases of a year did; the other's own name where none does."""
    name = _canonical(name)
    for candidate in catalog.names(FOLDER):
        found = _profile(candidate).release
        if found and found.of == name and found.since <= year <= found.until:
            return candidate
    return name


def _canonical(name: str) -> str:
    """The name of a shipped file; a path of one's own stays as it is."""
    if name.endswith((".yaml", ".yml")):
        return name
    name = name.lower()
    return name if catalog.shipped(FOLDER, name) else catalog.aliases(FOLDER).get(name, name)


@lru_cache
def _profile(name: str) -> FrameworkProfile:
    profile: FrameworkProfile = catalog.convert(_merged(name)[0], FrameworkProfile, _where(name))
    return profile


def _where(name: str) -> str:
    return str(catalog.find(FOLDER, name))


@lru_cache
def _merged(name: str) -> tuple[dict[str, Any], dict[str, str]]:
    """The content of a framework's file over that of the one it is like; the framework that gives each value."""
    where = _where(name)
    content = catalog.read_yaml(FilePath(where))
    catalog.convert(content, FrameworkProfile, where)  # before it is merged, so that an error names this file
    if "like" in content and _canonical(content["like"]).endswith((".yaml", ".yml")):
        raise InputError(f"{where}: like: {content['like']!r} must be the name of a framework that ships")
    base, origin = _merged(_canonical(content["like"])) if "like" in content else ({}, {})
    own = {f"{section}.{key}": name for section in SECTIONS for key in content.get(section, {})}
    sections = {section: {**base.get(section, {}), **content.get(section, {})} for section in SECTIONS}
    return {**content, **sections}, {**origin, **own}


def _written(name: str, key: str) -> str:
    section, _, value = key.partition(".")
    return str(_merged(name)[0][section][value])


@lru_cache
def _provenance(name: str) -> dict[str, Provenance]:
    """Source and grade of each value; one taken from another framework is an assumption where being `like` it is."""
    profile, content = _profile(name), catalog.read_yaml(catalog.find(FOLDER, name))
    sources = provenance_of(profile.sources)
    result: dict[str, Provenance] = {}
    if profile.like is not None:
        likeness = sources.get("like")
        for key, found in _provenance(_canonical(profile.like)).items():
            result[key] = likeness if likeness and likeness.grade == "assumption" else found
    for section in SECTIONS:
        for key in (f"{section}.{name}" for name in content.get(section, {})):
            result[key] = nearest(sources, key) or Provenance("assumption", "the framework's file names no source")
    return result


def _bucket_bytes(text: str, where: str) -> float:
    return inf if text == "all" else parse(text, "byte", where)


def _reserve(section: MemorySection, where: str) -> Reserve:
    return Reserve(
        parse(section.context, "byte", f"{where}.context", positive=False),
        parse(section.workspace, "byte", f"{where}.workspace", positive=False),
        section.fragmentation,
    )


def _processor_calls(profile: FrameworkProfile, where: str) -> ProcessorCalls:
    section = profile.processor
    return ProcessorCalls(
        parse(section.call, "s", f"{where}.call", positive=False) if section.call else None,
        parse(section.convolution, "s", f"{where}.convolution", positive=False),
        section.layout,
        profile.plain.layout != "channels first",
        section.packing,
        section.new_pages,
    )

"""Frameworks: what the software between a network and a device adds or takes away."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from math import inf
from pathlib import Path
from typing import Any

import msgspec

from simulator import catalog
from simulator.device.framework_profile import SECTIONS, Dispatch, ExecutionPath, FrameworkProfile, HeldMemory
from simulator.device.inheritance import Replaced
from simulator.device.provenance import Provenance, nearest, provenance_of
from simulator.errors import InputError
from simulator.precision import Precision
from simulator.units import parse

FOLDER = "hardware_profiles/frameworks"


@dataclass(frozen=True)
class ProcessorCalls:
    """What a framework's calls cost on a processor, in SI units.

    Attributes
    ----------
    call_s : time of a forward call before its work begins; None where calls are queued, as on other devices. [s]
    convolution_s : further time of a call of the convolution library. [s]
    relayout : times a convolution's operands change layout at each call.
    channels_last : whether activations keep the library's layout, so that only weights change it.
    packing : times operands of a matrix product are packed.
    first_touch : share of the bandwidth at which large tensors, new from the system, are first written; 0 where kept.
    """

    call_s: float | None = None
    convolution_s: float = 0.0
    relayout: float = 0.0
    channels_last: bool = False
    packing: float = 0.0
    first_touch: float = 0.0


class Reserve(msgspec.Struct, frozen=True):
    """What a framework holds of a device's memory beside the tensors of a step. [byte]

    `fragmentation` is what lies allocated but unused, as a fraction of the activations; `loss_in_place` whether the
    gradient of a loss overwrites what the loss keeps; `keeps` what of a step stays longer than it must: "gradients" of
    all weights in one buffer, what tensor-parallel ranks "gathered", what pipeline stages "sent"; `algorithm_bytes` up
    to how much scratch space an algorithm of a convolution may take.
    """

    context_bytes: float = 0.0
    workspace_bytes: float = 0.0
    fragmentation: float = 0.0
    loss_in_place: bool = False
    keeps: tuple[str, ...] = ()
    algorithm_bytes: float = inf


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
    tower_s : what each further device of a process adds to a step of batch normalisations at half width alone. [s]
    ring_devices : devices of an NVLink mesh around which its rings find links; 0 for any number.
    host_adding_byte_per_s : gradients that processors add, where they may sum them; 0 where they never do. [byte/s]
    accumulation : how gradients of micro-batches are added up: "fused", "added" or "copied" (`parallel/adding.py`).
    expert_s : what the host's issuing of one expert's calls adds to a layer, forward and backward together; 0 where one
        call takes all experts. [s]
    product_s : host time of a matrix product's forward call, which then has no helper kernels and no call of its own
        to narrow its weights; None where it is as any other. [s]
    casts_beside : whether a thread of its own issues casts of weights, which then take none of the calls' time.
    blocking : whether the host waits for each call before it issues the next.
    eager_attention : whether attention runs as products, mask and softmax, for want of a fused kernel.
    written_gelu : whether GELU's formula runs line by line, for want of a kernel.
    adds_gradients : whether gradients are set to zero before each step and added to, not replaced.
    release_of : the framework whose releases of some years it describes; its own name for those in use.
    origin : the framework whose file gives a value, by key ("mixed.convolution"); none for defaults.
    provenance : source and grade of each value that a file gives, by key.
    written : the same values as the files write them.
    """

    name: str
    dispatch_s: tuple[float, float, float, float]
    step_s: float
    helpers_s: float
    plain: ExecutionPath
    mixed: ExecutionPath
    processor: ProcessorCalls = ProcessorCalls()
    reserve: Reserve = Reserve()
    bucket_bytes: float = inf
    tower_s: float = 0.0
    ring_devices: int = 0
    host_adding_byte_per_s: float = 0.0
    accumulation: str = "added"
    expert_s: float = 0.0
    eager_attention: bool = False
    written_gelu: bool = False
    adds_gradients: bool = False
    product_s: float | None = None
    casts_beside: bool = False
    blocking: bool = False
    release_of: str = ""
    description: str = ""
    aliases: tuple[str, ...] = ()
    origin: Mapping[str, str] = field(default_factory=dict, compare=False)
    provenance: Mapping[str, Provenance] = field(default_factory=dict, compare=False)
    written: Mapping[str, str] = field(default_factory=dict, compare=False)

    def path(self, precision: Precision) -> ExecutionPath:
        """How it runs kernels at a precision."""
        return self.mixed if precision.master_weights else self.plain


NEVER_LATE = Framework("", (0.0, 0.0, 0.0, 0.0), 0.0, 0.0, ExecutionPath(), ExecutionPath())
"""No framework: kernels as the device's own, issued by a host that is never late."""


@lru_cache
def load_framework(name: str) -> Framework:
    """A framework by name or alias, in any case, or an `UnknownNameError` with the nearest one."""
    name = _canonical(name)
    profile, where = _profile(name), _where(name)
    if profile.dispatch is None:
        raise InputError(f"{where}: give dispatch, or the framework that it is like")
    given = profile.dispatch
    forward, backward, update, step, helpers = (
        parse(text, "s", f"{where}: dispatch", positive=False)
        for text in (given.forward, given.backward, given.update, given.step, given.helpers)
    )
    return Framework(
        name=profile.name,
        dispatch_s=(forward, backward, backward, update),
        step_s=step,
        helpers_s=helpers,
        product_s=_product_s(given, where),
        casts_beside=given.casts_beside,
        blocking=given.blocking,
        plain=profile.plain,
        mixed=profile.mixed,
        processor=_processor_calls(profile, f"{where}: processor"),
        reserve=_reserve(profile.memory, f"{where}: memory"),
        bucket_bytes=_bucket_bytes(profile.gradients.bucket, f"{where}: gradients.bucket"),
        tower_s=parse(profile.gradients.tower, "s", f"{where}: gradients.tower", positive=False),
        ring_devices=profile.gradients.ring,
        host_adding_byte_per_s=parse(profile.gradients.host, "byte/s", f"{where}: gradients.host", positive=False),
        accumulation=profile.gradients.accumulation,
        expert_s=parse(profile.experts.issue, "s", f"{where}: experts.issue", positive=False),
        eager_attention=profile.eager_attention,
        written_gelu=profile.written_gelu,
        adds_gradients=profile.adds_gradients,
        release_of=profile.release.of if profile.release else name,
        description=profile.description,
        aliases=profile.aliases,
        origin=_merged(name)[1],
        provenance=_provenance(name),
        written={key: _written(name, key) for key in _provenance(name)},
    )


def _product_s(given: Dispatch, where: str) -> float | None:
    if given.products is None:
        return None
    return parse(given.products, "s", f"{where}: dispatch.products", positive=False)


def with_files(framework: Framework, replaced: Replaced) -> Framework:
    """A framework with values in place of those that files give, its own or that of the one it is like."""
    origin = framework.origin
    given = {key: value for (scope, key), value in replaced.items() if scope == f"frameworks/{origin.get(key)}"}
    dispatch = list(framework.dispatch_s)
    for phases, kind in (((0,), "forward"), ((1, 2), "backward"), ((3,), "update")):
        for phase in phases:
            dispatch[phase] = given.get(f"dispatch.{kind}", dispatch[phase])
    paths = {
        which: msgspec.structs.replace(
            getattr(framework, which),
            **{key.partition(".")[2]: value for key, value in given.items() if key.startswith(which)},
        )
        for which in ("plain", "mixed")
    }
    keys = {"call": "call_s", "convolution": "convolution_s", "packing": "packing", "first_touch": "first_touch"}
    calls = replace(
        framework.processor,
        **{name: given[f"processor.{key}"] for key, name in keys.items() if f"processor.{key}" in given},  # type: ignore[arg-type]
    )
    step_s = given.get("dispatch.step", framework.step_s)
    helpers_s = given.get("dispatch.helpers", framework.helpers_s)
    timed = {"dispatch_s": tuple(dispatch), "step_s": step_s, "helpers_s": helpers_s, "processor": calls}
    return replace(framework, **timed, **paths)  # type: ignore[arg-type]


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
    content = catalog.read_yaml(Path(where))
    catalog.convert(content, FrameworkProfile, where)  # before it is merged, so that an error names this file
    if "like" in content and _canonical(content["like"]).endswith((".yaml", ".yml")):
        raise InputError(f"{where}: like: {content['like']!r} must be the name of a framework that ships")
    base, origin = _merged(_canonical(content["like"])) if "like" in content else ({}, {})
    own = {f"{section}.{key}": name for section in SECTIONS for key in content.get(section, {})}
    given = [section for section in SECTIONS if section in base or section in content]
    sections = {section: {**base.get(section, {}), **content.get(section, {})} for section in given}
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


def _reserve(section: HeldMemory, where: str) -> Reserve:
    return Reserve(
        parse(section.context, "byte", f"{where}.context", positive=False),
        parse(section.workspace, "byte", f"{where}.workspace", positive=False),
        section.fragmentation,
        section.loss_in_place,
        section.keeps,
        inf if section.algorithms == "any" else parse(section.algorithms, "byte", f"{where}.algorithms"),
    )


def _processor_calls(profile: FrameworkProfile, where: str) -> ProcessorCalls:
    section = profile.processor
    return ProcessorCalls(
        parse(section.call, "s", f"{where}.call", positive=False) if section.call else None,
        parse(section.convolution, "s", f"{where}.convolution", positive=False),
        section.relayout,
        profile.plain.layout != "channels first",
        section.packing,
        section.first_touch,
    )

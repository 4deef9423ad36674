"""Frameworks: what the software between a network and a device adds or takes away."""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from simulator import catalog
from simulator.device.profile import Source, Strict
from simulator.errors import InputError, UnknownNameError
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
    transposes: Annotated[
        float, Meta(ge=0, description="times a tensor-core convolution's operands are copied into channels-last layout")
    ] = 0.0
    channels_last: Annotated[
        bool, Meta(description="keeps tensors in the layout that tensor cores take, so that there are no transposes")
    ] = False
    folds: Annotated[bool, Meta(description="folds batch normalisation into convolutions at inference")] = False
    fuses: Annotated[bool, Meta(description="compiles element-wise operations in a row to one kernel")] = False
    promotes: Annotated[
        bool, Meta(description="keeps softmax, layer norms and what they are added to in full width in mixed precision")
    ] = False
    casts: Annotated[bool, Meta(description="casts master weights again in each forward pass at inference")] = False


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


class FrameworkProfile(Strict, frozen=True, kw_only=True):
    """One framework: `hardware_profiles/frameworks/<name>.yaml`."""

    name: str
    kind: Literal["framework"]
    description: str
    like: Annotated[str | None, Meta(description="the framework whose dispatch this one shares")] = None
    dispatch: Dispatch | None = None
    plain: Path = Path()
    mixed: Path = Path()
    processor: ProcessorSection = ProcessorSection()
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
class Framework:
    """A framework in SI units.

    Attributes
    ----------
    dispatch_s : host time of a call by phase (forward, input gradient, weight gradient, update). [s]
    step_s : host time before the first call of a step. [s]
    helpers_s : device time of the small kernels that a call launches beside its own (fills, layouts, scalings). [s]
    plain, mixed : how it runs kernels in one number format, and in mixed precision.
    processor : what its calls cost on a processor.
    like : the framework whose dispatch it shares.
    """

    name: str
    dispatch_s: tuple[float, float, float, float]
    step_s: float
    helpers_s: float
    plain: Path
    mixed: Path
    processor: ProcessorCalls = ProcessorCalls()
    like: str | None = None

    def path(self, precision: Precision) -> Path:
        """How it runs kernels at a precision."""
        return self.mixed if precision.master_weights else self.plain


@lru_cache
def load_framework(name: str) -> Framework:
    """A framework by name, or an `UnknownNameError` with the nearest one."""
    path = catalog.shipped(FOLDER, name)
    if path is None:
        raise UnknownNameError("framework", name, catalog.names(FOLDER))
    profile: FrameworkProfile = catalog.convert(catalog.read_yaml(path), FrameworkProfile, str(path))
    if (profile.dispatch is None) == (profile.like is None):
        raise InputError(f"{path}: give either dispatch or like, the framework whose dispatch it shares")
    if profile.dispatch is None:
        shared = load_framework(str(profile.like))
        calls = replace(shared.processor, channels_last=profile.plain.channels_last)
        return replace(
            shared, name=profile.name, plain=profile.plain, mixed=profile.mixed, processor=calls, like=shared.name
        )
    forward, backward, update, step, helpers = (
        parse(text, "s", f"{path}: dispatch", positive=False) for text in msgspec.structs.astuple(profile.dispatch)
    )
    dispatch = (forward, backward, backward, update)
    calls = _processor_calls(profile, f"{path}: processor")
    return Framework(profile.name, dispatch, step, helpers, profile.plain, profile.mixed, calls)


def _processor_calls(profile: FrameworkProfile, where: str) -> ProcessorCalls:
    section = profile.processor
    return ProcessorCalls(
        parse(section.call, "s", f"{where}.call", positive=False) if section.call else None,
        parse(section.convolution, "s", f"{where}.convolution", positive=False),
        section.layout,
        profile.plain.channels_last,
        section.packing,
        section.new_pages,
    )

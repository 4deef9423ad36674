"""Frameworks: what the software between a network and a device adds or takes away."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from simulator import catalog
from simulator.device.profile import Source, Strict
from simulator.errors import UnknownNameError
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
    folds: Annotated[bool, Meta(description="folds batch normalisation into convolutions at inference")] = False
    fuses: Annotated[bool, Meta(description="compiles element-wise operations in a row to one kernel")] = False
    casts: Annotated[bool, Meta(description="casts master weights again in each forward pass at inference")] = False


class FrameworkProfile(Strict, frozen=True, kw_only=True):
    """One framework: `hardware_profiles/frameworks/<name>.yaml`."""

    name: str
    kind: Literal["framework"]
    description: str
    dispatch: Dispatch
    plain: Path = Path()
    mixed: Path = Path()
    sources: tuple[Source, ...] = ()


@dataclass(frozen=True)
class Framework:
    """A framework in SI units.

    Attributes
    ----------
    dispatch_s : host time of a call by phase (forward, input gradient, weight gradient, update). [s]
    step_s : host time before the first call of a step. [s]
    helpers_s : device time of the small kernels that a call launches beside its own (fills, layouts, scalings). [s]
    plain, mixed : how it runs kernels in one number format, and in mixed precision.
    """

    name: str
    dispatch_s: tuple[float, float, float, float]
    step_s: float
    helpers_s: float
    plain: Path
    mixed: Path

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
    forward, backward, update, step, helpers = (
        parse(text, "s", f"{path}: dispatch", positive=False) for text in msgspec.structs.astuple(profile.dispatch)
    )
    dispatch = (forward, backward, backward, update)
    return Framework(profile.name, dispatch, step, helpers, profile.plain, profile.mixed)

"""The computer that issues a device's kernels: a class of computers, or a measured figure.

A small step waits for its host, and no device's profile names one: the same GPU sits in desktop computers and in
servers of any year. What a call costs scales with the speed of one thread.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from simulator import catalog
from simulator.causes.host import HostOfDevice
from simulator.device.device import Device
from simulator.device.framework import load_framework
from simulator.device.profile import Source, Strict
from simulator.device.provenance import Provenance, provenance_of
from simulator.errors import SimulatorError, UnsupportedError
from simulator.units import parse

FOLDER = "hardware_profiles/hosts"
OF = "pytorch"
"""The framework whose forward call a measured figure is of."""


class HostProfile(Strict, frozen=True, kw_only=True):
    """A class of computers: `hardware_profiles/hosts/<name>.yaml`."""

    name: Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9.-]*$")]
    kind: Literal["host"]
    description: str
    computer: Literal["server", "desktop"]
    speed: Annotated[float, Meta(gt=0, description="of one thread, of those that dispatch was measured on")]
    year: Annotated[int, Meta(ge=1970, le=2100)] | None = None
    aliases: tuple[str, ...] = ()
    sources: tuple[Source, ...] = ()


class Host(msgspec.Struct, frozen=True):
    """A computer that feeds a device.

    Attributes
    ----------
    desktop : whether calls cost what they cost in desktop computers, at `speed` 1.
    speed : of one thread, relative to the computers that dispatch times were measured on.
    measured : whether a figure of this very computer was given.
    """

    name: str
    desktop: bool
    speed: float
    measured: bool
    provenance: Provenance


@lru_cache
def load_host(text: str) -> Host:
    """A class of computers by name or file, or a figure: the time of a forward call of eager PyTorch, such as "35us".

    Raises
    ------
    UnknownNameError, InputError
        One line that names what is wrong and the nearest valid name.
    """
    if text[:1].isdigit() or text[:1] == ".":
        call_s = parse(text, "s", "host")
        speed = load_framework(OF).dispatch_s[0] / call_s
        return Host(text, desktop=False, speed=speed, measured=True, provenance=Provenance("measured", "the user"))
    path = catalog.find(FOLDER, text)
    profile: HostProfile = catalog.convert(catalog.read_yaml(path), HostProfile, str(path))
    found = provenance_of(profile.sources).get("speed", Provenance("assumption", "the profile names no source"))
    return Host(profile.name, profile.computer == "desktop", profile.speed, measured=False, provenance=found)


@lru_cache(maxsize=256)
def hosted(device: Device, text: str) -> Device:
    """A device in a computer: itself where the computer is not said.

    Raises
    ------
    SimulatorError
        For an unknown host, or for a processor, which is its own.
    """
    if not text or device.host == text:
        return device
    host = load_host(text)
    if device.kind == "cpu":
        raise UnsupportedError(f"{device.name} is a processor and its own host; leave --host out")
    scale = (HostOfDevice.of(device).desktop_host if host.desktop else 1.0) / host.speed
    provenance = {**device.provenance, "host": host.provenance}
    return replace(device, host=text, call_scale=scale, provenance=provenance)


def is_measured(text: str) -> bool:
    """Whether a host is a figure of the very computer, not a class or unsaid."""
    try:
        return bool(text) and load_host(text).measured
    except SimulatorError:
        return False

"""What a machine has beside its devices: processors, disks, and what it draws at the wall."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

from msgspec import Meta

from simulator.device.profile import Count, Size, Strict
from simulator.device.storage import TIMES, load_storage
from simulator.errors import InputError
from simulator.units import parse


class HostSection(Strict, frozen=True, kw_only=True):
    """The processors of one machine, or of each of several hosts in it."""

    processor: Annotated[str, Meta(description="which, such as '2x AMD EPYC 7742'")]
    cores: Annotated[int, Meta(gt=0, description="of all of them; two threads of a core are one")]
    count: Annotated[int, Meta(gt=0, description="hosts of one machine, such as the trays of a rack")] = 1
    memory: Size | None = None


class DisksSection(Strict, frozen=True, kw_only=True):
    """The disks of one machine that hold data, read and written side by side."""

    kind: Annotated[str, Meta(description="a storage profile, such as 'nvme-pcie4'")]
    count: Count = 1


class WallSection(Strict, frozen=True, kw_only=True):
    """What one machine draws at the wall, with devices, processors, fans, network cards and supplies."""

    idle: Annotated[str, Meta(description="while nothing runs, such as '1 kW'")]
    peak: Annotated[str, Meta(description="at most, as its maker rates it, such as '6.5 kW'")]


@dataclass(frozen=True)
class Machine:
    """A kind of machine, in SI units; None for what is not known.

    Attributes
    ----------
    devices : that it holds.
    cores : of its processors.
    disk, disks : storage profile of its disks, and how many work side by side.
    idle_w, peak_w : at the wall, while nothing runs and as rated. [W]
    holds : names of the devices that these powers are with; of any where empty.
    """

    name: str
    devices: int
    cores: int | None = None
    disk: str | None = None
    disks: int = 1
    idle_w: float | None = None
    peak_w: float | None = None
    holds: tuple[str, ...] = ()

    def with_device(self, name: str) -> Machine:
        """The same where it holds such devices; of other devices' machine nobody knows the power."""
        known = not self.holds or name.partition("[")[0] in self.holds
        return self if known else replace(self, idle_w=None, peak_w=None)


LOCAL = "local"
"""As storage: the machine's own disks."""


def disks_of(storage: str | None, machine: Machine | None) -> str | None:
    """Storage by its name where it is a machine's own disks, `nvme-pcie4*8`; any other as it is.

    Raises
    ------
    InputError
        If nobody says which machine, or which disks it has.
    """
    if storage != LOCAL:
        return storage
    if machine is None:
        raise InputError("storage local is the disks of a machine: give --system, or storage by name")
    if machine.disk is None:
        raise InputError(f"{machine.name}: its file names no disks; give storage by name, such as nvme-pcie4")
    return f"{machine.disk}{TIMES}{machine.disks}"


def machine(
    name: str, devices: int, host: HostSection | None, disks: DisksSection | None, power: WallSection | None
) -> Machine:
    """A machine of these sections.

    Raises
    ------
    InputError
        If the disks' profile is unknown, a power is none, or the peak is not above the idle power.
    """
    idle_w, peak_w = _watts(name, power)
    if disks is not None:
        load_storage(disks.kind)
    return Machine(
        name=name,
        devices=devices,
        cores=host.cores * host.count if host else None,
        disk=disks.kind if disks else None,
        disks=disks.count if disks else 1,
        idle_w=idle_w,
        peak_w=peak_w,
    )


def _watts(name: str, power: WallSection | None) -> tuple[float | None, float | None]:
    if power is None:
        return None, None
    idle_w, peak_w = parse(power.idle, "W", f"{name}: power.idle"), parse(power.peak, "W", f"{name}: power.peak")
    if peak_w <= idle_w:
        raise InputError(f"{name}: power.peak, {power.peak}, must be above power.idle, {power.idle}")
    return idle_w, peak_w

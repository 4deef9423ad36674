"""Machines of several devices: `hardware_profiles/systems/<name>.yaml`, and clusters of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Annotated, Literal

from msgspec import Meta

from simulator import catalog
from simulator.device.device import FOLDER as DEVICES
from simulator.device.device import Device, load_device
from simulator.device.link import FOLDER as LINKS
from simulator.device.link import Link, load_link
from simulator.device.machine import DisksSection, HostSection, Machine, WallSection, machine
from simulator.device.profile import Source, Strict
from simulator.errors import InputError, UnknownNameError, UnsupportedError

FOLDER = "hardware_profiles/systems"

Count = Annotated[int, Meta(gt=0)]


class SystemProfile(Strict, frozen=True, kw_only=True):
    """One machine: `hardware_profiles/systems/<name>.yaml`."""

    name: Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9.-]*$")]
    kind: Literal["system"]
    description: str
    device: Annotated[str, Meta(description="a device profile")]
    devices: Annotated[int, Meta(gt=0, description="in one machine")]
    link: Annotated[str, Meta(description="a link profile, between the machine's devices")]
    network: Annotated[str | None, Meta(description="a link profile, between machines")] = None
    ports: Annotated[int, Meta(gt=0, description="of the network, in one machine")] = 1
    host: HostSection | None = None
    storage: DisksSection | None = None
    power: WallSection | None = None
    usual_for: Annotated[tuple[str, ...], Meta(description="devices that usually sit in such a machine")] = ()
    aliases: tuple[str, ...] = ()
    sources: tuple[Source, ...] = ()


@dataclass(frozen=True)
class Cluster:
    """Devices that work on one step, and what joins them.

    Attributes
    ----------
    devices : in all machines together.
    per_node : in one machine.
    ports : of the network in one machine.
    machine : what each has beside its devices; None where only links are named.
    """

    devices: int
    per_node: int
    link: Link
    network: Link | None = None
    ports: int = 1
    machine: Machine | None = None

    @property
    def nodes(self) -> int:
        """Machines."""
        return self.devices // self.per_node

    @property
    def label(self) -> str:
        """As people read it: "8 over nvlink2", "32 in 4 machines over nvlink3 and infiniband-hdr"."""
        if self.nodes == 1 or self.network is None:
            return f"{self.devices} over {self.link.name}"
        return f"{self.devices} in {self.nodes} machines over {self.link.name} and {self.network.name}"


@lru_cache
def load_system(name: str) -> SystemProfile:
    """A machine by name, alias or path of a YAML file, or an `UnknownNameError` with the nearest one."""
    path = catalog.find(FOLDER, name)
    profile: SystemProfile = catalog.convert(catalog.read_yaml(path), SystemProfile, str(path))
    for key, folder in (("device", DEVICES), ("link", LINKS), ("network", LINKS)):
        _known(getattr(profile, key), folder, f"{path}: {key}")
    return profile


def _known(name: str | None, folder: str, where: str) -> None:
    """Nothing, or an `UnknownNameError` that says where a file names what there is not."""
    if name is None or "[" in name:  # a device with other numbers is read where it is loaded
        return
    try:
        catalog.find(folder, name)
    except UnknownNameError as error:
        raise UnknownNameError(catalog.WHAT[folder], error.name, error.known, where) from None


def cluster_of_system(name: str, nodes: int = 1, devices: int | None = None, network: Link | None = None) -> Cluster:
    """Some machines of a kind, whole unless fewer devices of one are asked for.

    network : between them, where their file names none.

    Raises
    ------
    InputError
        If the machines have no network between them, or hold fewer devices than asked for.
    """
    system = load_system(name)
    if nodes < 1:
        raise InputError(f"--nodes must be at least 1, found {nodes}")
    wanted = devices or nodes * system.devices
    if wanted > nodes * system.devices or (nodes > 1 and wanted % nodes):
        raise InputError(
            f"{system.name}: {wanted} devices do not divide over {nodes} machines of {system.devices}; "
            f"{nodes * system.devices} would"
        )
    if system.network and network is not None:
        raise InputError(
            f"{system.name} has a network of its own, {system.network}; leave --network {network.name} out"
        )
    network = load_link(system.network) if system.network else network
    joined = cluster(wanted, load_link(system.link), network, per_node=wanted // nodes, ports=system.ports)
    return replace(joined, machine=_machine(name))


@lru_cache
def _machine(name: str) -> Machine:
    system = load_system(name)
    found = machine(system.name, system.devices, system.host, system.storage, system.power)
    return replace(found, holds=tuple(load_device(one).name for one in (system.device, *system.usual_for)))


def cluster(devices: int, link: Link, network: Link | None = None, *, per_node: int = 0, ports: int = 1) -> Cluster:
    """Devices over a link, and over a network where they are in several machines.

    Raises
    ------
    InputError
        If a count is not positive or does not divide, or several machines have no network.
    """
    per_node = per_node or devices
    if devices < 1 or per_node < 1 or devices % per_node:
        raise InputError(f"{devices} devices do not divide into machines of {per_node}")
    if per_node < devices and network is None:
        raise InputError("more than one machine needs a network between them: --network infiniband-hdr")
    if network is not None and not network.network:
        raise InputError(f"--network {network.name}: a link inside a machine, not a network")
    return Cluster(devices, per_node, link, network, ports)


def usual_cluster(device: Device, devices: int) -> Cluster:
    """Where a device usually sits: the machine that names it, or a box of its host's PCIe generation.

    Raises
    ------
    UnsupportedError
        If neither is known, or the devices are more than one such machine holds.
    """
    for name in catalog.names(FOLDER):
        system = load_system(name)
        if device.name in system.usual_for:
            nodes = -(-devices // system.devices)
            return cluster_of_system(name, nodes, devices)
    return cluster(devices, load_link(_host_link(device)))


def _host_link(device: Device) -> str:
    """The PCIe generation that a device's profile names, "pcie4"."""
    links = device.profile.links
    words = links.host.type.split() if links and links.host else []
    if len(words) < 2 or words[0] != "PCIe":
        raise UnsupportedError(
            f"{device.name} names no link between several of it; give one, for example --link pcie4 or --system NAME"
        )
    return f"pcie{words[1]}"

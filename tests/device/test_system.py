"""Machines of several devices: how many, over which link, in how many machines, and what is no machine."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from simulator import catalog
from simulator.device.device import load_device
from simulator.device.link import load_link
from simulator.device.system import FOLDER, Cluster, cluster, cluster_of_system, load_system, usual_cluster
from simulator.errors import InputError, UnsupportedError

NVLINK, HDR = load_link("nvlink2"), load_link("infiniband-hdr")


def said(found: Cluster) -> tuple[int, int, int, int, str, str]:
    """(devices, a machine, machines, ports, link, network)."""
    network = found.network.name if found.network else ""
    return found.devices, found.per_node, found.nodes, found.ports, found.link.name, network


@pytest.mark.parametrize(
    ("name", "nodes", "devices", "expected"),
    [
        # A DGX A100 has eight boards and eight ports.
        ("dgx-a100-80gb", 1, None, (8, 8, 1, 8, "nvlink3", "infiniband-hdr")),
        ("dgx-a100-80gb", 4, None, (32, 8, 4, 8, "nvlink3", "infiniband-hdr")),
        ("dgx-a100-80gb", 4, 12, (12, 3, 4, 8, "nvlink3", "infiniband-hdr")),
        ("dgx-a100-80gb", 1, 5, (5, 5, 1, 8, "nvlink3", "infiniband-hdr")),
        ("dgx-2", 2, None, (32, 16, 2, 8, "nvlink2-nvswitch", "infiniband-edr")),
        ("8x-rtx-2080-ti", 1, None, (8, 8, 1, 1, "pcie3", "")),
    ],
)
def test_machines_of_a_kind(
    name: str, nodes: int, devices: int | None, expected: tuple[int, int, int, int, str, str]
) -> None:
    assert said(cluster_of_system(name, nodes, devices)) == expected


def test_a_link_is_itself_alone() -> None:
    assert len({NVLINK, HDR, load_link("nvlink2")}) == 2
    assert cluster(8, NVLINK) == cluster(8, load_link("nvlink2")) != cluster(8, load_link("nvlink3"))


def test_a_machine_as_people_read_it() -> None:
    assert cluster(8, NVLINK).label == cluster(8, NVLINK, HDR).label == "8 over nvlink2"
    assert cluster(32, NVLINK, HDR, per_node=8).label == "32 in 4 machines over nvlink2 and infiniband-hdr"
    assert cluster(2, NVLINK, HDR, per_node=1).label == "2 in 2 machines over nvlink2 and infiniband-hdr"


def test_devices_that_are_not_said_to_be_apart_share_a_machine() -> None:
    assert said(cluster(8, NVLINK)) == (8, 8, 1, 1, "nvlink2", "")
    assert said(cluster(1, NVLINK)) == (1, 1, 1, 1, "nvlink2", "")
    assert said(cluster(8, NVLINK, HDR, per_node=2, ports=4)) == (8, 2, 4, 4, "nvlink2", "infiniband-hdr")


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: cluster(0, NVLINK), "0 devices do not divide into machines of 0"),
        (lambda: cluster(8, NVLINK, per_node=-1), "8 devices do not divide into machines of -1"),
        (lambda: cluster(8, NVLINK, HDR, per_node=3), "8 devices do not divide into machines of 3"),
        (lambda: cluster(8, NVLINK, per_node=4), "more than one machine needs a network between them"),
        (lambda: cluster(8, NVLINK, NVLINK, per_node=4), "--network nvlink2: a link inside a machine, not a network"),
        (lambda: cluster_of_system("dgx-a100-80gb", 0), "--nodes must be at least 1, found 0"),
        (lambda: cluster_of_system("dgx-a100-80gb", 1, 9), "9 devices do not divide over 1 machines of 8; 8 would"),
        (lambda: cluster_of_system("dgx-a100-80gb", 2, 9), "9 devices do not divide over 2 machines of 8; 16 would"),
        (lambda: cluster_of_system("8x-rtx-2080-ti", 2), "more than one machine needs a network between them"),
    ],
)
def test_what_is_no_machine_is_refused(make: Callable[[], Cluster], why: str) -> None:
    with pytest.raises(InputError, match=why):
        make()


@pytest.mark.parametrize(
    ("name", "devices", "expected"),
    [
        ("v100-sxm3-32gb", 2, (2, 2, 1, 8, "nvlink2-nvswitch", "infiniband-edr")),
        ("v100-sxm3-32gb", 16, (16, 16, 1, 8, "nvlink2-nvswitch", "infiniband-edr")),
        ("v100-sxm3-32gb", 18, (18, 9, 2, 8, "nvlink2-nvswitch", "infiniband-edr")),
        ("v100-sxm3-32gb", 48, (48, 16, 3, 8, "nvlink2-nvswitch", "infiniband-edr")),
        # No machine is usual for the PCIe board: a box of its host's generation.
        ("v100-pcie-16gb", 8, (8, 8, 1, 1, "pcie3", "")),
        ("a100-pcie-40gb", 4, (4, 4, 1, 1, "pcie4", "")),
    ],
)
def test_where_a_device_usually_sits(name: str, devices: int, expected: tuple[int, int, int, int, str, str]) -> None:
    assert said(usual_cluster(load_device(name), devices)) == expected


def test_a_device_with_no_known_link_says_what_to_give() -> None:
    for name in ("cpu-16core", "m1"):
        with pytest.raises(UnsupportedError, match=f"{name} names no link between several of it; give one"):
            usual_cluster(load_device(name), 2)
    short = load_device("v100", overrides=["links.host.type=PCIe 4"])
    assert usual_cluster(short, 2).link.name == "pcie4"
    for link in ("PCIe", "NVLink 2"):
        device = load_device("v100", overrides=[f"links.host.type={link}"])
        with pytest.raises(UnsupportedError, match="names no link between several of it"):
            usual_cluster(device, 2)


@pytest.mark.parametrize("name", catalog.names(FOLDER))
def test_a_shipped_machine_is_whole(name: str) -> None:
    system = load_system(name)
    found = cluster_of_system(name)
    assert (found.devices, found.nodes, found.ports) == (system.devices, 1, system.ports)
    assert not load_link(system.link).network
    assert system.network is None or load_link(system.network).network
    assert load_device(system.device).name == system.device
    assert {load_device(one).name for one in system.usual_for} == set(system.usual_for)

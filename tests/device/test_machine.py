"""Machines beside their devices: processors, disks and power of every file, and what a wrong one says."""

from __future__ import annotations

from pathlib import Path

import pytest

from simulator import catalog
from simulator.device.device import load_device
from simulator.device.draw import HELD, draw_of
from simulator.device.link import load_link
from simulator.device.machine import DisksSection, HostSection, Machine, disks_of, machine
from simulator.device.storage import load_storage
from simulator.device.system import FOLDER, cluster_of_system, load_system
from simulator.errors import InputError, UnknownNameError
from simulator.execution.wall import LOADED

SYSTEMS = tuple(catalog.names(FOLDER))
TPUS = [name for name in SYSTEMS if name.startswith("tpu")]


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_machine_feeds_and_carries_its_devices(name: str) -> None:
    """Loaded, it draws at least what its boards do at their limit; idle, what they do at rest; each has a core."""
    found, draw = cluster_of_system(name).machine, draw_of(load_device(load_system(name).device))
    assert found is not None
    assert found.cores is not None
    assert found.cores >= found.devices
    assert (found.peak_w is None) == (name in TPUS)
    if found.peak_w is not None and found.idle_w is not None:
        assert draw is not None
        assert found.peak_w * LOADED > found.devices * HELD * draw.limit_w
        assert found.idle_w > found.devices * draw.static_w


def test_disks_of_a_machine_have_a_name() -> None:
    box = machine("box", 4, None, DisksSection(kind="nvme-pcie4", count=3), None)
    assert disks_of("local", box) == "nvme-pcie4*3"
    assert disks_of("hdd", None) == "hdd"
    assert disks_of(None, box) is None
    with pytest.raises(InputError, match="give --system"):
        disks_of("local", None)
    with pytest.raises(InputError, match="names no disks"):
        disks_of("local", Machine("bare", 4))


def test_hosts_of_one_machine_have_their_cores_together() -> None:
    assert machine("rack", 4, HostSection(processor="new", cores=72, count=2), None, None).cores == 144
    assert machine("box", 4, HostSection(processor="new", cores=24), None, None).cores == 24
    assert machine("bare", 4, None, None, None).cores is None


def test_disks_side_by_side_add_their_rates() -> None:
    one, three = load_storage("nvme-pcie4"), load_storage("nvme-pcie4*3")
    assert three.read_byte_per_s == 3 * one.read_byte_per_s
    assert three.write_byte_per_s == 3 * (one.write_byte_per_s or 0)
    assert three.file_s == pytest.approx(one.file_s / 3)
    alone = load_storage("nvme-pcie4*1")
    assert (alone.name, alone.read_byte_per_s) == ("nvme-pcie4*1", one.read_byte_per_s)
    assert load_storage("object-store*2").write_byte_per_s == (
        None if (write := load_storage("object-store").write_byte_per_s) is None else 2 * write
    )


@pytest.mark.parametrize("many", ["0", "-1", "x", "", "1.5", "1000000"])
def test_a_number_of_disks_is_a_number(many: str) -> None:
    with pytest.raises(InputError, match="number of disks is 1 to"):
        load_storage(f"nvme-pcie4*{many}")


@pytest.mark.parametrize(
    ("section", "why"),
    [
        ("power: {idle: 2 kW, peak: 1 kW}", "must be above"),
        ("power: {idle: 2 kg, peak: 10 kW}", "power.idle"),
        ("power: {idle: -1 W, peak: 10 kW}", "power.idle"),
        ("host: {processor: new, cores: 0}", "host.cores"),
        ("storage: {kind: nvme-pcie4, count: 0}", "storage.count"),
        ("storge: {kind: nvme-pcie4}", "storage"),
    ],
)
def test_a_wrong_file_says_what_is_wrong(tmp_path: Path, section: str, why: str) -> None:
    file = tmp_path / "box.yaml"
    heading = "name: box\nkind: system\ndescription: d\ndevice: a100-sxm4-40gb\ndevices: 4\nlink: nvlink3\n"
    file.write_text(heading + section + "\n", encoding="utf-8")
    with pytest.raises(InputError, match=why):
        cluster_of_system(str(file))


def test_disks_that_nobody_knows(tmp_path: Path) -> None:
    file = tmp_path / "box.yaml"
    heading = "name: box\nkind: system\ndescription: d\ndevice: a100-sxm4-40gb\ndevices: 4\nlink: nvlink3\n"
    file.write_text(heading + "storage: {kind: nvme-pcie44}\n", encoding="utf-8")
    with pytest.raises(UnknownNameError, match="nvme-pcie4"):
        cluster_of_system(str(file))


def test_a_file_that_names_what_there_is_not_says_where(tmp_path: Path) -> None:
    file = tmp_path / "box.yaml"
    heading = "name: box\nkind: system\ndescription: d\ndevices: 4\n"
    file.write_text(heading + "device: a100-sxm4-40gb\nlink: nvlnk3\n", encoding="utf-8")
    with pytest.raises(UnknownNameError, match=r"box.yaml: link: unknown link 'nvlnk3'; did you mean 'nvlink3'"):
        load_system(str(file))
    other = tmp_path / "rack.yaml"
    other.write_text(heading + "device: a100-sxm4-40gbb\nlink: nvlink3\n", encoding="utf-8")
    with pytest.raises(UnknownNameError, match=r"rack.yaml: device: unknown device"):
        load_system(str(other))


def test_a_machine_without_a_network_takes_one() -> None:
    two = cluster_of_system("8x-rtx-2080-ti", 2, None, load_link("ethernet-100"))
    assert (two.nodes, two.network) == (2, load_link("ethernet-100"))
    with pytest.raises(InputError, match="has a network of its own, infiniband-hdr"):
        cluster_of_system("dgx-a100-80gb", 2, None, load_link("ethernet-100"))

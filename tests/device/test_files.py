"""Small files of a user's own: what is written becomes SI units, and what is left out is nothing."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import Any

import pytest

from simulator import catalog
from simulator.device.device import Device, load_device, read_profile
from simulator.device.framework import load_framework
from simulator.device.host import load_host
from simulator.device.inheritance import load_family
from simulator.device.link import Cost, load_link
from simulator.device.loader import Loader, load_loader
from simulator.device.memory import Memory, is_memory, load_memory, memory_of, swapped_memory
from simulator.device.profile import DeviceProfile, MemoryProfile, MemorySection
from simulator.device.storage import Storage, load_storage
from simulator.device.system import cluster_of_system, load_system
from simulator.errors import InputError, UnknownNameError


@pytest.fixture
def own(tmp_path: Path) -> Any:
    """Writes a file of a kind; its path."""

    def write(kind: str, *lines: str) -> str:
        file = tmp_path / f"own-{len(list(tmp_path.iterdir()))}.yaml"
        file.write_text("\n".join(["name: own", f"kind: {kind}", "description: mine", *lines]), encoding="utf-8")
        return str(file)

    return write


def test_a_link(own: Any) -> None:
    plain = load_link(own("link", "bandwidth: 100 GB/s"))
    assert (plain.name, plain.description, plain.bandwidth_byte_per_s) == ("own", "mine", 100e9)
    assert (plain.network, plain.costs) == (False, {})
    costs = "{all_reduce: {start: 20 us, hop: 5 us, rate: 60 GB/s}, all_gather: {start: 0 s, hop: 0 s, rate: 1 GB/s}}"
    costs = f"collectives: {costs}"
    measured = load_link(own("link", "bandwidth: 200 Gbit/s", "network: true", costs))
    assert (measured.bandwidth_byte_per_s, measured.network) == (25e9, True)
    assert measured.costs == {
        "all_reduce": Cost(pytest.approx(20e-6), pytest.approx(5e-6), 60e9),
        "all_gather": Cost(0.0, 0.0, 1e9),
    }
    with pytest.raises(InputError, match=r"collectives\.all_reduce\.rate"):
        load_link(own("link", "bandwidth: 1 GB/s", costs.replace("60 GB/s", "0 GB/s")))
    with pytest.raises(InputError, match=r"collectives\.all_reduce\.hop"):
        load_link(own("link", "bandwidth: 1 GB/s", costs.replace("5 us", "5 GB")))


def test_storage(own: Any) -> None:
    assert load_storage(own("storage", "read: 2 GB/s")) == Storage("own", 2e9, 0.0, None)
    full = own("storage", "read: 2 GB/s", "write: 500 MB/s", "file: 100 us")
    assert load_storage(full) == Storage("own", 2e9, pytest.approx(100e-6), 500e6)


def test_a_loader(own: Any) -> None:
    assert load_loader(own("loader", "element_bytes: 4")) == Loader("own", None, 0.0, 4, records=False)
    assert load_loader(own("loader", "element_bytes: 4")).copy_byte_per_s == inf
    full = own("loader", "element_bytes: 1", "decode: 2 ms", "augment: 3 ms", "copy: 6 GB/s", "records: true")
    assert load_loader(full) == Loader("own", 2e-3, 3e-3, 1, records=True, copy_byte_per_s=6e9)


GIB = 2**30


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        # One unit of HBM2 is 8 GiB at 256 GB/s, one channel of DDR4-2400 16 GiB at 19.2 GB/s.
        ({"technology": "hbm2", "stacks": 4}, Memory("hbm2", 4, "stack", 32 * GIB, 1024e9)),
        ({"technology": "ddr4-2400", "channels": 8}, Memory("ddr4-2400", 8, "channel", 128 * GIB, 153.6e9)),
        # What the datasheet prints stands for all units together.
        (
            {"technology": "hbm2", "stacks": 4, "capacity": "16 GiB", "bandwidth": "900 GB/s"},
            Memory("hbm2", 4, "stack", 16 * GIB, 900e9),
        ),
        (
            {"technology": "hbm2", "stacks": 4, "bandwidth": "900 GB/s"},
            Memory("hbm2", 4, "stack", 32 * GIB, 900e9),
        ),
        (
            {"technology": "hbm2", "capacity": "24 GiB", "bandwidth": "900 GB/s"},
            Memory("hbm2", 1, "stack", 24 * GIB, 900e9),
        ),
        ({"capacity": "64 GiB", "bandwidth": "40 GB/s"}, Memory("memory", 1, "system", 64 * GIB, 40e9)),
    ],
)
def test_totals_of_a_memory(section: dict[str, Any], expected: Memory) -> None:
    assert memory_of(MemorySection(**section), "file") == expected


@pytest.mark.parametrize(
    ("section", "why"),
    [
        ({"technology": "hbm2", "channels": 4}, "file: memory: hbm2 comes in stacks, not channels"),
        ({"technology": "hbm2"}, "file: memory: give `stacks`, or both `capacity` and `bandwidth`"),
        ({"technology": "hbm2", "capacity": "8 GiB"}, "file: memory: give `stacks`, or both"),
        ({"technology": "hbm2", "bandwidth": "8 GB/s"}, "file: memory: give `stacks`, or both"),
        ({"capacity": "8 GiB"}, "file: memory: give `technology`, or both `capacity` and `bandwidth`"),
        ({"bandwidth": "8 GB/s"}, "file: memory: give `technology`, or both `capacity` and `bandwidth`"),
    ],
)
def test_a_memory_without_totals_is_refused(section: dict[str, Any], why: str) -> None:
    with pytest.raises(InputError, match=why):
        memory_of(MemorySection(**section), "file")


def test_a_swapped_memory_is_a_count_of_units() -> None:
    assert swapped_memory("hbm2:4") == {"technology": "hbm2", "stacks": 4}
    assert swapped_memory("ddr4-2400:1") == {"technology": "ddr4-2400", "channels": 1}
    for text in ("hbm2", "hbm2:", "hbm2:0", "hbm2:-1", "hbm2:2.5"):
        with pytest.raises(InputError, match="say how many stacks, for example hbm2:4"):
            swapped_memory(text)
    with pytest.raises(UnknownNameError, match="unknown memory technology 'hbm22'; did you mean 'hbm2'"):
        load_memory("hbm22")
    assert (is_memory("HBM2"), is_memory("v100"), load_memory("HBM2").name) == (True, False, "hbm2")


def test_a_memory_is_no_device_and_a_device_no_memory() -> None:
    assert isinstance(read_profile("hbm2"), MemoryProfile)
    assert isinstance(read_profile("v100"), DeviceProfile)
    with pytest.raises(InputError, match="hbm2 is a memory technology, not a device; use it as --memory hbm2:4"):
        load_device("hbm2")


BARE = ("peak: {fp32: 1 TFLOP/s}", "memory: {capacity: 8 GiB, bandwidth: 100 GB/s}")


def device(own: Any, kind: str, *lines: str) -> Device:
    return load_device(own(kind, *BARE, *lines))


def test_a_device_that_says_the_least(own: Any) -> None:
    found = device(own, "gpu")
    assert (found.name, found.kind, found.description, found.label) == ("own", "gpu", "mine", "own")
    assert found.peak == {"fp32": 1e12}
    assert found.memory == Memory("memory", 1, "system", 8 * GIB, 100e9)
    assert (found.unit_count, found.clock_hz, found.cache_bytes, found.cache_speedup) == (1, None, 0.0, None)
    assert (found.calls_s, found.start_s, found.step_s, found.limits) == (None, 0.0, 0.0, {})
    assert found.clocks == {"vector": 1.0, "matrix": 1.0}
    assert (found.host_scale, found.profile.host) == (1.0, "server")


def test_a_processor_that_says_all(own: Any) -> None:
    found = device(
        own,
        "cpu",
        "units: {count: 4, clock: 2.5 GHz}",
        "cache: {last_level: 8 MiB, bandwidth: 250 GB/s}",
        "calls: {forward: 5 us, backward: 7 us, update: 3 us, step: 11 us}",
        "launch: 1 us",
        "start: 0.5 us",
    )
    assert found.calls_s == pytest.approx((5e-6, 7e-6, 7e-6, 3e-6))
    assert (found.step_s, found.launch_s, found.start_s) == pytest.approx((11e-6, 1e-6, 0.5e-6))
    assert (found.unit_count, found.clock_hz, found.cache_bytes) == (4, 2.5e9, 8 * 2**20)
    # 250 GB/s of the cache over 100 of the memory.
    assert found.cache_speedup == 2.5


def test_a_cache_is_never_slower_than_the_memory_and_that_of_a_graphics_processor_is_not_read(own: Any) -> None:
    assert device(own, "cpu", "cache: {bandwidth: 50 GB/s}").cache_speedup == 1.0
    assert device(own, "cpu", "cache: {last_level: 8 MiB}").cache_speedup is None
    assert device(own, "gpu", "cache: {bandwidth: 250 GB/s}").cache_speedup is None


def test_a_clock_without_its_units_says_nothing(own: Any) -> None:
    assert device(own, "gpu", "units: {clock: 1 GHz}").clock_hz is None
    assert device(own, "gpu", "units: {clock: 1 GHz, count: 2}").clock_hz == 1e9
    assert device(own, "gpu", "units: {lanes: 64}").unit_count == 1


@pytest.mark.parametrize(
    ("load", "name"),
    [
        *((load_link, "nvlink2"), (load_loader, "dali"), (load_storage, "nvme-pcie4"), (load_memory, "hbm2")),
        *((load_host, "desktop"), (load_framework, "pytorch"), (load_family, "volta"), (load_system, "dgx-2")),
        (lambda name: cluster_of_system(name).machine, "dgx-2"),
    ],
)
def test_a_file_is_read_once(load: Callable[[str], Any], name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load(name)
    monkeypatch.setattr(catalog, "read_yaml", lambda path: pytest.fail(f"{path} is read again"))
    assert load(name) is first

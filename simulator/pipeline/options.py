"""What is asked of a workload on a device."""

from __future__ import annotations

from dataclasses import dataclass

from simulator.device.device import Device
from simulator.device.framework import load_framework
from simulator.device.host import hosted, load_host
from simulator.errors import InputError, UnknownNameError
from simulator.op.optimizer import get_optimizer
from simulator.precision import get_precision
from simulator.roofline.rates import Fidelity
from simulator.roofline.setting import Setting, setting_of
from simulator.roofline.traffic import TrafficModel

TASKS = ("train", "infer")
COUNTS = ("exact", "articles")
LARGEST = 10**12
"""Batches and epochs beyond this are surely a mistake."""


@dataclass(frozen=True)
class Options:
    """What is asked of a workload on a device; names are checked when the options are made.

    Attributes
    ----------
    batch : samples a step; the workload's own if None.
    epochs : passes over the dataset; one if None, and at inference then none is spoken of.
    host : class of the computer that issues the kernels, or the time of a call on it; the device's usual one if "".
    count : "exact", or "articles" for the founding articles' counting conventions.
    ignore_memory : go on where the step does not fit the device.
    """

    batch: int | None = None
    precision: str = "fp32"
    task: str = "train"
    epochs: int | None = None
    optimizer: str = "sgd"
    fidelity: str = "calibrated"
    traffic: str = "ideal"
    count: str = "exact"
    framework: str = "pytorch"
    host: str = ""
    ignore_memory: bool = False

    def __post_init__(self) -> None:
        """Refuse unknown names and sizes below one."""
        for what, value, known in (
            ("task", self.task, TASKS),
            ("fidelity", self.fidelity, tuple(Fidelity)),
            ("traffic model", self.traffic, tuple(TrafficModel)),
            ("count", self.count, COUNTS),
        ):
            if value not in known:
                raise UnknownNameError(what, value, known)
        for what, number in (("batch", self.batch), ("epochs", self.epochs)):
            if number is not None and not 1 <= number <= LARGEST:
                raise InputError(f"{what} must be between 1 and {LARGEST}, found {number}")
        get_optimizer(self.optimizer)
        load_framework(self.framework)
        if self.host:
            load_host(self.host)
        if get_precision(self.precision).inference_only and self.training:
            raise InputError(f"precision {self.precision} is for inference; add --task infer")

    @property
    def training(self) -> bool:
        """Whether a step trains."""
        return self.task == "train"

    @property
    def calibrated(self) -> bool:
        """Whether times hold all that is known, and not the datasheet alone."""
        return self.fidelity == Fidelity.CALIBRATED

    def on(self, device: Device) -> Setting:
        """What a time on a device reads, the device in the computer that is asked for."""
        device = hosted(device, self.host)
        return setting_of(device, self.precision, self.framework, self.fidelity, self.traffic)

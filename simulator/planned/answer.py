"""The answer for a plan: one step of many devices that share a network, and what is computed from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simulator.device.device import Device
from simulator.device.system import Cluster
from simulator.execution.bill import Bill
from simulator.execution.certainty import Interval
from simulator.execution.course import Course, without_last
from simulator.execution.input import Input
from simulator.execution.memory import Footprint
from simulator.execution.plan_certainty import plan_interval
from simulator.execution.run import Run, run_of
from simulator.parallel.plan import Plan
from simulator.parallel.step import PlanStep, Share
from simulator.pipeline import Options
from simulator.roofline.setting import Setting
from simulator.workload.dataset import NO_DATASET
from simulator.workload.workload import Workload


@dataclass(frozen=True, eq=False)
class Planned:
    """The answer for a plan.

    Attributes
    ----------
    share : one rank's share of the workload, lowered and timed for one micro-batch.
    global_batch : samples of a step of all devices.
    stages : memory of a device of each stage.
    model_flops : what the products of a step compute, without what is computed again. [FLOP]
    """

    workload: Workload
    device: Device
    options: Options
    plan: Plan
    cluster: Cluster
    share: Share
    step: PlanStep
    global_batch: int
    microbatch: int
    stages: tuple[Footprint, ...]
    model_flops: float
    peak_flop_per_s: float
    command: str = ""
    bill: Bill | None = None
    """What the run costs, where that is asked for."""
    course: Course | None = None
    """The run on the calendar, where that is asked for."""
    input: Input | None = None
    """How samples reach the devices, where that is asked for."""

    @property
    def setting(self) -> Setting:
        """What its kernels' times read."""
        return self.options.on(self.device)

    @property
    def run(self) -> Run | None:
        """All epochs, of whole steps, the last of an epoch too unless it is dropped; None where no dataset is known."""
        dataset = self.workload.dataset
        if dataset == NO_DATASET:
            return None
        run = run_of(dataset.samples, self.global_batch, self.options.epochs or 1, lambda _: self.step.time_s)
        dropped = self.course is not None and self.course.dropped
        return without_last(run, self.global_batch, self.step.time_s) if dropped else run

    @property
    def interval(self) -> Interval:
        """How sure the time is; unvalidated where it waits for samples."""
        return plan_interval(self.workload, waits=self.input is not None and self.input.exposed_s > 0)

    @property
    def samples_per_s(self) -> float:
        """Throughput of all devices. [1/s]"""
        return self.global_batch / self.step.time_s

    @property
    def tokens(self) -> int:
        """Positions of one sample; one where the network reads no sequence."""
        shape = self.workload.inputs[0]
        return shape[0] if len(shape) == 1 else 1

    @property
    def tokens_per_s_per_device(self) -> float:
        """[1/s]"""
        return self.samples_per_s * self.tokens / self.plan.devices

    @property
    def mfu(self) -> float:
        """Model FLOP utilisation: what the step's products compute over what all devices could."""
        return self.model_flops / (self.step.time_s * self.plan.devices * self.peak_flop_per_s)

    @property
    def fullest(self) -> int:
        """The stage that needs most memory."""
        return int(np.argmax([stage.total_bytes for stage in self.stages]))

    @property
    def memory(self) -> Footprint:
        """The fullest stage's."""
        return self.stages[self.fullest]

    @property
    def fits(self) -> bool:
        """Whether every stage does."""
        return all(stage.fits for stage in self.stages)

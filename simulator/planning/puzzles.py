"""What a reader of an answer stumbles over: work that no other counter has, passes of odd lengths, idle units."""

from __future__ import annotations

from dataclasses import dataclass

from simulator.pipeline import Simulation
from simulator.units import FLOPS_PER_MAC

LOW_MFU = 0.3
"""Use of the peak below which convolutions in groups are named as a cause."""

HALVED = 0.97
"""FLOPs of a step over those of its MACs, below which half of causal attention's scores are missed: other kernels and
rounding stay above it."""

PASSES = 3
"""Products of a training step over those of its forward pass: each has a gradient of both of its operands."""


@dataclass(frozen=True, slots=True)
class SampleWork:
    """Work of one sample. [MAC], [FLOP]

    passes : FLOPs of the step over those of the forward pass's MACs; None without MACs.
    """

    macs: float
    forward_flops: float
    step_flops: float
    passes: float | None


def work_of(simulation: Simulation) -> SampleWork:
    """MACs and FLOPs of a sample, and how many forward passes a step comes to.

    Worked: LeNet-5's 2.29 MMAC are 4.59 MFLOP forward; its training step does 13.2 MFLOP a sample, 2.87 times that.
    """
    macs, step = simulation.workload.macs, simulation.step
    forward, each = FLOPS_PER_MAC * macs, step.flops / step.batch
    return SampleWork(macs, forward, each, each / forward if forward else None)


@dataclass(frozen=True, slots=True)
class Puzzles:
    """What looks wrong and is not.

    Attributes
    ----------
    halved_attention : FLOPs are fewer than MACs say, since causal attention computes half of its scores.
    short_backward : the backward pass is shorter than the forward pass.
    idle_groups : convolutions in groups, of a step that uses little of the peak; 0 otherwise.
    """

    halved_attention: bool
    short_backward: bool
    idle_groups: int


def puzzles_of(simulation: Simulation) -> Puzzles:
    """What a reader of this answer stumbles over."""
    layers, step, work = simulation.workload.layers, simulation.step, work_of(simulation)
    calibrated = simulation.calibrated
    causal = any(getattr(layer.op, "causal", False) for layer in layers)
    passes = PASSES if step.backward_s else 1
    grouped = sum(getattr(layer.op, "groups", 1) != 1 for layer in layers)
    return Puzzles(
        halved_attention=causal and work.step_flops < HALVED * passes * work.forward_flops,
        short_backward=calibrated and 0 < step.backward_s < step.forward_s,
        idle_groups=grouped if calibrated and step.mfu < LOW_MFU else 0,
    )

"""One step: kernel times summed by phase and by layer."""

from __future__ import annotations

from dataclasses import dataclass, replace

import msgspec
import numpy as np

from simulator.op.kernel import Engine, Phase
from simulator.op.kernels import FloatArray, IntArray, Kernels
from simulator.roofline.roofs import quotient
from simulator.roofline.times import Bound, Times


@dataclass(frozen=True)
class Step:
    """One training or inference step.

    Attributes
    ----------
    batch : samples of each device.
    forward_s, backward_s, update_s : time of the kernels by phase. [s]
    seconds : the time by what it is spent waiting for, in the order of `Bound`; they sum to `time_s`. [s]
    mfu : model FLOP utilisation: FLOPs of matrix products over time times their peak.
    flops : floating-point operations of the whole step. [FLOP]
    """

    batch: int
    time_s: float
    forward_s: float
    backward_s: float
    update_s: float
    seconds: tuple[float, ...]
    mfu: float
    flops: float
    traffic_bytes: float
    devices: int = 1

    @property
    def bound(self) -> Bound:
        """What most of the time is spent waiting for; samples wherever they are late, however little they add."""
        return Bound.INPUT if self.input_s else Bound(int(np.argmax(self.seconds)))

    @property
    def bound_shares(self) -> tuple[float, ...]:
        """Share of the time by bound."""
        return tuple(seconds / self.time_s for seconds in self.seconds)

    @property
    def kernels_s(self) -> float:
        """Of its kernels alone, with their launches. [s]"""
        return self.time_s - self.communication_s - self.input_s

    @property
    def communication_s(self) -> float:
        """Of exchange that hides behind nothing. [s]"""
        return self.seconds[Bound.COMMUNICATION]

    @property
    def input_s(self) -> float:
        """Of waiting for samples. [s]"""
        return self.seconds[Bound.INPUT]

    @property
    def samples_per_s(self) -> float:
        """Throughput of all devices. [1/s]"""
        return self.batch * self.devices / self.time_s

    @property
    def flop_per_s(self) -> float:
        """What one device does, all its time counted. [FLOP/s]"""
        return self.flops / self.time_s

    @property
    def intensity_flop_per_byte(self) -> float:
        """Work for each byte of main memory traffic. [FLOP/byte]"""
        return self.flops / self.traffic_bytes

    @property
    def kept_share(self) -> float:
        """Speed of each device, of one that exchanges nothing."""
        return (self.time_s - self.communication_s) / self.time_s


FORWARD, BACKWARD, UPDATE = range(3)
"""The passes of a step; the backward pass holds both gradients."""


class LayerTimes(msgspec.Struct, frozen=True):
    """Columns over layers: all phases of a step. [FLOP], [byte], [s]

    `seconds` has shape (resources, layers), in the order of `OF_KERNELS`; `by_phase` has shape (phases, layers),
    `bound_by_pass` has shape (3, layers): forward, backward, update.
    """

    flops: FloatArray
    traffic_bytes: FloatArray
    seconds: FloatArray
    time_s: FloatArray
    by_phase: FloatArray
    bound: IntArray
    bound_by_pass: IntArray

    @property
    def by_pass(self) -> FloatArray:
        """Forward pass, backward pass (both gradients) and update, shape (3, layers). [s]"""
        backward = self.by_phase[Phase.INPUT_GRADIENT] + self.by_phase[Phase.WEIGHT_GRADIENT]
        return np.array([self.by_phase[Phase.FORWARD], backward, self.by_phase[Phase.UPDATE]])

    @property
    def intensity_flop_per_byte(self) -> FloatArray:
        """Work for each byte of main memory traffic, shape (layers,); NaN where nothing moves. [FLOP/byte]"""
        return quotient(self.flops, self.traffic_bytes)

    @property
    def flop_per_s(self) -> FloatArray:
        """What is done in the layer's time, shape (layers,); NaN where it takes none. [FLOP/s]"""
        return quotient(self.flops, self.time_s)


def step_of(kernels: Kernels, times: Times, batch: int, matrix_peak_flop_per_s: float) -> Step:
    """Sum kernel times (kernels,) to a step."""
    phase = np.bincount(kernels.phase, weights=times.time_s, minlength=len(Phase))
    bounds = np.bincount(times.bound, weights=times.time_s, minlength=len(Bound))
    total = float(times.time_s.sum())
    products = (kernels.engine == Engine.MATRIX) & (kernels.phase != Phase.UPDATE)
    matrix_flops = float(times.flops[products].sum())
    return Step(
        batch=batch,
        time_s=total,
        forward_s=float(phase[Phase.FORWARD]),
        backward_s=float(phase[Phase.INPUT_GRADIENT] + phase[Phase.WEIGHT_GRADIENT]),
        update_s=float(phase[Phase.UPDATE]),
        seconds=tuple(bounds.tolist()),
        mfu=matrix_flops / (total * matrix_peak_flop_per_s),
        flops=float(times.flops.sum()),
        traffic_bytes=float(times.traffic_bytes.sum()),
    )


def with_waiting(step: Step, bound: Bound, exposed_s: float) -> Step:
    """The step of a device that waits besides, for what hides behind none of its kernels. [s]"""
    total = step.time_s + exposed_s
    seconds = tuple(each + exposed_s * (one is bound) for one, each in zip(Bound, step.seconds, strict=True))
    return replace(step, time_s=total, seconds=seconds, mfu=step.mfu * step.time_s / total)


def layer_times(kernels: Kernels, times: Times, layers: int) -> LayerTimes:
    """Sum kernel times (kernels,) by layer; a layer's bound is what most of its time waits for."""

    def total(values: FloatArray) -> FloatArray:
        return np.bincount(kernels.layer, weights=values, minlength=layers).astype(float)

    by_bound = np.array([total(np.where(times.bound == bound, times.time_s, 0.0)) for bound in Bound])
    which = np.array([FORWARD, BACKWARD, BACKWARD, UPDATE])[kernels.phase]
    cells = (which * len(Bound) + times.bound) * layers + kernels.layer
    by_pass = np.bincount(cells, weights=times.time_s, minlength=3 * len(Bound) * layers).reshape(3, len(Bound), layers)
    by_phase = np.array([total(np.where(kernels.phase == phase, times.time_s, 0.0)) for phase in Phase])
    return LayerTimes(
        flops=total(times.flops),
        traffic_bytes=total(times.traffic_bytes),
        seconds=np.array([total(resource_s) for resource_s in times.seconds]),
        time_s=total(times.time_s),
        by_phase=by_phase,
        bound=by_bound.argmax(axis=0),
        bound_by_pass=by_pass.argmax(axis=1),
    )

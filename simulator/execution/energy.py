"""Energy of a step: what one device computes and moves in it, and what it draws meanwhile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from simulator.op.kernel import Phase
from simulator.precision import Engine
from simulator.roofline.times import Bound

if TYPE_CHECKING:
    from simulator.device.draw import Draw
    from simulator.op.kernels import FloatArray, Kernels
    from simulator.roofline.times import Times

TENSOR = "_tensor"
"""Peaks of tensor cores end so."""


@dataclass(frozen=True)
class Activity:
    """What one device does in a step.

    Attributes
    ----------
    lanes_s, tensors_s : in which its lanes and its tensor cores compute, whatever the kernels wait for. [s]
    traffic_bytes : from and to its memory. [byte]
    time_s : of the step, with all waiting. [s]
    """

    lanes_s: float
    tensors_s: float
    traffic_bytes: float
    time_s: float

    def power_w(self, draw: Draw) -> float:
        """Mean power over the step. [W]"""
        time_s = self.time_s
        return draw.power(self.lanes_s / time_s, self.tensors_s / time_s, self.traffic_bytes / time_s)


def activity_of(
    kernels: Kernels, times: Times, matrix_peak: str, time_s: float, repeats: tuple[float, float] = (1.0, 1.0)
) -> Activity:
    """The activity of a step of these kernels.

    Parameters
    ----------
    matrix_peak : name of the peak that products run at; only those of tensor cores run on them.
    time_s : of the step. [s]
    repeats : how often the passes run in a step, and how often the update.
    """
    passes, updates = repeats
    often = np.where(kernels.phase == Phase.UPDATE, updates, passes)
    products = kernels.engine == Engine.MATRIX
    in_tensors = products if matrix_peak.endswith(TENSOR) else np.zeros_like(products)
    return Activity(
        lanes_s=_total(times.seconds[Bound.COMPUTE], often * ~in_tensors),
        tensors_s=_total(times.seconds[Bound.COMPUTE], often * in_tensors),
        traffic_bytes=_total(times.traffic_bytes, often),
        time_s=time_s,
    )


def _total(column: FloatArray, often: FloatArray) -> float:
    return float((column * often).sum())

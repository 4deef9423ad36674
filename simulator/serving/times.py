"""What steps of an engine wait for, as seconds over an axis of resources."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simulator.op.kernels import FloatArray
from simulator.roofline.resource import Resource


class ServingBound(Resource):
    """What a step of an engine waits for, the first axis of its seconds."""

    COMPUTE = 0
    MEMORY = 1
    """Of weights and of the cache."""
    LAUNCHES = 2
    """Gaps between kernels, and the host that issues them."""
    EXCHANGE = 3
    """Sums over the devices of a group, and hand-over from stage to stage."""
    SCHEDULER = 4
    """The engine's own work on its host, before each step."""

    @property
    def key(self) -> str:
        """As JSON documents call its seconds."""
        return _KEYS.get(self, f"{self.word}_s")


_KEYS = {ServingBound.LAUNCHES: "gap_s", ServingBound.SCHEDULER: "host_s"}


@dataclass(frozen=True)
class StepTimes:
    """Steps by what they wait for. [s]

    Attributes
    ----------
    seconds : shape (resources, points), in the order of `ServingBound`; what waits for one waits for no other.
    cache_s : the part of kernels that read the cache, whatever they wait for, (points,) like all below.
    computing_s : in which the units compute, whatever the kernel waits for; beside the others, not one of them.
    """

    seconds: FloatArray
    cache_s: FloatArray
    flops: FloatArray
    traffic_bytes: FloatArray
    computing_s: FloatArray

    @property
    def time_s(self) -> FloatArray:
        """The whole step."""
        total: FloatArray = self.seconds.sum(axis=0)
        return total

    @property
    def intensity_flop_per_byte(self) -> FloatArray:
        """Work for each byte of main memory traffic. [FLOP/byte]"""
        return self.flops / self.traffic_bytes

    @property
    def flop_per_s(self) -> FloatArray:
        """What one device does, all its time counted. [FLOP/s]"""
        return self.flops / self.time_s

    def bound(self, point: int = 0) -> ServingBound:
        """What most of a point's time waits for, the first of equals."""
        return ServingBound(int(np.argmax(self.seconds[:, point])))


__all__ = ["ServingBound", "StepTimes"]

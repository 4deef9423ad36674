"""Several of a network beside each other on a device: streams that share weights, or replicas that do not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simulator.errors import InputError
from simulator.execution.memory import Footprint
from simulator.op.kernels import FloatArray


@dataclass(frozen=True)
class Instances:
    """How many of a network run beside each other on a device, each on a host thread of its own.

    Attributes
    ----------
    shared : whether they share weights and context, as streams of one process do, or are replicas that do not.
    """

    number: int = 1
    shared: bool = True

    def __post_init__(self) -> None:
        """Refuse what is none."""
        if self.number < 1:
            raise InputError(f"streams and replicas: at least 1, found {self.number}")

    @property
    def word(self) -> str:
        """What several of them are called."""
        return "streams" if self.shared else "replicas"

    def round_s(self, alone_s: FloatArray | float, device_s: FloatArray | float) -> FloatArray:
        """Time in which each copy runs a batch, where one alone takes `alone_s`, `device_s` of it on the device. [s]

        The device runs one batch after the other, and copies wait for their hosts meanwhile: at best max(alone, n x
        device). Source: Denning, Buzen, "The Operational Analysis of Queueing Network Models", ACM Computing Surveys
        10(3), 1978, section 5.2 (asymptotic bounds).
        """
        result: FloatArray = np.maximum(alone_s, self.number * device_s)
        return result

    def memory_bytes(self, memory: Footprint) -> float:
        """Of all copies. [byte]"""
        return self._fixed(memory) + self.number * self._moving(memory)

    def largest_batch(self, memory: Footprint) -> int:
        """Samples of each copy that the device holds at most; 0 where not even one."""
        room, batch = memory.capacity_bytes - self._fixed(memory), memory.largest_batch
        sample = memory.activations_per_sample_bytes * (1 + memory.reserve.fragmentation)
        if self.number == 1 or not sample:
            return batch
        each = room / self.number - (self._moving(memory) - _activations(memory))
        return max(0, int(each // sample))

    def _fixed(self, memory: Footprint) -> float:
        return memory.total_bytes - _activations(memory) if self.shared else 0.0

    def _moving(self, memory: Footprint) -> float:
        return _activations(memory) if self.shared else memory.total_bytes


ALONE = Instances()


def _activations(memory: Footprint) -> float:
    """With what lies unused between them. [byte]"""
    return memory.activations_bytes * (1 + memory.reserve.fragmentation)


__all__ = ["ALONE", "Instances"]

"""The largest rate of inference within a limit of latency: over all batches, and over streams beside each other.

A larger batch is not always faster: one more sample may begin another wave of tiles. And while one stream waits for its
host, the device runs another's batch, so that several small batches may do more within the limit than a large one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from simulator.op.kernels import FloatArray
from simulator.pipeline import Simulation
from simulator.pipeline.stages import times_of
from simulator.roofline.times import Bound
from simulator.serving.copies import Instances

MOST_STREAMS = 8
"""Streams that are tried where none are asked for: what host threads and queues of today's devices serve apart."""

EACH, EDGE, MOST = 4096, 64, 2**18
"""Batches of which each is looked at; beyond, of which multiples, of tiles' rows, are; and the largest."""

TOGETHER = 256
"""Batches that are evaluated in one broadcast."""

SAME = 1e-9
"""Rates that differ by less are the same; of them, the sooner answer is taken."""


@dataclass(frozen=True)
class Choice:
    """A batch, and how many of it run beside each other."""

    batch: int
    copies: Instances
    latency_s: float
    samples_per_s: float


def fastest_within(one: Simulation, limit_s: float, asked: Instances | None = None) -> Choice | None:
    """The batch and the streams of the largest rate that keep a limit; None where none does.

    Parameters
    ----------
    one : the network on its device at any batch.
    limit_s : on the latency of a batch. [s]
    asked : streams or replicas; up to `MOST_STREAMS` are tried where None.
    """
    tried = [asked] if asked else [Instances(number) for number in range(1, MOST_STREAMS + 1)]
    best: Choice | None = None
    for batches in _batches(max(copies.largest_batch(one.memory) for copies in tried)):
        alone_s, device_s = _seconds(one, batches)
        for copies in tried:
            best = _better(best, _of(copies, batches, (alone_s, device_s), limit_s, one))
        if alone_s.min() > limit_s:
            break
    return best


def _batches(largest: int) -> Iterator[FloatArray]:
    """Batches up to the largest, in pieces."""
    ends = np.arange(1, min(largest, EACH) + 1), np.arange(EACH + EDGE, min(largest, MOST) + 1, EDGE)
    every = np.concatenate(ends).astype(float)
    for start in range(0, len(every), TOGETHER):
        yield every[start : start + TOGETHER]


def _seconds(one: Simulation, batches: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Time of a step at each batch, and of its work on the device alone. [s]"""
    times = times_of(one.workload, one.kernels, one.device, one.options, batches[:, None])
    waiting = np.broadcast_to(times.seconds[Bound.OVERHEAD], times.time_s.shape)
    total_s: FloatArray = times.time_s.sum(axis=-1)
    return total_s, total_s - waiting.sum(axis=-1)


def _of(
    copies: Instances, batches: FloatArray, seconds: tuple[FloatArray, FloatArray], limit_s: float, one: Simulation
) -> Choice | None:
    """The best of some batches with so many copies."""
    alone_s, device_s = seconds
    latency_s = copies.round_s(alone_s, device_s)
    rate = copies.number * batches * one.step.devices / latency_s
    kept = (latency_s <= limit_s) & (batches <= copies.largest_batch(one.memory))
    if not kept.any():
        return None
    place = int(np.argmax(np.where(kept, rate, 0.0)))
    return Choice(int(batches[place]), copies, float(latency_s[place]), float(rate[place]))


def _better(one: Choice | None, other: Choice | None) -> Choice | None:
    """The faster of two; of equals the sooner, then that with fewer copies."""
    if one is None or other is None:
        return one or other
    gain = other.samples_per_s / one.samples_per_s - 1
    if abs(gain) > SAME:
        return other if gain > 0 else one
    return min(one, other, key=lambda choice: (choice.latency_s, choice.copies.number))


__all__ = ["Choice", "fastest_within"]

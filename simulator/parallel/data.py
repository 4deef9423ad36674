"""Data parallelism: each device steps on samples of its own; gradients are summed over all devices.

A gradient is ready when the kernel that computes it ends. Frameworks collect gradients in buckets and sum one bucket
after another while the backward pass goes on; what is left after it is exposed.
Source: Li et al., "PyTorch Distributed: Experiences on Accelerating Data Parallel Training", VLDB 13(12), 2020, 3.2.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf, log, sqrt

import numpy as np

from simulator.device.system import Cluster
from simulator.op.kernel import Phase
from simulator.op.kernels import FloatArray, Kernels
from simulator.roofline.collectives import Collective, Group, collective_seconds
from simulator.roofline.times import Times

SPREAD = 0.015
"""Relative spread of the same step on devices of one machine: the last of n is later by it times sqrt(2 ln n), the mean
of the largest of n normal values. From ResNet-50 on 2 to 8 V100 in PyTorch: 3.7 to 4.6 % slower than one, of which the
exchange explains 0.1 %. Source of the formula: David, Nagaraja, "Order Statistics", 2003, sections 4.2 and 10.5."""

SPREAD_AT_S = 0.2
"""Steps of the measured spread took about this long; what disturbs a longer one averages out, as independent deviations
do, so that its relative spread falls with the root of its length. [s]"""


def late_seconds(devices: int, seconds: float) -> float:
    """How much later than the average device the slowest one is done with work of some length. [s]"""
    return SPREAD * sqrt(2 * log(devices)) * sqrt(seconds * min(seconds, SPREAD_AT_S))


@dataclass(frozen=True)
class Exchange:
    """What a step's devices exchange.

    Attributes
    ----------
    message_bytes, ready_s, start_s, end_s : of each bucket, shape (buckets,): size, when its last gradient is ready,
        and when it is on the link, from the start of the step. [byte], [s]
    exposed_s : from the end of the backward pass to the end of the last bucket, which waits for the slowest device. [s]
    """

    message_bytes: FloatArray
    ready_s: FloatArray
    start_s: FloatArray
    end_s: FloatArray
    exposed_s: float

    @property
    def busy_s(self) -> float:
        """Time that the link is used. [s]"""
        return float((self.end_s - self.start_s).sum())


def exchange_gradients(
    kernels: Kernels, times: Times, gradient_bytes: FloatArray, cluster: Cluster, bucket_bytes: float
) -> Exchange:
    """The sums of a step's gradients, played out over its backward pass.

    Parameters
    ----------
    gradient_bytes : of each layer, shape (layers,). [byte]
    bucket_bytes : gradients that are summed together; infinite where all of them wait for the end. [byte]
    """
    ends = np.cumsum(times.time_s)
    backward_end = float(ends[kernels.phase != Phase.UPDATE][-1])
    size, when = gradient_buckets(kernels, ends, gradient_bytes, bucket_bytes)
    group = Group(cluster.devices, cluster.per_node)
    seconds = collective_seconds(Collective.ALL_REDUCE, size, group, cluster)
    end = one_after_another(when, seconds)
    late = late_seconds(cluster.devices, backward_end)
    exposed = late + (max(float(end[-1]) - backward_end, 0.0) if len(end) else 0.0)
    return Exchange(size, when, end - seconds, end, exposed)


def gradient_buckets(
    kernels: Kernels, ends: FloatArray, gradient_bytes: FloatArray, bucket_bytes: float
) -> tuple[FloatArray, FloatArray]:
    """Size of each bucket and when its last gradient is computed, shapes (buckets,). [byte], [s]

    Parameters
    ----------
    ends : when each launch ends, shape (launches,). [s]
    gradient_bytes : of each layer, zero for those that are not exchanged, shape (layers,). [byte]
    """
    ready = ready_seconds(kernels, ends, len(gradient_bytes))
    found = list(_buckets(gradient_bytes, ready, bucket_bytes))
    size, when = np.array([bucket[0] for bucket in found]), np.array([bucket[1] for bucket in found])
    if np.isinf(bucket_bytes):
        when = np.full_like(when, float(ends[kernels.phase != Phase.UPDATE][-1]))
    return size, when


def ready_seconds(kernels: Kernels, ends: FloatArray, layers: int) -> FloatArray:
    """When each layer's gradient is computed: with its last kernel of weights, else with its last of all. [s]"""
    ready = np.zeros(layers)
    backward = np.flatnonzero(kernels.phase != Phase.UPDATE)
    np.maximum.at(ready, kernels.layer[backward], ends[backward])
    gradients = np.flatnonzero(kernels.phase == Phase.WEIGHT_GRADIENT)
    ready[kernels.layer[gradients]] = 0.0
    np.maximum.at(ready, kernels.layer[gradients], ends[gradients])
    return ready


def _buckets(gradient_bytes: FloatArray, ready: FloatArray, bucket_bytes: float) -> Iterator[tuple[float, float]]:
    """(size, ready) of each bucket, filled in the order in which gradients are ready."""
    size = when = 0.0
    for layer in np.argsort(ready, kind="stable"):
        if not gradient_bytes[layer]:
            continue
        size += float(gradient_bytes[layer])
        when = max(when, float(ready[layer]))
        if size >= bucket_bytes:
            yield size, when
            size = when = 0.0
    if size:
        yield size, when


def one_after_another(ready: FloatArray, seconds: FloatArray) -> FloatArray:
    """End of each of a row of tasks, each starting when it is ready and the one before it has ended."""
    ends = np.empty_like(seconds)
    last = -inf
    for place, (when, length) in enumerate(zip(ready.tolist(), seconds.tolist(), strict=True)):
        last = ends[place] = max(last, when) + length
    return ends

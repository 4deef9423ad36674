"""Data parallelism: each device steps on samples of its own; gradients are summed over all devices.

A gradient is ready when the kernel that computes it ends. Frameworks collect gradients in buckets and sum one bucket
after another while the backward pass goes on; what is left after it is exposed.
Source: Li et al., "PyTorch Distributed: Experiences on Accelerating Data Parallel Training", VLDB 13(12), 2020, 3.2.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import log, sqrt

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
    ready = _ready_seconds(kernels, ends, len(gradient_bytes))
    backward_end = float(ends[kernels.phase != Phase.UPDATE][-1])
    found = list(_buckets(gradient_bytes, ready, bucket_bytes))
    size = np.array([bucket[0] for bucket in found])
    when = np.array([bucket[1] for bucket in found])
    if np.isinf(bucket_bytes):
        when = np.full_like(when, backward_end)
    group = Group(cluster.devices, cluster.per_node)
    seconds = collective_seconds(Collective.ALL_REDUCE, size, group, cluster)
    end = _one_after_another(when, seconds)
    late = SPREAD * sqrt(2 * log(cluster.devices)) * backward_end
    exposed = late + (max(float(end[-1]) - backward_end, 0.0) if len(end) else 0.0)
    return Exchange(size, when, end - seconds, end, exposed)


def _ready_seconds(kernels: Kernels, ends: FloatArray, layers: int) -> FloatArray:
    """When each layer's gradient is computed; zero for layers without one. [s]"""
    ready = np.zeros(layers)
    gradients = np.flatnonzero(kernels.phase == Phase.WEIGHT_GRADIENT)
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


def _one_after_another(ready: FloatArray, seconds: FloatArray) -> FloatArray:
    """End of each of a row of tasks, each starting when it is ready and the one before it has ended."""
    ends = np.empty_like(seconds)
    last = 0.0
    for place, (when, length) in enumerate(zip(ready.tolist(), seconds.tolist(), strict=True)):
        last = ends[place] = max(last, when) + length
    return ends

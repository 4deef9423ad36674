"""Data parallelism: each device steps on samples of its own; gradients are summed over all devices.

A gradient is ready when the kernel that computes it ends. Frameworks collect gradients in buckets and sum one bucket
after another while the backward pass goes on; what is left after it is exposed.
Source: Li et al., "PyTorch Distributed: Experiences on Accelerating Data Parallel Training", VLDB 13(12), 2020, 3.2.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import log, sqrt

import numpy as np

from simulator.causes.tiles import HALF_WIDTH
from simulator.device.device import Device
from simulator.device.link import Link
from simulator.device.system import Cluster
from simulator.op.kernel import OpClass, Phase
from simulator.op.kernels import FloatArray, IntArray, Kernels
from simulator.parallel.summing import Summing
from simulator.roofline.collectives import VOLUME, Collective, Group, collective_seconds
from simulator.roofline.setting import GRAPHICS, Setting
from simulator.roofline.times import Bound, Times

SPREAD = 0.015
"""Relative spread of the same step on devices of one machine: the last of n is later by it times sqrt(2 ln n), the mean
of the largest of n normal values. From ResNet-50 on 2 to 8 V100 in PyTorch: 3.7 to 4.6 % slower than one, of which the
exchange explains 0.1 %. Source of the formula: David, Nagaraja, "Order Statistics", 2003, sections 4.2 and 10.5."""

SPREAD_AT_S = 0.2
"""Steps of the measured spread took about this long; what disturbs a longer one averages out, as independent deviations
do, so that its relative spread falls with the root of its length. [s]"""


def late_seconds(devices: int, seconds: FloatArray) -> FloatArray:
    """How much later than the average device the slowest one is done with work of some length. [s]"""
    late: FloatArray = SPREAD * sqrt(2 * log(devices)) * np.sqrt(seconds * np.minimum(seconds, SPREAD_AT_S))
    return late


def tower_seconds(kernels: Kernels, setting: Setting, cluster: Cluster) -> float:
    """What a process that drives a machine's devices adds to their step, as its framework says. [s]

    It is the same for every network of batch normalisations at half width, whatever its batch and the devices; mixed
    precision runs in a process a device.

    Worked example: at 30 ms a tower, 7 x 30 = 210 ms with eight devices.
    """
    if not setting.framework.tower_s:
        return 0.0
    precision, kinds = setting.precision, kernels.distinct.op_class
    normalised = np.isin((OpClass.CONVOLUTION, OpClass.NORMALIZATION), kinds).all()
    if setting.width > HALF_WIDTH or precision.master_weights or not (normalised and setting.calibrated):
        return 0.0
    return setting.framework.tower_s * (min(cluster.devices, cluster.per_node) - 1)


MOST_UNITS, UNIT_BYTE_PER_S = 20, 22e9
"""Units of a graphics processor that an exchange keeps busy at most, and what each moves over the link: 20 of an H800's
132 drive 200 GB/s of NVLink and an InfiniBand card together. Source: DeepSeek-AI, "DeepSeek-V3 Technical Report", 2024,
arXiv 2412.19437, section 3.2.2; NCCL has a channel for about 22 GB/s. Other devices have engines for it."""


def taken_units(device: Device, link: Link) -> FloatArray:
    """Share of a device's units that an exchange takes from the kernels beside it."""
    units = min(link.bandwidth_byte_per_s / UNIT_BYTE_PER_S, MOST_UNITS) if device.kind == GRAPHICS else 0.0
    return np.minimum(units / np.asarray(device.unit_count, dtype=float), 0.5)


PASSES = 3
"""Bytes of memory traffic for each byte that a device sends: it reads its own, reads what came in, and what comes in is
written. Source: NCCL's primitives `recvReduceSend` and `recvCopySend`, which go through a buffer in memory."""

LARGE_SUM, MOST_SHARE = 2.0**28, 0.5
"""Message at whose rate exchange is taken to go on [byte], and the most that it takes of the memory's bandwidth."""


@lru_cache(maxsize=256)
def sent_byte_per_s(cluster: Cluster) -> float:
    """What each device sends in a large sum over all. [byte/s]"""
    group = Group(cluster.devices, cluster.per_node)
    sent = VOLUME[Collective.ALL_REDUCE](cluster.devices) * LARGE_SUM
    return sent / float(collective_seconds(Collective.ALL_REDUCE, LARGE_SUM, group, cluster))


def taken_share(device: Device, cluster: Cluster, by_memory: FloatArray | float) -> FloatArray:
    """Share of their speed that kernels lose beside an exchange: those that compute lose units, others bandwidth.

    by_memory : share of the kernels' time that memory bounds, of any shape.

    Worked example: V100 over NVLink 2, 128 GB/s a device: 7 of 80 units, 0.085; 3 x 128 of 900 GB/s, 0.43. Of kernels
    that memory bounds for 0.4 of their time 0.6 x 0.085 + 0.4 x 0.43 = 0.22.
    """
    if cluster.devices == 1:
        return np.zeros(())
    streamed = PASSES * sent_byte_per_s(cluster) / np.asarray(device.memory.bandwidth_byte_per_s, dtype=float)
    units, share = taken_units(device, cluster.link), np.asarray(by_memory)
    result: FloatArray = (1 - share) * units + share * np.minimum(streamed, MOST_SHARE)
    return result


def memory_share(times: Times) -> float:
    """Share of the kernels' time that memory bounds."""
    total = float(times.time_s.sum())
    return float(times.time_s[times.bound == Bound.MEMORY].sum()) / total if total else 0.0


def slowed_seconds(exchange_s: FloatArray | float, exposed_s: FloatArray | float, taken: FloatArray) -> FloatArray:
    """What kernels lose to an exchange beside them that takes a share of their speed: that share of the time. [s]

    Worked example: 10 ms of exchange, 2 of them exposed, on 20 of 132 units: 8 x 20 / 132 = 1.2 ms.
    """
    result: FloatArray = taken * np.maximum(np.asarray(exchange_s) - exposed_s, 0.0)
    return result


@dataclass(frozen=True)
class Exchange:
    """What a step's devices exchange.

    Attributes
    ----------
    message_bytes, ready_s, start_s, end_s : of each bucket, shape (buckets,): size, when its last gradient is ready,
        and when it is on the link, from the start of the step. [byte], [s]
    exposed_s : from the end of the backward pass to the end of the last bucket, which waits for the slowest device, and
        what kernels beside the exchange lose to it. [s]
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
    kernels: Kernels, times: Times, gradient_bytes: FloatArray, summing: Summing, taken: FloatArray
) -> Exchange:
    """The sums of a step's gradients, played out over its backward pass.

    Parameters
    ----------
    gradient_bytes : of each layer, shape (layers,). [byte]
    taken : share of their speed that kernels lose beside it (`taken_share`).
    """
    buckets = buckets_on(kernels, gradient_bytes, summing)
    when, end, exposed = _played(kernels, times.time_s, buckets, summing, taken)
    return Exchange(buckets.message_bytes, when, np.maximum(end - buckets.seconds, when), end, float(exposed))


@dataclass(frozen=True, eq=False)
class Buckets:
    """Gradients that are summed together, shape (buckets,): size, the launch that they wait for, time. [byte], [s]"""

    message_bytes: FloatArray
    last: IntArray
    seconds: FloatArray


def buckets_on(kernels: Kernels, gradient_bytes: FloatArray, summing: Summing) -> Buckets:
    """The buckets of a step's gradients on the links."""
    size, last = gradient_buckets(kernels, gradient_bytes, summing.bucket_bytes)
    group = Group(summing.cluster.devices, summing.cluster.per_node)
    return Buckets(size, last, collective_seconds(Collective.ALL_REDUCE, size, group, summing.cluster))


def exposed_seconds(
    kernels: Kernels, time_s: FloatArray, buckets: Buckets, summing: Summing, taken: FloatArray
) -> FloatArray:
    """What of the same exchange adds to many steps at once: (..., launches) -> (...,). [s]

    taken : share of their speed that kernels lose beside it, (...,) or one for all.
    """
    return _played(kernels, time_s, buckets, summing, taken)[2]


def _played(
    kernels: Kernels, time_s: FloatArray, buckets: Buckets, summing: Summing, taken: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """When buckets are ready and summed, and what it adds to the step, (..., buckets) twice and (...,). [s]"""
    ends = np.cumsum(time_s, axis=-1)
    backward_end = ends[..., backward_launches(kernels)[-1]]
    when = ends[..., buckets.last]
    end = one_after_another(when, buckets.seconds)
    late = late_seconds(summing.cluster.devices, backward_end)
    if not len(buckets.last):
        return when, end, late
    exposed = np.maximum(end[..., -1] - backward_end, 0.0)
    added = exposed + slowed_seconds(float(buckets.seconds.sum()), exposed, taken)
    back_s, adding_s = summing.host_seconds(float(buckets.message_bytes.sum()))
    backward_s = backward_end - ends[..., np.flatnonzero(kernels.phase == Phase.FORWARD)[-1]]
    on_host = back_s + np.maximum(adding_s - backward_s, 0.0)
    return when, np.minimum(end, (backward_end + on_host)[..., None]), late + np.minimum(added, on_host)


def backward_launches(kernels: Kernels) -> IntArray:
    """Launches before the update, in order."""
    return np.flatnonzero(kernels.phase != Phase.UPDATE)


def gradient_buckets(kernels: Kernels, gradient_bytes: FloatArray, bucket_bytes: float) -> tuple[FloatArray, IntArray]:
    """Size of each bucket and the launch that computes its last gradient, shapes (buckets,). [byte]

    Buckets are filled in the order in which gradients are ready. With infinite buckets all wait for the last launch.

    Parameters
    ----------
    gradient_bytes : of each layer, zero for those that are not exchanged, shape (layers,). [byte]
    """
    found = list(_buckets(gradient_bytes, gradient_launches(kernels, len(gradient_bytes)), bucket_bytes))
    size, last = np.array([bucket[0] for bucket in found]), np.array([bucket[1] for bucket in found], dtype=int)
    if np.isinf(bucket_bytes):
        last = np.full_like(last, backward_launches(kernels)[-1])
    return size, last


def gradient_launches(kernels: Kernels, layers: int) -> IntArray:
    """The launch that computes each layer's gradient: its last one of weights, else its last of all."""
    last = np.zeros(layers, dtype=int)
    for which in (backward_launches(kernels), np.flatnonzero(kernels.phase == Phase.WEIGHT_GRADIENT)):
        last[kernels.layer[which]] = which  # launches go up, so that the last one stays
    return last


def _buckets(gradient_bytes: FloatArray, launch: IntArray, bucket_bytes: float) -> Iterator[tuple[float, int]]:
    """(size, last launch) of each bucket."""
    size, last = 0.0, 0
    for layer in np.argsort(launch, kind="stable"):
        if not gradient_bytes[layer]:
            continue
        size += float(gradient_bytes[layer])
        last = int(launch[layer])
        if size >= bucket_bytes:
            yield size, last
            size = 0.0
    if size:
        yield size, last


def one_after_another(ready: FloatArray, seconds: FloatArray) -> FloatArray:
    """End of each of a row of tasks, each starting when it is ready and the one before it has ended; (..., tasks). [s]

    With S the running sum of `seconds`, task i ends at S_i + max over j <= i of (ready_j - S_{j-1}).
    """
    total = np.cumsum(seconds, axis=-1)
    ends: FloatArray = np.maximum.accumulate(ready - (total - seconds), axis=-1) + total
    return ends

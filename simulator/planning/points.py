"""Steps at many points at once: variants of a device, numbers of devices and batches as axes of the same functions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import msgspec
import numpy as np

from simulator.device.columns import DeviceColumns
from simulator.device.system import Cluster
from simulator.execution.certainty import SMALL_BATCH, clock_of
from simulator.op.kernel import Phase
from simulator.op.kernels import FloatArray, IntArray, Kernels, at_batch
from simulator.parallel.data import Buckets, buckets_on, exposed_seconds, taken_share, tower_seconds
from simulator.parallel.summing import Summing, summing_of
from simulator.pipeline import Options, gradient_bytes_of, interval_factors, kernels_of, times_of
from simulator.precision import Engine, Precision
from simulator.roofline.rates import Fidelity
from simulator.roofline.setting import Setting
from simulator.roofline.times import OF_KERNELS, Bound, busy_times, overhead_seconds
from simulator.workload.workload import Workload

CHUNK = 256
"""Points whose distinct kernels are worked out together, so that their columns stay in the processor's cache."""

SMALL = 2**14
"""Most numbers of a column over launches: 128 KiB, up to which the allocator hands out again what was freed instead of
fresh pages of the system, whose first touch costs more than the arithmetic on them."""


WAITING = ("launch_s", "start_s", "step_s", "call_scale", "calls_s.", "kernel.desktop_host")
"""Numbers of a device that a kernel's own time does not depend on."""


@dataclass(frozen=True)
class Points:
    """What all points have in common, and their axes: variants of a device, devices that step together, batches.

    `clusters` holds None for a single device; `devices` are in the host that `options` names.
    """

    workload: Workload
    devices: DeviceColumns
    options: Options
    batches: IntArray
    clusters: Sequence[Cluster | None] = (None,)

    @cached_property
    def setting(self) -> Setting:
        """Of the first variant."""
        return self.options.on(self.devices.one)

    def setting_at(self, variants: IntArray) -> Setting:
        """Of some variants, whose numbers are columns."""
        return msgspec.structs.replace(self.setting, device=self.devices.at(variants))

    @cached_property
    def kernels(self) -> Kernels:
        """Of the workload, lowered once."""
        return kernels_of(self.workload, self.options, self.devices.one)

    @cached_property
    def buckets(self) -> list[tuple[Buckets, Summing] | None]:
        """What each number of devices exchanges, and how; None where they exchange nothing."""
        gradients = gradient_bytes_of(self.workload, self.options)
        found: list[tuple[Buckets, Summing] | None] = []
        for each in self.clusters:
            if not self.options.training or each is None or each.devices == 1:
                found.append(None)
                continue
            summing = summing_of(self.setting, each)
            found.append((buckets_on(self.kernels, gradients, summing), summing))
        return found


@dataclass(frozen=True)
class Steps:
    """Columns of shape (variants, numbers of devices, batches).

    Attributes
    ----------
    time_s : of a step. [s]
    shares : of its time by bound, (bounds, ...).
    mfu : model FLOP utilisation.
    """

    time_s: FloatArray
    shares: FloatArray
    mfu: FloatArray


def steps_at(points: Points) -> Steps:
    """Steps at every combination of the axes, in pieces that a core's cache holds.

    A kernel's own time is worked out once for all variants that differ in what is waited between kernels alone.
    """
    parts = np.empty((len(points.devices), len(points.batches), len(Bound), len(points.clusters)))
    for variants, places in _pieces(points.devices, parts.shape[1]):
        parts[variants, places[:, None]] = _piece(points, variants, places)
    by_bound = np.moveaxis(parts, 2, 0).swapaxes(-1, -2)
    total = by_bound.sum(axis=0)
    return Steps(total, by_bound / total, _utilisation(points, total))


def _pieces(devices: DeviceColumns, batches: int) -> Iterator[tuple[IntArray, IntArray]]:
    """Some points of each piece: variants with each of their waiting costs, (points, costs), and batches."""
    groups = _alike(devices)
    numbers = np.arange(len(groups) * batches)
    for start in range(0, numbers.size, CHUNK):
        some = numbers[start : start + CHUNK]
        yield groups[some // batches], some % batches


def _alike(devices: DeviceColumns) -> IntArray:
    """Variants whose kernels take the same time, (groups, waiting costs); each alone where they come in no product."""
    each = np.arange(len(devices))
    own = [values for path, values in devices.changed.items() if not path.startswith(WAITING)]
    if len(own) == len(devices.changed):
        return each[:, None]
    if not own:
        return each[None, :]
    _, group, size = np.unique(np.array(own), axis=1, return_inverse=True, return_counts=True)
    if np.ptp(size):
        return each[:, None]
    return np.argsort(group.ravel(), kind="stable").reshape(len(size), -1)


def _piece(points: Points, variants: IntArray, places: IntArray) -> FloatArray:
    """Time by (bound, number of devices) of some points at each of their waiting costs, (points, costs, ...). [s]

    variants : (points, costs).
    places : of their batches, (points,).
    """
    batch = points.batches[places].astype(float)[:, None]
    busy_s, roof = _busy(points, variants[:, 0], batch)
    rows = max(SMALL // len(points.kernels.row), 1)
    found = np.empty((*variants.shape, len(Bound), len(points.clusters)))
    for start in range(0, len(batch), rows):
        some = slice(start, start + rows)
        launches = busy_s[some][:, points.kernels.row], roof[some][:, points.kernels.row]
        for place, each in enumerate(variants[some].T):
            found[some, place] = _by_bound(points, each, batch[some], launches)
    return found


def _busy(points: Points, variants: IntArray, batch: FloatArray) -> tuple[FloatArray, IntArray]:
    """Time of each distinct kernel without waiting, and the roof that binds it, (points, kernels)."""
    kernels, setting = points.kernels, points.setting_at(variants)
    shape = (len(batch), len(kernels.distinct))
    if setting.fidelity is Fidelity.NAPKIN:
        time_s = times_of(points.workload, kernels, setting.device, points.options, batch).time_s
        return time_s[:, np.unique(kernels.row, return_index=True)[1]], np.full(shape, Bound.COMPUTE)
    busy = busy_times(kernels, setting, batch)
    return np.broadcast_to(busy.busy_s, shape), np.broadcast_to(busy.roof, shape)


def _by_bound(
    points: Points, variants: IntArray, batch: FloatArray, launches: tuple[FloatArray, IntArray]
) -> FloatArray:
    """Time of each point's step by bound and number of devices, (points, bounds, numbers of devices). [s]"""
    kernels, (busy_s, bound) = points.kernels, launches
    time_s = busy_s
    if points.setting.calibrated:
        overhead_s = overhead_seconds(kernels, points.setting_at(variants), batch, busy_s)
        time_s, bound = busy_s + overhead_s, np.where(overhead_s > busy_s, Bound.OVERHEAD, bound)
    parts = np.zeros((len(batch), len(Bound), len(points.clusters)))
    for resource in OF_KERNELS:
        parts[:, resource] = np.einsum("ij,ij->i", time_s, bound == resource)[:, None]
    by_memory = parts[:, Bound.MEMORY, 0] / time_s.sum(axis=-1)
    for place, (cluster, buckets) in enumerate(zip(points.clusters, points.buckets, strict=True)):
        if cluster is not None and buckets is not None:
            taken = np.ravel(taken_share(points.devices.at(variants), cluster, by_memory[:, None]))
            exposed_s = exposed_seconds(kernels, time_s, *buckets, taken)
            parts[:, Bound.COMMUNICATION, place] = exposed_s + tower_seconds(kernels, points.setting, cluster)
    return parts


def _utilisation(points: Points, time_s: FloatArray) -> FloatArray:
    """FLOPs of matrix products over time times their peak; of the napkin estimate what it assumes."""
    kernels, devices = points.kernels, points.devices
    if points.setting.fidelity is Fidelity.NAPKIN:
        return np.broadcast_to(devices.number("utilisation")[:, None, None], time_s.shape)
    columns, times = kernels.distinct, np.bincount(kernels.row, minlength=len(kernels.distinct))
    products = (columns.engine == Engine.MATRIX) & (columns.phase != Phase.UPDATE)
    flops = (at_batch(columns.flops, points.batches.astype(float)[:, None]) * times)[:, products].sum(axis=-1)
    peak = devices.number(f"peak.{points.setting.matrix_peak}")
    result: FloatArray = flops / (time_s * peak[:, None, None])
    return result


def alike(devices: DeviceColumns, precision: Precision) -> list[IntArray]:
    """Variants whose kernels run at peaks of the same names, which decide what kernels they are; one set if all do."""
    chosen = np.zeros(len(devices), dtype=int)
    for wanted in (precision.matrix_peaks, precision.vector_peaks, ("fp16", "fp32")):
        peaks = [devices.number(f"peak.{name}") for name in wanted if name in devices.one.peak]
        if len(peaks) > 1:
            chosen = chosen * len(peaks) + np.argmax(peaks, axis=0)
    return [np.flatnonzero(chosen == one) for one in np.unique(chosen)]


def factors_at(points: Points, steps: Steps) -> tuple[FloatArray, FloatArray] | None:
    """Both bounds of each step over its time, each (variants, numbers of devices, batches); None where unknown."""
    waiting, found = steps.shares[Bound.OVERHEAD], np.empty((2, *steps.time_s.shape))
    clocks = points.devices.number(f"clocks.{clock_of(points.devices.one, points.options.precision)}")
    held = (clocks[0] - clocks)[:, None, None]
    small = points.batches < SMALL_BATCH
    for which in (small, ~small):
        if which.any():
            some, waits = points.batches[which], waiting[..., which]
            own = interval_factors(points.workload, points.devices.one, points.options, some, waits, held)
            if own is None:
                return None
            found[..., which] = own
    return found[0], found[1]

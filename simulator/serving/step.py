"""The time of one step of an engine: kernels, exchanges between devices, and the scheduler."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from simulator.device.device import Device
from simulator.op.kernel import Role
from simulator.op.kernels import Columns, FloatArray, Kernels
from simulator.precision import Engine, Precision
from simulator.roofline.rates import Fidelity, engine_peaks
from simulator.roofline.times import Times, kernel_times
from simulator.serving.engine import ServingEngine
from simulator.serving.exchange import sum_seconds
from simulator.serving.formats import Format
from simulator.serving.network import Generator, generator_of
from simulator.serving.states import reading_columns, stepping_columns
from simulator.serving.work import (
    Launches,
    Work,
    at_points,
    decode_columns,
    expert_columns,
    prefill_columns,
    work_of,
)
from simulator.units import parse
from simulator.workload.workload import Workload

FEW_ROWS = 8
"""Products of so many rows at most have kernels of their own, which stream the weights past them."""

UNPACKED_BYTES = 2.0
"""Of a weight that was widened."""


@dataclass(frozen=True)
class Deployment:
    """A model on devices: what serves a request.

    Attributes
    ----------
    ways, stages : devices that share each layer, and groups of layers one after the other.
    cache_bytes : of each number of the cache. [byte]
    by_experts : whether the devices share out whole experts.
    """

    workload: Workload
    device: Device
    engine: ServingEngine
    form: Format
    ways: int = 1
    stages: int = 1
    cache_bytes: float = 2.0
    by_experts: bool = False

    @property
    def devices(self) -> int:
        """Devices of one replica."""
        return self.ways * self.stages

    @property
    def generator(self) -> Generator:
        """One device's share of the network."""
        return generator_of(self.workload, self.ways)

    @property
    def work(self) -> Work:
        """One device's share of the work, of all stages."""
        engine = self.engine
        return work_of(
            self.generator,
            self.form,
            ways=self.ways,
            merges=engine.merges,
            fuses=engine.fuses,
            by_experts=self.by_experts,
        )


@dataclass(frozen=True)
class Load:
    """What is in a step, at many points at once, (points,) each.

    Attributes
    ----------
    tokens : new tokens of all requests.
    requests : requests whose next token is chosen.
    decoding, context : requests that decode, and the tokens that each has cached, on average.
    prompts, new, past : requests whose prompts are read, new tokens of each, tokens of each that are cached.
    """

    tokens: FloatArray
    requests: FloatArray
    decoding: FloatArray
    context: FloatArray
    prompts: FloatArray
    new: FloatArray
    past: FloatArray


def decoding(requests: FloatArray | float, context: FloatArray | float) -> Load:
    """Each request gets its next token."""
    batch, cached = np.broadcast_arrays(np.atleast_1d(np.asarray(requests, dtype=float)), np.asarray(context, float))
    none = np.zeros_like(batch)
    return Load(batch, batch, batch, cached, none, none, none)


def reading(prompts: FloatArray | float, new: FloatArray | float, past: FloatArray | float = 0.0) -> Load:
    """So many prompts of `new` tokens are read together, each behind `past` cached ones."""
    number, length, cached = np.broadcast_arrays(
        np.atleast_1d(np.asarray(prompts, dtype=float)), np.asarray(new, float), np.asarray(past, float)
    )
    none = np.zeros_like(number)
    return Load(number * length, number, none, none, number, length, cached)


def both(one: Load, other: Load) -> Load:
    """Requests that decode and prompts that are read, in one step."""
    return Load(
        one.tokens + other.tokens,
        one.requests + other.requests,
        one.decoding + other.decoding,
        one.context + other.context,
        one.prompts + other.prompts,
        one.new + other.new,
        one.past + other.past,
    )


@dataclass(frozen=True)
class StepTimes:
    """Time of a step by what it waits for, (points,) each. [s]

    Attributes
    ----------
    compute_s, memory_s, gap_s : of kernels, by what each waits for; the memory's holds weights and cache.
    cache_s : the part of kernels that read the cache, whatever they wait for.
    exchange_s : sums over the devices of a group, hand-over between stages.
    host_s : the engine's scheduler.
    computing_s : in which the units compute, whatever the kernel waits for; beside the others, not one of them.
    """

    compute_s: FloatArray
    memory_s: FloatArray
    gap_s: FloatArray
    cache_s: FloatArray
    exchange_s: FloatArray
    host_s: FloatArray
    flops: FloatArray
    traffic_bytes: FloatArray
    computing_s: FloatArray

    @property
    def time_s(self) -> FloatArray:
        """The whole step."""
        return self.compute_s + self.memory_s + self.gap_s + self.exchange_s + self.host_s

    def bound(self, point: int = 0) -> str:
        """What most of a point's time waits for."""
        parts = {
            "compute": self.compute_s,
            "memory": self.memory_s,
            "launches": self.gap_s,
            "exchange": self.exchange_s,
            "scheduler": self.host_s,
        }
        return max(parts, key=lambda name: float(parts[name][point]))


def step_times(deployment: Deployment, load: Load) -> StepTimes:
    """Times of steps with so much in them, one a point; all layers, of all stages one after the other."""
    work, form, points = deployment.work, deployment.form, len(load.tokens)
    totals = _Totals(points)
    for launches, number in ((work.token, load.tokens), (work.request, load.requests)):
        _add_launches(totals, deployment, launches, number, load)
    for group in work.experts:
        times = _priced(deployment, expert_columns(group, load.tokens), form.precision, load.tokens, 2)
        totals.add(times, np.full((2, 1), float(group.layers)), _gap(deployment, load))
    for attending, layers in work.attention:
        for columns, present in (
            (decode_columns(attending, load.decoding, load.context), load.decoding > 0),
            (prefill_columns(attending, load.prompts, load.new, load.past), load.prompts > 0),
        ):
            if present.any():
                times = _attention(deployment, columns, present, deployment.cache_bytes)
                totals.add(times, np.full((1, 1), float(layers)), _gap(deployment, load), cache=True)
    for mixer, layers in work.mixing:
        for kernels, present in (
            (stepping_columns(mixer, load.decoding, form), load.decoding > 0),
            (reading_columns(mixer, load.prompts, load.new, form), load.prompts > 0),
        ):
            for columns in kernels if present.any() else ():
                times = _attention(deployment, columns, present, form.activation_bytes)
                totals.add(times, np.full((1, 1), float(layers)), _gap(deployment, load), cache=True)
    return _with_rest(deployment, load, totals)


class _Totals:
    """Sums over kernels in the making. [s]"""

    def __init__(self, points: int) -> None:
        self.compute, self.memory, self.gap, self.cache, self.flops, self.traffic, self.computing = np.zeros(
            (7, points)
        )

    def add(
        self, times: tuple[FloatArray, FloatArray, FloatArray, FloatArray], number: FloatArray, gap: FloatArray,
        *, cache: bool = False,
    ) -> None:  # fmt: skip
        """Kernels (kernels, points), each launched `number` (kernels, 1) times."""
        compute, memory, flops, traffic = times
        busy = np.maximum(compute, memory) * number
        waits = compute >= memory
        self.compute += np.where(waits, busy, 0.0).sum(axis=0)
        self.memory += np.where(waits, 0.0, busy).sum(axis=0)
        self.computing += (compute * number).sum(axis=0)
        self.gap += np.where(busy > 0, gap * number, 0.0).sum(axis=0)
        self.flops += (flops * number).sum(axis=0)
        self.traffic += (traffic * number).sum(axis=0)
        if cache:
            self.cache += busy.sum(axis=0)


def _add_launches(totals: _Totals, deployment: Deployment, launches: Launches, number: FloatArray, load: Load) -> None:
    """Kernels that follow one number alone, worked out once for each different number."""
    different, place = np.unique(number, return_inverse=True)
    columns = at_points(launches, different)
    times = _priced(deployment, columns, deployment.form.precision, np.repeat(different, len(launches.columns)), 0)
    shape = (len(different), len(launches.columns))
    compute, memory, flops, traffic = (values.reshape(shape).T[:, place] for values in times)
    totals.add((compute, memory, flops, traffic), launches.times[:, None], _gap(deployment, load))


def _gap(deployment: Deployment, load: Load) -> FloatArray:
    """Between kernels: recorded graphs serve steps that decode alone."""
    return np.where(load.prompts > 0, deployment.engine.prefill_gap_s, deployment.engine.gap_s)


Priced = tuple[FloatArray, FloatArray, FloatArray, FloatArray]
"""Seconds of computing and of moving data, FLOP, bytes."""


def _priced(deployment: Deployment, columns: Columns, precision: Precision, rows: FloatArray, blocks: int) -> Priced:
    """Kernels that depend on tokens; `blocks` of them in a row of points each, or 0 for points in a row of kernels."""
    device, engine = deployment.device, deployment.engine
    times = _times(columns, device, precision)
    product = columns.engine == Engine.MATRIX
    rows = np.tile(rows, blocks) if blocks else rows
    few = product & (rows <= FEW_ROWS)
    compute = times.compute_s / np.where(product, engine.matrix * _sums(deployment), 1.0)
    compute = np.where(few, np.minimum(compute, _in_lanes(times, device, precision)), compute)
    streamed = times.traffic_bytes / _stream(device, engine, engine.weights)
    memory = np.where(few, streamed, np.where(product, np.minimum(times.memory_s, streamed), times.memory_s))
    if engine.unpacks_apart and deployment.form.unpacks:
        compute = compute + np.where(product & ~few, _unpacking(columns, device), 0.0)
    result = (compute, memory, times.flops, times.traffic_bytes)
    if not blocks:
        return result
    compute, memory, flops, traffic = (values.reshape(blocks, -1) for values in result)
    return compute, memory, flops, traffic


def _in_lanes(times: Times, device: Device, precision: Precision) -> FloatArray:
    """Products of few rows as vector lanes compute them, without tiles that rows would have to fill. [s]"""
    result: FloatArray = times.flops / (engine_peaks(device, precision)[0] * device.sustained["vector"])
    return result


def _unpacking(columns: Columns, device: Device) -> FloatArray:
    """Widening weights in memory: the narrow ones read, two bytes of each written. [s]

    n x k weights a group; worked example: 4096 x 14336 in 4.5 bits are 33 MB read and 117 MB written.
    """
    weights = columns.gemm[1, 0] * columns.gemm[2, 0] * columns.groups
    bandwidth = device.memory.bandwidth_byte_per_s * min(device.sustained["bandwidth"], 1.0)
    result: FloatArray = (columns.read[Role.WEIGHT, 0] + UNPACKED_BYTES * weights) / bandwidth
    return result


def _sums(deployment: Deployment) -> float:
    """Rate of products that are summed in half width, of those summed in full: half of the rate of 8-bit products,
    which GeForce boards alone have at four times that of full sums.
    """
    peak = deployment.device.peak
    if not deployment.engine.half_sums or not {"int8_tensor", "fp16_tensor"} <= peak.keys():
        return 1.0
    return max(peak["int8_tensor"] / 2 / peak["fp16_tensor"], 1.0)


def _attention(deployment: Deployment, columns: Columns, present: NDArray[np.bool_], width: float) -> Priced:
    """Attention at points where there is any, (1, points), over a cache of numbers of that width. [byte]"""
    engine, device = deployment.engine, deployment.device
    times = _times(columns, device, deployment.form.cache_precision(width))
    compute = np.where(present, times.compute_s / engine.attention, 0.0)
    memory = np.where(present, times.traffic_bytes / _stream(device, engine, engine.cache), 0.0)
    return compute[None], memory[None], (times.flops * present)[None], (times.traffic_bytes * present)[None]


def _stream(device: Device, engine: ServingEngine, share: float) -> float:
    """Bytes a second of a kernel that streams: a share of the memory's, at most what its units have under way.

    A unit has so many requests under way, and each takes so many clocks (Little's law). Worked example: 6.7 bytes a
    clock are 1.02 TB/s on 108 units at 1.41 GHz, half of an A100's memory.
    """
    bandwidth, units = share * device.memory.bandwidth_byte_per_s, device.profile.units
    if engine.unit_bytes is None or units is None or not units.clock:
        return bandwidth
    clock_hz = parse(units.clock, "Hz", f"{device.name}: units.clock")
    return min(bandwidth, engine.unit_bytes * clock_hz * device.unit_count)


def _times(columns: Columns, device: Device, precision: Precision) -> Times:
    number = len(columns)
    every = np.arange(number, dtype=np.int64)
    kernels = Kernels(columns, every, np.zeros(number, dtype=np.int64), np.zeros(number, dtype=bool))
    return kernel_times(kernels, device, 1.0, replace(precision, attention=None), Fidelity.CALIBRATED)


def _with_rest(deployment: Deployment, load: Load, totals: _Totals) -> StepTimes:
    engine, generator = deployment.engine, deployment.generator
    message = load.tokens * generator.features * deployment.form.activation_bytes
    exchange = generator.reductions * sum_seconds(deployment.device, deployment.ways, message)
    if deployment.stages > 1:
        hop = sum_seconds(deployment.device, 2, message) + engine.hand_over_s
        exchange = exchange + (deployment.stages - 1) * hop
    gap = totals.gap + engine.helpers * len(generator.attention) * _gap(deployment, load)
    host = engine.host_s + engine.request_s * load.requests + engine.prompt_s * load.prompts
    host = host + engine.device_s * (deployment.ways - 1)
    counts = (totals.flops, totals.traffic, totals.computing)
    return StepTimes(totals.compute, totals.memory, gap, totals.cache, exchange, host, *counts)


__all__ = ["Deployment", "Load", "StepTimes", "both", "decoding", "reading", "step_times"]

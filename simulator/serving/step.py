"""The time of one step of an engine: kernels, exchanges between devices, and the scheduler."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import ceil

import numpy as np

from simulator.device.device import Device
from simulator.op.kernels import FloatArray
from simulator.roofline.setting import Setting
from simulator.serving.engine import ServingEngine
from simulator.serving.exchange import sum_seconds
from simulator.serving.formats import Format
from simulator.serving.load import Load, both, decoding, reading
from simulator.serving.lowered import UNPACKED_BYTES, KernelChoice, Lowered, lowered_on
from simulator.serving.lowered_group import LoweredGroup
from simulator.serving.network import Generator, generator_of
from simulator.serving.times import ServingBound, StepTimes
from simulator.serving.work import Work, work_of
from simulator.units import parse
from simulator.workload.workload import Workload


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
    def fullest(self) -> float:
        """The fullest group's share of the layers; worked example: 32 layers in 3 groups are 11, 11 and 10."""
        depth = self.generator.depth
        return ceil(depth / self.stages) / depth

    @cached_property
    def generator(self) -> Generator:
        """One device's share of the network."""
        return generator_of(self.workload, self.ways)

    @cached_property
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

    @property
    def grouped(self) -> bool:
        """Whether all experts' products of a layer run as one kernel."""
        narrow = self.form.of_experts[0] < UNPACKED_BYTES
        return self.engine.groups == "all" or (self.engine.groups == "narrow" and narrow)

    @cached_property
    def lowered(self) -> Lowered:
        """Its kernels on the device at any load, whatever the engine's rates."""
        engine = self.engine
        expert_tile = engine.expert_tile if self.grouped else None
        choice = KernelChoice(engine.calls, engine.absorbs, engine.tile, expert_tile)
        return lowered_on(self.work, self.device, self.form, self.cache_bytes, choice)

    @cached_property
    def steady(self) -> float:
        """What the power limit leaves of the rate of products that follow each other."""
        return Setting(self.device, self.form.precision).steady


def step_times(deployment: Deployment, load: Load) -> StepTimes:
    """Times of steps with so much in them, one a point; all layers, of all stages one after the other."""
    seconds = np.zeros((len(ServingBound), len(load.tokens)))
    cache, launches, beside, flops, traffic, computing = np.zeros((6, len(load.tokens)))
    for group in deployment.lowered.groups(load):
        number, place = group.number, group.place
        rate, held = _rates(deployment, group)
        computing_s, moving_s = (
            _attention(deployment, group) if group.cache else _products(deployment, group, rate * held)
        )
        busy_s, waits = np.maximum(computing_s, moving_s) * number, computing_s >= moving_s
        seconds[ServingBound.COMPUTE] += np.where(waits, busy_s, 0.0).sum(axis=0)[place]
        seconds[ServingBound.MEMORY] += np.where(waits, 0.0, busy_s).sum(axis=0)[place]
        launches += _launched(deployment, group, busy_s).sum(axis=0)[place]
        beside_s = group.beside_s * number
        beside += beside_s.sum(axis=0)[place]
        flops += (group.flops * number).sum(axis=0)[place]
        traffic += (group.traffic_bytes * number).sum(axis=0)[place]
        # At work, units compute at the device's own rate; the rest of a call's time they wait. Held, they draw less.
        drawing = np.where(group.called, group.rate, 1.0) * held**2
        computing += (computing_s * drawing * number).sum(axis=0)[place]
        if group.cache:
            cache += (busy_s + beside_s).sum(axis=0)[place]
    engine, (helpers, issued) = deployment.engine, _helpers(deployment)
    # Recorded graphs serve steps that decode alone.
    gap_s = np.where(load.prompts > 0, engine.prefill_gap_s, engine.gap_s) * (launches + helpers) + beside
    issued_s = np.where((load.prompts > 0) | (not engine.recorded), engine.dispatch_s, 0.0) * (launches + issued)
    late_s = issued_s - seconds[ServingBound.COMPUTE] - seconds[ServingBound.MEMORY]
    seconds[ServingBound.LAUNCHES] = np.maximum(gap_s, late_s)
    seconds[ServingBound.EXCHANGE] = _exchange(deployment, load)
    seconds[ServingBound.SCHEDULER] = _host(deployment, load)
    return StepTimes(seconds, cache, flops, traffic, computing)


MIXTURE = (8.0, 24.0)
"""Kernels of a layer of experts beside its products, and what the host issues for them: scores, the choice of the best,
sorting tokens by expert, rounding, the weighted sum, joining the shared expert. Assumed: the round numbers, of a few
tried, with which published steps of mixtures fit best; nobody counted the launches."""

LATENT = (6.0, 12.0)
"""The same of latent attention: two normalisations, splitting, rotation, joining keys, writing the cache, rounding.
What there is to launch: DeepSeek-AI, arXiv 2405.04434, section 2.1; the numbers are assumed likewise."""


def _helpers(deployment: Deployment) -> tuple[float, float]:
    """Kernels of a step beside products, attention and element-wise ones, and operations that the host issues."""
    generator, engine = deployment.generator, deployment.engine
    own = engine.helpers * len(generator.attention)
    mixtures = len(generator.experts)
    if not engine.fuses:
        return own + MIXTURE[0] * mixtures, own + MIXTURE[0] * mixtures
    latent = sum(attending.latent for attending in generator.attention)
    kernels, issued = (own + MIXTURE[at] * mixtures + LATENT[at] * latent for at in (0, 1))
    return kernels, issued


def _products(deployment: Deployment, group: LoweredGroup, rate: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Seconds of computing and of moving data, of kernels that depend on tokens.

    On vector lanes alone, a product of few rows takes time in proportion to its rows, and experts' rows each read their
    expert: 8 rows of Q8_0 take an M2 Ultra 1.9 times what one takes.

    rate : of the device's calibrated one, at the clock that is held.
    """
    engine, product, few = deployment.engine, group.product, group.few & ~_on_lanes_alone(deployment, group)
    share = (engine.experts if group.mixture and (group.grouped or not engine.calls) else None) or engine.weights
    computing_s, widening_s = _computing(deployment, group, rate), group.unpack_s if engine.unpacks_apart else 0.0
    if engine.lanes:
        few = few | (product & group.sparse)
        compute_s = np.where(few, group.lanes_s / engine.lanes, computing_s + widening_s)
    else:
        compute_s = np.where(few, np.minimum(computing_s, group.lanes_s), computing_s) + widening_s
    streamed_s = group.traffic_bytes / _stream(deployment.device, engine, share)
    moved_s = np.where(product, np.minimum(group.memory_s, streamed_s), group.memory_s)
    memory_s = np.where(few, streamed_s * (group.alone if engine.lanes else 1.0), moved_s)
    return compute_s, np.where(group.called, group.memory_s, memory_s)


def _on_lanes_alone(deployment: Deployment, group: LoweredGroup) -> bool:
    """Whether experts in bf16 have the kernels of many rows alone, whose matrix units the engine cannot use."""
    return bool(group.mixture and deployment.engine.scalar and deployment.form.name == "bf16")


def _computing(deployment: Deployment, group: LoweredGroup, rate: FloatArray) -> FloatArray:
    """Seconds of computing of kernels that depend on tokens, as an engine's kernels of many rows do."""
    engine = deployment.engine
    if engine.scalar and deployment.form.name == "bf16":
        share = _expert_share(deployment, group)
        return np.where(group.product, group.lanes_s * group.fill / (engine.scalar * share), group.compute_s)
    return group.compute_s / rate


def _expert_share(deployment: Deployment, group: LoweredGroup) -> float:
    """Rate of experts' products in one launch, of that of others."""
    return deployment.engine.expert_rate if group.mixture and deployment.grouped else 1.0


def _rates(deployment: Deployment, group: LoweredGroup) -> tuple[FloatArray, FloatArray]:
    """Rate of products, of the device's calibrated one, and the share of the clock of bursts that they keep in a row.

    At a lower rate they draw less, so that the limit holds them less: at half of it, to the root of two of the share.
    """
    engine = deployment.engine
    matrix = 1.0 if group.grouped and engine.experts else engine.matrix
    narrow = np.where((group.unpack_s > 0) & (not engine.unpacks_apart), engine.narrow, 1.0)
    rate = matrix * _sums(deployment) * _expert_share(deployment, group) * narrow
    rate = np.where(group.product & ~group.called, rate, 1.0)
    share = deployment.steady / np.sqrt(np.minimum(rate, 1.0))
    return rate, np.where(group.product, np.minimum(share, 1.0), 1.0)


APART = 3.0
"""Kernels of an expert's product that runs by itself: widening its weights, narrowing its inputs, the product. Source:
llama.cpp, ggml-cuda.cu, ggml_cuda_mul_mat_id and ggml_cuda_op_mul_mat_cublas of 2024."""


def _launched(deployment: Deployment, group: LoweredGroup, busy_s: FloatArray) -> FloatArray:
    """Launches of each kernel that there is; experts' products may be launched one by one."""
    alone = group.mixture and not deployment.grouped
    each = np.where(np.asarray(group.experts) > 1, APART * group.experts, 1.0) if alone else 1.0
    launched: FloatArray = np.where(busy_s > 0, group.number * each, 0.0)
    return launched


def _attention(deployment: Deployment, group: LoweredGroup) -> tuple[FloatArray, FloatArray]:
    """The same of attention; the rate over prompts says nothing of one query's products over the cache.

    Where each head of queries reads its keys by itself, the heads of a group read them again, from a cache at best.
    """
    if group.called.any():
        return group.compute_s, group.memory_s
    engine, bandwidth = deployment.engine, deployment.device.memory.bandwidth_byte_per_s
    streamed_s = (group.traffic_bytes + _keys_again(engine, group)) / _stream(deployment.device, engine, engine.cache)
    if engine.again and not group.reading:
        streamed_s = streamed_s + group.traffic_bytes * (group.sharing - 1) / (engine.again * bandwidth)
    compute_s = group.compute_s / (engine.attention if group.reading else 1.0)
    if not engine.scores:
        return compute_s, streamed_s
    # Scores of several kernels are all computed, written and read.
    return compute_s / group.seen, streamed_s + engine.scores * group.pairs / bandwidth


def _keys_again(engine: ServingEngine, group: LoweredGroup) -> FloatArray | float:
    """Bytes of keys and values that a prompt's further tiles of queries read; heads that share keys share a tile.

    Worked example: 512 queries, 16 at a time, read all keys 31 times more.
    """
    if engine.queries is None or not group.reading:
        return 0.0
    return group.keys_bytes * np.maximum(group.new / engine.queries - 1, 0.0)


def _sums(deployment: Deployment) -> float:
    """Rate of products that are summed in half width, of those summed in full: half of the rate of 8-bit products,
    which GeForce boards alone have at four times that of full sums.
    """
    peak = deployment.device.peak
    if not deployment.engine.half_sums or not {"int8_tensor", "fp16_tensor"} <= peak.keys():
        return 1.0
    return max(peak["int8_tensor"] / 2 / peak["fp16_tensor"], 1.0)


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


def _exchange(deployment: Deployment, load: Load) -> FloatArray:
    """Sums over the devices of a group, and from each group of layers to the next. [s]"""
    generator = deployment.generator
    message = load.tokens * generator.features * deployment.form.activation_bytes
    start_s = deployment.engine.sum_s
    exchange_s = generator.reductions * sum_seconds(deployment.device, deployment.ways, message, start_s)
    if deployment.stages == 1:
        return exchange_s
    hop_s = sum_seconds(deployment.device, 2, message, start_s) + deployment.engine.hand_over_s
    return exchange_s + (deployment.stages - 1) * hop_s


def _host(deployment: Deployment, load: Load) -> FloatArray:
    """What a step of the scheduler costs. [s]"""
    engine = deployment.engine
    host_s = engine.host_s + engine.request_s * load.requests + engine.prompt_s * load.prompts
    return host_s + engine.device_s * (deployment.ways - 1)


__all__ = ["Deployment", "Load", "StepTimes", "both", "decoding", "reading", "step_times"]

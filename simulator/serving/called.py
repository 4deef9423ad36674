"""Kernels of a step as calls of an engine's libraries: times that were fitted to the calls of each kind of device.

Starts of calls are left out: in a step, kernels start behind those before them, and values are rounded in the kernels
that make them, so that between kernels is the engine's gap, as fits to whole steps find it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simulator.device.device import Device
from simulator.op.kernel import Engine, Role
from simulator.op.kernels import BoolArray, Columns, FloatArray
from simulator.roofline.setting import Setting
from simulator.serving.calls import BLOCK, DEPTH, GROUP, WIDE_BYTES, LibraryCall
from simulator.serving.load import Load
from simulator.serving.network import Attending
from simulator.serving.points import context_seen


@dataclass(frozen=True)
class CallTimes:
    """Times of kernels as calls, (kernels,) each; zero of those that are no calls. [s]

    Attributes
    ----------
    compute_s, memory_s : of computing and of moving data, of which the longer counts.
    beside_s : of rounding and whatever is done one after the other, beside both.
    """

    compute_s: FloatArray
    memory_s: FloatArray
    beside_s: FloatArray


@dataclass(frozen=True)
class CallWork:
    """What times of calls are made of, (kernels,) each.

    Attributes
    ----------
    compute_s : that the device's units take for products and softmax. [s]
    moved_bytes : operands, results and cache that pass the memory. [byte]
    rounding_s : of reading wide activations and writing narrow ones. [s]
    depth : steps of a product's sum, or tokens that each query sees.
    waves : of attention's blocks over the device's units.
    lone : whether attention over a cache is of heads that share no keys.
    """

    compute_s: FloatArray
    moved_bytes: FloatArray
    rounding_s: FloatArray
    depth: FloatArray
    waves: FloatArray
    lone: BoolArray

    def times(self, call: LibraryCall, device: Device) -> CallTimes:
        """Under a library's call: the slowest of computing, streaming and its chain, after what follows none of them.

            time = rounding + (depth_s depth / 1024 + block_s waves (alone where heads share no keys))
                 + max(compute_s / compute, moved / (stream bandwidth), chain_s depth / 1024)

        >>> from simulator.device.device import load_device
        >>> call = LibraryCall(start_s=3e-6, compute=0.8, stream=0.5, depth_s=1e-6)
        >>> one = np.ones(1)  # 8 us of computing, 16.776 MB in half of an H100's 3.3552 TB/s are 10 us
        >>> work = CallWork(8e-6 * one, 16.776e6 * one, 0 * one, 4096 * one, 0 * one, one < 0)
        >>> times = work.times(call, load_device("h100"))
        >>> [f"{1e6 * float(part[0]):.0f}" for part in (times.compute_s, times.memory_s, times.beside_s)]
        ['10', '10', '4']
        """
        chains = self.depth / DEPTH
        blocks = self.waves * np.where(self.lone, call.alone, 1.0)
        streamed_s = self.moved_bytes / (call.stream * device.memory.bandwidth_byte_per_s)
        return CallTimes(
            self.compute_s / call.compute,
            np.maximum(streamed_s, call.chain_s * chains),
            self.rounding_s + call.depth_s * chains + call.block_s * blocks,
        )

    def seconds(self, call: LibraryCall, device: Device) -> FloatArray:
        """Of each call with its start. [s]"""
        times = self.times(call, device)
        return call.start_s + times.beside_s + np.maximum(times.compute_s, times.memory_s)


def product_work(columns: Columns, compute_s: FloatArray, setting: Setting) -> CallWork:
    """Products of weights; `compute_s` is what the device's units take for each. [s]

    Wide activations are read, rounded and written narrow before a product in narrow numbers, which then reads them.
    """
    operand, depth = min(setting.precision.operand_bytes, WIDE_BYTES), columns.gemm[2, 0]
    inputs = columns.read[Role.ACTIVATION, 0]
    rounded_bytes = inputs * (WIDE_BYTES + operand) * (operand < WIDE_BYTES)
    moved = columns.read[Role.WEIGHT, 0] + operand * inputs + WIDE_BYTES * columns.write[Role.ACTIVATION, 0]
    return CallWork(
        compute_s, moved, rounded_bytes / setting.bandwidth_byte_per_s, depth, np.zeros_like(depth), depth < 0
    )


def product_times(columns: Columns, compute_s: FloatArray, setting: Setting, call: LibraryCall) -> CallTimes:
    """The products among kernels as a library's calls."""
    product = columns.engine == Engine.MATRIX
    times = product_work(columns, compute_s, setting).times(call, setting.device)
    parts = (times.compute_s, times.memory_s, times.beside_s)
    return CallTimes(*(np.where(product, part, 0.0) for part in parts))


def attention_times(
    attending: Attending,
    load: Load,
    work: tuple[FloatArray, FloatArray],
    device: Device,
    call: LibraryCall,
    *,
    reading: bool,
) -> CallTimes:
    """Attention over prompts or over a cache as calls. work : seconds of computing [s], and bytes that move."""
    compute_s, moved = work
    seen = load.past + load.new if reading else load.context
    depth = context_seen(attending, seen)
    blocks = load.prompts * np.ceil(load.new / BLOCK) * attending.heads
    waves = (blocks if reading else decoding_blocks(attending, load.decoding)) / device.unit_count
    lone = np.full(depth.shape, not reading and attending.heads == attending.kv_heads)
    return CallWork(compute_s, moved, np.zeros_like(depth), depth, waves, lone).times(call, device)


def decoding_blocks(attending: Attending, requests: FloatArray) -> FloatArray:
    """Blocks of attention over a cache: one of each head of keys, or of each head where too many share one.

    Worked example: 16 requests of 32 heads that share 8 are 128 blocks; of 64 heads that share one, 1,024.
    """
    shared = attending.heads <= GROUP * attending.kv_heads
    return requests * (attending.kv_heads if shared else attending.heads)


__all__ = ["CallTimes", "CallWork", "attention_times", "decoding_blocks", "product_times", "product_work"]

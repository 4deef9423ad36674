"""Kernels of a step as calls of an engine's libraries: times that were fitted to the calls of each kind of device.

Starts of calls are left out: in a step, kernels start behind those before them, and values are rounded in the kernels
that make them, so that between kernels is the engine's gap, as fits to whole steps find it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simulator.device.device import Device
from simulator.op.kernel import Engine, Role
from simulator.op.kernels import Columns, FloatArray
from simulator.roofline.setting import Setting
from simulator.serving.calls import BLOCK, DEPTH, WIDE_BYTES, LibraryCall
from simulator.serving.load import Load
from simulator.serving.network import Attending


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


def product_times(columns: Columns, compute_s: FloatArray, setting: Setting, call: LibraryCall) -> CallTimes:
    """Products of weights as a library's calls; `compute_s` is what the device's units take for each. [s]

    Wide activations are read, rounded and written narrow before a product in narrow numbers, which then reads them.
    """
    product = columns.engine == Engine.MATRIX
    depth = columns.gemm[2, 0]
    operand = min(setting.precision.operand_bytes, WIDE_BYTES)
    inputs = columns.read[Role.ACTIVATION, 0]
    rounded_bytes = inputs * (WIDE_BYTES + operand) * (operand < WIDE_BYTES)
    moved = columns.read[Role.WEIGHT, 0] + operand * inputs + WIDE_BYTES * columns.write[Role.ACTIVATION, 0]
    beside_s = call.depth_s * depth / DEPTH + rounded_bytes / setting.bandwidth_byte_per_s
    bandwidth = setting.device.memory.bandwidth_byte_per_s
    streamed_s = np.maximum(moved / (call.stream * bandwidth), call.chain_s * depth / DEPTH)
    return CallTimes(
        np.where(product, compute_s / call.compute, 0.0),
        np.where(product, streamed_s, 0.0),
        np.where(product, beside_s, 0.0),
    )


def attention_times(
    attending: Attending,
    load: Load,
    work: tuple[FloatArray, FloatArray],
    device: Device,
    call: LibraryCall,
    reading: bool,
) -> CallTimes:
    """Attention over prompts or over a cache as calls. work : seconds of computing [s], and bytes that move."""
    compute_s, moved = work
    seen = load.past + load.new if reading else load.context
    depth = seen if attending.span is None else np.minimum(seen, attending.span)
    blocks = load.prompts * np.ceil(load.new / BLOCK) if reading else load.decoding
    waves = blocks * attending.heads / device.unit_count
    return CallTimes(
        compute_s / call.compute,
        moved / (call.stream * device.memory.bandwidth_byte_per_s),
        call.depth_s * depth / DEPTH + call.block_s * waves,
    )


__all__ = ["CallTimes", "attention_times", "product_times"]

"""The calibrated fidelity: what keeps each class of kernel from the datasheet's peaks, one small function a cause."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from simulator.device.device import Device
from simulator.device.framework import Path
from simulator.op.kernel import OpClass
from simulator.op.kernels import Columns, FloatArray, at_batch
from simulator.precision import Engine, Precision, Role
from simulator.roofline.products import KEPT, activations, matrix_part, on_tensor_cores, product_seconds
from simulator.roofline.rates import engine_peaks
from simulator.roofline.winograd import winograd_seconds

HALF_WIDTH = 2
"""Bytes of a half-width value."""

CACHE_SPEEDUP = 3.0
"""Bandwidth of a last-level cache over that of the main memory; 2.5 to 4 on V100, A100 and H100 (gpu-benches)."""

_CLASS_COEFFICIENT = {
    OpClass.GEMM: "operand",
    OpClass.CONVOLUTION: "operand",
    OpClass.ATTENTION: "operand",
    OpClass.NORMALIZATION: "normalization",
    OpClass.POOLING: "pooling",
    OpClass.ELEMENTWISE: "elementwise",
    OpClass.SOFTMAX: "softmax",
    OpClass.REDUCTION: "reduction",
    OpClass.COPY: "copy",
    OpClass.LOOKUP: "copy",
    OpClass.UPDATE: "update",
    OpClass.CAST: "update",
}


def calibrated_seconds(
    columns: Columns,
    device: Device,
    precision: Precision,
    batch: FloatArray | float,
    moved_bytes: FloatArray,
    path: Path,
) -> tuple[FloatArray, FloatArray]:
    """Seconds that each distinct kernel computes and moves data, shape (kernels,) or (batches, kernels).

    path : how the framework runs kernels at this precision.
    """
    bandwidth = device.memory.bandwidth_byte_per_s * min(device.sustained["bandwidth"], 1.0)
    efficiency = np.minimum(device.sustained["bandwidth"] * class_efficiency(columns, device, precision), 1.0)
    memory_s = uncached_bytes(moved_bytes, device) / (device.memory.bandwidth_byte_per_s * efficiency)
    memory_s = memory_s * np.where(columns.engine == Engine.VECTOR, path.elementwise, 1.0)
    compute_s = at_batch(columns.flops, batch) / (engine_peaks(device, precision)[0] * device.sustained["vector"])
    matrix, part = matrix_part(columns)
    if not len(matrix):
        return compute_s, memory_s
    moving_s = memory_s[..., matrix]
    rate = np.where(part.op_class == OpClass.CONVOLUTION, path.convolution, 1.0)
    direct_s = product_seconds(part, device, precision, batch, bandwidth, tensor=False)
    lanes_s = np.minimum(direct_s, winograd_seconds(part, device, precision, batch, bandwidth)) / rate
    compute_s[..., matrix] = lanes_s
    if not on_tensor_cores(device, precision):
        return compute_s, memory_s
    copies_s = path.transposes * _transposes(part, batch) / bandwidth
    cores_s = product_seconds(part, device, precision, batch, bandwidth, tensor=True) / rate + copies_s
    slower = (part.op_class == OpClass.CONVOLUTION) & (
        np.maximum(lanes_s, moving_s) < np.maximum(cores_s, moving_s + copies_s)
    )
    compute_s[..., matrix] = np.where(slower, lanes_s, cores_s)
    memory_s[..., matrix] = np.where(slower, moving_s, moving_s + copies_s)
    return compute_s, memory_s


def _transposes(columns: Columns, batch: FloatArray | float) -> FloatArray:
    """Bytes of copying a convolution's activations into channels-last layout and back: each is read and written.

    Tensor cores take no other layout; frameworks that keep channels first pay for it. Values go one by one, so that
    narrow ones take as long as those of 4 bytes.
    """
    moved = 2 * 4 * at_batch(activations(columns), batch)
    return np.where(columns.op_class == OpClass.CONVOLUTION, moved, 0.0)


@lru_cache(maxsize=KEPT)
def class_efficiency(columns: Columns, device: Device, precision: Precision) -> FloatArray:
    """Fraction of the sustained bandwidth that each kernel's class reaches."""
    by_class = np.array([device.kernel[_CLASS_COEFFICIENT[op_class]] for op_class in OpClass])
    efficiency: FloatArray = by_class[columns.op_class]
    if precision.widths[Role.ACTIVATION] <= HALF_WIDTH:
        half = device.kernel["half_width"]
        efficiency = np.where(columns.engine == Engine.VECTOR, efficiency * half, efficiency)
    return efficiency


def uncached_bytes(moved_bytes: FloatArray, device: Device) -> FloatArray:
    """Traffic in units of main memory's: what the last kernel left in the cache comes faster, by `CACHE_SPEEDUP` or
    what the device knows.
    """
    kept = np.minimum(moved_bytes, device.kernel["cache"] * device.cache_bytes)
    result: FloatArray = moved_bytes - kept * (1 - 1 / (device.cache_speedup or CACHE_SPEEDUP))
    return result

"""The calibrated fidelity: what keeps each class of kernel from the datasheet's peaks, one small function a cause."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from simulator.device.device import Device
from simulator.device.framework import Path
from simulator.op.kernel import OpClass, Phase
from simulator.op.kernels import Columns, FloatArray, IntArray, at_batch
from simulator.precision import Engine, Precision, Role
from simulator.roofline.gemm import MatrixRates, gemm_seconds
from simulator.roofline.rates import engine_peaks, peak_name

TENSOR_MULTIPLE = 8
"""Tensor cores take half-width operands by eights; other widths are padded. Source: NVIDIA, "Matrix Multiplication
Background", requirements to use tensor cores."""

HALF_WIDTH = 2
"""Bytes of a half-width value; tensor cores take these in channels-last layout only."""

WINOGRAD_REDUCTION = 4.0
"""F(4x4, 3x3) makes 36 products for 16 outputs of 9 each: 144 / 36. Source: Lavin, Gray, "Fast Algorithms for
Convolutional Neural Networks", CVPR 2016, section 4.3."""

WINOGRAD_EXPANSION = 36 / 16
"""The transformed tensors hold 36 values for each 4 x 4 tile; they are written once and read once."""

CACHE_SPEEDUP = 3.0
"""Bandwidth of a last-level cache over that of the main memory; 2.5 to 4 on V100, A100 and H100 (gpu-benches)."""

KEPT = 64
"""What does not depend on the batch is kept for so many (network, device) pairs."""

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
    memory_s = _uncached(moved_bytes, device) / (device.memory.bandwidth_byte_per_s * efficiency)
    memory_s = memory_s * np.where(columns.engine == Engine.VECTOR, path.elementwise, 1.0)
    compute_s = at_batch(columns.flops, batch) / (engine_peaks(device, precision)[0] * device.sustained["vector"])
    matrix, part = _matrix_part(columns)
    if not len(matrix):
        return compute_s, memory_s
    direct = _direct_seconds(part, device, precision, batch, bandwidth)
    direct = direct / np.where(part.op_class == OpClass.CONVOLUTION, path.convolution, 1.0)
    compute_s[..., matrix] = direct
    if _on_tensor_cores(device, precision):
        if precision.widths[Role.ACTIVATION] == HALF_WIDTH:
            memory_s[..., matrix] += path.transposes * _transposes(part, precision, batch) / bandwidth
    elif device.kernel["winograd"]:
        chosen, extra = _winograd(part, device, precision, batch, direct)
        faster = np.maximum(chosen, memory_s[..., matrix] + extra / bandwidth) < np.maximum(
            direct, memory_s[..., matrix]
        )
        compute_s[..., matrix] = np.where(faster, chosen, direct)
        memory_s[..., matrix] += np.where(faster, extra / bandwidth, 0.0)
    return compute_s, memory_s


def _transposes(columns: Columns, precision: Precision, batch: FloatArray | float) -> FloatArray:
    """Bytes of copying a convolution's activations into channels-last layout and back: each is read and written."""
    moved = 2 * precision.widths[Role.ACTIVATION] * at_batch(_activations(columns), batch)
    return np.where(columns.op_class == OpClass.CONVOLUTION, moved, 0.0)


@lru_cache(maxsize=KEPT)
def _activations(columns: Columns) -> FloatArray:
    """Activations and their gradients that kernels read and write, (2, kernels). [elements]"""
    total: FloatArray = sum(
        moved[role] for moved in (columns.read, columns.write) for role in (Role.ACTIVATION, Role.GRADIENT)
    )
    return total


@lru_cache(maxsize=KEPT)
def _matrix_part(columns: Columns) -> tuple[IntArray, Columns]:
    """Which kernels are products of matrices, and their columns."""
    matrix = np.flatnonzero(columns.engine == Engine.MATRIX)
    return matrix, select(columns, matrix)


def select(columns: Columns, which: IntArray) -> Columns:
    """Some of the columns."""
    return Columns(
        columns.phase[which],
        columns.op_class[which],
        columns.engine[which],
        columns.flops[:, which],
        columns.read[:, :, which],
        columns.write[:, :, which],
        columns.gemm[:, :, which],
        columns.groups[which],
        columns.window[:, which],
        columns.streamed[:, which],
        columns.reuse[which],
    )


@lru_cache(maxsize=KEPT)
def class_efficiency(columns: Columns, device: Device, precision: Precision) -> FloatArray:
    """Fraction of the sustained bandwidth that each kernel's class reaches."""
    by_class = np.array([device.kernel[_CLASS_COEFFICIENT[op_class]] for op_class in OpClass])
    efficiency: FloatArray = by_class[columns.op_class]
    if precision.widths[Role.ACTIVATION] <= HALF_WIDTH:
        half = device.kernel["half_width"]
        efficiency = np.where(columns.engine == Engine.VECTOR, efficiency * half, efficiency)
    return efficiency


def _uncached(moved_bytes: FloatArray, device: Device) -> FloatArray:
    """Traffic in units of main memory's: what the last kernel left in the cache comes `CACHE_SPEEDUP` times faster."""
    kept = np.minimum(moved_bytes, device.kernel["cache"] * device.cache_bytes)
    result: FloatArray = moved_bytes - kept * (1 - 1 / CACHE_SPEEDUP)
    return result


def _on_tensor_cores(device: Device, precision: Precision) -> bool:
    return peak_name(device, precision, Engine.MATRIX).endswith("_tensor")


def _direct_seconds(
    columns: Columns, device: Device, precision: Precision, batch: FloatArray | float, bandwidth: float
) -> FloatArray:
    """GEMMs and convolutions as implicit GEMMs."""
    tensor = _on_tensor_cores(device, precision)
    engine = "matrix" if tensor else "vector"
    peak = engine_peaks(device, precision)[1] * device.sustained[engine]
    units = device.profile.units
    m, n, k = (at_batch(columns.gemm[side], batch) for side in range(3))
    if tensor:
        n, k = (np.ceil(side / TENSOR_MULTIPLE) * TENSOR_MULTIPLE for side in (n, k))
    rates = MatrixRates(
        flop_per_s=peak * convolution_efficiency(columns, device, tensor=tensor),
        units=(units.count if units else None) or 1,
        tile_overhead=np.asarray(device.kernel[f"{engine}_tile"]),
        depth_overhead=np.asarray(device.kernel[f"{engine}_depth"]),
        bandwidth_byte_per_s=bandwidth,
    )
    seconds = gemm_seconds(m, n, k, columns.groups, rates)
    depthwise = is_depthwise(columns)
    if depthwise.any():
        lanes = engine_peaks(device, precision)[0] * device.sustained["vector"] * device.kernel["depthwise"]
        by_phase = np.where(columns.phase == Phase.FORWARD, 1.0, device.kernel["depthwise_gradient"])
        seconds = np.where(depthwise, at_batch(columns.flops, batch) / (lanes * by_phase), seconds)
    return seconds


@lru_cache(maxsize=KEPT)
def is_depthwise(columns: Columns) -> NDArray[np.bool_]:
    """Convolutions with one channel a group: no product of matrices is left, so they run on the vector lanes."""
    area = columns.window[0] * columns.window[1]
    convolution = columns.op_class == OpClass.CONVOLUTION
    single = np.where(
        columns.phase == Phase.WEIGHT_GRADIENT,
        (columns.gemm[0, 0] == 1) & (columns.gemm[1, 0] == area),
        (columns.gemm[1, 0] == 1) & (columns.gemm[2, 0] == area),
    )
    result: NDArray[np.bool_] = convolution & single & (columns.groups > 1)
    return result


@lru_cache(maxsize=KEPT)
def convolution_efficiency(columns: Columns, device: Device, *, tensor: bool) -> FloatArray:
    """Rate of implicit GEMM over that of a plain GEMM.

    Gathering the windows costs in every pass; the gradients' layouts suit the hardware less; an input gradient with a
    stride meets windows that are mostly empty; narrow groups leave tiles idle.
    """
    coefficient = device.kernel
    convolution = columns.op_class == OpClass.CONVOLUTION
    strided = (columns.window[2] > 1) & (columns.phase == Phase.INPUT_GRADIENT)
    by_phase = np.select(
        [columns.phase == Phase.INPUT_GRADIENT, columns.phase == Phase.WEIGHT_GRADIENT],
        [coefficient["input_gradient"], coefficient["weight_gradient"]],
        1.0,
    )
    base = coefficient["tensor_convolution" if tensor else "convolution"]
    efficiency = base * by_phase * np.where(strided, coefficient["strided_gradient"], 1.0)
    grouped = np.where(columns.groups > 1, coefficient["grouped"], 1.0)
    result: FloatArray = np.where(convolution, efficiency * grouped, 1.0)
    return result


@lru_cache(maxsize=KEPT)
def suits_winograd(columns: Columns) -> NDArray[np.bool_]:
    """3 x 3 convolutions of stride 1, without dilation or groups."""
    kernel, stride, dilation = columns.window[0:2], columns.window[2:4], columns.window[4:6]
    plain = (stride == 1).all(axis=0) & (dilation == 1).all(axis=0) & (columns.groups == 1)
    result: NDArray[np.bool_] = (kernel == 3).all(axis=0) & plain
    return result


def _winograd(
    columns: Columns, device: Device, precision: Precision, batch: FloatArray | float, direct: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Compute seconds and extra bytes of Winograd's algorithm for 3 x 3 convolutions of stride 1; infinite elsewhere.

    A quarter of the multiplications, at `winograd` of the direct rate, and transformed copies of input and output that
    go through memory.
    """
    fits = suits_winograd(columns)
    seconds = np.where(fits, direct / (WINOGRAD_REDUCTION * device.kernel["winograd"]), np.inf)
    width = precision.widths[Role.ACTIVATION]
    extra = width * 2 * WINOGRAD_EXPANSION * at_batch(_activations(columns), batch)
    return seconds, np.where(fits, extra, 0.0)

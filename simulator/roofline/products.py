"""Products of matrices as kernels run them: GEMMs, and convolutions as implicit GEMMs, on tensor cores or lanes."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from simulator.device.device import Device
from simulator.op.kernel import OpClass, Phase
from simulator.op.kernels import Columns, FloatArray, IntArray, at_batch
from simulator.precision import Engine, Precision, Role
from simulator.roofline.gemm import SPLITS, MatrixRates, gemm_seconds
from simulator.roofline.rates import engine_peaks, peak_name
from simulator.units import parse

TENSOR_MULTIPLE = 8
"""Tensor cores take half-width operands by eights; other widths are padded. Source: NVIDIA, "Matrix Multiplication
Background", requirements to use tensor cores."""

TENSOR_FLOP = 1024
"""FLOP of a V100 multiprocessor's eight tensor cores in a clock. Source: NVIDIA V100 whitepaper, table 1."""

KEPT = 64
"""What does not depend on the batch is kept for so many (network, device) pairs."""


def product_seconds(
    columns: Columns,
    device: Device,
    precision: Precision,
    batch: FloatArray | float,
    bandwidth: float,
    *,
    tensor: bool,
) -> FloatArray:
    """Seconds that products compute on tensor cores or in lanes, shape (kernels,) or (batches, kernels).

    bandwidth : of the main memory, sustained. [byte/s]
    """
    vector, matrix = engine_peaks(device, precision)
    lanes = (vector if on_tensor_cores(device, precision) else matrix) * device.sustained["vector"]
    m, n, k = (at_batch(columns.gemm[side], batch) for side in range(3))
    if tensor:
        n, k = _aligned(columns, n, k)
    convolution = columns.op_class == OpClass.CONVOLUTION
    weight_gradient = convolution & (columns.phase == Phase.WEIGHT_GRADIENT)
    depth = device.kernel["matrix_depth" if tensor else "vector_depth"]
    rate = matrix * device.sustained["matrix"] if tensor else lanes
    rates = MatrixRates(
        flop_per_s=rate * convolution_efficiency(columns, device, tensor=tensor),
        units=device.unit_count,
        tile_overhead=np.asarray(_matrix_tile(device, matrix) if tensor else device.kernel["vector_tile"]),
        depth_overhead=np.where(weight_gradient, device.kernel["weight_depth"], depth),
        bandwidth_byte_per_s=bandwidth,
        # Implicit GEMM in lanes walks the whole depth in one block, but for the weights' gradient.
        most_parts=np.where(~convolution | weight_gradient | tensor, SPLITS[-1], 1),
        narrow=convolution & (columns.groups > 1) & tensor,
    )
    seconds = gemm_seconds(m, n, k, columns.groups, rates)
    depthwise = is_depthwise(columns)
    if depthwise.any():
        depthwise_rate = vector * device.sustained["vector"] * device.kernel["depthwise"]
        by_phase = np.where(columns.phase == Phase.FORWARD, 1.0, device.kernel["depthwise_gradient"])
        seconds = np.where(depthwise, at_batch(columns.flops, batch) / (depthwise_rate * by_phase), seconds)
    return seconds


@lru_cache(maxsize=KEPT)
def _matrix_tile(device: Device, flop_per_s: float) -> float:
    """Tile overhead on tensor cores: the faster they are at a clock, the more they wait for their operands.

    The coefficient is that of `TENSOR_FLOP` a clock in each unit, as V100's have; GeForce cards, whose tensor cores run
    at half rate when they accumulate in fp32, wait less.
    """
    units = device.profile.units
    if units is None or not units.count or not units.clock:
        return device.kernel["matrix_tile"]
    clock_hz = parse(units.clock, "Hz", f"{device.name}: units.clock")
    return device.kernel["matrix_tile"] * flop_per_s / (units.count * clock_hz * TENSOR_FLOP)


def on_tensor_cores(device: Device, precision: Precision) -> bool:
    """Whether products at a precision run on matrix units."""
    return peak_name(device, precision, Engine.MATRIX).endswith("_tensor")


@lru_cache(maxsize=KEPT)
def matrix_part(columns: Columns) -> tuple[IntArray, Columns]:
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
def activations(columns: Columns) -> FloatArray:
    """Activations and their gradients that kernels read and write, (2, kernels). [elements]"""
    total: FloatArray = sum(
        moved[role] for moved in (columns.read, columns.write) for role in (Role.ACTIVATION, Role.GRADIENT)
    )
    return total


@lru_cache(maxsize=KEPT)
def channels(columns: Columns) -> tuple[FloatArray, FloatArray]:
    """Channels of a group that a convolution's product sums over, and those that it yields, (kernels,) each.

    The gradient of the weights sums over positions: its two are the outputs and the inputs.
    """
    m, n, k = columns.gemm.sum(axis=1)
    area = columns.window[0] * columns.window[1]
    weight_gradient = columns.phase == Phase.WEIGHT_GRADIENT
    return np.where(weight_gradient, m, k / area), np.where(weight_gradient, n / area, n)


def _aligned(columns: Columns, n: FloatArray, k: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Sides n and k as tensor cores take them.

    A convolution pads the channels under each place of its window: 12 x 3 x 3 becomes 16 x 3 x 3.
    """
    convolution = columns.op_class == OpClass.CONVOLUTION
    area = np.where(convolution, columns.window[0] * columns.window[1], 1.0)
    weight_gradient = columns.phase == Phase.WEIGHT_GRADIENT
    return _rounded(n, np.where(weight_gradient, area, 1.0)), _rounded(k, np.where(weight_gradient, 1.0, area))


def _rounded(side: FloatArray, places: FloatArray) -> FloatArray:
    multiple = places * TENSOR_MULTIPLE
    result: FloatArray = np.ceil(side / multiple) * multiple
    return result


@lru_cache(maxsize=KEPT)
def is_depthwise(columns: Columns) -> NDArray[np.bool_]:
    """Convolutions with one channel a group: no product of matrices is left, so they run on the vector lanes."""
    convolution = columns.op_class == OpClass.CONVOLUTION
    single = np.ones(len(columns), dtype=bool)
    for side in channels(columns):
        single &= side == 1
    result: NDArray[np.bool_] = convolution & single & (columns.groups > 1)
    return result


@lru_cache(maxsize=KEPT)
def convolution_efficiency(columns: Columns, device: Device, *, tensor: bool) -> FloatArray:
    """Rate of implicit GEMM over that of a plain GEMM.

    Gathering the windows costs in every pass; the gradients' layouts suit the hardware less; an input gradient with a
    stride meets windows that are mostly empty; narrow groups leave tiles idle.
    """
    coefficient = device.kernel
    strided = (columns.window[2] > 1) & (columns.phase == Phase.INPUT_GRADIENT)
    by_phase = np.select(
        [columns.phase == Phase.INPUT_GRADIENT, columns.phase == Phase.WEIGHT_GRADIENT],
        [coefficient["input_gradient"], coefficient["weight_gradient"]],
        1.0,
    )
    grouped = np.where(columns.groups > 1, coefficient["tensor_grouped" if tensor else "grouped"], 1.0)
    base = coefficient["tensor_convolution" if tensor else "convolution"]
    efficiency = base * by_phase * np.where(strided, coefficient["strided_gradient"], 1.0) * grouped
    result: FloatArray = np.where(columns.op_class == OpClass.CONVOLUTION, efficiency, 1.0)
    return result

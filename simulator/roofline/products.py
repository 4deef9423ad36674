"""Products of matrices as kernels run them: GEMMs, and convolutions as implicit GEMMs, on tensor cores or lanes."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from simulator.device.device import Device
from simulator.device.framework import Path
from simulator.op.kernel import OpClass, Phase
from simulator.op.kernels import Columns, FloatArray, IntArray, at_batch
from simulator.precision import Engine, Precision, Role
from simulator.roofline.gemm import SPLITS, MatrixRates, Tiling, gemm_seconds
from simulator.roofline.rates import engine_peaks, peak_name
from simulator.units import FLOPS_PER_MAC

TENSOR_MULTIPLE = 8
"""Tensor cores take half-width operands by eights; other widths are padded. Source: NVIDIA, "Matrix Multiplication
Background", requirements to use tensor cores."""

OWN_GROUPS = (4, 8, 16, 32)
"""Channels a group for which libraries have kernels of their own where channels are last; they wait for the memory
alone. Inferred: timm's compiled RegNetY-600MF, of 16, leaves 2 ms for them on an RTX 4090, where moving them takes 7.
"""

WIDE_GROUPS = (64, 128, 256, 512)
"""Channels a group that fill whole tiles, so that they run as convolutions without groups where channels are last.
Inferred: RegNetX-16GF, of 128, leaves them 0.17 s of a step on an RTX 3090, 87 TFLOP/s; 112 and 168 reach 52."""

ODD_GROUPS = 0.35
"""Rate, of the lanes', in groups of other widths where channels are last under cuDNN 8, which has tensor-core kernels
for powers of two alone: timm's RegNets leave them 6 to 16 TFLOP/s on an RTX 3090 under PyTorch 1.13 and 2.1."""

POOR_GROUPS = 0.08
"""Rate of narrow groups whose kernels are poor, of fp32 lanes: with it ResNeXt-101 at batch 16 and more on a T4 under
TensorFlow 1.15 at fp32, in mixed precision and with XLA is off by less than 18, 10 and 4 %, without it by 24 to 52."""

GROUP_COLUMNS = 128
"""Least columns of a tile for groups of other widths where channels are last. Inferred: timm's compiled RegNets reach
14, 23 and 33 TFLOP/s with 24, 40 and 56 channels on an RTX 4090, in proportion, and 76 to 80 from 112 on."""

INSTRUCTIONS = 2 * 10 / 6
"""Lanes' time for each of the softmax's 6 operations a score: an exponential takes four instructions, the others one,
and an instruction could have been a multiply-add of two operations."""

TENSOR_FLOP = 1024
"""FLOP of a V100 multiprocessor's eight tensor cores in a clock. Source: NVIDIA V100 whitepaper, table 1."""

GRAPHICS = "gpu"
"""The kind of device whose libraries `TILINGS` describes."""

HALF_WIDTH = 2
"""Bytes of a half-width value."""

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
    channels_last: bool = False,
) -> FloatArray:
    """Seconds that products compute on tensor cores or in lanes, shape (kernels,) or (batches, kernels).

    bandwidth : of the main memory, sustained. [byte/s]
    channels_last : on tensor cores, whether tensors are in the layout that these take.
    """
    vector, matrix = engine_peaks(device, precision)
    lanes = (vector if on_tensor_cores(device, precision) else matrix) * device.sustained["vector"]
    m, n, k = (at_batch(columns.gemm[side], batch) for side in range(3))
    if tensor:
        m, n, k = _aligned(columns, device, m, n, k)
    if channels_last:
        n = np.where(_is_grouped(columns) & (n < GROUP_COLUMNS), GROUP_COLUMNS, n)
    rate = matrix * _matrix_share(device, precision) if tensor else lanes
    rates = MatrixRates(
        flop_per_s=rate * convolution_efficiency(columns, device, tensor=tensor),
        units=device.unit_count,
        tile_overhead=np.asarray(_matrix_tile(device, precision) if tensor else device.kernel["vector_tile"]),
        depth_overhead=_depth_overhead(columns, device, tensor=tensor),
        bandwidth_byte_per_s=bandwidth,
        most_parts=_most_parts(columns, tensor=tensor),
        tiling=_tiling(columns, device, precision, tensor=tensor),
    )
    seconds = gemm_seconds(m, n, k, columns.groups, rates)
    if channels_last:
        seconds = np.where(_in_groups_of(columns, OWN_GROUPS), 0.0, seconds)
        seconds = np.where(_in_groups_of(columns, WIDE_GROUPS), seconds * device.kernel["tensor_grouped"], seconds)
    attention = columns.op_class == OpClass.ATTENTION
    if attention.any():
        seconds = seconds + np.where(attention, _softmax_seconds(columns, device, vector, batch), 0.0)
    if not tensor and "scattered_write" in device.kernel:
        scattered = precision.widths[Role.GRADIENT] * at_batch(_scattered(columns), batch)
        seconds = seconds + device.kernel["scattered_write"] * scattered / bandwidth
    depthwise = is_depthwise(columns)
    if depthwise.any():
        depthwise_rate = vector * device.sustained["vector"] * device.kernel["depthwise"]
        by_phase = np.where(columns.phase == Phase.FORWARD, 1.0, device.kernel["depthwise_gradient"])
        seconds = np.where(depthwise, at_batch(columns.flops, batch) / (depthwise_rate * by_phase), seconds)
    return seconds


def _softmax_seconds(columns: Columns, device: Device, flop_per_s: float, batch: FloatArray | float) -> FloatArray:
    """Softmax inside fused attention, which stands between its two products: they wait for it.

    Each operation is an instruction that could have been a multiply-add.
    Source: Dao, "FlashAttention-2", 2023, arXiv 2307.08691, section 3.1 (non-matmul FLOPs cost 16 times as much).
    """
    m, n, k = (at_batch(columns.gemm[side], batch) for side in range(3))
    others = at_batch(columns.flops, batch) - FLOPS_PER_MAC * m * n * k * columns.groups
    result: FloatArray = INSTRUCTIONS * others / (flop_per_s * device.sustained["vector"])
    return result


@lru_cache(maxsize=KEPT)
def _matrix_share(device: Device, precision: Precision) -> float:
    """Fraction of a tensor peak that large products sustain; of 4-bit operands its own, where it is known."""
    usual = device.sustained["matrix"]
    return device.sustained.get("matrix_fp4", usual) if precision.operand_bytes < 1 else usual


def _matrix_tile(device: Device, precision: Precision) -> float:
    """Tile overhead on tensor cores: the more bytes of operands they take at a clock, the more they wait for them.

    The coefficient is that of `TENSOR_FLOP` a clock in each unit on half-width values, as V100's have; GeForce cards,
    whose tensor cores run at half rate when they accumulate in fp32, wait less; tf32 is twice as wide at half the rate.
    """
    if device.clock_hz is None:
        return device.kernel["matrix_tile"]
    widths, flop_per_s = precision.operand_bytes / HALF_WIDTH, engine_peaks(device, precision)[1]
    return device.kernel["matrix_tile"] * widths * flop_per_s / (device.unit_count * device.clock_hz * TENSOR_FLOP)


@lru_cache(maxsize=KEPT)
def _tiling(columns: Columns, device: Device, precision: Precision, *, tensor: bool) -> IntArray:
    """Family of kernels of each product: graphics processors' libraries have a few tiles for convolutions.

    Those for narrow groups are for half-width values: ResNeXts at tf32 take 1.2 to 1.6 times as long on an A100 as with
    them.
    """
    tiling: IntArray = np.full(len(columns), Tiling.PRODUCT)
    if device.kind == GRAPHICS and tensor:
        tiling = np.where(columns.phase == Phase.INPUT_GRADIENT, Tiling.TENSOR_INPUT, Tiling.TENSOR)
    elif device.kind == GRAPHICS:
        tiling = np.where(columns.phase == Phase.WEIGHT_GRADIENT, Tiling.LANES_WEIGHTS, Tiling.LANES)
    if tensor and precision.widths[Role.ACTIVATION] <= HALF_WIDTH:
        tiling = np.where(columns.groups > 1, Tiling.NARROW, tiling)
    result: IntArray = np.where(columns.op_class == OpClass.CONVOLUTION, tiling, Tiling.PRODUCT)
    return result


@lru_cache(maxsize=KEPT)
def _depth_overhead(columns: Columns, device: Device, *, tensor: bool) -> FloatArray:
    """Steps of each product's sum lost to starting and ending a tile.

    The gradient of the weights has a deep sum and a small output, which blocks add up between them. On tensor cores
    cuDNN's kernels for Turing lose more than those for Volta: 2048 x 512 channels over 392 positions take 76 us on a T4
    and 17 us on a V100, which multiplies 2.6 times as fast.
    """
    coefficient = device.kernel
    usual = coefficient["matrix_depth" if tensor else "vector_depth"]
    own = coefficient["weight_depth"]
    if tensor:
        own = coefficient.get("tensor_weight_depth", own)
    gradient = (columns.op_class == OpClass.CONVOLUTION) & (columns.phase == Phase.WEIGHT_GRADIENT)
    attention = columns.op_class == OpClass.ATTENTION
    return np.select([gradient, attention], [own, 0.0], usual)


@lru_cache(maxsize=KEPT)
def _most_parts(columns: Columns, *, tensor: bool) -> IntArray:
    """Into how many parts each product's depth may be cut.

    Implicit GEMM in lanes walks the whole depth in one block, but for the weights' gradient; on tensor cores, the input
    gradient does: on a V100, 512 x 7 x 7 with a window of 3 x 3 takes the same 134 us for 8 images and for 16.
    """
    whole = columns.phase == Phase.INPUT_GRADIENT if tensor else columns.phase != Phase.WEIGHT_GRADIENT
    result: IntArray = np.where((columns.op_class == OpClass.CONVOLUTION) & whole, 1, SPLITS[-1])
    return result


@lru_cache(maxsize=KEPT)
def _scattered(columns: Columns) -> FloatArray:
    """Outputs of input gradients with a stride, (2, kernels), which lanes write more than once. [elements]

    They are set to zero, and those that a window meets are then written one by one: with a stride of 2, single values
    in every other place of every other row.
    """
    strided = (columns.window[2] > 1) & (columns.op_class == OpClass.CONVOLUTION)
    result: FloatArray = columns.write[Role.GRADIENT] * (strided & (columns.phase == Phase.INPUT_GRADIENT))
    return result


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


def _aligned(
    columns: Columns, device: Device, m: FloatArray, n: FloatArray, k: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Sides m, n and k as tensor cores take them.

    A convolution pads the channels under each place of its window: 12 x 3 x 3 becomes 16 x 3 x 3. The gradient of its
    weights pads them, and the filters, to whole tiles where the device's `weight_channels` says so: cuDNN's kernels for
    Turing take 128, so that on a T4 64 x 64 channels run at a quarter of the rate of 128 x 128, at every window.
    """
    convolution = columns.op_class == OpClass.CONVOLUTION
    area = np.where(convolution, columns.window[0] * columns.window[1], 1.0)
    weight_gradient = columns.phase == Phase.WEIGHT_GRADIENT
    least = np.where(
        convolution & weight_gradient & (columns.groups == 1), device.kernel.get("weight_channels", 1.0), 1.0
    )
    return (
        _rounded(m, least),
        _rounded(n, np.where(weight_gradient, area, 1.0) * np.maximum(least, TENSOR_MULTIPLE)),
        _rounded(k, np.where(weight_gradient, 1.0, area) * TENSOR_MULTIPLE),
    )


def _rounded(side: FloatArray, multiple: FloatArray) -> FloatArray:
    result: FloatArray = np.ceil(side / multiple) * multiple
    return result


@lru_cache(maxsize=KEPT)
def _is_grouped(columns: Columns) -> NDArray[np.bool_]:
    grouped: NDArray[np.bool_] = (columns.op_class == OpClass.CONVOLUTION) & (columns.groups > 1)
    return grouped


@lru_cache(maxsize=KEPT)
def _in_groups_of(columns: Columns, widths: tuple[int, ...]) -> NDArray[np.bool_]:
    """Grouped convolutions whose groups take and yield one of some numbers of channels."""
    found = _is_grouped(columns)
    for side in channels(columns):
        found = found & np.isin(side, widths)
    return found


def off_tensor_cores_seconds(
    columns: Columns,
    device: Device,
    precision: Precision,
    batch: FloatArray | float,
    lanes_s: FloatArray,
    path: Path,
) -> FloatArray:
    """Seconds of convolutions that the library has poor kernels for, in place of those on tensor cores; others nan.

    Images of three channels: cuDNN's half-width kernels for Volta and Turing take longer than those of full width. On a
    V100, 64 filters of 7 x 7 at stride 2 take 466 us at fp16 for 16 images, 304 at fp32; their gradient 1405 and 553.

    Groups: what `path` says that the framework's release lacked.

    lanes_s : the same in lanes, directly. [s]
    """
    seconds = np.full_like(lanes_s, np.nan)
    half = precision.widths[Role.ACTIVATION] <= HALF_WIDTH
    if half and "thin" in device.kernel:
        thin = device.kernel["thin"]
        rate = np.where(columns.phase == Phase.WEIGHT_GRADIENT, device.kernel.get("thin_gradient", thin), thin)
        seconds = np.where(_is_thin(columns), lanes_s / rate, seconds)
    if not half and not path.tf32_groups:
        seconds = np.where(shares_channels(columns), lanes_s, seconds)
    if path.layout == "channels last" and not path.odd_groups:
        odd = _is_grouped(columns) & ~_in_groups_of(columns, (1, *OWN_GROUPS, *WIDE_GROUPS))
        lanes = engine_peaks(device, precision)[0] * device.sustained["vector"]
        seconds = np.where(odd, at_batch(columns.flops, batch) / (ODD_GROUPS * lanes), seconds)
    return np.where(np.isnan(poor_s := poor_groups_seconds(columns, device, batch, path)), seconds, poor_s)


def poor_groups_seconds(columns: Columns, device: Device, batch: FloatArray | float, path: Path) -> FloatArray:
    """Seconds of grouped convolutions that a release's library runs by poor kernels on this family; others nan.

    Whatever the format, they take the same time: under TensorFlow 1.15 and cuDNN 8.0 a T4 infers ResNeXt-101 32x4d
    in 9.1 ms an image at fp32 and 4.4 in mixed precision, where PyTorch takes 5.8 and 1.7; a V100 takes 2.0 and 0.74.
    """
    flops = at_batch(columns.flops, batch)
    if device.profile.family not in path.poor_groups:
        return np.full_like(flops, np.nan)
    lanes = device.peak["fp32"] * device.sustained["vector"] * POOR_GROUPS
    narrow = shares_channels(columns) & (np.maximum(*channels(columns)) <= max(OWN_GROUPS))
    seconds: FloatArray = np.where(narrow, flops / lanes, np.nan)
    return seconds


@lru_cache(maxsize=KEPT)
def _is_thin(columns: Columns) -> NDArray[np.bool_]:
    """Convolutions without groups that read fewer channels than tensor cores take at once."""
    summed, yielded = channels(columns)
    given = np.where(columns.phase == Phase.WEIGHT_GRADIENT, yielded, summed)
    whole = (columns.op_class == OpClass.CONVOLUTION) & (columns.groups == 1)
    thin: NDArray[np.bool_] = whole & (columns.phase != Phase.INPUT_GRADIENT) & (given < TENSOR_MULTIPLE)
    return thin


def shares_channels(columns: Columns) -> NDArray[np.bool_]:
    """Grouped convolutions whose groups have several channels, so that each is a product of matrices."""
    return _is_grouped(columns) & ~is_depthwise(columns)


def is_depthwise(columns: Columns) -> NDArray[np.bool_]:
    """Convolutions with one channel a group: no product of matrices is left, so they run on the vector lanes."""
    return _in_groups_of(columns, (1,))


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

"""Products of matrices as kernels run them: GEMMs, and convolutions as implicit GEMMs, on tensor cores or lanes."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from simulator.causes.convolution import Convolutions
from simulator.causes.groups import NarrowGroups, ThinImages
from simulator.causes.tiles import HALF_WIDTH, SmallTiles
from simulator.op.kernel import OpClass, Phase
from simulator.op.kernels import Columns, FloatArray, IntArray, at_batch
from simulator.op.views import KEPT, channels, in_groups_of, is_depthwise, is_grouped, shares_channels
from simulator.precision import Role
from simulator.roofline.depthwise import depthwise_seconds
from simulator.roofline.gemm import SPLITS, MatrixRates, Tiling, gemm_seconds
from simulator.roofline.setting import FULL_WIDTH, GRAPHICS, Setting
from simulator.units import FLOPS_PER_MAC

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

ODD_GRADIENTS = 0.1
"""The same of their gradients, and of those of fewer than 32 groups of any width: timm's RegNets train in channels last
2 to 4 times slower than in channels first under PyTorch 1.12, and leave them 1.5 to 4 TFLOP/s on an RTX 3090."""

MANY_GROUPS = 32.0
"""Groups from which on cuDNN's kernels spread gradients over all units: ResNeXts of 32 and 64 groups are not slowed,
RegNets of 2 to 31 are; with the bound at 33, halves of the rows predict the other with twice the error."""

POOR_GROUPS = 0.08
"""Rate of narrow groups whose kernels are poor, of fp32 lanes: with it ResNeXt-101 at batch 16 and more on a T4 under
TensorFlow 1.15 at fp32, in mixed precision and with XLA is off by less than 18, 10 and 4 %, without it by 24 to 52."""

MANY_FILTERS, OF_MANY = 1024, 0.057
"""Filters of 1 x 1 from which on the gradient of their weights has a poor kernel for half-width values that lanes of
full width compute, and its rate of these lanes. Inferred: a GTX 1080 Ti trains ResNet-50, 101 and 152 at fp16 in 7, 38
and 61 ms more than at fp32 for 12 images, where ResNet-18 and 34, VGGs and DenseNets of fewer filters take less, and
infers them in less: 2.3 ms for each block of 1,024 or 2,048 filters, 1.2 GFLOP, of which they have 9, 26 and 39."""

GROUP_COLUMNS = 128
"""Least columns of a tile for groups of other widths where channels are last. Inferred: timm's compiled RegNets reach
14, 23 and 33 TFLOP/s with 24, 40 and 56 channels on an RTX 4090, in proportion, and 76 to 80 from 112 on."""

ALIGNED = 8
"""Half-width values of 16 bytes, which tensor cores' kernels load at once. Where a library has no others, products of
heads of 108 features run in lanes, and sum in full width there: BLOOM's steps of 128 such heads take 1.4 times as long
as those of 64 or 96 (BigScience, chronicles-prequel.md, NHEADS comparison)."""

INSTRUCTIONS = 2 * 10 / 6
"""Lanes' time for each of the softmax's 6 operations a score: an exponential takes four instructions, the others one,
and an instruction could have been a multiply-add of two operations."""

TENSOR_PROCESSOR = "tpu"


def product_seconds(
    columns: Columns, setting: Setting, batch: FloatArray | float, *, tensor: bool, channels_last: bool = False
) -> FloatArray:
    """Seconds that products compute on tensor cores or in lanes, shape (kernels,) or (batches, kernels).

    channels_last : on tensor cores, whether tensors are in the layout that these take.
    """
    m, n, k = (at_batch(columns.gemm[side], batch) for side in range(3))
    if tensor:
        m, n, k = setting.cause(Convolutions).aligned(columns, m, n, k)
    channels_last = channels_last and setting.device.profile.family not in setting.path.launched_groups
    if channels_last:
        n = np.where(is_grouped(columns) & (n < GROUP_COLUMNS), GROUP_COLUMNS, n)
    seconds = gemm_seconds(m, n, k, columns.groups, _rates(columns, setting, tensor=tensor))
    if channels_last:
        seconds = np.where(in_groups_of(columns, OWN_GROUPS), 0.0, seconds)
        seconds = np.where(
            in_groups_of(columns, WIDE_GROUPS), seconds * setting.cause(NarrowGroups).tensor_grouped, seconds
        )
    if tensor and not setting.path.odd_batches and setting.width <= HALF_WIDTH:
        seconds = np.where(_odd_batches(columns, batch), _full_width_seconds(columns, setting, batch), seconds)
    attention = columns.op_class == OpClass.ATTENTION
    if attention.any():
        seconds = seconds + np.where(attention, _softmax_seconds(columns, setting, batch), 0.0)
    if not tensor:
        scattered = setting.cause(Convolutions).scattered(columns, batch)
        seconds = seconds + setting.precision.widths[Role.GRADIENT] * scattered / setting.bandwidth_byte_per_s
    depthwise = is_depthwise(columns)
    if depthwise.any():
        seconds = np.where(depthwise, depthwise_seconds(columns, setting, batch), seconds)
    return seconds


def _odd_batches(columns: Columns, batch: FloatArray | float) -> FloatArray:
    """Whether a kernel is a batch of products with a side that is no multiple of what tensor cores' kernels load."""
    odd = np.logical_or.reduce([at_batch(columns.gemm[side], batch) % ALIGNED > 0 for side in range(3)])
    result: FloatArray = odd & (columns.op_class == OpClass.GEMM) & (columns.groups > 1)
    return result


def _full_width_seconds(columns: Columns, setting: Setting, batch: FloatArray | float) -> FloatArray:
    """Seconds of products that lanes sum in full width, whatever their operands'. [s]"""
    result: FloatArray = at_batch(columns.flops, batch) / setting.full_width_flop_per_s
    return result


@lru_cache(maxsize=KEPT)
def _rates(columns: Columns, setting: Setting, *, tensor: bool) -> MatrixRates:
    """What products can use of tensor cores, or of the lanes."""
    return MatrixRates(
        flop_per_s=_sustained(setting, tensor=tensor) * convolution_efficiency(columns, setting, tensor=tensor),
        units=setting.device.unit_count,
        tile_overhead=_tile_overhead(setting, tensor=tensor),
        depth_overhead=_depth_overhead(columns, setting, tensor=tensor),
        bandwidth_byte_per_s=setting.bandwidth_byte_per_s,
        most_parts=_most_parts(columns, tensor=tensor),
        tiling=_tiling(columns, setting, tensor=tensor),
        clock=setting.device.clocks.get("matrix" if tensor else "vector", 1.0),
    )


def _sustained(setting: Setting, *, tensor: bool) -> float:
    """Rate of large products; on tensor cores, those of 8- and 4-bit operands have their own, where it is known.

    Lanes run them at the peak of whatever serves products where there are no tensor cores: half-width ones may be
    faster.
    """
    sustained = setting.device.sustained
    if not tensor:
        peak = setting.vector_flop_per_s if setting.on_tensor_cores else setting.matrix_flop_per_s
        return peak * sustained["vector"]
    name = setting.matrix_peak.removesuffix("_tensor")
    return setting.matrix_flop_per_s * sustained.get(f"matrix_{name}", sustained["matrix"])


def _softmax_seconds(columns: Columns, setting: Setting, batch: FloatArray | float) -> FloatArray:
    """Softmax inside fused attention, which stands between its two products: they wait for it.

    Each operation is an instruction that could have been a multiply-add; but on a TPU, whose lanes' peak counts single
    operations, and whose exponentials run in a unit of their own.
    Source: Dao, "FlashAttention-2", 2023, arXiv 2307.08691, section 3.1 (non-matmul FLOPs cost 16 times as much).
    """
    m, n, k = (at_batch(columns.gemm[side], batch) for side in range(3))
    others = at_batch(columns.flops, batch) - FLOPS_PER_MAC * m * n * k * columns.groups
    each = 1.0 if setting.device.kind == TENSOR_PROCESSOR else INSTRUCTIONS
    result: FloatArray = each * others / setting.lanes_flop_per_s
    return result


@lru_cache(maxsize=KEPT)
def _tiling(columns: Columns, setting: Setting, *, tensor: bool) -> IntArray:
    """Kind of kernels of each product: graphics processors' libraries have a few tiles for convolutions.

    Those for narrow groups are for half-width values: ResNeXts at tf32 take 1.2 to 1.6 times as long on an A100 as with
    them. Those for few channels are for forward passes in channels last.
    """
    tiling: IntArray = np.full(len(columns), Tiling.PRODUCT)
    graphics = setting.device.kind == GRAPHICS
    if graphics and tensor:
        tiling = np.where(columns.phase == Phase.INPUT_GRADIENT, Tiling.TENSOR_INPUT, Tiling.TENSOR)
    elif graphics:
        tiling = np.where(columns.phase == Phase.WEIGHT_GRADIENT, Tiling.LANES_WEIGHTS, Tiling.LANES)
    if tensor and setting.width <= HALF_WIDTH:
        if graphics and setting.path.layout == "channels last":
            tiling = np.where(columns.phase == Phase.FORWARD, Tiling.TENSOR_LAST, tiling)
        tiling = np.where(columns.groups > 1, Tiling.NARROW, tiling)
    result: IntArray = np.where(columns.op_class == OpClass.CONVOLUTION, tiling, Tiling.PRODUCT)
    return result


@lru_cache(maxsize=KEPT)
def _depth_overhead(columns: Columns, setting: Setting, *, tensor: bool) -> FloatArray:
    depth = setting.cause(SmallTiles).depth(columns, tensor=tensor)
    return depth * full_width_share(setting) if tensor else depth


FULL_WIDTHS = ("fp32_tensor", "fp64_tensor")
"""Peaks of matrix units that keep full width, as CDNA's do; TF32 is none."""


def full_width_share(setting: Setting) -> float:
    """Rate of matrix units in full width over that in half: a tile starts and ends in the same time, in fewer steps.

    An MI210's fp32 takes four times as long for a step as its fp16: a product of 1,024 keeps 0.9 of the rate of 10,240
    there, and 0.49 in fp16 (torch-performance-test-data, tests/validation/single_ops.csv).
    """
    half = [setting.device.peak[name] for name in ("fp16_tensor", "bf16_tensor") if name in setting.device.peak]
    if setting.matrix_peak not in FULL_WIDTHS or not half:
        return 1.0
    return setting.matrix_flop_per_s / max(half)


def _tile_overhead(setting: Setting, *, tensor: bool) -> FloatArray:
    device, tiles = setting.device, setting.cause(SmallTiles)
    if not tensor:
        return np.asarray(tiles.vector_tile)
    clock_hz = device.clock_hz
    flop_a_clock = None if clock_hz is None else setting.matrix_flop_per_s / (device.unit_count * clock_hz)
    return np.asarray(tiles.matrix_side(setting.precision.operand_bytes, flop_a_clock))


@lru_cache(maxsize=KEPT)
def _most_parts(columns: Columns, *, tensor: bool) -> IntArray:
    """Into how many parts each product's depth may be cut.

    Implicit GEMM in lanes walks the whole depth in one block, but for the weights' gradient; on tensor cores, the input
    gradient does: on a V100, 512 x 7 x 7 with a window of 3 x 3 takes the same 134 us for 8 images and for 16.
    """
    whole = columns.phase == Phase.INPUT_GRADIENT if tensor else columns.phase != Phase.WEIGHT_GRADIENT
    result: IntArray = np.where((columns.op_class == OpClass.CONVOLUTION) & whole, 1, SPLITS[-1])
    return result


def off_tensor_cores_seconds(
    columns: Columns, setting: Setting, batch: FloatArray | float, lanes_s: FloatArray
) -> FloatArray:
    """Seconds of convolutions that the library has poor kernels for, in place of those on tensor cores; others nan.

    Images of three channels: as `ThinImages` says. Narrow groups: what the path says that the release lacked.

    lanes_s : the same in lanes, directly. [s]
    """
    half, path = setting.width <= HALF_WIDTH, setting.path
    seconds = setting.cause(ThinImages).seconds(columns, lanes_s) if half else np.full_like(lanes_s, np.nan)
    if not half and not path.tf32_groups:
        seconds = np.where(shares_channels(columns), lanes_s, seconds)
    if path.layout == "channels last" and not path.odd_groups:
        odd = is_grouped(columns) & ~in_groups_of(columns, (1, *OWN_GROUPS, *WIDE_GROUPS))
        few = shares_channels(columns) & (columns.groups < MANY_GROUPS)
        gradient = (columns.phase != Phase.FORWARD) & (odd | few)
        lanes = np.where(gradient, ODD_GRADIENTS, ODD_GROUPS) * setting.lanes_flop_per_s
        seconds = np.where(odd | gradient, at_batch(columns.flops, batch) / lanes, seconds)
    return np.where(np.isnan(poor_s := poor_groups_seconds(columns, setting, batch)), seconds, poor_s)


def poor_groups_seconds(columns: Columns, setting: Setting, batch: FloatArray | float) -> FloatArray:
    """Seconds of grouped convolutions that a release's library runs by poor kernels on this family; others nan.

    Whatever the format, they take the same time: under TensorFlow 1.15 and cuDNN 8.0 a T4 infers ResNeXt-101 32x4d
    in 9.1 ms an image at fp32 and 4.4 in mixed precision, where PyTorch takes 5.8 and 1.7; a V100 takes 2.0 and 0.74.
    """
    flops = at_batch(columns.flops, batch)
    if setting.device.profile.family not in setting.path.poor_groups:
        return np.full_like(flops, np.nan)
    narrow = shares_channels(columns) & (np.maximum(*channels(columns)) <= max(OWN_GROUPS))
    seconds: FloatArray = np.where(narrow, flops / (setting.full_width_flop_per_s * POOR_GROUPS), np.nan)
    return seconds


def many_filters_seconds(columns: Columns, setting: Setting, batch: FloatArray | float) -> FloatArray:
    """Seconds of weights' gradients of many filters of 1 x 1, where half-width lanes are slower; others nan."""
    flops = at_batch(columns.flops, batch)
    slow_halves = setting.matrix_peak == FULL_WIDTH and "fp16" in setting.device.peak
    good = setting.path.many_filters or setting.width > HALF_WIDTH or setting.device.kind != GRAPHICS
    if good or not slow_halves:
        return np.full_like(flops, np.nan)
    filters, _ = channels(columns)
    plain = (columns.window[:4] == 1).all(axis=0) & (columns.op_class == OpClass.CONVOLUTION)
    many = plain & (columns.phase == Phase.WEIGHT_GRADIENT) & (filters >= MANY_FILTERS)
    seconds: FloatArray = np.where(many, flops / (OF_MANY * setting.lanes_flop_per_s), np.nan)
    return seconds


@lru_cache(maxsize=KEPT)
def convolution_efficiency(columns: Columns, setting: Setting, *, tensor: bool) -> FloatArray:
    """Rate of each product over that of a plain GEMM, (kernels,): of convolutions and of their groups."""
    own = setting.cause(Convolutions)
    rate = own.rate(columns, tensor=tensor, operand_bytes=setting.precision.operand_bytes)
    rate = rate * setting.cause(NarrowGroups).rate(columns, tensor=tensor)
    result: FloatArray = np.where(columns.op_class == OpClass.CONVOLUTION, rate, 1.0)
    return result

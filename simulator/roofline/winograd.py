"""Winograd's algorithm for convolutions: fewer multiplications, for transforms of tiles before and after."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from simulator.causes.passes import Passes
from simulator.causes.tiles import SmallTiles
from simulator.causes.winograd import Winograd
from simulator.op.kernel import OpClass, Phase
from simulator.op.kernels import Columns, FloatArray, IntArray, at_batch
from simulator.op.views import KEPT, activations, channels, is_depthwise, select
from simulator.roofline.gemm import MatrixRates, Tiling, gemm_seconds
from simulator.roofline.setting import FULL_WIDTH, Setting

FUSED_TILE = 2
"""F(2x2, 3x3) makes 16 products where 36 are direct. It fits one kernel, whose transforms stay on the chip."""

TILE = 4
"""F(4x4, 3x3) makes 36 products where 144 are direct. The transformed tiles and weights, one matrix a point, pass
through memory. Source: Lavin, Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016, sections 4, 5."""

FUSED_BLOCK = (8, 16)
"""Outputs that a block of the fused kernel makes of an image: 4 x 8 tiles, whose rest is idle at the borders: a map of
7 x 7 wastes five eighths. Source: cuDNN's kernel name, "winograd_128x128_ldg1_ldg4_relu_tile148t_nt"."""

IMAGES = 16
"""Passes, but for the weights' gradient, take so many images at a time. Inferred: in DeepBench eight images take 0.7 to
0.9 of the time of 16 on a V100 and a T4, and half for the weights' gradient, at maps of 7 x 7 to 56 x 56."""

WIDEST = 4
"""Libraries have it for values of up to 4 bytes."""


def winograd_seconds(columns: Columns, setting: Setting, batch: FloatArray | float) -> FloatArray:
    """Seconds of the faster of the two, infinite where neither applies; shape (kernels,) or (batches, kernels).

    It runs in lanes: whether it beats tensor cores is the caller's to see.
    """
    seconds = np.full(np.broadcast_shapes(np.shape(batch), (len(columns),)), np.inf)
    (which, part), rate = _suited(columns), np.asarray(setting.cause(Winograd).winograd)
    if len(which) and rate.any() and setting.width <= WIDEST:
        fastest_s = np.minimum(_in_passes(part, setting, batch), _fused(part, setting, batch))
        seconds[..., which] = fastest_s if rate.all() else np.where(rate > 0, fastest_s, np.inf)
    return seconds


@lru_cache(maxsize=KEPT)
def _suited(columns: Columns) -> tuple[IntArray, Columns]:
    """Convolutions of 3 x 3 with stride 1, without dilation; wider windows have Fourier transforms (`fourier.py`)."""
    kernel, stride, dilation = columns.window[0:2], columns.window[2:4], columns.window[4:6]
    plain = (stride == 1).all(axis=0) & (dilation == 1).all(axis=0) & ~is_depthwise(columns)
    side = (kernel[0] == kernel[1]) & (kernel[0] == 3)
    which = np.flatnonzero(plain & side & (columns.op_class == OpClass.CONVOLUTION))
    return which, select(columns, which)


def output_side(columns: Columns) -> FloatArray:
    """Side of the output, of an image taken as a square one."""
    weight_gradient = columns.phase == Phase.WEIGHT_GRADIENT
    side: FloatArray = np.sqrt(np.where(weight_gradient, columns.gemm[2, 1], columns.gemm[0, 1]))
    return side


def _tiles(columns: Columns, batch: FloatArray | float) -> FloatArray:
    """Square tiles of the outputs: 7 x 7 has four of 4 x 4."""
    weight_gradient = columns.phase == Phase.WEIGHT_GRADIENT
    images = np.where(weight_gradient, batch, np.maximum(batch, IMAGES))
    tiles: FloatArray = images * np.ceil(output_side(columns) / TILE) ** 2
    return tiles


def _fused_tiles(columns: Columns, batch: FloatArray | float) -> FloatArray:
    """Square tiles of the outputs in whole blocks: 14 x 14 has two of 8 x 16, with 32 tiles each."""
    height, width = FUSED_BLOCK
    blocks = np.ceil(output_side(columns) / height) * np.ceil(output_side(columns) / width)
    tiles: FloatArray = batch * blocks * (height * width / FUSED_TILE**2)
    return tiles


def products(columns: Columns, tiles: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Sides m, n, k of the product at each point; the weights' gradient sums over tiles."""
    inner, outer = channels(columns)
    gradient = columns.phase == Phase.WEIGHT_GRADIENT
    return np.where(gradient, inner, tiles), outer + 0 * tiles, np.where(gradient, tiles, inner)


@lru_cache(maxsize=KEPT)
def passes_rates(setting: Setting, tiling: Tiling) -> MatrixRates:
    """What products at points and frequencies can use of the lanes."""
    device = setting.device
    tiles, winograd = setting.cause(SmallTiles), setting.cause(Winograd)
    efficiency = winograd.winograd if tiling is Tiling.WINOGRAD else winograd.fused_winograd
    # Variants that have none take any rate, which is then left out.
    some = np.where(np.equal(winograd.winograd, 0), 1.0, efficiency)
    return MatrixRates(
        flop_per_s=setting.lanes_flop_per_s * some,
        units=device.unit_count,
        tile_overhead=np.asarray(tiles.vector_tile),
        depth_overhead=np.asarray(tiles.vector_depth),
        bandwidth_byte_per_s=setting.bandwidth_byte_per_s,
        most_parts=1,
        tiling=tiling,
        clock=device.clocks.get("vector", 1.0),
    )


def _in_passes(columns: Columns, setting: Setting, batch: FloatArray | float) -> FloatArray:
    """Transforms, one product a point, and the transform back, each a pass over memory. [s]

    With T tiles of 4 x 4 outputs, c and k channels and (4 + w - 1)^2 points of a window of w, in values of s bytes:

        transformed = s points (T c + c k + T k)
        time = max(products, transformed / (operand x bandwidth)) + (plain + transformed) / (transform x bandwidth)

    Worked example: 512 to 512 channels of 14 x 14, 3 x 3, 16 images in fp32: 256 tiles, 36 products 256 x 512 x 512,
    at 0.5 TFLOP/s 9.66 ms; 75.5 MB transformed and 0.8 MB plain at 25 GB/s 3.05 ms: 12.7 ms.
    """
    tiles = _tiles(columns, batch)
    m, n, k = products(columns, tiles)
    points = columns.groups * (TILE + columns.window[0] - 1) ** 2
    width, bandwidth = setting.width, setting.bandwidth_byte_per_s
    transformed = _kept_bytes(setting) * points * (m * n + n * k + m * k)
    plain = width * at_batch(activations(columns), batch)
    rates = passes_rates(setting, Tiling.WINOGRAD)
    streamed_s = transformed / (bandwidth * setting.cause(Passes).operand)
    products_s = np.maximum(gemm_seconds(m, n, k, points, rates), streamed_s)
    result: FloatArray = products_s + (plain + transformed) / (bandwidth * setting.cause(Winograd).transform)
    return np.where(transformed / columns.groups <= setting.framework.reserve.algorithm_bytes, result, np.inf)


def _kept_bytes(setting: Setting) -> float:
    """Bytes of a transformed value, which is widened where lanes for narrow ones are slower or missing.

    VGG and ResNet-18 train at fp16 in 0.89 to 0.95 of their time at fp32 on a GTX 1080 Ti, whose library then computes
    in full width (cuDNN's PSEUDO_HALF_CONFIG); with narrow ones passing through memory they would in 0.76 to 0.82.
    """
    return max(setting.width, WIDEST) if setting.matrix_peak == FULL_WIDTH else setting.width


def _fused(columns: Columns, setting: Setting, batch: FloatArray | float) -> FloatArray:
    """All in one kernel: forward and for the input's gradient, 3 x 3 only. [s]

    16 products of a tile's points in place of 36, of outputs in whole blocks of `FUSED_BLOCK`.

    Worked example: 512 to 512 channels of 14 x 14: two blocks, 64 tiles of 2 x 2, 16 products 64 x 512 x 512, at
    1 TFLOP/s 0.537 ms an image.
    """
    m, n, k = products(columns, _fused_tiles(columns, batch))
    points = columns.groups * (FUSED_TILE + 3 - 1) ** 2
    rates = passes_rates(setting, Tiling.PRODUCT)
    fits = columns.phase != Phase.WEIGHT_GRADIENT
    return np.where(fits, gemm_seconds(m, n, k, points, rates), np.inf)

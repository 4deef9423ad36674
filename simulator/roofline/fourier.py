"""Convolutions of wide windows by Fourier transforms: a product of complex numbers at each frequency."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from simulator.causes.passes import Passes
from simulator.causes.winograd import Winograd
from simulator.op.kernel import OpClass
from simulator.op.kernels import Columns, FloatArray, IntArray, at_batch
from simulator.op.views import KEPT, activations, is_depthwise, select
from simulator.roofline.gemm import Tiling, gemm_seconds
from simulator.roofline.setting import Setting
from simulator.roofline.winograd import WIDEST, output_side, passes_rates, products

SIDES = (16, 32)
"""Sides of a tile that is transformed. Source: kernel names of cuDNN, "fft2d_r2c_16x16" and "fft2d_r2c_32x32"."""

LEAST_WINDOW = 5
"""Narrower windows have Winograd's algorithm, with as many multiplications and real numbers."""

COMPLEX_BYTES = 8


def fourier_seconds(columns: Columns, setting: Setting, batch: FloatArray | float) -> FloatArray:
    """Seconds of transforms, products and transforms back, infinite where none apply; as of `winograd_seconds`.

    A tile of s x s values has s (s / 2 + 1) frequencies, of which outputs s - w + 1 a side are whole. With T tiles, c
    and k channels, complex products count as real ones of twice the sides:

        transformed = 8 s (s / 2 + 1) (T c + c k + T k)
        time = max(products, transformed / (operand x bandwidth)) + (plain + transformed) / (transform x bandwidth)

    Worked example: AlexNet's second layer, 48 to 128 channels of 27 x 27, 5 x 5, 256 images: 256 tiles of 32 x 32, 544
    frequencies, 223 MB transformed: the 213 MiB that cuDNN asks for (Oyama et al., 2018, section I).

    References
    ----------
    Mathieu, Henaff, LeCun, "Fast Training of Convolutional Networks through FFTs", ICLR 2014, arXiv 1312.5851. Oyama,
    Ben-Nun, Hoefler, Matsuoka, "mu-cuDNN", 2018, arXiv 1804.04806.
    """
    seconds = np.full(np.broadcast_shapes(np.shape(batch), (len(columns),)), np.inf)
    (which, part), rate = _suited(columns), np.asarray(setting.cause(Winograd).winograd)
    if len(which) and rate.all() and setting.width <= WIDEST:
        seconds[..., which] = np.min([_of_side(part, setting, batch, side) for side in SIDES], axis=0)
    return seconds


@lru_cache(maxsize=KEPT)
def _suited(columns: Columns) -> tuple[IntArray, Columns]:
    """Convolutions of wide windows with stride 1, without dilation."""
    kernel, stride, dilation = columns.window[0:2], columns.window[2:4], columns.window[4:6]
    plain = (stride == 1).all(axis=0) & (dilation == 1).all(axis=0) & ~is_depthwise(columns)
    wide = (kernel[0] == kernel[1]) & (kernel[0] >= LEAST_WINDOW) & (kernel[0] <= min(SIDES) // 2)
    which = np.flatnonzero(plain & wide & (columns.op_class == OpClass.CONVOLUTION))
    return which, select(columns, which)


def _of_side(columns: Columns, setting: Setting, batch: FloatArray | float, side: int) -> FloatArray:
    """Seconds with tiles of one side. [s]"""
    tiles = batch * np.ceil(output_side(columns) / (side - columns.window[0] + 1)) ** 2
    m, n, k = products(columns, tiles)
    points = columns.groups * side * (side // 2 + 1)
    bandwidth = setting.bandwidth_byte_per_s
    transformed = COMPLEX_BYTES * points * (m * n + n * k + m * k)
    plain = setting.width * at_batch(activations(columns), batch)
    streamed_s = transformed / (bandwidth * setting.cause(Passes).operand)
    rates = passes_rates(setting, Tiling.PRODUCT)
    rates = replace(rates, flop_per_s=rates.flop_per_s * setting.full_width_flop_per_s / setting.lanes_flop_per_s)
    products_s = gemm_seconds(2 * m, 2 * n, k, points, rates)
    moved_s = (plain + transformed) / (bandwidth * setting.cause(Winograd).transform)
    result: FloatArray = np.maximum(products_s, streamed_s) + moved_s
    return np.where(transformed / columns.groups <= setting.framework.reserve.algorithm_bytes, result, np.inf)

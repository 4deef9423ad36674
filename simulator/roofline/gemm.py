"""Products of matrices on a device's parallel units: tiles, waves and depth."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from enum import IntEnum
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np

from simulator.op.kernels import FloatArray, IntArray

TILES = ((256, 128), (128, 256), (128, 128), (128, 64), (64, 128), (64, 64), (128, 32), (32, 128), (32, 32), (16, 64))
"""Sides of the output tiles that libraries have kernels for; the fastest for a product is taken, as they try to.
Source: kernel names of cuBLAS and CUTLASS ("128x64_nn")."""

NARROW_TILES = ((128, 8), (128, 16), (8, 128), (16, 128))
"""Tiles of the kernels that tensor cores have for groups of a few channels."""


class Tiling(IntEnum):
    """Which of a library's kernels run a product; each kind has tiles of its own."""

    PRODUCT = 0
    NARROW = 1
    LANES = 2
    LANES_WEIGHTS = 3
    TENSOR = 4
    TENSOR_INPUT = 5
    WINOGRAD = 6
    TENSOR_LAST = 7


TILINGS = {
    Tiling.PRODUCT: TILES,
    Tiling.NARROW: (*TILES, *NARROW_TILES),
    Tiling.LANES: ((128, 128), (128, 64), (128, 32)),
    Tiling.LANES_WEIGHTS: ((128, 128), (64, 128), (32, 128)),
    Tiling.TENSOR: ((256, 128), (128, 128), (256, 64), (128, 64)),
    Tiling.TENSOR_INPUT: ((256, 128), (128, 128), (256, 64)),
    Tiling.WINOGRAD: ((128, 128), (128, 64)),
    Tiling.TENSOR_LAST: ((256, 128), (128, 128), (256, 64), (128, 64), (256, 32), (128, 32), (128, 16)),
}
"""Tiles of each kind: (positions, channels) of a convolution's output, (filters, places and channels) of its weights.

Plain products are tuned for every shape, convolutions have a handful of kernels. Source: kernel names of cuDNN 7
("scudnn_128x64_relu_interior_nn", "s884cudnn_fp16_256x64_ldg8"); for Winograd's products and the weights' gradient, the
sides that DeepBench's times step by. Where channels are last, cuDNN 8 and later have narrow tiles too
("sm80_xmma_fprop_implicit_gemm_f16f16_f16f32_f32_nhwckrsc_nhwc_tilesize128x16x64"): with 64 channels as the least,
timm's DLAs, which begin with 16, were 30 % too slow, HRNets, of 18 to 36, and HGNetV2 10.
"""

SPLITS = (1, 2, 4, 8, 16, 32)
"""Into how many parts the depth may be cut, so that a small output with a deep sum still fills the device."""

LEAST_DEPTH = 64
"""A part of the depth is at least so long."""

LARGEST_TILE = (256 + 128) / (256 * 128)
"""Operands moved for each product in the largest tile, which sustains the device's rate."""

TOGETHER = 1024
"""Products that are worked out at once: 60 candidates of each in doubles are 0.5 MB, which a core's cache holds."""


@dataclass(frozen=True)
class MatrixRates:
    """What products of matrices can use; arrays hold one number for each product, or one for all.

    Attributes
    ----------
    flop_per_s : rate of a large product. [FLOP/s]
    units : streaming multiprocessors or cores that tiles are dealt to.
    tile_overhead : how much a tile of a x b that moves more operands for each product than the largest tile does loses:
        it runs at 1 / (1 + overhead ((a + b) / (a b) - `LARGEST_TILE`)).
    depth_overhead : steps of the sum lost to starting and ending a tile.
    bandwidth_byte_per_s : for the partial sums of a cut depth. [byte/s]
    most_parts : into how many parts the depth may be cut.
    tiling : the kind of kernels, a `Tiling`.
    clock : share of the rated clock that a power limit leaves where all units are busy; `flop_per_s` is at it.
    """

    flop_per_s: FloatArray
    units: int
    tile_overhead: FloatArray
    depth_overhead: FloatArray
    bandwidth_byte_per_s: float
    most_parts: IntArray | int = SPLITS[-1]
    tiling: IntArray | int = Tiling.PRODUCT
    clock: FloatArray | float = 1.0

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Of one number for each product, or for each variant of a device."""
        overheads = self.tile_overhead, self.depth_overhead
        numbers = (self.flop_per_s, self.units, *overheads, self.bandwidth_byte_per_s, self.clock)
        return np.broadcast_shapes(*map(np.shape, numbers))

    @cached_property
    def kinds(self) -> tuple[AlikeProducts, ...]:
        """Products that share their candidates: those of one kind and one most number of parts."""
        tiling, parts = np.atleast_1d(self.tiling), np.atleast_1d(self.most_parts)
        each = list(zip(*np.broadcast_arrays(tiling, parts), strict=True))
        alike = sorted({(int(one), int(most)) for one, most in each})
        if len(alike) == 1:
            return (AlikeProducts(*alike[0], None, self),)
        places = [np.flatnonzero((tiling == one) & (parts == most)) for one, most in alike]
        return tuple(AlikeProducts(*one, at, self.part(at)) for one, at in zip(alike, places, strict=True))

    def part(self, at: slice | IntArray) -> MatrixRates:
        """Those of some of the products."""
        several = {field.name: value for field in fields(self) if np.size(value := getattr(self, field.name)) > 1}
        own = {name: value[..., at] for name, value in several.items() if value.shape[-1] > 1}
        return replace(self, **own)


class AlikeProducts(NamedTuple):
    """Products that are worked out together: their kind and most parts, which they are, None for all, and rates."""

    tiling: int
    most_parts: int
    at: IntArray | None
    rates: MatrixRates


def gemm_seconds(m: FloatArray, n: FloatArray, k: FloatArray, groups: FloatArray, rates: MatrixRates) -> FloatArray:
    """Time of `groups` products (m x k)(k x n), each of shape (...,); the same shape. [s]

    The output is cut into tiles of a x b, and the depth into p parts, which are dealt to the units in waves; the last
    wave takes as long as a full one. Each unit works at its share of the rate, less the operands' movement (small tiles
    reuse less) and a start and end. Of the tiles and parts that the kind has, the fastest:

        waves = ceil(ceil(m / a) ceil(n / b) groups p / units)
        tile  = 2 a b units / flop_per_s x (1 + tile_overhead ((a + b) / (a b) - LARGEST_TILE))
        time  = waves x tile x (ceil(k / p) + depth_overhead) + partial sums of p > 1, written and read in 4 bytes

    Worked example: 1024 x 1024, depth 512, on 80 units of together 1 TFLOP/s without overheads: 64 tiles of 128 x 128
    are one wave that leaves 16 units idle, 128 x 128 x 512 x 2 / 12.5 GFLOP/s = 1.342 ms; 256 tiles of 64 x 64 are four
    waves, of which the last has 16 tiles, 4 x 0.336 = 1.342 ms; 1,024 tiles of 16 x 64 are 13 waves, of which the last
    has 64, 13 x 0.084 = 1.091 ms, the fastest; 80 units kept busy would take 1.074 ms.

    >>> one, none = np.ones(1), np.zeros(1)
    >>> rates = MatrixRates(1e12 * one, 80, none, none, np.inf, most_parts=1)
    >>> f"{float(gemm_seconds(1024 * one, 1024 * one, 512 * one, one, rates)[0]):.6f}"
    '0.001091'

    References
    ----------
    NVIDIA, "Matrix Multiplication Background", sections on tile and wave quantization.
    """
    number = len(m) if np.ndim(m) == 1 else 0
    if number <= TOGETHER:
        return _gemm_seconds(m, n, k, groups, rates)
    each = np.broadcast_to(groups, m.shape)
    pieces = [slice(start, start + TOGETHER) for start in range(0, number, TOGETHER)]
    return np.concatenate([_gemm_seconds(m[at], n[at], k[at], each[at], rates.part(at)) for at in pieces])


def _gemm_seconds(m: FloatArray, n: FloatArray, k: FloatArray, groups: FloatArray, rates: MatrixRates) -> FloatArray:
    """The same for as many products as stay in a processor's cache with all their candidates.

    Products of one kind and one most number of parts share their candidates, and are worked out together.
    """
    if rates.kinds[0].at is None:
        return _alike_seconds((m, n, k, groups), rates.kinds[0])
    best = np.empty(np.broadcast_shapes(m.shape, n.shape, k.shape, rates.shape))
    groups = np.broadcast_to(groups, best.shape[-1:])
    for kind in rates.kinds:
        at = kind.at
        best[..., at] = _alike_seconds((m[..., at], n[..., at], k[..., at], groups[at]), kind)
    return best


def _alike_seconds(sides: tuple[FloatArray, FloatArray, FloatArray, FloatArray], kind: AlikeProducts) -> FloatArray:
    """Products of one kind of kernels, the best of its tiles and parts; axes of tiles and of parts come first."""
    (m, n, k), rates = map(_steady, sides[:3]), kind.rates
    ones = (1,) * max(np.ndim(m), np.ndim(n), np.ndim(k), len(rates.shape))
    tall, wide, parts = _candidates(kind.tiling, kind.most_parts, ones)
    operands = np.maximum((tall + wide) / (tall * wide) - LARGEST_TILE, 0.0)
    tile_s = 2 * tall * wide / (rates.flop_per_s / rates.units / (1 + rates.tile_overhead * operands))
    waves = np.ceil(m / tall) * (np.ceil(n / wide) * (sides[3] * parts)) / rates.units
    depth = np.ceil(k / parts)
    seconds = _product(_at_their_clock(waves, rates.clock), tile_s, depth + rates.depth_overhead)
    if parts.size > 1:
        partial_sums = np.where(parts > 1, parts * m * n * sides[3] * (2 * 4) / rates.bandwidth_byte_per_s, 0.0)
        seconds = seconds + np.where((parts == 1) | (depth >= LEAST_DEPTH), partial_sums, np.inf)
    best: FloatArray = seconds.reshape(-1, *seconds.shape[2:]).min(axis=0)
    return best


def _at_their_clock(waves: FloatArray, clock: FloatArray | float) -> FloatArray:
    """Whole waves, each as long as at the clock of busy units: shorter where units idle under a power limit.

    Power is units at work x the clock's square (`device/power.py`), so that a share b of the units runs at
    clock / root(b), at most the rated clock. Worked example: held to 0.62 where all are busy, half of the units keep
    0.62 / 0.71 = 0.87 of the clock.
    """
    whole = np.ceil(waves)
    if np.min(clock) >= 1:
        return whole
    result: FloatArray = whole * np.maximum(clock, np.sqrt(waves / np.maximum(whole, 1.0)))
    return result


@lru_cache
def _candidates(tiling: int, most_parts: int, ones: tuple[int, ...]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Sides of a kind's tiles, shape (tiles, 1, ...), and numbers of parts, (1, parts, ...)."""
    tall, wide = (
        np.array(side, dtype=float).reshape(-1, 1, *ones) for side in zip(*TILINGS[Tiling(tiling)], strict=True)
    )
    return tall, wide, np.array([each for each in SPLITS if each <= most_parts], dtype=float).reshape(1, -1, *ones)


def _steady(side: FloatArray) -> FloatArray:
    """A side with one row where all its rows are alike, so that what does not change is worked out once."""
    alike = np.ndim(side) > 1 and bool((side[-1] == side[0]).all() and (side == side[0]).all())
    return side[:1] if alike else side


def _product(waves: FloatArray, tile_s: FloatArray, depth: FloatArray) -> FloatArray:
    """Waves x time of a step in a tile x steps, with the fewest passes over what is large."""
    return waves * (tile_s * depth) if waves.size > depth.size else waves * tile_s * depth

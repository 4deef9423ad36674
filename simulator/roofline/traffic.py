"""Bytes that a kernel moves between the device and its main memory, under three models of reuse."""

from __future__ import annotations

from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from simulator.errors import UnsupportedError
from simulator.op.kernels import Columns, FloatArray, at_batch
from simulator.precision import Precision

if TYPE_CHECKING:
    from simulator.roofline.setting import Setting


class TrafficModel(StrEnum):
    """How often an operand is fetched."""

    IDEAL = "ideal"
    """Each tensor once a kernel: the lower bound, of a cache that holds everything."""
    NAIVE = "naive"
    """Every use of the streamed operand from memory: the upper bound, of no cache at all."""
    CACHED = "cached"
    """What blocking for the device's last-level cache must still move."""


def ideal_bytes(columns: Columns, setting: Setting, batch: FloatArray | float) -> FloatArray:
    """Bytes of each kernel's tensors, moved once; shape (kernels,) or (batches, kernels)."""
    return at_batch(_moved_bytes(columns, setting.precision), batch)


def traffic_bytes(columns: Columns, setting: Setting, batch: FloatArray | float) -> FloatArray:
    """Bytes read and written by each kernel under the setting's model, shape (kernels,) or (batches, kernels).

    With the operand that is fetched `reuse` times of `streamed` bytes:

        ideal = operands + result        naive = ideal + streamed (reuse - 1)        ideal <= cached <= naive

    Worked example: a 3 x 3 convolution of 2 x 4 x 4 to 5 x 4 x 4, no bias, fp32: 32 + 90 + 80 values, 808 bytes; each
    of the 16 positions of its output fetches 18 values of the input for each of 5 filters, 1,440 values: 6,440 bytes.

    Raises
    ------
    UnsupportedError
        For the cached model on a device whose profile lists no cache.
    """
    ideal = ideal_bytes(columns, setting, batch)
    if setting.traffic is TrafficModel.IDEAL:
        return ideal
    streamed = float(setting.width) * at_batch(columns.streamed, batch)
    naive: FloatArray = ideal + streamed * (columns.reuse - 1)
    if setting.traffic is TrafficModel.NAIVE:
        return naive
    device = setting.device
    if not np.all(device.cache_bytes):
        raise UnsupportedError(
            f"{device.name} lists no last-level cache, which --traffic cached needs; "
            "give one with --set cache.last_level=6MiB"
        )
    widths = np.array(setting.precision.widths, dtype=float)
    written = at_batch(np.tensordot(widths, columns.write, axes=1), batch)
    blocked = _blocked(columns, setting, batch, (streamed, ideal - streamed - written, written))
    return np.where(columns.reuse > 1, np.clip(blocked, ideal, naive), ideal)


@lru_cache(maxsize=64)
def _moved_bytes(columns: Columns, precision: Precision) -> FloatArray:
    """Bytes of each tensor moved once, (2, kernels)."""
    moved: FloatArray = np.tensordot(np.array(precision.widths, dtype=float), columns.read + columns.write, axes=1)
    return moved


def _blocked(
    columns: Columns, setting: Setting, batch: FloatArray | float, tensors: tuple[FloatArray, FloatArray, FloatArray]
) -> FloatArray:
    """Least traffic over three ways of blocking a product A x W = C through a cache of Z bytes.

    - hold a slice of W in half the cache and stream A past it: A is read ceil(2 W / Z) times;
    - hold a slice of A and stream W: W is read ceil(2 A / Z) times;
    - hold a square tile of C, t = sqrt(Z / 2): A is read ceil(n / t) times, W ceil(m / t) times.

    The third is within a constant of the lower bound of any schedule, 2 m n k / sqrt(Z).
    Source: Hong, Kung, "I/O complexity: the red-blue pebble game", STOC 1981; Demmel, Dinh, "Communication-Optimal
    Convolutional Neural Nets", 2018, arXiv 1802.06905. Worked example: 28 x 28 x 256 -> 512, 3 x 3, batch 1, fp32, Z of
    6 MiB: A 0.80 MB, W 4.72 MB, C 1.61 MB; the first way reads A twice, the second W once: 7.13 MB, the ideal count.
    """
    streamed, other, written = tensors
    half = setting.device.cache_bytes / 2
    tile = np.floor(np.sqrt(half / float(setting.width)))
    m, n = (at_batch(columns.gemm[side], batch) for side in (0, 1))
    hold_other = streamed * np.ceil(other / columns.groups / half) + other
    hold_streamed = other * np.ceil(streamed / columns.groups / half) + streamed
    tiles = streamed * np.ceil(n / tile) + other * np.ceil(m / tile)
    result: FloatArray = written + np.minimum(np.minimum(hold_other, hold_streamed), tiles)
    return result

"""What several rules ask of columns of kernels: parts of them, their channels and groups."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from simulator.op.kernel import Engine, OpClass, Phase, Role
from simulator.op.kernels import BoolArray, Columns, FloatArray, IntArray

KEPT = 64
"""What does not depend on the batch is kept for so many (network, device) pairs."""


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
        columns.last[which],
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


@lru_cache(maxsize=KEPT)
def is_grouped(columns: Columns) -> BoolArray:
    """Convolutions with groups."""
    grouped: BoolArray = (columns.op_class == OpClass.CONVOLUTION) & (columns.groups > 1)
    return grouped


@lru_cache(maxsize=KEPT)
def in_groups_of(columns: Columns, widths: tuple[int, ...]) -> BoolArray:
    """Grouped convolutions whose groups take and yield one of some numbers of channels."""
    found = is_grouped(columns)
    for side in channels(columns):
        found = found & np.isin(side, widths)
    return found


def shares_channels(columns: Columns) -> BoolArray:
    """Grouped convolutions whose groups have several channels, so that each is a product of matrices."""
    return is_grouped(columns) & ~is_depthwise(columns)


def is_depthwise(columns: Columns) -> BoolArray:
    """Convolutions with one channel a group: no product of matrices is left, so they run on the vector lanes."""
    return in_groups_of(columns, (1,))

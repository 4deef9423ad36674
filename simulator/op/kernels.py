"""`Kernels`: one row a kernel, as NumPy columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.op.kernel import Affine, Gemm, Kernel, Role

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_NO_GEMM = Gemm(Affine(0, 0), Affine(0, 0), Affine(0, 0))


@dataclass(frozen=True, slots=True)
class Kernels:
    """Columns over kernels; a count has shape (2, kernels): fixed, and for each sample of the batch.

    Attributes
    ----------
    layer, phase, op_class, engine : integer columns, shape (kernels,).
    flops : (2, kernels). [FLOP]
    read, write : (roles, 2, kernels). [elements]
    gemm : sides m, n, k of a product, (3, 2, kernels); zero where there is none. groups : (kernels,).
    window : kernel height, width, stride height, width, dilation height, width; (6, kernels).
    streamed : (2, kernels), the operand fetched `reuse` (kernels,) times without caches. [elements]
    """

    layer: IntArray
    phase: IntArray
    op_class: IntArray
    engine: IntArray
    flops: FloatArray
    read: FloatArray
    write: FloatArray
    gemm: FloatArray
    groups: FloatArray
    window: FloatArray
    streamed: FloatArray
    reuse: FloatArray

    def __len__(self) -> int:
        return len(self.layer)


def at_batch(count: FloatArray, batch: FloatArray | float) -> FloatArray:
    """An affine count (..., 2, kernels) at a batch size; a batch column (b, 1) broadcasts to (..., b, kernels)."""
    fixed, per_sample = count[..., 0, :], count[..., 1, :]
    if np.ndim(batch):
        fixed, per_sample = fixed[..., None, :], per_sample[..., None, :]
    result: FloatArray = fixed + per_sample * batch
    return result


def pack(distinct: Sequence[Kernel], layer: Sequence[int], which: Sequence[int]) -> Kernels:
    """Columns from distinct kernels, repeated: row i belongs to `layer[i]` and is a copy of `distinct[which[i]]`.

    Networks repeat their blocks, so that a few dozen distinct kernels stand for thousands of rows.
    """
    rows = np.asarray(which, dtype=np.int64)
    gemms = [kernel.gemm or _NO_GEMM for kernel in distinct]
    windows = [(*k.window.kernel, *k.window.stride, *k.window.dilation) for k in distinct]
    return Kernels(
        layer=np.asarray(layer, dtype=np.int64),
        phase=np.array([k.phase for k in distinct], dtype=np.int64)[rows],
        op_class=np.array([k.op_class for k in distinct], dtype=np.int64)[rows],
        engine=np.array([k.engine for k in distinct], dtype=np.int64)[rows],
        flops=_column([k.flops for k in distinct])[:, rows],
        read=_roles([k.read for k in distinct])[:, :, rows],
        write=_roles([k.write for k in distinct])[:, :, rows],
        gemm=np.array([(g.m, g.n, g.k) for g in gemms], dtype=float).reshape(-1, 3, 2).transpose(1, 2, 0)[:, :, rows],
        groups=np.array([g.groups for g in gemms], dtype=float)[rows],
        window=np.array(windows, dtype=float).reshape(-1, 6).T[:, rows],
        streamed=_column([k.streamed for k in distinct])[:, rows],
        reuse=np.array([k.reuse for k in distinct], dtype=float)[rows],
    )


def _column(counts: Sequence[Affine]) -> FloatArray:
    return np.array(counts, dtype=float).reshape(-1, 2).T


def _roles(moved: Sequence[tuple[tuple[Role, Affine], ...]]) -> FloatArray:
    table = np.zeros((len(Role), 2, len(moved)))
    for position, tensors in enumerate(moved):
        for role, count in tensors:
            table[role, :, position] += count
    return table

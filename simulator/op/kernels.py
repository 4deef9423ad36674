"""`Kernels`: one row a kernel, as NumPy columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from simulator.op.kernel import Affine, Gemm, Kernel, Role

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_NO_GEMM = Gemm(Affine(0, 0), Affine(0, 0), Affine(0, 0))


@dataclass(frozen=True, eq=False)
class Columns:
    """Counts of different kernels, one column each; a count has shape (2, kernels): fixed, and for each sample.

    Two are equal if they are the same object, so that what does not depend on the batch can be kept beside them.

    Attributes
    ----------
    phase, op_class, engine : integer columns, shape (kernels,).
    flops : (2, kernels). [FLOP]
    read, write : (roles, 2, kernels). [elements]
    gemm : sides m, n, k of a product, (3, 2, kernels); zero where there is none. groups : (kernels,).
    window : kernel height, width, stride height, width, dilation height, width; (6, kernels).
    streamed : (2, kernels), the operand fetched `reuse` (kernels,) times without caches. [elements]
    """

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
        return len(self.phase)


class Kernels(msgspec.Struct, frozen=True):
    """The kernels of a step, in the order of their launches.

    Networks repeat their blocks, so that a few dozen distinct kernels stand for thousands of launches: counts are kept,
    and times computed, once for each distinct kernel.

    Attributes
    ----------
    distinct : counts of the distinct kernels.
    row : which distinct kernel each launch is, shape (launches,).
    layer : the layer that each launch belongs to, shape (launches,).
    dispatch : whether the launch begins a call of the framework, shape (launches,).
    """

    distinct: Columns
    row: IntArray
    layer: IntArray
    dispatch: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.row)

    @property
    def phase(self) -> IntArray:
        """Phase of each launch."""
        return self.distinct.phase[self.row]

    @property
    def engine(self) -> IntArray:
        """Engine of each launch."""
        return self.distinct.engine[self.row]

    @property
    def flops(self) -> FloatArray:
        """Work of each launch, (2, launches). [FLOP]"""
        return self.distinct.flops[:, self.row]

    @property
    def read(self) -> FloatArray:
        """Elements read by each launch, (roles, 2, launches)."""
        return self.distinct.read[:, :, self.row]

    @property
    def write(self) -> FloatArray:
        """Elements written by each launch, (roles, 2, launches)."""
        return self.distinct.write[:, :, self.row]


def at_batch(count: FloatArray, batch: FloatArray | float) -> FloatArray:
    """An affine count (..., 2, kernels) at a batch size; a batch column (b, 1) broadcasts to (..., b, kernels)."""
    fixed, per_sample = count[..., 0, :], count[..., 1, :]
    if np.ndim(batch):
        fixed, per_sample = fixed[..., None, :], per_sample[..., None, :]
    result: FloatArray = fixed + per_sample * batch
    return result


def pack(kernels: Sequence[Kernel]) -> Columns:
    """Columns from kernels."""
    gemms = [kernel.gemm or _NO_GEMM for kernel in kernels]
    windows = [(*k.window.kernel, *k.window.stride, *k.window.dilation) for k in kernels]
    return Columns(
        phase=np.array([k.phase for k in kernels], dtype=np.int64),
        op_class=np.array([k.op_class for k in kernels], dtype=np.int64),
        engine=np.array([k.engine for k in kernels], dtype=np.int64),
        flops=_column([k.flops for k in kernels]),
        read=_roles([k.read for k in kernels]),
        write=_roles([k.write for k in kernels]),
        gemm=np.array([(g.m, g.n, g.k) for g in gemms], dtype=float).reshape(-1, 3, 2).transpose(1, 2, 0),
        groups=np.array([g.groups for g in gemms], dtype=float),
        window=np.array(windows, dtype=float).reshape(-1, 6).T,
        streamed=_column([k.streamed for k in kernels]),
        reuse=np.array([k.reuse for k in kernels], dtype=float),
    )


def _column(counts: Sequence[Affine]) -> FloatArray:
    return np.array(counts, dtype=float).reshape(-1, 2).T


def _roles(moved: Sequence[tuple[tuple[Role, Affine], ...]]) -> FloatArray:
    table = np.zeros((len(Role), 2, len(moved)))
    for position, tensors in enumerate(moved):
        for role, count in tensors:
            table[role, :, position] += np.array(count, dtype=float)  # counts beyond 2^63 are no integers of NumPy
    return table

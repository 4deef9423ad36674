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
BoolArray = NDArray[np.bool_]

_NO_GEMM = Gemm(Affine(0, 0), Affine(0, 0), Affine(0, 0))


@dataclass(frozen=True, eq=False)
class Columns:
    """Counts of different kernels, one column each; a count has shape (2, kernels): fixed, and for each sample.

    One that follows cached tokens has shape (4, kernels), as `at_batch` says. Two are equal if they are the same
    object, so that what does not depend on the batch can be kept beside them.

    Attributes
    ----------
    phase, op_class, engine : integer columns, shape (kernels,).
    flops : (2, kernels). [FLOP]
    read, write : (roles, 2, kernels). [elements]
    gemm : sides m, n, k of a product, (3, 2, kernels); zero where there is none. groups : (kernels,).
    window : kernel height, width, stride height, width, dilation height, width; (6, kernels).
    streamed : (2, kernels), the operand fetched `reuse` (kernels,) times without caches. [elements]
    last : whether a convolution's channels are innermost, whatever the framework's layout, (kernels,).
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
    last: BoolArray

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
    dispatch: BoolArray

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


def at_batch(count: FloatArray, batch: FloatArray | float, context: FloatArray | float = 0.0) -> FloatArray:
    """A count at a batch size B, and at a context C, the cached tokens of each sample, where it follows one.

    Counts (..., 2, kernels) are affine in 1 and B, counts (..., 4, kernels) in 1, B, C and B C: at any context they are
    affine in the batch. Columns (b, 1) of batches and contexts broadcast to (..., b, kernels).

    Worked example: 4096 weights, and 1024 values for each cached token of each request, are the terms 4096, 0, 0 and
    1024; for 2 requests of 100 tokens each, 4096 + 1024 x 2 x 100 = 208,896.
    """
    along = (..., None, slice(None)) if np.ndim(batch) else ...
    fixed, per_sample = count[..., 0, :][along], count[..., 1, :][along]
    if count.shape[-2] > 2:
        fixed = fixed + count[..., 2, :][along] * context
        per_sample = per_sample + count[..., 3, :][along] * context
    result: FloatArray = fixed + per_sample * batch
    return result


def side_by_side(numbers: Sequence[FloatArray | float]) -> FloatArray:
    """Numbers along the last axis, (numbers,); (variants, numbers) where some are columns of shape (variants, 1)."""
    if not any(isinstance(number, np.ndarray) for number in numbers):
        return np.array(numbers)
    columns: FloatArray = np.concatenate(np.broadcast_arrays(*map(np.atleast_1d, numbers)), axis=-1)
    return columns


def at_points(columns: Columns, batch: FloatArray, context: FloatArray | float = 0.0) -> Columns:
    """Columns of points x kernels, all counts worked out: point after point.

    batch, context : samples, and cached tokens of each where counts follow them, (points,).
    """
    number = len(batch)
    cached = context[:, None] if isinstance(context, np.ndarray) else context

    def worked(count: FloatArray) -> FloatArray:
        value = at_batch(count, batch[:, None], cached)
        flat = value.reshape(*value.shape[:-2], -1)
        return np.stack([flat, np.zeros_like(flat)], axis=-2)

    return Columns(
        phase=np.tile(columns.phase, number),
        op_class=np.tile(columns.op_class, number),
        engine=np.tile(columns.engine, number),
        flops=worked(columns.flops),
        read=worked(columns.read),
        write=worked(columns.write),
        gemm=worked(columns.gemm),
        groups=np.tile(columns.groups, number),
        window=np.tile(columns.window, (1, number)),
        streamed=worked(columns.streamed),
        reuse=np.tile(columns.reuse, number),
        last=np.tile(columns.last, number),
    )


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
        last=np.array([k.last for k in kernels], dtype=bool),
    )


def _column(counts: Sequence[Affine]) -> FloatArray:
    return np.array(counts, dtype=float).reshape(-1, 2).T


def _roles(moved: Sequence[tuple[tuple[Role, Affine], ...]]) -> FloatArray:
    table = np.zeros((len(Role), 2, len(moved)))
    for position, tensors in enumerate(moved):
        for role, count in tensors:
            table[role, :, position] += np.array(count, dtype=float)  # counts beyond 2^63 are no integers of NumPy
    return table

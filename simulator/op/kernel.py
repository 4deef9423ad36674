"""One kernel launch, as a device-free and dtype-free count of work and traffic."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from simulator.precision import Engine, Role

__all__ = ["Affine", "Engine", "Gemm", "Kernel", "Moved", "OpClass", "Phase", "Role", "Window", "each", "once"]


class Phase(IntEnum):
    """When in a step a kernel runs."""

    FORWARD = 0
    INPUT_GRADIENT = 1
    WEIGHT_GRADIENT = 2
    UPDATE = 3


class OpClass(IntEnum):
    """Kernels that behave alike on hardware."""

    GEMM = 0
    CONVOLUTION = 1
    NORMALIZATION = 2
    POOLING = 3
    ELEMENTWISE = 4
    SOFTMAX = 5
    REDUCTION = 6
    COPY = 7
    LOOKUP = 8
    UPDATE = 9
    CAST = 10
    ATTENTION = 11


class Affine(NamedTuple):
    """A count that is `fixed + per_sample * batch`."""

    fixed: float
    per_sample: float


def once(count: float) -> Affine:
    """A count that does not depend on the batch."""
    return Affine(count, 0)


def each(count: float) -> Affine:
    """A count for each sample of the batch."""
    return Affine(0, count)


Moved = tuple[tuple[Role, Affine], ...]
"""Tensors that a kernel reads or writes, each once. [elements]"""


class Gemm(NamedTuple):
    """`groups` independent products of an (m x k) by a (k x n) matrix; MACs = m * n * k * groups."""

    m: Affine
    n: Affine
    k: Affine
    groups: int = 1


class Window(NamedTuple):
    """Geometry of a sliding window: (height, width) of kernel, stride and dilation."""

    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)


@dataclass(frozen=True)
class Kernel:
    """One kernel launch.

    Attributes
    ----------
    flops : floating-point operations. [FLOP]
    read, write : elements moved by role when each tensor is moved once. [elements]
    gemm : the matrix view, for kernels of the matrix engine.
    window : geometry of a convolution or pooling; of a softmax the row that it sums over, (1, values).
    streamed, reuse : the operand that a machine without caches would fetch `reuse` times. [elements]
    last : whether a convolution's image has its channels innermost, whatever layout the framework starts with.
    """

    op_class: OpClass
    phase: Phase
    flops: Affine
    read: Moved
    write: Moved
    gemm: Gemm | None = None
    window: Window = Window()
    streamed: Affine = Affine(0, 0)
    reuse: float = 1
    last: bool = False

    @property
    def engine(self) -> Engine:
        """Matrix units for products of matrices, vector lanes for the rest."""
        return Engine.MATRIX if self.gemm else Engine.VECTOR

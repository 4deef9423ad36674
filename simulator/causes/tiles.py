"""Small tiles move operands more often than large ones, and each starts and ends its sum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from simulator.causes.cause import DEEPBENCH, SIDE, STEPS, Cause, coefficient, starts
from simulator.op.kernel import OpClass, Phase

if TYPE_CHECKING:
    from simulator.op.kernels import Columns, FloatArray

TENSOR_FLOP = 1024
"""FLOP of a V100 multiprocessor's eight tensor cores in a clock. Source: NVIDIA V100 whitepaper, table 1."""

HALF_WIDTH = 2
"""Bytes of a half-width value."""

FARTHER = "DeepBench alone on Volta, 47; operands of later tensor cores reach further, for a half of it"


@dataclass(frozen=True, eq=False, repr=False)
class SmallTiles(Cause):
    """Overhead of a tile's side and of its depth, in lanes and on tensor cores."""

    title: ClassVar[str] = "tiles"

    vector_tile: float = coefficient(
        "vector GEMM: tile side lost to moving operands",
        0,
        SIDE,
        starts(DEEPBENCH, gpu=(10, 0.15), cpu=(6, 0.5), machine=(4, 0.7)),
    )
    matrix_tile: float = coefficient(
        "tensor GEMM: the same, at 1024 FLOP a clock and unit",
        0,
        SIDE,
        starts(FARTHER, gpu=(47, 0.15), ampere=(22, 0.3), ada=(22, 0.3), blackwell=(22, 0.3)),
    )
    vector_depth: float = coefficient(
        "vector GEMM: depth lost to starting and ending",
        0,
        STEPS,
        starts(DEEPBENCH, gpu=(18, 0.2), cpu=(40, 0.6), machine=(30, 0.7)),
    )
    matrix_depth: float = coefficient(
        "tensor GEMM: depth lost to starting and ending", 0, STEPS, starts(DEEPBENCH, gpu=(108, 0.2))
    )
    weight_depth: float = coefficient(
        "weight gradient: depth lost to starting and ending",
        0,
        STEPS,
        starts(DEEPBENCH, gpu=(400, 0.3), machine=(40, 0.7)),
    )
    tensor_weight_depth: float | None = coefficient(
        "the same on tensor cores", 0, STEPS, starts(DEEPBENCH, gpu=(190, 0.3), turing=(900, 0.3)), absent=None
    )

    def matrix_side(self, operand_bytes: float, flop_a_clock: float | None) -> float:
        """Tile overhead on tensor cores: the more bytes of operands they take at a clock, the more they wait for them.

        The coefficient is that of `TENSOR_FLOP` a clock in each unit on half-width values, as V100's have; GeForce
        cards, whose tensor cores run at half rate when they accumulate in fp32, wait less; tf32 is twice as wide at
        half the rate.

            overhead = matrix_tile x operand bytes / 2 x FLOP a clock of a unit / 1024

        Worked example: an A100's 312 TFLOP/s over 108 units at 1.41 GHz are 2,049 FLOP a clock: twice the coefficient
        in half width; tf32 at 156 TFLOP/s in 4 bytes the same.

        >>> own = SmallTiles(vector_tile=10, matrix_tile=22, vector_depth=18, matrix_depth=108, weight_depth=400)
        >>> [own.matrix_side(width, flops) for width, flops in ((2, 2048), (4, 1024), (2, None))]
        [44.0, 44.0, 22]

        flop_a_clock : of one unit; None where the clock is not known, which is then taken as a V100's. [FLOP]
        """
        if flop_a_clock is None:
            return self.matrix_tile
        return self.matrix_tile * (operand_bytes / HALF_WIDTH) * flop_a_clock / TENSOR_FLOP

    def depth(self, columns: Columns, *, tensor: bool) -> FloatArray:
        """Steps of each product's sum lost to starting and ending a tile, (kernels,).

        The gradient of the weights has a deep sum and a small output, which blocks add up between them. On tensor cores
        cuDNN's kernels for Turing lose more than those for Volta: 2048 x 512 channels over 392 positions take 76 us on
        a T4 and 17 us on a V100, which multiplies 2.6 times as fast. A device that does not tell lanes and tensor cores
        apart loses as much on both.
        """
        import numpy as np

        usual = self.matrix_depth if tensor else self.vector_depth
        own = self.tensor_weight_depth if tensor else None
        gradient = (columns.op_class == OpClass.CONVOLUTION) & (columns.phase == Phase.WEIGHT_GRADIENT)
        attention = columns.op_class == OpClass.ATTENTION
        return np.select([gradient, attention], [self.weight_depth if own is None else own, 0.0], usual)

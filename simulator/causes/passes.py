"""Kernels that wait for memory read and write at less than streaming speed, each class at its own fraction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from simulator.causes.cause import NETWORKS, RATIO, TIMES, Cause, coefficient, starts
from simulator.op.kernel import Engine, OpClass, Phase

if TYPE_CHECKING:
    from simulator.op.kernels import BoolArray, Columns, FloatArray

HALF_WIDTH, FULL_WIDTH = 2, 4
"""Bytes of a half-width and of a full-width value."""

COMPILED = (OpClass.NORMALIZATION, OpClass.POOLING, OpClass.SOFTMAX, OpClass.COPY, OpClass.REDUCTION)
"""Classes whose loops a compiler writes like those over elements."""

LONGEST_ROW = 1024
"""Values of a row that a library's softmax keeps in registers, read once; of longer ones it reads each for the maximum,
for the sum and for the result. Source: PyTorch, aten/src/ATen/native/cuda/SoftMax.cu, `dim_size <= 1024`."""

FURTHER_READS = 2
"""Times that a softmax reads long rows again; its gradient takes as long for a value of any row (NeuSight, MI210)."""

ROWS = "read off NeuSight's operations on an MI210 (families/cdna.yaml), not fitted"
ONE_BY_ONE = "fitted to operations timed one by one (families/cdna.yaml)"

PLAIN_SUM = 3
"""FLOP an element up to which a compiler's sum reads like its other loops: the sum alone, or after a ReLU. Source:
timm's compiled networks in mixed precision on an RTX 4090, 5090 and PRO 6000: with the rate of other loops the squeeze
of SE-ResNets, ECA and GRN is right within 9 %, at the libraries' 0.36 they are 20 to 45 % too slow; that of
EfficientNets, CoAtNets and RegNetZ, after x sigmoid(x) or its piecewise form, takes 0.3 of the bandwidth."""

WRITES = 0.5
"""Share of what a sum reads from which on it writes the values of a function too, for others to read. A sum that only
works them out reads like other loops: timm's ConvNeXt V2, whose norms of GELU are so, is right within 4 % compiled on
an RTX 4090, 5090 and PRO 6000, and 15 % too slow at the rate of sums that write."""

LIBRARY_SUMS = 2.0
"""Rate of a library's plain sums over `reduction`, which sums that work out a function set in its fit: 0.7 of the
bandwidth, as compiled SE-ResNets leave their squeeze on an RTX 4090, 5090 and PRO 6000. It was judged on eager ones:
their errors in mixed precision fall from 4.8 to 4.3 %, in channels last from 6.4 to 6.1, on a PRO 6000 from 6.3 to 5.7.
"""

WALKED = 4.5
"""Values that pooling walks for each element read and written, where windows of 3 x 3 have no stride: 9 for 2."""

BY_DEFINITION = (
    "large element-wise kernels reach the bandwidth by definition; NeuSight's: 0.92 of the datasheet on a V100, 0.88 "
    "on an A100"
)
AT_BATCH_ONE = (
    "as DeepBench puts it; held on processors: a linear layer at batch 1 reads its weights at the speed of memory "
    "(PyTorch 2.13, MKL: 14.4 GB/s on one thread, 21 on two, a copy 8.8 and 16)"
)
SOFTMAX_ALONE = (
    "NeuSight's softmax timed alone on a P100, T4, V100 and A100: geometric mean of 345 shapes of 16 MB and more"
)
IMAGES = (
    "sums over an image of 49 values fill few lanes; fits without timm's rows, or without any other's, give 0.3 to 0.5"
)
OF_BANDWIDTH = "of the sustained bandwidth"


@dataclass(frozen=True, eq=False, repr=False)
class Passes(Cause):
    """Fraction of the sustained bandwidth by class of kernel."""

    title: ClassVar[str] = "passes over memory"

    operand: float = coefficient(
        f"GEMM operands, {OF_BANDWIDTH}",
        1,
        RATIO,
        starts(AT_BATCH_ONE, gpu=(0.7, 0.2), cpu=(0.7, 0.05), machine=(0.8, 0.3)),
    )
    normalization: float = coefficient(
        OF_BANDWIDTH, 1, RATIO, starts(NETWORKS, gpu=(0.8, 0.2), cpu=(0.7, 0.3), machine=(0.8, 0.5))
    )
    pooling: float = coefficient(
        OF_BANDWIDTH, 1, RATIO, starts(NETWORKS, gpu=(0.6, 0.4), cpu=(0.5, 0.3), machine=(0.6, 0.5))
    )
    elementwise: float = coefficient(
        OF_BANDWIDTH, 1, RATIO, starts(BY_DEFINITION, gpu=(0.98, 0.05), cpu=(0.7, 0.3), machine=(0.8, 0.5))
    )
    softmax: float = coefficient(OF_BANDWIDTH, 1, RATIO, starts(SOFTMAX_ALONE, gpu=(0.57, 0.1), machine=(0.8, 0.5)))
    masked: float = coefficient(
        "element-wise kernels with a mask beside the values, further", 1, RATIO, starts(ONE_BY_ONE), absent=1.0
    )
    masked_gradient: float = coefficient(
        "gradients with a mask beside the values, further", 1, RATIO, starts(ONE_BY_ONE), absent=1.0
    )
    long_rows: float = coefficient(
        "share of a softmax's further reads of long rows that no cache holds", 0, TIMES, starts(ROWS), absent=0.0
    )
    reduction: float = coefficient(OF_BANDWIDTH, 1, RATIO, starts(IMAGES, gpu=(0.5, 0.3), machine=(0.8, 0.5)))
    copy: float = coefficient(f"copies and look-ups, {OF_BANDWIDTH}", 1, RATIO, starts(NETWORKS, gpu=(0.8, 0.3)))
    update: float = coefficient(
        f"optimizer updates and casts, {OF_BANDWIDTH}",
        1,
        RATIO,
        starts(NETWORKS, gpu=(0.85, 0.2), machine=(0.8, 0.5)),
    )
    half_width: float = coefficient(
        "element-wise kernels of 2-byte values, further", 1, RATIO, starts(NETWORKS, gpu=(0.95, 0.05)), absent=1.0
    )

    def efficiency(self, columns: Columns, width: float, *, compiled: bool, walks: bool = False) -> FloatArray:
        """Fraction of the sustained bandwidth that each kernel reaches, (kernels,).

            efficiency = coefficient of its class x (half_width, in lanes, on values of 2 bytes)
            pooling    = pooling x width / 4, on values of less than 4 bytes that are not kept in full width
            softmax    = softmax x moved / (moved + long_rows x further reads), on rows of more than 1,024 values

        Pooling's kernels walk their windows value by value, so that narrow ones take as long as full ones.

        width : of an activation. [byte]
        compiled : whether a compiler writes the loops over elements and rows, which then read memory all alike; sums
            of gradients, and those that work out and write a function of each value (`PLAIN_SUM`), are as slow as the
            libraries'.
        walks : whether forward pooling takes a thread for each output, which walks its window: it moves its elements
            as element-wise kernels do, and is slower by the values that it walks, up to `WALKED` for each.

                1 / efficiency = 1 / elementwise + values / (4.5 x elements) x (1 / pooling - 1 / elementwise)

        Worked example: at a pooling of 0.25 and an element-wise rate of 1, windows of 2 x 2 side by side walk 4 values
        for 5 elements: 1 + 0.178 x 3 = 1.53 times as long as moving them, 0.65 of the bandwidth.

        >>> from simulator.op.base import elementwise
        >>> from simulator.op.kernel import Phase
        >>> from simulator.op.kernels import pack
        >>> classes = (OpClass.ELEMENTWISE, OpClass.POOLING, OpClass.COPY)
        >>> kernels = pack([elementwise(Phase.FORWARD, 1, {}, {}, op_class) for op_class in classes])
        >>> own = {one.name: 0.5 for one in Passes.coefficients()}
        >>> passes = Passes(**own | {"elementwise": 1.0, "pooling": 0.6, "half_width": 0.9})
        >>> passes.efficiency(kernels, 4, compiled=False).tolist()
        [1.0, 0.6, 0.5]
        >>> passes.efficiency(kernels, 2, compiled=False).tolist()  # copies: 0.5 x 0.9; pooling: 0.6 x 2 / 4
        [0.9, 0.3, 0.45]

        References
        ----------
        Williams, Waterman, Patterson, "Roofline", Commun. ACM 52(4), 2009, "Adding Ceilings to the Model": what a
        kernel does not do right lowers the roof above it. doi:10.1145/1498765.1498785
        """
        import numpy as np

        from simulator.op.kernels import side_by_side
        from simulator.precision import Role

        pooling = columns.op_class == OpClass.POOLING
        by_class = side_by_side([self.of_class(one, compiled=compiled) for one in OpClass])
        efficiency: FloatArray = by_class[..., columns.op_class]
        sums, slow = columns.op_class == OpClass.REDUCTION, _slow_sums(columns)
        if compiled:
            efficiency = np.where(slow, self.reduction, efficiency)
        else:
            plain = np.maximum(self.reduction, np.minimum(LIBRARY_SUMS * self.reduction, self.elementwise))
            efficiency = np.where(sums & ~slow, plain, efficiency) * self._of_kernels(columns)
        if width <= HALF_WIDTH:
            efficiency = np.where(columns.engine == Engine.VECTOR, efficiency * self.half_width, efficiency)
        if width < FULL_WIDTH and not compiled:
            narrow = pooling & ~columns.read[Role.WIDE].any(axis=0)
            efficiency = np.where(narrow, self.pooling * width / FULL_WIDTH, efficiency)
        if walks and not compiled:
            free, walked = 1 / self.elementwise, _walked(columns)
            efficiency = np.where(pooling, 1 / (free + walked * (1 / efficiency - free)), efficiency)
        return efficiency

    def _of_kernels(self, columns: Columns) -> FloatArray:
        """What a library's single kernels reach of their class's rate, (kernels,); 1 where nothing is known of them."""
        import numpy as np

        masked = np.where(columns.phase == Phase.FORWARD, self.masked, self.masked_gradient)
        rows = 1 / (1 + self.long_rows * _further_reads(columns))
        result: FloatArray = np.where(_masked(columns), masked, rows)
        return result

    def of_class(self, op_class: OpClass, *, compiled: bool) -> float:
        """The coefficient of a class of kernels."""
        if compiled and op_class in COMPILED:
            return self.elementwise
        match op_class:
            case OpClass.GEMM | OpClass.CONVOLUTION | OpClass.ATTENTION:
                return self.operand
            case OpClass.COPY | OpClass.LOOKUP:
                return self.copy
            case OpClass.UPDATE | OpClass.CAST:
                return self.update
        value: float = getattr(self, op_class.name.lower())
        return value


def _walked(columns: Columns) -> FloatArray:
    """Values that pooling walks for each element moved, over those of `WALKED`, (kernels,); one where it is unknown."""
    import numpy as np

    values, moved = columns.flops.sum(axis=0), columns.read.sum(axis=(0, 1)) + columns.write.sum(axis=(0, 1))
    known = (columns.phase == Phase.FORWARD) & (values > 0)
    return np.where(known, np.minimum(values / np.maximum(WALKED * moved, 1), 1.0), 1.0)


def _masked(columns: Columns) -> BoolArray:
    """Element-wise kernels that read or write a mask beside the values, (kernels,): dropout, causal masks."""
    from simulator.precision import Role

    beside = (columns.read[Role.MASK] + columns.write[Role.MASK]).any(axis=0)
    result: BoolArray = (columns.op_class == OpClass.ELEMENTWISE) & beside
    return result


def _further_reads(columns: Columns) -> FloatArray:
    """Elements that a softmax of long rows reads again, of those that it moves, (kernels,).

    Worked example: each value is read three times and written once, where one that stays is read once: two for two, 1.
    """
    import numpy as np

    long = (columns.op_class == OpClass.SOFTMAX) & (columns.window[1] > LONGEST_ROW) & (columns.phase == Phase.FORWARD)
    read, write = columns.read.sum(axis=(0, 1)), columns.write.sum(axis=(0, 1))
    result: FloatArray = np.where(long, FURTHER_READS * read / np.maximum(read + write, 1), 0.0)
    return result


def _slow_sums(columns: Columns) -> BoolArray:
    """Sums of gradients over all samples, and those that write the function whose values they add, (kernels,)."""
    read, written = columns.read.sum(axis=(0, 1)), columns.write.sum(axis=(0, 1))
    functions = (columns.flops.sum(axis=0) > PLAIN_SUM * read) & (written >= WRITES * read)
    result: BoolArray = (columns.op_class == OpClass.REDUCTION) & (functions | (columns.phase != Phase.FORWARD))
    return result

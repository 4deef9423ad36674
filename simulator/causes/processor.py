"""What a processor adds: functions and windows without a library, operands in layouts of a library's own, new pages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from simulator.causes.cause import PROCESSORS, RATIO, TIMES, Cause, coefficient, starts
from simulator.op.kernel import Engine, OpClass, Phase, Role

if TYPE_CHECKING:
    from simulator.op.kernels import Columns, FloatArray

PROCESSOR = "processors"


@dataclass(frozen=True, eq=False, repr=False)
class Instructions(Cause):
    """Rates that compilers reach where no library has a matrix product."""

    title: ClassVar[str] = PROCESSOR
    slows: ClassVar[bool] = False

    arithmetic: float = coefficient(
        "processors: element-wise functions, of the vector rate",
        1,
        RATIO,
        starts(PROCESSORS, machine=(0.03, 0.7)),
        absent=1.0,
    )
    statistics: float = coefficient(
        "processors: statistics of batch normalisation, of the vector rate",
        1,
        RATIO,
        starts(PROCESSORS, machine=(0.01, 1.0)),
        absent=1.0,
    )
    sliding: float = coefficient(
        "processors: windows of pooling, of the vector rate",
        1,
        RATIO,
        starts(PROCESSORS, machine=(0.003, 1.0)),
        absent=1.0,
    )

    def rate(self, columns: Columns) -> FloatArray:
        """Rate over the vector lanes' of each kernel, (kernels,).

            time = FLOP / (rate of the lanes x (sliding | statistics | arithmetic; 1 of products))

        Functions such as an exponential take tens of instructions for what counts as one operation; the windows of a
        pooling in channels-first layout are compared one number at a time; statistics over a batch are summed in double
        precision, one channel after the other.

        >>> from simulator.op.base import elementwise
        >>> from simulator.op.kernels import pack
        >>> each, out = {Role.ACTIVATION: 8}, {Role.ACTIVATION: 8}
        >>> kernels = [elementwise(Phase.FORWARD, 8, each, out, one) for one in (OpClass.POOLING, OpClass.SOFTMAX)]
        >>> kernels += [elementwise(Phase.FORWARD, 16, each, {}, OpClass.NORMALIZATION)]  # sums, which read alone
        >>> Instructions(arithmetic=0.05, statistics=0.02, sliding=0.004).rate(pack(kernels)).tolist()
        [0.004, 0.05, 0.02]

        References
        ----------
        Shibata, Petrogalli, "SLEEF: A Portable Vectorized Library of C Standard Mathematical Functions", IEEE Trans.
        Parallel Distrib. Syst. 31(6), 2020: how many instructions a function takes. doi:10.1109/TPDS.2019.2960333
        """
        import numpy as np

        reads_alone = (columns.op_class == OpClass.NORMALIZATION) & (columns.phase == Phase.FORWARD)
        reads_alone = reads_alone & ~columns.write[Role.ACTIVATION].any(axis=0)
        pooling = columns.op_class == OpClass.POOLING
        rate = np.select([pooling, reads_alone], [self.sliding, self.statistics], self.arithmetic)
        return np.where(columns.engine == Engine.VECTOR, rate, 1.0)


@dataclass(frozen=True, eq=False, repr=False)
class Copies(Cause):
    """Operands copied into a library's own layout, and pages new from the system, as a machine measured its own.

    Those that a profile does not give are the framework's (`ProcessorCalls`, `roofline/processor.py`).
    """

    title: ClassVar[str] = PROCESSOR
    slows: ClassVar[bool] = False

    relayout: float | None = coefficient(
        "processors: times a convolution's operands change layout",
        0,
        TIMES,
        starts(PROCESSORS, machine=(0.8, 0.7)),
        absent=None,
    )
    packing: float | None = coefficient(
        "processors: times a GEMM's operands are packed",
        0,
        TIMES,
        starts(PROCESSORS, machine=(0.5, 0.7)),
        absent=None,
    )
    first_touch: float | None = coefficient(
        "processors: writing new pages, of the memory bandwidth",
        1,
        RATIO,
        starts("measured by `simulate calibrate`, not fitted"),
        absent=None,
    )

"""Convolutions over plain products: windows are gathered, gradients have layouts of their own, strides leave holes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from simulator.causes.cause import DEEPBENCH, MULTIPLE, NETWORKS, RATIO, TIMES, Cause, coefficient, starts
from simulator.op.kernel import OpClass, Phase, Role

if TYPE_CHECKING:
    from simulator.op.kernels import Columns, FloatArray

TENSOR_MULTIPLE = 8
"""Tensor cores take half-width operands by eights; other widths are padded. Source: NVIDIA, "Matrix Multiplication
Background", requirements to use tensor cores."""

TF32_BYTES = 4

WHOLE_TILES = "read off DeepBench's weight gradients on a T4 (families/turing.yaml), not fitted"


@dataclass(frozen=True, eq=False, repr=False)
class Convolutions(Cause):
    """Implicit GEMM over plain GEMM, by pass."""

    title: ClassVar[str] = "convolution kernels"

    convolution: float = coefficient(
        "implicit GEMM of a convolution, of the GEMM rate",
        1,
        RATIO,
        starts(DEEPBENCH, gpu=(0.97, 0.15), cpu=(0.7, 0.5), machine=(0.9, 0.3)),
    )
    tensor_convolution: float = coefficient(
        "the same on tensor cores", 1, RATIO, starts(DEEPBENCH, gpu=(1.1, 0.2)), absent=1.0
    )
    tf32_convolution: float = coefficient(
        "the same on values of 4 bytes (tf32), further",
        1,
        RATIO,
        starts(f"{NETWORKS}; operands are rounded to tf32 as they are read", gpu=(0.9, 0.2)),
        absent=1.0,
    )
    input_gradient: float = coefficient(
        "of the forward convolution's rate", 1, RATIO, starts(DEEPBENCH, gpu=(0.99, 0.1), machine=(0.9, 0.3))
    )
    weight_gradient: float = coefficient(
        "of the forward convolution's rate", 1, RATIO, starts(DEEPBENCH, gpu=(1.0, 0.15), machine=(0.9, 0.3))
    )
    strided_gradient: float = coefficient(
        "input gradient with a stride, further", 1, RATIO, starts(DEEPBENCH, gpu=(0.75, 0.15), machine=(0.5, 0.7))
    )
    scattered_write: float = coefficient(
        "input gradient with a stride: times its outputs pass memory besides",
        0,
        TIMES,
        starts(DEEPBENCH, gpu=(2.3, 0.3)),
        absent=0.0,
    )
    weight_channels: float = coefficient(
        "weight gradient on tensor cores: channels padded to a multiple", 1, MULTIPLE, starts(WHOLE_TILES), absent=1.0
    )

    def rate(self, columns: Columns, *, tensor: bool, operand_bytes: float) -> FloatArray:
        """Rate of implicit GEMM over that of a plain GEMM, (kernels,), of convolutions without groups.

            rate = (convolution, or tensor_convolution x (tf32_convolution on 4 bytes))
                 x (1 forward, input_gradient x (strided_gradient with a stride), or weight_gradient)

        Gathering the windows costs in every pass; the gradients' layouts suit the hardware less; an input gradient with
        a stride meets windows that are mostly empty; values of 4 bytes are rounded for tensor cores one by one, as they
        are read: on an A100, convolutional networks at tf32 took 4 to 30 % longer than predicted under every framework.

        operand_bytes : width of an operand. [byte]

        >>> from simulator.op.kernel import Gemm, Kernel, Window, each, once
        >>> from simulator.op.kernels import pack
        >>> sides, window = Gemm(each(784), once(64), once(576)), Window((3, 3), (2, 2))
        >>> passes = (Phase.FORWARD, Phase.INPUT_GRADIENT, Phase.WEIGHT_GRADIENT)
        >>> kernels = pack([Kernel(OpClass.CONVOLUTION, one, each(0), (), (), sides, window) for one in passes])
        >>> own = {"convolution": 0.9, "input_gradient": 0.8, "strided_gradient": 0.5, "weight_gradient": 1.0}
        >>> Convolutions(**own).rate(kernels, tensor=False, operand_bytes=4).round(2).tolist()
        [0.9, 0.36, 0.9]
        >>> cores = Convolutions(**own, tensor_convolution=1.1, tf32_convolution=0.9)
        >>> cores.rate(kernels, tensor=True, operand_bytes=4).round(3).tolist()
        [0.99, 0.396, 0.99]

        References
        ----------
        Chetlur et al., "cuDNN: Efficient Primitives for Deep Learning", 2014, arXiv 1410.0759, section 3: implicit
        GEMM.
        """
        import numpy as np

        input_gradient = columns.phase == Phase.INPUT_GRADIENT
        by_phase = np.select(
            [input_gradient, columns.phase == Phase.WEIGHT_GRADIENT], [self.input_gradient, self.weight_gradient], 1.0
        )
        strided = np.where((columns.window[2] > 1) & input_gradient, self.strided_gradient, 1.0)
        on_cores = self.tensor_convolution * (self.tf32_convolution if operand_bytes == TF32_BYTES else 1.0)
        result: FloatArray = (on_cores if tensor else self.convolution) * by_phase * strided
        return result

    def scattered(self, columns: Columns, batch: FloatArray | float) -> FloatArray:
        """Outputs of input gradients with a stride, which lanes write more than once, (kernels,) or (batches, kernels).

        They are set to zero, and those that a window meets are then written one by one: with a stride of 2, single
        values in every other place of every other row. [elements]

            scattered = scattered_write x outputs

        Worked example: 64 channels of 56 x 56 for each of 2 samples, 2.3 times: 923,238 elements of 401,408.

        >>> from simulator.op.kernel import Gemm, Kernel, Window, each, once
        >>> from simulator.op.kernels import pack
        >>> outputs, sides = ((Role.GRADIENT, each(64 * 56 * 56)),), Gemm(each(3136), once(64), once(576))
        >>> window = Window((3, 3), (2, 2))
        >>> kernel = Kernel(OpClass.CONVOLUTION, Phase.INPUT_GRADIENT, each(0), (), outputs, sides, window)
        >>> own = dict.fromkeys(("convolution", "input_gradient", "weight_gradient", "strided_gradient"), 1.0)
        >>> Convolutions(**own, scattered_write=2.3).scattered(pack([kernel]), 2).round().tolist()
        [923238.0]
        """
        from simulator.op.kernels import at_batch

        strided = (columns.window[2] > 1) & (columns.op_class == OpClass.CONVOLUTION)
        once = columns.write[Role.GRADIENT] * (strided & (columns.phase == Phase.INPUT_GRADIENT))
        return self.scattered_write * at_batch(once, batch)

    def aligned(
        self, columns: Columns, m: FloatArray, n: FloatArray, k: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Sides m, n and k as tensor cores take them.

        A convolution pads the channels under each place of its window: 12 x 3 x 3 becomes 16 x 3 x 3. The gradient of
        its weights pads them, and the filters, to whole tiles where the device's `weight_channels` says so: cuDNN's
        kernels for Turing take 128, so that on a T4 64 x 64 channels run at a quarter of the rate of 128 x 128, at
        every window.

        >>> import numpy as np
        >>> from simulator.op.kernel import Gemm, Kernel, Window, each, once
        >>> from simulator.op.kernels import pack
        >>> sides = Gemm(each(784), once(64), once(12 * 9))
        >>> forward = Kernel(OpClass.CONVOLUTION, Phase.FORWARD, each(0), (), (), sides, Window((3, 3)))
        >>> own = Convolutions(convolution=1, input_gradient=1, weight_gradient=1, strided_gradient=1)
        >>> one = np.ones(1)
        >>> [side.tolist() for side in own.aligned(pack([forward]), 784 * one, 64 * one, 12 * 9 * one)]
        [[784.0], [64.0], [144.0]]
        """
        import numpy as np

        convolution = columns.op_class == OpClass.CONVOLUTION
        area = np.where(convolution, columns.window[0] * columns.window[1], 1.0)
        weight_gradient = columns.phase == Phase.WEIGHT_GRADIENT
        least = np.where(convolution & weight_gradient & (columns.groups == 1), self.weight_channels, 1.0)
        return (
            _rounded(m, least),
            _rounded(n, np.where(weight_gradient, area, 1.0) * np.maximum(least, TENSOR_MULTIPLE)),
            _rounded(k, np.where(weight_gradient, 1.0, area) * TENSOR_MULTIPLE),
        )


def _rounded(side: FloatArray, multiple: FloatArray) -> FloatArray:
    import numpy as np

    result: FloatArray = np.ceil(side / multiple) * multiple
    return result

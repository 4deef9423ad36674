"""Grouped and depthwise convolutions leave most of a tile empty."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from simulator.causes.cause import NETWORKS, RATIO, Cause, coefficient, starts
from simulator.op.kernel import OpClass, Phase

if TYPE_CHECKING:
    from simulator.op.kernels import Columns, FloatArray

NARROW_GROUPS = "narrow groups"

CONTAINERS = (
    "held where the containers of 2020 and later put them: libraries before cuDNN 8 had no kernels for groups on "
    "tensor cores"
)


@dataclass(frozen=True, eq=False, repr=False)
class NarrowGroups(Cause):
    """Convolutions whose groups have several channels."""

    title: ClassVar[str] = NARROW_GROUPS

    grouped: float = coefficient(
        "narrow groups, of the GEMM rate",
        1,
        RATIO,
        starts(NETWORKS, gpu=(0.6, 0.5), cpu=(0.5, 0.5), machine=(0.4, 0.7)),
    )
    tensor_grouped: float = coefficient(
        "the same on tensor cores", 1, RATIO, starts(CONTAINERS, gpu=(0.65, 0.05)), absent=1.0
    )

    def rate(self, columns: Columns, *, tensor: bool) -> FloatArray:
        """Rate over that without groups, (kernels,)."""
        import numpy as np

        return np.where(columns.groups > 1, self.tensor_grouped if tensor else self.grouped, 1.0)


@dataclass(frozen=True, eq=False, repr=False)
class Depthwise(Cause):
    """Convolutions of one channel a group: no product of matrices is left, so they run on the vector lanes."""

    title: ClassVar[str] = NARROW_GROUPS

    depthwise: float = coefficient(
        "one channel a group, of the vector rate",
        1,
        RATIO,
        starts(NETWORKS, gpu=(0.3, 0.6), cpu=(0.3, 0.6), machine=(0.1, 1.0)),
    )
    depthwise_gradient: float = coefficient(
        "of the forward pass's rate", 1, RATIO, starts(NETWORKS, gpu=(0.5, 0.5), machine=(0.8, 0.5))
    )

    def seconds(self, columns: Columns, flops: FloatArray, flop_per_s: float) -> FloatArray:
        """Seconds of computing, (kernels,) or (batches, kernels).

            time = FLOP / (sustained rate of the lanes x depthwise x (1 forward, depthwise_gradient in gradients))

        Worked example: 3 GFLOP at 10 TFLOP/s and 0.3 take 1 ms; their gradient, at half of that, 2 ms.

        >>> import numpy as np
        >>> from simulator.op.base import elementwise
        >>> from simulator.op.kernels import pack
        >>> kernels = pack([elementwise(one, 3e9, {}, {}) for one in (Phase.FORWARD, Phase.INPUT_GRADIENT)])
        >>> own = Depthwise(depthwise=0.3, depthwise_gradient=0.5)
        >>> own.seconds(kernels, np.full(2, 3e9), 10e12).round(6).tolist()
        [0.001, 0.002]

        flop_per_s : that lanes sustain.
        """
        import numpy as np

        by_phase = np.where(columns.phase == Phase.FORWARD, 1.0, self.depthwise_gradient)
        return flops / (flop_per_s * self.depthwise * by_phase)


@dataclass(frozen=True, eq=False, repr=False)
class ThinImages(Cause):
    """Images of three channels: cuDNN's half-width kernels for Volta and Turing take longer than those of full width.

    On a V100, 64 filters of 7 x 7 at stride 2 take 466 us at fp16 for 16 images, 304 at fp32; their gradient 1405 and
    553. A family that gives nothing has no such kernels.
    """

    title: ClassVar[str] = NARROW_GROUPS

    thin: float | None = coefficient(
        "half-width convolutions of an image's few channels over full width",
        1,
        RATIO,
        starts("where DeepBench puts convolutions of an image's channels", volta=(0.65, 0.2), turing=(0.85, 0.2)),
        absent=None,
    )
    thin_gradient: float | None = coefficient(
        "the same of the gradient of their weights",
        1,
        RATIO,
        starts("where DeepBench puts the same gradients", volta=(0.4, 0.2), turing=(0.34, 0.2)),
        absent=None,
    )

    def seconds(self, columns: Columns, lanes_s: FloatArray) -> FloatArray:
        """Seconds of computing of convolutions that this is true of; others nan.

        lanes_s : the same at full width in lanes, directly. [s]
        """
        import numpy as np

        from simulator.op.views import channels

        if self.thin is None:
            return np.full_like(lanes_s, np.nan)
        summed, yielded = channels(columns)
        weight_gradient = columns.phase == Phase.WEIGHT_GRADIENT
        whole = (columns.op_class == OpClass.CONVOLUTION) & (columns.groups == 1)
        few = np.where(weight_gradient, yielded, summed) < FEW_CHANNELS
        gradient = self.thin if self.thin_gradient is None else self.thin_gradient
        thin = whole & (columns.phase != Phase.INPUT_GRADIENT) & few
        return np.where(thin, lanes_s / np.where(weight_gradient, gradient, self.thin), np.nan)


FEW_CHANNELS = 8
"""Fewer than tensor cores take at once."""

"""The activation function with trained parameters."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from simulator.op.activation import Activation
from simulator.op.base import Shapes, Site, elements, operation
from simulator.op.kernel import Kernel, OpClass, Phase, Role, each, once


@operation("prelu")
class Prelu(Activation, frozen=True):
    """Leaky ReLU whose slope is trained: one for each channel, or a single one if `shared`.

    Backward: input gradient 2 FLOP an element; the slope's gradient sums g * x where x is negative: 3.
    Source: He, Zhang, Ren, Sun, "Delving Deep into Rectifiers", ICCV 2015, equations 1 and 3.
    """

    shared: bool = False

    forward_flops: ClassVar[int] = 2
    backward_flops: ClassVar[int] = 2
    saves_input: ClassVar[bool] = True

    def parameter_sizes(self, inputs: Shapes) -> tuple[int, ...]:
        """One slope a channel (the first side of an image, the last of anything else), or one."""
        shape = inputs[0]
        return (1,) if self.shared else (shape[0] if len(shape) == 3 else shape[-1],)

    def forward(self, site: Site) -> list[Kernel]:
        """One pass, which reads the slopes too."""
        return [self._with_slopes(kernel, site) for kernel in Activation.forward(self, site)]

    def backward(self, site: Site) -> list[Kernel]:
        """Input gradient, then the slopes' gradient as a sum over batch and positions."""
        size = elements(site.output)
        slopes = Kernel(
            OpClass.REDUCTION,
            Phase.WEIGHT_GRADIENT,
            each(3 * size),
            ((Role.ACTIVATION, each(size)), (Role.GRADIENT, each(size))),
            ((Role.WEIGHT_GRADIENT, once(self.parameter_sizes(site.inputs)[0])),),
        )
        return [*(self._with_slopes(kernel, site) for kernel in Activation.backward(self, site)), slopes]

    def _with_slopes(self, kernel: Kernel, site: Site) -> Kernel:
        slopes = (Role.WEIGHT, once(self.parameter_sizes(site.inputs)[0]))
        return replace(kernel, read=(*kernel.read, slopes))

"""Functions of one element that no network names as an activation."""

from __future__ import annotations

from typing import ClassVar, Literal

from simulator.op.base import Op, Site, elements, elementwise, operation
from simulator.op.kernel import Kernel, Phase, Role

FLOPS: dict[str, tuple[int, int]] = {
    "abs": (1, 1),
    "exp": (1, 1),
    "linear": (2, 1),
    "log": (1, 1),
    "power": (3, 3),
    "square": (1, 2),
    "threshold": (1, 0),
}
"""FLOPs an element, forward and backward: one for each operation and elementary function.

`linear` is scale * x + shift; `power` raises that to a power, and its gradient power * scale * y / (scale * x + shift)
comes from the saved output; the step function `threshold` has no gradient.
"""


@operation("pointwise")
class Pointwise(Op, frozen=True):
    """An elementary function of each element, one pass each way."""

    function: Literal["abs", "exp", "linear", "log", "power", "square", "threshold"]

    saves_input: ClassVar[bool] = True

    def forward(self, site: Site) -> list[Kernel]:
        """One pass."""
        size = elements(site.output)
        flops = FLOPS[self.function][0] * size
        return [elementwise(Phase.FORWARD, flops, {Role.ACTIVATION: size}, {Role.ACTIVATION: size})]

    def backward(self, site: Site) -> list[Kernel]:
        """One pass over the gradient and what was saved; a linear function needs nothing saved."""
        size, flops = elements(site.output), FLOPS[self.function][1]
        if not site.input_gradient or not flops:
            return []
        reads = {Role.GRADIENT: size} if self.function == "linear" else {Role.ACTIVATION: size, Role.GRADIENT: size}
        return [elementwise(Phase.INPUT_GRADIENT, flops * size, reads, {Role.GRADIENT: size})]

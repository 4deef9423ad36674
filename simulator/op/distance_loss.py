"""Losses that compare two tensors element by element."""

from __future__ import annotations

from typing import ClassVar

from simulator.errors import InputError
from simulator.op.base import Op, Shape, Shapes, Site, elements, elementwise, operation
from simulator.op.kernel import Kernel, OpClass, Phase, Role


@operation("distance_loss")
class DistanceLoss(Op, frozen=True):
    """Squared distance, hinge, logistic and contrastive losses; training only.

    One input is compared with targets of its own size; of two inputs each is a prediction and gets a gradient. FLOPs an
    element: `work` forward (3 for a squared distance: difference, square, sum), 2 for each gradient.
    """

    work: int = 3

    arity: ClassVar[tuple[int, int | None]] = (1, 2)
    saves_input: ClassVar[bool] = True
    loss: ClassVar[bool] = True

    def output_shape(self, inputs: Shapes) -> Shape:
        """One number for the batch."""
        if self.work < 1 or (len(inputs) == 2 and elements(inputs[0]) != elements(inputs[1])):
            raise InputError(f"distance_loss: cannot compare {' and '.join(str(list(shape)) for shape in inputs)}")
        return (1,)

    def forward(self, site: Site) -> list[Kernel]:
        """One pass over predictions and targets."""
        if not site.training:
            return []
        size = elements(site.inputs[0])
        reads = {Role.ACTIVATION: 2 * size}
        return [elementwise(Phase.FORWARD, self.work * size, reads, {Role.ACTIVATION: 1}, OpClass.REDUCTION)]

    def backward(self, site: Site) -> list[Kernel]:
        """One pass that writes the gradient of each prediction."""
        if not site.input_gradient:
            return []
        size = elements(site.inputs[0])
        gradients = len(site.inputs) * size
        reads = {Role.ACTIVATION: 2 * size}
        return [elementwise(Phase.INPUT_GRADIENT, 2 * gradients, reads, {Role.GRADIENT: gradients})]

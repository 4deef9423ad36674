"""What the ranks that share a network exchange between two of its operations: a row beside the kernels."""

from __future__ import annotations

from typing import ClassVar, Literal

from simulator.op.base import Op, Shape, Shapes, Site
from simulator.op.kernel import Kernel

GroupName = Literal["tensor", "context", "expert"]
"""Which ranks exchange: those that share a layer's products, a sequence, or a layer's experts."""


class Transfer(Op, frozen=True):
    """One collective forward and one backward; it computes nothing, and the links' times are not an operation's.

    It is not registered, since sharding writes it and no workload file does.

    Attributes
    ----------
    group : whose ranks exchange.
    shape : what one sample is afterwards on each rank.
    sent, returned : the collective of the forward and of the backward pass, by its name; none where "".
    message, answer : what one sample's forward and backward message hold. [elements]
    active : experts of one position, of an exchange among those that hold them.
    hidden : whether it runs beside the operation that reads it (keys and values passed around a ring).
    """

    group: GroupName
    shape: Shape
    sent: str = ""
    returned: str = ""
    message: int = 0
    answer: int = 0
    active: int = 0
    hidden: bool = False
    view: bool = True  # type: ignore[misc]

    kind: ClassVar[str] = "transfer"

    def output_shape(self, inputs: Shapes) -> Shape:  # noqa: ARG002
        """The shape that sharding gave it."""
        return self.shape

    def forward(self, site: Site) -> list[Kernel]:  # noqa: ARG002
        """No kernel."""
        return []

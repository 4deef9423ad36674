"""An operation without a cost rule, kept by importers only when the user allows it."""

from __future__ import annotations

from simulator.op.base import Op, Shape, Shapes, Site, operation
from simulator.op.kernel import Kernel


@operation("unknown")
class Unknown(Op, frozen=True):
    """Named, listed and counted against the coverage; it costs nothing. `shape` is its output's, if known."""

    name: str
    shape: tuple[int, ...] | None = None

    def output_shape(self, inputs: Shapes) -> Shape:
        """The declared shape, or the first input's."""
        return self.shape or inputs[0]

    def forward(self, site: Site) -> list[Kernel]:  # noqa: ARG002
        """No kernel."""
        return []

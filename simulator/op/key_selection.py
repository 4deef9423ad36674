"""The choice of a few keys for each query, by small heads of their own."""

from __future__ import annotations

from typing import ClassVar

from simulator.errors import InputError
from simulator.op.base import Counts, Op, Shape, Shapes, Site, elements, operation
from simulator.op.kernel import Gemm, Kernel, OpClass, Phase, Role, each, once
from simulator.units import FLOPS_PER_MAC


@operation("key_selection")
class KeySelection(Op, frozen=True):
    """The `top` keys of each query: inputs (positions, heads * size), (positions, size), (positions, heads).

    Score = sum over heads of weight * max(query . key, 0): one product with the sum in its epilogue (2 FLOP and a
    comparison for each head's score), then the choice, one comparison a score. The heads are trained by a loss of their
    own, hence backward costs both gradients of the product.
    Source: DeepSeek-AI, "DeepSeek-V3.2", 2025, section 2.1, equation 1.
    """

    heads: int
    top: int

    arity: ClassVar[tuple[int, int | None]] = (3, 3)
    saves_input: ClassVar[bool] = True

    def output_shape(self, inputs: Shapes) -> Shape:
        """(positions, top), or all positions where there are fewer."""
        query, key, weights = inputs
        fits = len(query) == 2 and len(key) == 2 and self.heads >= 1 and query[1] == self.heads * key[1]
        if not fits or self.top < 1 or weights != (query[0], self.heads):
            raise InputError(
                f"key_selection: {list(query)}, {list(key)}, {list(weights)} do not fit {self.heads} heads"
            )
        return query[0], min(self.top, key[0])

    def counts(self, site: Site) -> Counts:
        """MACs of the product over the whole square."""
        macs = elements(site.inputs[0]) * site.inputs[1][0]
        return Counts(macs, FLOPS_PER_MAC * macs + (3 * self.heads + 1) * self._scores(site))

    def _scores(self, site: Site) -> int:
        return site.inputs[0][0] * site.inputs[1][0]

    def _gemm(self, site: Site, depth: int) -> Gemm:
        return Gemm(each(site.inputs[0][0]), once(site.inputs[1][0]), once(depth * site.inputs[1][1]), self.heads)

    def forward(self, site: Site) -> list[Kernel]:
        """The scores, then the choice."""
        scores, moved = self._scores(site), sum(elements(shape) for shape in site.inputs)
        flops = self.counts(site).flops - scores
        written = ((Role.ACTIVATION, each(scores)),)
        reads = ((Role.ACTIVATION, each(moved)),)
        chosen = ((Role.INDEX, each(elements(site.output))),)
        return [
            Kernel(OpClass.GEMM, Phase.FORWARD, each(flops), reads, written, self._gemm(site, 1)),
            Kernel(OpClass.REDUCTION, Phase.FORWARD, each(scores), written, chosen),
        ]

    def backward(self, site: Site) -> list[Kernel]:
        """Both gradients of the product, whose scores are computed again."""
        if not site.input_gradient:
            return []
        scores, moved = self._scores(site), sum(elements(shape) for shape in site.inputs)
        flops = 3 * FLOPS_PER_MAC * self.counts(site).macs + 5 * self.heads * scores
        reads = ((Role.ACTIVATION, each(moved)), (Role.GRADIENT, each(scores)))
        writes = ((Role.GRADIENT, each(moved)),)
        return [Kernel(OpClass.GEMM, Phase.INPUT_GRADIENT, each(flops), reads, writes, self._gemm(site, 3))]

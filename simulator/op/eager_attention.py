"""Eager attention: products, mask and softmax as kernels of their own, with the scores in memory."""

from __future__ import annotations

from simulator.op.attention import DROPOUT_FLOPS, SOFTMAX_FLOPS, Attention, Geometry, product
from simulator.op.base import Site, elementwise, operation
from simulator.op.kernel import Affine, Kernel, OpClass, Phase, Role, each, once

SOFTMAX_GRADIENT_FLOPS = 4
"""y * (g - sum(g * y)), for each score."""
CLIP_GRADIENT_LINES = ((1, 0, 0), (0, 1, 1), (1, 0, 0), (0, 2, 1), (0, 1, 1))
"""Kept scores and gradients read, and gradients written, for each score, by the kernels of a maximum's gradient: less
than, half of the gradient where both are alike, equal, choice, fill; flags of a byte are not counted. Source: the calls
that PyTorch 2.14 makes for torch.max of two tensors."""
SOFTCAP_GRADIENT_FLOPS = 3
"""g * (1 - y * y), for each score."""


@operation("attention")
class EagerAttention(Attention, frozen=True):
    """Attention as separate kernels, which write and read the scores: positions squared for each head.

    Forward: product, scale and mask, softmax, dropout, product. Backward: the two gradients of each product, together
    twice the forward MACs, and those of the kernels between. Kept: probabilities; their mask and what dropout leaves.
    Software that runs the source line by line scales and masks in a kernel each, and where a library's batched product
    takes one stride for samples and heads, queries, keys, values and the result are copied to other places.
    """

    def forward(self, site: Site) -> list[Kernel]:
        """Two batched products with element-wise passes over the scores between them."""
        geometry = self.geometry(site.inputs)
        scores = geometry.scores
        last = {Role.ACTIVATION: scores + geometry.value_elements}
        sides = (geometry.queries, geometry.value_size, geometry.keys)
        written = {Role.ACTIVATION: geometry.output_elements}
        through = {Role.ACTIVATION: scores}
        result = self.bias_lookup(geometry) + self._apart(site, geometry) + self._scores_of(geometry)
        result += [self._shift(geometry, self.shift_flops())] if site.whole else self._shifts(geometry)
        flops = SOFTMAX_FLOPS * scores
        result.append(elementwise(Phase.FORWARD, flops, through, through, OpClass.SOFTMAX, geometry.keys))
        if self.dropout and site.training:
            kept = {Role.ACTIVATION: scores, Role.MASK: scores}
            result.append(elementwise(Phase.FORWARD, DROPOUT_FLOPS * scores, through, kept))
        result.append(product(Phase.FORWARD, geometry.groups, sides, last, written))
        return result if site.whole and site.in_place else [*result, _copied(Phase.FORWARD, geometry.output_elements)]

    def _apart(self, site: Site, geometry: Geometry) -> list[Kernel]:
        """Queries, keys and values, copied so that each head lies by itself; queries are scaled before."""
        queries = geometry.query_elements
        through = {Role.ACTIVATION: queries}
        scaled = [elementwise(Phase.FORWARD, queries, through, through)]
        before = scaled if self.scale == "queries" and not site.whole else []
        return before if site.in_place else before + [_copied(Phase.FORWARD, size) for size in _sizes(geometry)]

    def _scores_of(self, geometry: Geometry) -> list[Kernel]:
        """The product of queries and keys."""
        sides = (geometry.queries, geometry.keys, geometry.key_size)
        inputs = {Role.ACTIVATION: geometry.query_elements + geometry.key_elements}
        return [product(Phase.FORWARD, geometry.groups, sides, inputs, {Role.ACTIVATION: geometry.scores})]

    def _shift(self, geometry: Geometry, flops: int) -> Kernel:
        """Scale, cap, bias and mask, or some of these, in one pass of so many FLOPs a score."""
        mask = ((Role.MASK, once(geometry.queries * geometry.keys)),) if self._hidden else ()
        return Kernel(
            OpClass.ELEMENTWISE,
            Phase.FORWARD,
            each(flops * geometry.scores),
            ((Role.ACTIVATION, each(geometry.scores)), *mask, *self.bias_reads(geometry)),
            ((Role.ACTIVATION, each(geometry.scores)),),
        )

    @property
    def _hidden(self) -> bool:
        """Whether queries do not see all keys."""
        return self.causal or self.span is not None

    def _shifts(self, geometry: Geometry) -> list[Kernel]:
        """A pass that scales the scores, and one that caps, biases and masks them."""
        through = {Role.ACTIVATION: geometry.scores}
        scaled = [elementwise(Phase.FORWARD, geometry.scores, through, through)] if self.scale == "scores" else []
        others = self.shift_flops() - 1
        clipped = [elementwise(Phase.FORWARD, geometry.scores, through, through)] if self.clipped else []
        return [*scaled, *([self._shift(geometry, others)] if others or self.sinks else []), *clipped]

    def backward(self, site: Site) -> list[Kernel]:
        """Values and probabilities, dropout, softmax, scale, queries and keys."""
        if not site.input_gradient and not self.parameter_sizes(site.inputs):
            return []
        geometry = self.geometry(site.inputs)
        result = [*self._output_product(geometry), *self._scores(geometry, site)]
        if site.input_gradient:
            result += self._input_product(geometry)
        if not site.in_place:
            result = [_copied(Phase.INPUT_GRADIENT, geometry.output_elements), *result]
        if not (site.whole and site.in_place):
            result += [_copied(Phase.INPUT_GRADIENT, size) for size in _sizes(geometry)]
        return result + self.parameter_gradients(site)

    def _output_product(self, geometry: Geometry) -> list[Kernel]:
        """Gradients of the values (P' dO) and of the probabilities (dO V')."""
        outputs, scores, values = geometry.output_elements, geometry.scores, geometry.value_elements
        of_values = (geometry.keys, geometry.value_size, geometry.queries)
        of_scores = (geometry.queries, geometry.keys, geometry.value_size)
        value_reads = {Role.ACTIVATION: scores, Role.GRADIENT: outputs}
        score_reads = {Role.GRADIENT: outputs, Role.ACTIVATION: values}
        phase = Phase.INPUT_GRADIENT
        return [
            product(phase, geometry.groups, of_values, value_reads, {Role.GRADIENT: values}),
            product(phase, geometry.groups, of_scores, score_reads, {Role.GRADIENT: scores}),
        ]

    def _scores(self, geometry: Geometry, site: Site) -> list[Kernel]:
        """Gradients through dropout, softmax, cap, mask and scale."""
        scores, phase = geometry.scores, Phase.INPUT_GRADIENT
        through = {Role.GRADIENT: scores}
        saved = {Role.ACTIVATION: scores, Role.GRADIENT: scores}
        result = []
        if self.dropout:
            reads = {Role.GRADIENT: scores, Role.MASK: scores}
            result.append(elementwise(phase, DROPOUT_FLOPS * scores, reads, through))
        if not site.whole:
            result.append(elementwise(phase, scores, saved, through))
        flops = SOFTMAX_GRADIENT_FLOPS * scores
        result.append(elementwise(phase, flops, saved, through, OpClass.SOFTMAX, geometry.keys))
        if self.softcap:
            result.append(elementwise(phase, SOFTCAP_GRADIENT_FLOPS * scores, saved, through))
        if self._hidden and not site.whole:
            result += self._clip_gradients(scores) if self.clipped else [elementwise(phase, scores, through, through)]
        if self.scale == "none" and not site.whole:
            return result
        scaled = {Role.GRADIENT: scores if site.whole or self.scale == "scores" else geometry.query_elements}
        return [*result, elementwise(phase, scaled[Role.GRADIENT], scaled, scaled)]

    def _clip_gradients(self, scores: int) -> list[Kernel]:
        """Gradient through the maximum; that of the mask, a sum, is the same tensor."""
        return [
            elementwise(
                Phase.INPUT_GRADIENT,
                scores,
                {Role.ACTIVATION: kept * scores, Role.GRADIENT: read * scores},
                {Role.GRADIENT: written * scores},
            )
            for kept, read, written in CLIP_GRADIENT_LINES
        ]

    def _input_product(self, geometry: Geometry) -> list[Kernel]:
        """Gradients of the queries (dS K) and of the keys (dS' Q)."""
        scores, queries, keys = geometry.scores, geometry.query_elements, geometry.key_elements
        of_queries = (geometry.queries, geometry.key_size, geometry.keys)
        of_keys = (geometry.keys, geometry.key_size, geometry.queries)
        query_reads = {Role.GRADIENT: scores, Role.ACTIVATION: keys}
        key_reads = {Role.GRADIENT: scores, Role.ACTIVATION: queries}
        phase = Phase.INPUT_GRADIENT
        return [
            product(phase, geometry.groups, of_queries, query_reads, {Role.GRADIENT: queries}),
            product(phase, geometry.groups, of_keys, key_reads, {Role.GRADIENT: keys}),
        ]

    def saved(self, site: Site) -> tuple[tuple[Role, Affine], ...]:
        """Probabilities; after dropout the kept ones and the mask; capped scores; line by line what was clipped."""
        scores = self.geometry(site.inputs).scores
        copies = 1 + (self.dropout > 0) + self.softcap + (self.clipped and not site.whole)
        kept = ((Role.ACTIVATION, each(copies * scores)),)
        return (*kept, (Role.MASK, each(scores))) if self.dropout else kept


def _sizes(geometry: Geometry) -> tuple[int, int, int]:
    return geometry.query_elements, geometry.key_elements, geometry.value_elements


def _copied(phase: Phase, size: int) -> Kernel:
    """A copy of activations, or of their gradients, to other places."""
    role = Role.ACTIVATION if phase is Phase.FORWARD else Role.GRADIENT
    return elementwise(phase, 0, {role: size}, {role: size}, OpClass.COPY)

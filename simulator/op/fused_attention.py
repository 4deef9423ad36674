"""Fused (flash) attention: one kernel that keeps the scores on chip, and one backward that computes them again."""

from __future__ import annotations

from typing import ClassVar

from simulator.op.attention import SOFTMAX_FLOPS, Attention, Geometry
from simulator.op.base import Site, operation
from simulator.op.kernel import Affine, Gemm, Kernel, Moved, OpClass, Phase, Role, each, once
from simulator.units import FLOPS_PER_MAC

GRADIENT_FLOPS = 5
"""Backward, for each score, beside what forward does before its softmax: difference to the row's logarithm and
exponential; difference to the row's sum, product, scale."""


@operation("fused_attention")
class FusedAttention(Attention, frozen=True):
    """Attention in one kernel, tile by tile: moves queries, keys, values, output and one number a row.

    Forward: the products Q K' and P V. Backward: Q K' again, then dP, dV, dQ, dK: five products where eager has four.
    With `causal` or `span`, tiles that are masked throughout are skipped: the kernels' FLOPs are those of the pairs
    that see each other (causal: (positions + 1) / (2 positions) of the square); `counts` keeps the whole square.

    The matrix view joins the products along k: m * n * k * groups is their sum, n the keys that a query sees on
    average. A trained bias has its scores' gradient written to memory, since it is summed over the batch.
    Source: Dao et al., "FlashAttention", NeurIPS 2022, arXiv 2205.14135, algorithms 1, 2 and 4; Dao,
    "FlashAttention-2", 2023, arXiv 2307.08691, section 3.1 (skipped blocks).
    """

    saves_output: ClassVar[bool] = True

    def visible(self, geometry: Geometry) -> float:
        """Keys that a query sees, on average over the queries, which are the last positions of the keys."""
        if not self.causal and self.span is None:
            return geometry.keys
        span = min(self.span or geometry.keys, geometry.keys)
        if not self.causal:
            return min(2 * span - 1, geometry.keys)
        first = geometry.keys - geometry.queries + 1
        growing = max(0, min(span - first + 1, geometry.queries))
        sum_growing = growing * first + growing * (growing - 1) // 2
        return (sum_growing + (geometry.queries - growing) * span) / geometry.queries

    def forward(self, site: Site) -> list[Kernel]:
        """One kernel."""
        geometry = self.geometry(site.inputs)
        written = geometry.output_elements + (_rows(geometry) if site.training else 0)
        reads = ((Role.ACTIVATION, each(_inputs(geometry))), *self.bias_reads(geometry))
        view = self._view(geometry, geometry.key_size + geometry.value_size)
        kernel = _kernel(Phase.FORWARD, view, self.score_flops(site), reads, ((Role.ACTIVATION, each(written)),))
        return [*self.bias_lookup(geometry), kernel]

    def _view(self, geometry: Geometry, depth: int) -> Gemm:
        return Gemm(each(geometry.queries), once(self.visible(geometry)), once(depth), geometry.groups)

    def backward(self, site: Site) -> list[Kernel]:
        """One kernel, and the sums for a bias."""
        if not site.input_gradient and not self.parameter_sizes(site.inputs):
            return []
        geometry = self.geometry(site.inputs)
        saved = _inputs(geometry) + geometry.output_elements + _rows(geometry)
        reads = ((Role.ACTIVATION, each(saved)), (Role.GRADIENT, each(geometry.output_elements)))
        scores = geometry.scores if self.relative_positions is not None else 0
        writes = ((Role.GRADIENT, each(_inputs(geometry) + scores)),)
        view = self._view(geometry, 3 * geometry.key_size + 2 * geometry.value_size)
        vector_flops = GRADIENT_FLOPS + self.score_flops(site) - SOFTMAX_FLOPS
        kernel = _kernel(Phase.INPUT_GRADIENT, view, vector_flops, (*reads, *self.bias_reads(geometry)), writes)
        return [kernel, *self.parameter_gradients(site)]

    def saved(self, site: Site) -> tuple[tuple[Role, Affine], ...]:
        """The logarithm of each row's sum."""
        return ((Role.ACTIVATION, each(_rows(self.geometry(site.inputs)))),)


def _kernel(phase: Phase, view: Gemm, vector_flops: int, read: Moved, write: Moved) -> Kernel:
    """A kernel of the products in `view` and `vector_flops` for each score that is computed."""
    scores = view.m.per_sample * view.n.fixed * view.groups
    flops = each((FLOPS_PER_MAC * view.k.fixed + vector_flops) * scores)
    return Kernel(OpClass.ATTENTION, phase, flops, read, write, view)


def _inputs(geometry: Geometry) -> int:
    return geometry.query_elements + geometry.key_elements + geometry.value_elements


def _rows(geometry: Geometry) -> int:
    return geometry.groups * geometry.queries

"""Scaled dot-product attention: what its eager and its fused kernels have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, NamedTuple

from simulator.errors import InputError
from simulator.op.base import Counts, Op, Shape, Shapes, Site, elements
from simulator.op.kernel import Affine, Gemm, Kernel, OpClass, Phase, Role, each, once
from simulator.units import FLOPS_PER_MAC

SOFTMAX_FLOPS = 5
"""Maximum, difference, exponential, sum, quotient, for each score."""
SOFTCAP_FLOPS = 7
"""Quotient, hyperbolic tangent (5), product, for each score."""
DROPOUT_FLOPS = 2
BIAS_LIMIT = 2**24
"""Largest table of relative positions."""


class Geometry(NamedTuple):
    """Sides of one sample's products, and elements of its tensors.

    `groups` products of (queries x key_size) by (key_size x keys); after the softmax, of (queries x keys) by (keys x
    value_size).
    """

    heads: int
    groups: int
    queries: int
    keys: int
    key_size: int
    value_size: int
    query_elements: int
    key_elements: int
    value_elements: int

    @property
    def scores(self) -> int:
        """Elements of the score matrices."""
        return self.groups * self.queries * self.keys

    @property
    def bias(self) -> int:
        """Elements of a bias that all samples and blocks share."""
        return self.heads * self.queries * self.keys

    @property
    def output_elements(self) -> int:
        """Elements of the output."""
        return self.groups * self.queries * self.value_size


class Attention(Op, frozen=True):
    """softmax(Q K' / sqrt(d) + bias) V for each head.

    Inputs: queries (positions, heads * size), keys (positions', kv_heads * size) and values (positions', kv_heads *
    value size), or the three side by side as one input. With fewer `kv_heads` than heads, several heads read the same
    keys and values (grouped-query attention), which moves less and computes the same.

    Counts: MACs = heads * positions * positions' * (size + value size), the whole square also where half of it is
    masked, as published counts have it. The matrix view of a product has B * positions rows and a group for each head.
    Worked example: 12 heads of 64 over 1,024 positions, 12 x 1024 x 1024 x (64 + 64) = 1.61 GMAC; with 6 FLOP a score
    for scale and softmax, 3.30 GFLOP.

    Attributes
    ----------
    causal : a query sees no later key. Eager kernels compute and mask the whole square; fused ones skip what is masked.
    span : a query sees so many keys back at most (sliding window); skipped alike.
    block : attention inside blocks of so many consecutive positions (windows of an image).
    relative_positions : trained numbers a head that are added to the scores; 0 adds those of an earlier layer.
    sinks : a trained score a head that takes part in the softmax and has no value.
    softcap : scores pass c * tanh(x / c).
    dropout : rate of dropout on the probabilities.
    padded : the keys of each sample that are padding are masked.
    clipped : software that runs the source line by line keeps scores above the least number by a maximum (OPT).
    scale : what eager kernels divide by sqrt(d): the scores, the queries before the product, or nothing (T5).

    Source: Vaswani et al., "Attention Is All You Need", NeurIPS 2017, equation 1; Ainslie et al., "GQA", EMNLP 2023;
    Beltagy et al., "Longformer", 2020, section 3.1; Raffel et al., JMLR 2020, section 2.1 (relative positions).
    """

    heads: int
    kv_heads: int | None = None
    causal: bool = False
    span: int | None = None
    block: int | None = None
    relative_positions: int | None = None
    sinks: bool = False
    softcap: bool = False
    dropout: float = 0.0
    padded: bool = False
    clipped: bool = False
    scale: Literal["scores", "queries", "none"] = "scores"

    arity: ClassVar[tuple[int, int | None]] = (1, 3)
    saves_input: ClassVar[bool] = True

    def geometry(self, inputs: Shapes) -> Geometry:
        """Sides and sizes, or an `InputError` where the inputs do not fit the heads."""
        kv_heads = self.heads if self.kv_heads is None else self.kv_heads
        if self.heads < 1 or kv_heads < 1 or self.heads % kv_heads:
            raise InputError(f"{self.kind}: {self.heads} heads do not share {kv_heads} key and value heads evenly")
        query, key, value = self._split(inputs, kv_heads)
        size = _head_size(self.kind, query, self.heads)
        if _head_size(self.kind, key, kv_heads) != size or key[0] != value[0]:
            raise InputError(f"{self.kind}: queries {list(query)}, keys {list(key)}, values {list(value)} do not match")
        blocks = self._blocks(query[0], key[0])
        return Geometry(
            self.heads,
            self.heads * blocks,
            query[0] // blocks,
            key[0] // blocks,
            size,
            _head_size(self.kind, value, kv_heads),
            elements(query),
            elements(key),
            elements(value),
        )

    def _split(self, inputs: Shapes, kv_heads: int) -> Shapes:
        """Shapes of queries, keys and values."""
        if len(inputs) == 2 or any(len(shape) != 2 for shape in inputs):
            shapes = ", ".join(str(list(shape)) for shape in inputs)
            raise InputError(f"{self.kind} needs one or three inputs of (positions, features), found {shapes}")
        if len(inputs) == 3:
            return inputs
        positions, features = inputs[0]
        size = _head_size(self.kind, (positions, features), self.heads + 2 * kv_heads)
        return (positions, self.heads * size), (positions, kv_heads * size), (positions, kv_heads * size)

    def _blocks(self, queries: int, keys: int) -> int:
        if self.span is not None and self.span < 1:
            raise InputError(f"{self.kind}: span must be at least 1, found {self.span}")
        if self.causal and queries > keys:
            raise InputError(f"{self.kind}: a causal mask needs as many keys as queries, found {keys} and {queries}")
        if self.block is None:
            return 1
        if self.block < 1 or queries != keys or queries % self.block:
            raise InputError(f"{self.kind}: {queries} queries do not divide into blocks of {self.block}")
        return queries // self.block

    def output_shape(self, inputs: Shapes) -> Shape:
        """(positions, heads * value size)."""
        if not 0 <= self.dropout < 1 or not 0 <= (self.relative_positions or 0) <= BIAS_LIMIT:
            raise InputError(f"{self.kind}: dropout is a rate below 1, relative_positions a table's length")
        geometry = self.geometry(inputs)
        return inputs[0][0], self.heads * geometry.value_size

    def parameter_sizes(self, inputs: Shapes) -> tuple[int, ...]:  # noqa: ARG002
        """The table of relative positions and the sinks."""
        table = (self.heads * self.relative_positions,) if self.relative_positions else ()
        return (*table, self.heads) if self.sinks else table

    def counts(self, site: Site) -> Counts:
        """MACs of the two products over the whole square; softmax and mask as FLOPs."""
        geometry = self.geometry(site.inputs)
        macs = geometry.scores * (geometry.key_size + geometry.value_size)
        return Counts(macs, FLOPS_PER_MAC * macs + self.score_flops(site) * geometry.scores)

    def score_flops(self, site: Site) -> int:
        """FLOPs of each score beside the products: scale, cap, bias, mask, softmax, dropout."""
        dropout = DROPOUT_FLOPS if self.dropout and site.training else 0
        return self.shift_flops() + SOFTMAX_FLOPS + dropout

    def shift_flops(self) -> int:
        """FLOPs of each score between the first product and the softmax."""
        masked = self.causal or self.span is not None or self.padded
        return 1 + masked + (self.relative_positions is not None) + (SOFTCAP_FLOPS if self.softcap else 0)

    def parameter_gradients(self, site: Site) -> list[Kernel]:
        """Sums of the scores' gradients over batch and blocks, for table and sinks."""
        geometry = self.geometry(site.inputs)
        result = []
        if self.relative_positions is not None:
            own = self.heads * self.relative_positions
            written = (Role.WEIGHT_GRADIENT, once(own)) if own else (Role.GRADIENT, once(geometry.bias))
            result.append(_sum(geometry.scores, written))
        if self.sinks:
            result.append(_sum(geometry.groups * geometry.queries, (Role.WEIGHT_GRADIENT, once(self.heads))))
        return result

    def bias_reads(self, geometry: Geometry) -> tuple[tuple[Role, Affine], ...]:
        """What a kernel that shifts the scores reads beside them: the bias of all samples, the sinks."""
        bias = ((Role.ACTIVATION, once(geometry.bias)),) if self.relative_positions is not None else ()
        return (*bias, (Role.WEIGHT, once(self.heads))) if self.sinks else bias

    def bias_lookup(self, geometry: Geometry) -> list[Kernel]:
        """The table of relative positions spread over all pairs of positions, once for all samples."""
        if not self.relative_positions:
            return []
        reads = ((Role.WEIGHT, once(self.heads * self.relative_positions)),)
        writes = ((Role.ACTIVATION, once(geometry.bias)),)
        return [Kernel(OpClass.LOOKUP, Phase.FORWARD, once(0), reads, writes)]


def product(
    phase: Phase, groups: int, sides: tuple[int, int, int], read: Mapping[Role, float], write: Mapping[Role, float]
) -> Kernel:
    """A batched product of activations: `groups` of (m x k) by (k x n) for each sample, sides (m, n, k)."""
    rows, columns, depth = sides
    return Kernel(
        OpClass.GEMM,
        phase,
        each(FLOPS_PER_MAC * groups * rows * columns * depth),
        tuple((role, each(count)) for role, count in read.items()),
        tuple((role, each(count)) for role, count in write.items()),
        Gemm(each(rows), once(columns), once(depth), groups),
        streamed=each(groups * rows * depth),
        reuse=columns,
    )


def _sum(size: int, written: tuple[Role, Affine]) -> Kernel:
    """The sum of a gradient over the batch."""
    reads = ((Role.GRADIENT, each(size)),)
    return Kernel(OpClass.REDUCTION, Phase.WEIGHT_GRADIENT, each(size), reads, (written,))


def _head_size(kind: str, shape: Shape, heads: int) -> int:
    if shape[1] % heads:
        raise InputError(f"{kind}: {shape[1]} features do not divide into {heads} heads")
    return shape[1] // heads

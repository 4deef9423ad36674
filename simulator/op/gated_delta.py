"""The mixing layer of Gated DeltaNet, as Qwen3-Next has it: convolution, gated delta rule, gated normalisation."""

from __future__ import annotations

import msgspec

from simulator.errors import InputError
from simulator.op.base import Shape, Shapes, operation
from simulator.op.kernel import OpClass, Role
from simulator.op.mixer import (
    WIDE,
    A,
    Extent,
    G,
    Mixer,
    MixerKernel,
    MixerProduct,
    Number,
    check_projection,
    check_sides,
    convolution,
    convolution_back,
    convolution_step,
    divided,
    gated_norm,
    gated_norm_back,
)

STEP_FLOPS = 7
"""Of each number of the state and position: decay 1, product with the key and sum 2, update 2, with the query 2."""
GATE_FLOPS = 10
"""Of each head and position: bias, softplus (3), rate, running sum; sigmoid of the step (4)."""
LENGTH_FLOPS = 3
"""Of each element of queries and keys: square, sum, quotient."""
PAIR_FLOPS = 3
"""Of each pair of positions in a chunk and head: difference, exponential, product."""


@operation("gated_delta")
class GatedDelta(Mixer, frozen=True, kw_only=True):
    """Gated DeltaNet between its projections; the output is (positions, heads * size).

    The first input holds queries and keys (key_heads * key_size each), values and gates (heads * size each), the second
    a step b and a decay a for each head. Queries, keys and values pass a causal convolution of `conv` positions and
    SiLU; queries and keys get length one; with the state S (key_size x size) of each head, S = a (S - b k k' S) +
    b k v', o = S' q; o is normalised in each head and gets the gate.

    A sequence is computed in chunks of Q positions: K K' of each head; the inverse of a triangle, (Q Q Q - Q) / 6 MACs;
    the inverse times keys and values; the state from chunk to chunk, two products of key_size * size a position, which
    wait for each other along the sequence (their view is one product as deep as the sequence); the outputs: Q K', pairs
    times values, state times queries. MACs of a head and chunk: whole squares Q Q (3 key_size + 2 size), 3 key_size *
    size a position, the inverse. Backward keeps the normalised queries and keys, the inverse and the output, computes
    the rest again, and has two products for each of the forward pass.
    Source: Yang, Kautz, Hatamizadeh, "Gated Delta Networks", ICLR 2025, arXiv 2412.06464, section 3.3; Yang et al.,
    "Parallelizing Linear Transformers with the Delta Rule", NeurIPS 2024, arXiv 2406.06484, section 3.
    """

    key_heads: int
    key_size: int = 128
    size: int = 128

    arity = (2, 2)

    def output_shape(self, inputs: Shapes) -> Shape:
        """(positions, heads * size)."""
        check_sides(self, self.key_heads, self.key_size, self.size)
        divided(self.kind, self.heads, self.key_heads)
        positions = [check_projection(self.kind, shape, self.columns(place)) for place, shape in enumerate(inputs)]
        if positions[0] != positions[1]:
            raise InputError(f"{self.kind}: inputs of {positions[0]} and {positions[1]} positions do not match")
        return positions[0], self.inner

    @property
    def inner(self) -> int:
        """Features of all values."""
        return self.heads * self.size

    @property
    def keys(self) -> int:
        """Features of all keys, or queries."""
        return self.key_heads * self.key_size

    @property
    def convolved(self) -> int:
        """Channels of the convolution: queries, keys, values."""
        return 2 * self.keys + self.inner

    @property
    def state_values(self) -> int:
        """A state a head, and the convolution's last inputs."""
        return self.inner * self.key_size + (self.conv - 1) * self.convolved

    @property
    def ways(self) -> int:
        """Heads of keys."""
        return self.key_heads

    def columns(self, place: int) -> int:
        """What is convolved and the gate; steps and decays."""
        return 2 * self.heads if place == 1 else self.convolved + self.inner

    def shared_out(self, ways: int) -> Mixer:
        """Heads of values and of keys."""
        return msgspec.structs.replace(self, heads=self.heads // ways, key_heads=self.key_heads // ways)

    def parameter_sizes(self, inputs: Shapes) -> tuple[int, ...]:  # noqa: ARG002
        """Convolution; steps' bias and rate of each head; one scale for all heads."""
        return (self.convolved * self.conv, self.heads, self.heads, self.size)

    def _times(self, run: Extent) -> Number:
        return run.positions * self.heads

    def _square(self, run: Extent, depth: int, products: int = 1) -> MixerProduct:
        """Products within chunks that pair positions, `depth` MACs for each pair and head."""
        length = run.squares / run.positions
        return MixerProduct(self.heads, products * run.positions, length, depth)

    def _pairs(self, run: Extent) -> Number:
        return self.heads * run.squares

    def _all_states(self, run: Extent) -> Number:
        return run.chunks * self.inner * self.key_size

    def _wide_keys(self, run: Extent) -> Number:
        """Keys of all heads of values. [elements]"""
        return self._times(run) * self.key_size

    def pieces(self, run: Extent, *, training: bool) -> list[MixerKernel]:
        """Copy side by side, convolution, gates, lengths, five kernels of the rule, normalisation."""
        moved, rows = run.positions * self.convolved, self.heads if training else 0
        return [
            MixerKernel(0, {A: moved}, {A: moved}, passes=OpClass.COPY),
            convolution(run.positions, self.convolved, self.conv, bias=False),
            self._gates(run),
            self._lengths(run),
            *self._rule(run),
            gated_norm(run.positions, self.inner, self.size, rows),
        ]

    def _gates(self, run: Extent) -> MixerKernel:
        times = self._times(run)
        return MixerKernel(GATE_FLOPS * times, {A: 2 * times}, {WIDE: 2 * times}, weights=2 * self.heads)

    def _lengths(self, run: Extent) -> MixerKernel:
        size, rows = 2 * run.positions * self.keys, 2 * run.positions * self.key_heads
        return MixerKernel(LENGTH_FLOPS * size, {A: size}, {A: size, WIDE: rows})

    def _rule(self, run: Extent) -> list[MixerKernel]:
        keys, times, pairs = run.positions * self.keys, self._times(run), self._pairs(run)
        values, wide = run.positions * self.inner, self._wide_keys(run)
        paired = MixerKernel(
            (PAIR_FLOPS + 1) * pairs, {A: keys, WIDE: 2 * times}, {WIDE: pairs}, self._square(run, self.key_size)
        )
        inverse = MixerProduct(self.heads, run.positions, run.squares / run.positions, self._depth(run) / 6)
        outputs = self._square(run, self.key_size + self.size)
        return [
            paired,
            MixerKernel(0, {WIDE: pairs}, {A: pairs}, inverse),
            self._weighted(run),
            self._states(run),
            MixerKernel(
                PAIR_FLOPS * pairs + 2 * wide,
                {A: 2 * keys + values + self._all_states(run), WIDE: times},
                {A: values},
                outputs._replace(k=outputs.k + self._read_depth(run)),
            ),
        ]

    def _depth(self, run: Extent) -> Number:
        """Positions of a chunk that the inverse's sums run over: (sum of cubes - positions) / squares."""
        return (run.cubes - run.positions) / run.squares

    def _read_depth(self, run: Extent) -> Number:
        """Products of a position's query with its state, for each of the positions that it is paired with."""
        return self.key_size * self.size * run.positions / run.squares

    def _weighted(self, run: Extent) -> MixerKernel:
        """The inverse times keys and values, each weighted by its step."""
        values, wide = run.positions * self.inner, self._wide_keys(run)
        reads = {A: self._pairs(run) + run.positions * self.keys + values, WIDE: 2 * self._times(run)}
        view = self._square(run, self.key_size + self.size)
        return MixerKernel(2 * wide + values, reads, {A: wide + values}, view)

    def _states(self, run: Extent) -> MixerKernel:
        """What each chunk adds to the state, less what the state held already: two products a position."""
        values, states = run.positions * self.inner, self._all_states(run)
        view = MixerProduct(self.heads, self.size, self.key_size, 2 * run.positions)
        reads = {A: self._wide_keys(run) + values + run.positions * self.keys, WIDE: self._times(run)}
        return MixerKernel(2 * values + states, reads, {A: values + states}, view)

    def kept(self, run: Extent) -> dict[Role, Number]:
        """What is convolved and its result, queries and keys of length one, the inverse, the output; gates, lengths."""
        narrow = 2 * run.positions * self.convolved + run.positions * (2 * self.keys + self.inner) + self._pairs(run)
        return {A: narrow, WIDE: 3 * self._times(run) + 2 * run.positions * self.key_heads}

    def pieces_back(self, run: Extent) -> list[MixerKernel]:
        """Weighted keys and values and the states again; normalisation, rule and convolution backwards."""
        size, rows = 2 * run.positions * self.keys, 2 * run.positions * self.key_heads
        moved = run.positions * self.convolved
        gates = {A: 2 * self._times(run), WIDE: 4 * self._times(run)}
        return [
            gated_norm_back(run.positions, self.inner, self.size, self.heads),
            self._weighted(run),
            self._states(run),
            *self._outputs_back(run),
            self._weighted_back(run),
            MixerKernel(2 * LENGTH_FLOPS * size, {A: size, G: size, WIDE: rows}, {G: size}),
            MixerKernel(
                2 * GATE_FLOPS * self._times(run),
                gates,
                {G: 2 * self._times(run)},
                weights=2 * self.heads,
                gradients=2 * self.heads,
            ),
            convolution_back(run.positions, self.convolved, self.conv, bias=False),
            MixerKernel(0, {G: moved}, {G: moved}, passes=OpClass.COPY),
        ]

    def _outputs_back(self, run: Extent) -> list[MixerKernel]:
        """Values' gradients within chunks; states' from chunk to chunk; those of queries, keys and weighted keys."""
        keys, times, pairs = run.positions * self.keys, self._times(run), self._pairs(run)
        values, wide, states = run.positions * self.inner, self._wide_keys(run), self._all_states(run)
        local = self._square(run, self.key_size + self.size)
        along = MixerProduct(self.heads, self.size, self.key_size, 3 * run.positions)
        across = self._square(run, 2 * self.key_size + self.size)
        reads = {A: 2 * keys + values + states, G: 2 * values + states, WIDE: times}
        return [
            MixerKernel(PAIR_FLOPS * pairs, {A: 2 * keys, G: values, WIDE: times}, {G: values}, local),
            MixerKernel(
                2 * values + states, {A: 2 * keys + wide, G: 2 * values, WIDE: times}, {G: values + states}, along
            ),
            MixerKernel(
                2 * PAIR_FLOPS * pairs + 4 * wide,
                reads,
                {G: 3 * wide, WIDE: times},
                across._replace(k=across.k + 3 * self._read_depth(run)),
            ),
        ]

    def _weighted_back(self, run: Extent) -> MixerKernel:
        """Through the weighted keys and values, the inverse (two products of whole triangles) and K K'."""
        keys, times, wide = run.positions * self.keys, self._times(run), self._wide_keys(run)
        values = run.positions * self.inner
        view = self._square(run, 4 * self.key_size + 2 * self.size)
        depth = view.k + 2 * run.cubes / run.squares
        reads = {A: keys + values + self._pairs(run), G: wide + values, WIDE: 2 * times}
        return MixerKernel(
            2 * PAIR_FLOPS * self._pairs(run) + 4 * wide, reads, {G: 2 * wide + values, WIDE: 2 * times},
            view._replace(k=depth),
        )  # fmt: skip

    def step(self) -> list[MixerKernel]:
        """Copy, convolution, gates, the rule, normalisation of one position."""
        state, moved = self.inner * self.key_size, self.convolved
        rule = MixerKernel(
            STEP_FLOPS * state + 2 * LENGTH_FLOPS * self.keys, {A: state + moved, WIDE: 2 * self.heads},
            {A: state + self.inner},
        )  # fmt: skip
        return [
            MixerKernel(0, {A: moved}, {A: moved}, passes=OpClass.COPY),
            convolution_step(moved, self.conv, bias=False),
            self._gates(Extent(1, 1, 1, 1)),
            rule,
            gated_norm(1, self.inner, self.size),
        ]

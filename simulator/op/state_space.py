"""The mixing layer of Mamba 2: convolution, chunked state-space scan, gated normalisation."""

from __future__ import annotations

import msgspec

from simulator.op.base import Shape, Shapes, operation
from simulator.op.kernel import Role
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
    gated,
    gated_back,
    gated_norm,
    gated_norm_back,
)

STEP_FLOPS = 5
"""Of each number of the state and position: decay 1, input 1, their sum 1, product and sum of the output 2."""
TIME_FLOPS = 7
"""Of each head and position: bias, softplus (3), times the head's rate, running sum, and the rate's exponential."""
PAIR_FLOPS = 4
"""Of each pair of positions in a chunk and head: difference, exponential, two products."""


@operation("state_space")
class StateSpace(Mixer, frozen=True):
    """Mamba 2 between its two projections, (positions, columns of the first one) -> (positions, heads * size).

    The input holds, side by side, the gate and the values (heads * size each), B and C (groups * state each) and a time
    step for each head. Values, B and C pass a causal convolution of `conv` positions and SiLU; then, with the state H
    (size x state) of each head, H = exp(dt a) H + dt x B', y = H C + D x; y gets the gate and, with `norm`, is
    normalised over the heads of a group.

    A sequence is computed in chunks of Q positions, five kernels: time steps and their running sums; each chunk's
    state; states passed from chunk to chunk, element by element; C B' within chunks; the outputs. MACs of a head: Q Q
    size (whole squares) and twice size * state a position; C B' once for each group, Q Q state. States and time steps
    are in full width. Backward keeps the input and the scan's output, computes the rest again, and has two products for
    each of the forward pass, and one again for the decays' gradient.

    Worked example: 10 positions in chunks of 4, squares 16 + 16 + 4 = 36; 4 heads of size 3, states of 5, 2 groups:
    4 (36 x 3 + 2 x 10 x 3 x 5) + 2 x 36 x 5 = 1,992 MACs, and 10 x 32 x 4 = 1,280 of the convolution.
    Source: Dao, Gu, "Transformers are SSMs", ICML 2024, arXiv 2405.21060, sections 6 and 7.
    """

    size: int = 64
    state: int = 128
    groups: int = 1
    conv_bias: bool = True
    chunk: int = 256
    norm: bool = True

    def output_shape(self, inputs: Shapes) -> Shape:
        """(positions, heads * size)."""
        check_sides(self, self.size, self.state, self.groups)
        divided(self.kind, self.heads, self.groups)
        return check_projection(self.kind, inputs[0], self.columns(0)), self.inner

    @property
    def inner(self) -> int:
        """Features of all heads."""
        return self.heads * self.size

    @property
    def convolved(self) -> int:
        """Channels of the convolution: values, B and C."""
        return self.inner + 2 * self.groups * self.state

    @property
    def state_values(self) -> int:
        """A state a head, and the convolution's last inputs."""
        return self.inner * self.state + (self.conv - 1) * self.convolved

    def columns(self, place: int) -> int:  # noqa: ARG002
        """Gate, what is convolved, time steps."""
        return self.inner + self.convolved + self.heads

    def shared_out(self, ways: int) -> Mixer:
        """Heads and groups; where there are fewer groups than devices, each has one."""
        return msgspec.structs.replace(self, heads=self.heads // ways, groups=max(self.groups // ways, 1))

    def parameter_sizes(self, inputs: Shapes) -> tuple[int, ...]:  # noqa: ARG002
        """Convolution and its bias; steps' bias, rate and skip of each head; the normalisation's scale."""
        bias = (self.convolved,) if self.conv_bias else ()
        scale = (self.inner,) if self.norm else ()
        return (self.convolved * self.conv, *bias, self.heads, self.heads, self.heads, *scale)

    def pieces(self, run: Extent, *, training: bool) -> list[MixerKernel]:
        """Convolution, five kernels of the scan, normalisation."""
        rows = self.groups if training else 0
        return [
            convolution(run.positions, self.convolved, self.conv, bias=self.conv_bias),
            *self._states(run),
            self._outputs(run),
            self._gated(run.positions, rows),
        ]

    def _gated(self, positions: Number, rows: int = 0) -> MixerKernel:
        """The gate, with the normalisation if there is one."""
        return gated_norm(positions, self.inner, self.inner, rows) if self.norm else gated(positions, self.inner)

    def _times(self, run: Extent) -> Number:
        return run.positions * self.heads

    def _pairs(self, run: Extent) -> Number:
        """Products of C and B within chunks. [elements]"""
        return self.groups * run.squares

    def _all_states(self, run: Extent) -> Number:
        """Numbers of all chunks' states."""
        return run.chunks * self.inner * self.state

    def _sources(self, run: Extent) -> Number:
        """Elements of B, or of C."""
        return run.positions * self.groups * self.state

    def _states(self, run: Extent) -> list[MixerKernel]:
        """Time steps, each chunk's state, states passed on, C B'."""
        times, states, sources = self._times(run), self._all_states(run), self._sources(run)
        return [
            MixerKernel(TIME_FLOPS * times, {A: times}, {WIDE: 2 * times}, weights=2 * self.heads),
            self._by_chunk(run, {A: sources + run.positions * self.inner, WIDE: 2 * times}, {WIDE: states}),
            MixerKernel(2 * states, {WIDE: states + run.chunks * self.heads}, {A: states}),
            MixerKernel(0, {A: 2 * sources}, {WIDE: self._pairs(run)}, self._pairing(run)),
        ]

    def _by_chunk(self, run: Extent, read: dict[Role, Number], write: dict[Role, Number]) -> MixerKernel:
        """A product of (state x positions) by (positions x size) for each chunk, one factor weighted by the decay."""
        length = run.positions / run.chunks
        view = MixerProduct(self.heads, run.chunks * self.state, self.size, length)
        return MixerKernel(self._times(run) * (3 + self.state), read, write, view)

    def _by_position(self, run: Extent, read: dict[Role, Number], write: dict[Role, Number]) -> MixerKernel:
        """A product of (positions x state) by (state x size), weighted by the decay."""
        view = MixerProduct(self.heads, run.positions, self.size, self.state)
        return MixerKernel(self._times(run) * (2 + self.size), read, write, view)

    def _pairing(self, run: Extent) -> MixerProduct:
        """C B' of each chunk and group."""
        return MixerProduct(self.groups, run.positions, run.squares / run.positions, self.state)

    def _mixing(self, run: Extent) -> MixerProduct:
        """A chunk's square by its values, each head."""
        return MixerProduct(self.heads, run.positions, self.size, run.squares / run.positions)

    def _decays(self, run: Extent) -> Number:
        return PAIR_FLOPS * self.heads * run.squares

    def _outputs(self, run: Extent) -> MixerKernel:
        """Pairs times values, C times the state that enters the chunk, and the skip."""
        times, values = self._times(run), run.positions * self.inner
        mixing = self._mixing(run)
        reads = {A: values + self._sources(run) + self._all_states(run), WIDE: 2 * times + self._pairs(run)}
        flops = self._decays(run) + times * (2 + 3 * self.size)
        return MixerKernel(flops, reads, {A: values}, mixing._replace(k=mixing.k + self.state), weights=self.heads)

    def kept(self, run: Extent) -> dict[Role, Number]:
        """The scan's output, and the normalisation's number a group."""
        return {A: run.positions * self.inner, **({WIDE: run.positions * self.groups} if self.norm else {})}

    def pieces_back(self, run: Extent) -> list[MixerKernel]:
        """Convolution and states again; normalisation, scan and convolution backwards."""
        conv = run.positions, self.convolved, self.conv
        return [
            convolution(*conv, bias=self.conv_bias),
            *self._states(run),
            gated_norm_back(run.positions, self.inner, self.inner, self.groups)
            if self.norm
            else gated_back(run.positions, self.inner),
            *self._states_back(run),
            *self._pairs_back(run),
            convolution_back(*conv, bias=self.conv_bias),
        ]

    def _states_back(self, run: Extent) -> list[MixerKernel]:
        """Gradients of the states, passed back, and what they give values, B and C."""
        times, states, sources = self._times(run), self._all_states(run), self._sources(run)
        values, steps = run.positions * self.inner, 2 * self._times(run)
        mixing = self._mixing(run)
        of_values = MixerKernel(
            self._decays(run) + times * (3 + 3 * self.size),
            {A: values + sources, G: values, WIDE: states + steps + self._pairs(run)},
            {G: values, WIDE: times},
            mixing._replace(k=mixing.k + self.state),
            weights=self.heads,
            gradients=self.heads,
        )
        by_chunk = {A: sources, G: values, WIDE: steps}
        return [
            self._by_chunk(run, by_chunk, {WIDE: states}),
            MixerKernel(4 * states, {A: states, WIDE: states}, {WIDE: states + run.chunks * self.heads}),
            of_values,
            self._by_position(run, {A: values + sources, WIDE: states + steps}, {WIDE: sources + times}),
            self._by_position(run, {A: states + sources, G: values, WIDE: steps}, {WIDE: sources + times}),
        ]

    def _pairs_back(self, run: Extent) -> list[MixerKernel]:
        """Gradients of C B', of B and C by them, of the decays, of the time steps."""
        times, sources, pairs = self._times(run), self._sources(run), self._pairs(run)
        values, steps = run.positions * self.inner, 2 * self._times(run)
        outer = self._mixing(run)
        outer = outer._replace(n=outer.k, k=self.size)
        inner = self._pairing(run)
        inner = inner._replace(n=self.state, k=inner.n)
        both: dict[Role, Number] = {A: values, G: values, WIDE: steps}
        of_sources: dict[Role, Number] = {A: sources, WIDE: pairs + sources}
        return [
            MixerKernel(self._decays(run), dict(both), {WIDE: pairs}, outer),
            MixerKernel(sources, dict(of_sources), {G: sources}, inner),
            MixerKernel(sources, dict(of_sources), {G: sources}, inner),
            MixerKernel(self._decays(run), {**both, WIDE: steps + pairs}, {WIDE: times}, outer),
            MixerKernel(
                12 * times, {A: times, WIDE: 4 * times}, {G: times}, weights=2 * self.heads, gradients=2 * self.heads
            ),
        ]

    def step(self) -> list[MixerKernel]:
        """Convolution, state, normalisation of one position."""
        moved, state = self.convolved + self.heads, self.inner * self.state
        update = MixerKernel(
            STEP_FLOPS * state + TIME_FLOPS * self.heads,
            {A: state + moved},
            {A: state + self.inner},
            weights=3 * self.heads,
        )
        return [
            convolution_step(self.convolved, self.conv, bias=self.conv_bias),
            update,
            self._gated(1),
        ]

"""The mixing layers of Mamba 1: a causal convolution and the selective scan behind it."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from simulator.errors import InputError
from simulator.op.base import Shape, Shapes, operation
from simulator.op.kernel import Role
from simulator.op.mixer import (
    WIDE,
    A,
    Extent,
    G,
    Mixer,
    MixerKernel,
    Number,
    check_projection,
    check_sides,
    convolution,
    convolution_back,
    convolution_step,
)

STATE_FLOPS = 7
"""Of each number of the state and position: step times rate and exponential 2, input 1, decay and sum 2, output 2."""
CHANNEL_FLOPS = 13
"""Of each channel and position: bias and softplus of the step 4, step times value 1, skip 2, gate 5 and 1."""
STATE_BACK_FLOPS = 20
"""Of each number of the state and position, back: states again 5; the output's gradient into the state, decayed and
added 3; gradients of C, of B and of the input 2 each; the decay's 2, and what it gives rate and step 2 each."""
CHANNEL_BACK_FLOPS = 30
"""Of each channel and position, back: all again 13; gate 9 and 2; skip and value 3; softplus 3."""


@operation("causal_convolution")
class CausalConvolution(Mixer, frozen=True):
    """A convolution of each of `heads` channels over its last `conv` positions with SiLU behind it, as Mamba 1 has it.

    (positions, 2 * heads) -> (positions, heads): the input holds the values and the gate side by side, of which the
    values are read; the gradient is written to their place beside the gate's. Backward keeps the input.
    Source: Gu, Dao, "Mamba", arXiv 2312.00752, section 3.4 and figure 3.
    """

    bias: bool = True

    places: ClassVar[bool] = True

    def output_shape(self, inputs: Shapes) -> Shape:
        """(positions, heads)."""
        check_sides(self)
        return check_projection(self.kind, inputs[0], self.columns(0)), self.heads

    @property
    def convolved(self) -> int:
        """All channels."""
        return self.heads

    @property
    def state_values(self) -> int:
        """The last inputs."""
        return (self.conv - 1) * self.heads

    def columns(self, place: int) -> int:  # noqa: ARG002
        """Values and gate."""
        return 2 * self.heads

    def shared_out(self, ways: int) -> Mixer:
        """A part of the channels."""
        return msgspec.structs.replace(self, heads=self.heads // ways)

    def parameter_sizes(self, inputs: Shapes) -> tuple[int, ...]:  # noqa: ARG002
        """Convolution and its bias."""
        return (self.heads * self.conv, *((self.heads,) if self.bias else ()))

    def pieces(self, run: Extent, *, training: bool) -> list[MixerKernel]:  # noqa: ARG002
        """One kernel."""
        return [convolution(run.positions, self.heads, self.conv, bias=self.bias)]

    def kept(self, run: Extent) -> dict[Role, Number]:  # noqa: ARG002
        """Nothing beside the input."""
        return {}

    def pieces_back(self, run: Extent) -> list[MixerKernel]:
        """One kernel."""
        return [convolution_back(run.positions, self.heads, self.conv, bias=self.bias)]

    def step(self) -> list[MixerKernel]:
        """One position and its window."""
        return [convolution_step(self.heads, self.conv, bias=self.bias)]


@operation("selective_scan")
class SelectiveScan(Mixer, frozen=True):
    """The selective scan of Mamba 1 over `heads` channels with a state of `state` numbers each.

    Inputs: values x and steps (positions, heads) each, B and C (positions, state) each, and the projection whose second
    half is the gate z (positions, 2 * heads). With d = softplus(step + bias), a channel's state follows
    h = exp(d a) h + d x B, and the output is (h . C + D x) SiLU(z), (positions, heads).

    One kernel, which reads each input and writes the output once; states stay on the chip, but for one every `chunk`
    positions in full width, with the output before its gate kept for the backward pass. That is one kernel too: it
    computes the states again from those that were kept, and writes the gradients of all five inputs.

        FLOP = positions x heads x (7 state + 13) forward, (20 state + 30) backward; no MACs

    Worked example: 10 positions of 6 channels with states of 5: 60 x 48 = 2,880 FLOP, and 60 x 130 = 7,800 back.
    Source: Gu, Dao, "Mamba", arXiv 2312.00752, section 3.3.2, algorithm 2 and appendix D.
    """

    state: int = 16
    chunk: int = 2048

    arity = (5, 5)
    places: ClassVar[bool] = True

    def output_shape(self, inputs: Shapes) -> Shape:
        """(positions, heads)."""
        check_sides(self, self.state)
        positions = {check_projection(self.kind, shape, self.columns(place)) for place, shape in enumerate(inputs)}
        if len(positions) > 1:
            raise InputError(f"{self.kind}: inputs of {sorted(positions)} positions do not match")
        return positions.pop(), self.heads

    @property
    def convolved(self) -> int:
        """No channel: the convolution stands apart."""
        return 0

    @property
    def state_values(self) -> int:
        """A state a channel."""
        return self.heads * self.state

    def columns(self, place: int) -> int:
        """Values, steps, B, C, gate beside what was convolved."""
        return (self.heads, self.heads, self.state, self.state, 2 * self.heads)[place]

    def shared_out(self, ways: int) -> Mixer:
        """A part of the channels."""
        return msgspec.structs.replace(self, heads=self.heads // ways)

    def parameter_sizes(self, inputs: Shapes) -> tuple[int, ...]:  # noqa: ARG002
        """Rates of the states, skip and the steps' bias of each channel."""
        return (self.heads * self.state, self.heads, self.heads)

    @property
    def _weights(self) -> int:
        return self.heads * (self.state + 2)

    def pieces(self, run: Extent, *, training: bool) -> list[MixerKernel]:
        """One kernel."""
        size, sources = run.positions * self.heads, run.positions * self.state
        kept = self.kept(run) if training else {}
        written = {A: size + kept.get(A, 0), WIDE: kept.get(WIDE, 0)}
        flops = (STATE_FLOPS * self.state + CHANNEL_FLOPS) * size
        return [MixerKernel(flops, {A: 3 * size + 2 * sources}, written, weights=self._weights)]

    def kept(self, run: Extent) -> dict[Role, Number]:
        """The output before its gate; a decay and a state at the end of each chunk."""
        return {A: run.positions * self.heads, WIDE: 2 * run.chunks * self.state_values}

    def pieces_back(self, run: Extent) -> list[MixerKernel]:
        """One kernel."""
        size, sources, kept = run.positions * self.heads, run.positions * self.state, self.kept(run)
        reads = {A: 3 * size + 2 * sources + kept[A], G: size, WIDE: kept[WIDE]}
        flops = (STATE_BACK_FLOPS * self.state + CHANNEL_BACK_FLOPS) * size
        writes = {G: 3 * size + 2 * sources}
        return [MixerKernel(flops, reads, writes, weights=self._weights, gradients=self._weights)]

    def step(self) -> list[MixerKernel]:
        """One position: the state is read and written."""
        flops = (STATE_FLOPS * self.state + CHANNEL_FLOPS) * self.heads
        reads, writes = self.state_values + 3 * self.heads + 2 * self.state, self.state_values + self.heads
        return [MixerKernel(flops, {A: reads}, {A: writes}, weights=self._weights)]

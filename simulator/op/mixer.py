"""Operations that carry a state along a sequence: their kernels as pieces, at any number of positions."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

from simulator.errors import InputError
from simulator.op.base import Counts, Op, Shape, Site
from simulator.op.kernel import Affine, Gemm, Kernel, OpClass, Phase, Role, each, once
from simulator.units import FLOPS_PER_MAC

Number = Any
"""A number, or a NumPy column of them: the rules are the same arithmetic for both."""

A, G, WIDE = Role.ACTIVATION, Role.GRADIENT, Role.WIDE

NORMALISED_FLOPS = 10
"""Of each element of a gated root-mean-square normalisation: gate 5 and 1, square, sum, quotient and scale."""
NORMALISED_BACK_FLOPS = 22
"""Back: normalised value 1, gate and its gradient 9 and 2, sum and combination 6, the scale's product and sum 4."""


class Extent(NamedTuple):
    """A sequence in chunks, one number or a column of them each.

    Attributes
    ----------
    positions, chunks : how many.
    squares, cubes : sums over the chunks of the square and the cube of each one's positions; the last may be short.
    """

    positions: Number
    chunks: Number
    squares: Number
    cubes: Number


def extent(positions: Number, chunk: int) -> Extent:
    """Positions in chunks; worked example: 10 in chunks of 4 are 4, 4 and 2, with squares 36 and cubes 136."""
    whole, rest = positions // chunk, positions % chunk
    squares, cubes = whole * chunk**2 + rest**2, whole * chunk**3 + rest**3
    return Extent(positions, whole + (rest > 0), squares, cubes)


class MixerProduct(NamedTuple):
    """`groups` products of (m x k) by (k x n) matrices."""

    groups: int
    m: Number
    n: Number
    k: Number

    @property
    def macs(self) -> Number:
        """M * n * k * groups."""
        return self.groups * self.m * self.n * self.k


class MixerKernel(NamedTuple):
    """One kernel for one sample; numbers, or columns of them.

    Attributes
    ----------
    flops : beside those of the product. [FLOP]
    read, write : elements by role; parameters stand apart, since all samples share them.
    weights, gradients : parameters read, and whose gradients are written. [elements]
    passes : class of a kernel without a product.
    """

    flops: Number
    read: dict[Role, Number]
    write: dict[Role, Number]
    product: MixerProduct | None = None
    weights: int = 0
    gradients: int = 0
    passes: OpClass = OpClass.ELEMENTWISE

    @property
    def op_class(self) -> OpClass:
        """Products that wait for the element-wise work between them are as those of attention."""
        return OpClass.ATTENTION if self.product else self.passes

    @property
    def all_flops(self) -> Number:
        """With those of the product."""
        return self.flops + (FLOPS_PER_MAC * self.product.macs if self.product else 0)

    def kernel(self, phase: Phase) -> Kernel:
        """As a kernel of a step over whole sequences."""
        read, write = (tuple((role, each(count)) for role, count in part.items()) for part in (self.read, self.write))
        if self.weights:
            read = (*read, (Role.WEIGHT, once(self.weights)))
        if self.gradients:
            write = (*write, (Role.WEIGHT_GRADIENT, once(self.gradients)))
        view = self.product
        gemm = Gemm(each(view.m), once(view.n), once(view.k), view.groups) if view else None
        return Kernel(self.op_class, phase, each(self.all_flops), read, write, gemm)


class Mixer(Op, frozen=True):
    """A layer whose positions see the earlier ones through a state of fixed size.

    A subclass says its pieces over whole sequences (`pieces`, `pieces_back`) and for one position after its state
    (`step`), the numbers of that state, and how heads are shared out.
    """

    heads: int
    conv: int = 4
    chunk: int = 64

    saves_input: ClassVar[bool] = True

    def pieces(self, run: Extent, *, training: bool) -> list[MixerKernel]:
        """Kernels of one pass over a sequence of one sample."""
        raise NotImplementedError

    def pieces_back(self, run: Extent) -> list[MixerKernel]:
        """Kernels of the backward pass, those that are computed again first."""
        raise NotImplementedError

    def step(self) -> list[MixerKernel]:
        """Kernels of one position of one sample, whose state is read and written once: no earlier position counts."""
        raise NotImplementedError

    @property
    def state_values(self) -> int:
        """Numbers of a sample's state: the recurrence's, and the inputs that the convolution still sees."""
        raise NotImplementedError

    def kept(self, run: Extent) -> dict[Role, Number]:
        """Elements that the backward pass reads beside the input, by role."""
        raise NotImplementedError

    def shared_out(self, ways: int) -> Mixer:
        """The share of one of `ways` devices."""
        raise NotImplementedError

    def columns(self, place: int) -> int:
        """Columns that the product behind an input has."""
        raise NotImplementedError

    @property
    def ways(self) -> int:
        """What a number of devices that share the heads must divide."""
        return self.heads

    def _run(self, site: Site) -> Extent:
        return extent(site.inputs[0][0], self.chunk)

    def counts(self, site: Site) -> Counts:
        """MACs of the convolution and of all products, whole squares of each chunk; the rest as FLOPs."""
        pieces = self.pieces(self._run(site), training=site.training)
        products = sum(round(piece.product.macs) for piece in pieces if piece.product)
        macs = products + site.inputs[0][0] * self.conv * self.convolved
        return Counts(macs, int(sum(piece.all_flops for piece in pieces)))

    @property
    def convolved(self) -> int:
        """Channels of the convolution."""
        raise NotImplementedError

    def forward(self, site: Site) -> list[Kernel]:
        """The pieces as kernels."""
        return [piece.kernel(Phase.FORWARD) for piece in self.pieces(self._run(site), training=site.training)]

    def backward(self, site: Site) -> list[Kernel]:
        """The pieces as kernels; where the input needs no gradient they serve the parameters alone."""
        phase = Phase.INPUT_GRADIENT if site.input_gradient else Phase.WEIGHT_GRADIENT
        return [piece.kernel(phase) for piece in self.pieces_back(self._run(site))]

    def saved(self, site: Site) -> tuple[tuple[Role, Affine], ...]:
        """What is kept, by role."""
        return tuple((role, each(count)) for role, count in self.kept(self._run(site)).items())


def convolution(positions: Number, channels: int, width: int, *, bias: bool) -> MixerKernel:
    """A depthwise causal convolution over a sequence with SiLU behind it, in one kernel.

    `width` MACs an element, and 5 FLOP of the SiLU. Each input is read once: a row's neighbours stay on the chip.
    """
    size = positions * channels
    return MixerKernel((FLOPS_PER_MAC * width + 5) * size, {A: size}, {A: size}, weights=channels * (width + bias))


def convolution_back(positions: Number, channels: int, width: int, *, bias: bool) -> MixerKernel:
    """Its gradients in one kernel: the sum again, SiLU's gradient (9), both gradients' sums, the bias's."""
    size, weights = positions * channels, channels * (width + bias)
    flops = (3 * FLOPS_PER_MAC * width + 9 + bias) * size
    return MixerKernel(flops, {A: size, G: size}, {G: size}, weights=weights, gradients=weights)


def convolution_step(channels: int, width: int, *, bias: bool) -> MixerKernel:
    """One position: the last `width` - 1 inputs are read and, moved on by one, written."""
    state = channels * (width - 1)
    moved: dict[Role, Number] = {A: channels + state}
    return MixerKernel((FLOPS_PER_MAC * width + 5) * channels, moved, dict(moved), weights=channels * (width + bias))


def gated_norm(positions: Number, features: int, weights: int, rows: int = 0) -> MixerKernel:
    """A root-mean-square normalisation with a gate, in one kernel; training also writes `rows` numbers a position."""
    size = positions * features
    kept: dict[Role, Number] = {WIDE: positions * rows} if rows else {}
    return MixerKernel(
        NORMALISED_FLOPS * size, {A: 2 * size}, {A: size, **kept}, None, weights, 0, OpClass.NORMALIZATION
    )


def gated_norm_back(positions: Number, features: int, weights: int, rows: int) -> MixerKernel:
    """The gradients of both inputs and of the scale, in one kernel."""
    size = positions * features
    reads: dict[Role, Number] = {A: 2 * size, G: size, WIDE: positions * rows}
    return MixerKernel(
        NORMALISED_BACK_FLOPS * size, reads, {G: 2 * size}, None, weights, weights, OpClass.NORMALIZATION
    )


GATED_FLOPS, GATED_BACK_FLOPS = 6, 13
"""Of each element of a gate alone, SiLU and product; back, SiLU again, its gradient 9, three products."""


def gated(positions: Number, features: int) -> MixerKernel:
    """A value times SiLU of its gate, in one kernel."""
    size = positions * features
    return MixerKernel(GATED_FLOPS * size, {A: 2 * size}, {A: size})


def gated_back(positions: Number, features: int) -> MixerKernel:
    """The gradients of value and gate, in one kernel."""
    size = positions * features
    return MixerKernel(GATED_BACK_FLOPS * size, {A: 2 * size, G: size}, {G: 2 * size})


def check_projection(kind: str, shape: Shape, features: int) -> int:
    """Positions of an input of so many features, or an `InputError`."""
    if len(shape) != 2 or shape[1] != features:
        raise InputError(f"{kind} needs an input of (positions, {features}), found {list(shape)}")
    return shape[0]


def check_sides(op: Mixer, *sides: int) -> None:
    """Refuse sides below one."""
    if min(op.heads, op.conv, op.chunk, *sides) < 1:
        raise InputError(f"{op.kind}: heads, sizes, convolution and chunk must be at least 1")


def divided(kind: str, heads: int, groups: int) -> int:
    """Heads of a group, or an `InputError`."""
    if heads % groups:
        raise InputError(f"{kind}: {heads} heads do not share {groups} groups evenly")
    return heads // groups

"""What every operation has: a shape rule, parameters, forward and backward kernels; and the registry of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import ClassVar, NamedTuple, TypeVar

import msgspec

from simulator.errors import InputError
from simulator.op.kernel import Affine, Kernel, OpClass, Phase, Role, Window, each

Shape = tuple[int, ...]
"""A tensor's shape without the batch: (channels, height, width), (sequence, features) or (features,)."""

Shapes = tuple[Shape, ...]

MAX_ELEMENTS = 2**48
"""The largest tensor a sample may have; beyond it a size is surely a mistake."""


class Site(NamedTuple):
    """Where an operation stands: the shapes around it, what the backward pass must produce, what the software does.

    Attributes
    ----------
    whole : what an operation computes element by element between its products runs as one kernel, as compilers and
        kernels written by hand have it; eager frameworks run a kernel for each line of the network's source.
    in_place : products of attention read and write the heads where they lie, side by side; else they are copied apart.
    persistent : batch normalisation keeps a channel on the chip from its sums to what follows from them.
    written_out : GELU has no kernel, and its formula runs line by line.
    """

    inputs: Shapes
    output: Shape
    training: bool = True
    input_gradient: bool = True
    whole: bool = True
    in_place: bool = True
    persistent: bool = False
    written_out: bool = False


class Counts(NamedTuple):
    """Work of one forward pass of one sample."""

    macs: int
    flops: int


class Op(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An operation and its parameters, hashable and without any shape.

    A subclass gives `output_shape` and `forward`, and `backward` where it differs from nothing. Its fields are the
    keys that a workload file may write.
    """

    kind: ClassVar[str] = ""
    """The name in workload files, set by `operation`."""
    arity: ClassVar[tuple[int, int | None]] = (1, 1)
    """The least and largest number of inputs."""
    saves_input: ClassVar[bool] = False
    """Whether the backward pass reads the input."""
    saves_output: ClassVar[bool] = False
    """Whether the backward pass reads the output."""
    view: ClassVar[bool] = False
    """Whether the output is the input's memory under another shape."""
    takes_fold: ClassVar[bool] = False
    """Whether a following scale and shift can be folded into its weights at inference."""
    folds: ClassVar[bool] = False
    """Whether it is a scale and shift at inference."""
    loss: ClassVar[bool] = False
    """Whether it belongs to training only."""

    untrained: ClassVar[bool] = False
    """Whether its parameters only take room: no output depends on them, or they are frozen; they have no gradient."""

    full_width: ClassVar[bool] = False
    """Whether automatic mixed precision gives the output in full width, whatever the inputs are."""
    computes_wide: ClassVar[bool] = False
    """Whether automatic mixed precision casts the input to full width first."""
    narrows: ClassVar[bool] = False
    """Whether automatic mixed precision runs it in half width, as a part of a product."""
    for_all_samples: ClassVar[bool] = False
    """Whether the output is the same for all samples, made of parameters and constants alone."""

    def output_shape(self, inputs: Shapes) -> Shape:
        """Shape of the output; an `InputError` where the inputs do not fit."""
        return inputs[0]

    def parameter_sizes(self, inputs: Shapes) -> tuple[int, ...]:  # noqa: ARG002
        """Elements of each trained tensor."""
        return ()

    def counts(self, site: Site) -> Counts:
        """MACs and FLOPs of one forward pass of one sample; a MAC is two FLOP, a bias starts the accumulator."""
        flops = sum(kernel.flops.fixed + kernel.flops.per_sample for kernel in self.forward(site))
        return Counts(0, int(flops))

    def article_counts(self, site: Site) -> Counts:
        """The same in the founding articles' conventions."""
        return self.counts(site)

    def forward(self, site: Site) -> list[Kernel]:
        """Kernels of the forward pass."""
        raise NotImplementedError

    def backward(self, site: Site) -> list[Kernel]:  # noqa: ARG002
        """Kernels of the input gradient (where `site.input_gradient`) and the weight gradient."""
        return []

    def saved(self, site: Site) -> tuple[tuple[Role, Affine], ...]:  # noqa: ARG002
        """Tensors kept for the backward pass besides input and output. [elements]"""
        return ()

    def window(self, inputs: Shapes) -> Window:  # noqa: ARG002
        """The sliding window, for receptive fields."""
        return Window()


OpType = TypeVar("OpType", bound=type[Op])
_registry: dict[str, type[Op]] = {}


def operation(kind: str) -> Callable[[OpType], OpType]:
    """Register an operation under its name in workload files; a second one of the same name is an error."""

    def register(cls: OpType) -> OpType:
        if kind in _registry:
            raise ValueError(f"operation {kind!r} is registered twice")
        cls.kind = kind
        _registry[kind] = cls
        return cls

    return register


def registered() -> dict[str, type[Op]]:
    """The operations whose modules have been imported, by name."""
    return dict(_registry)


def elements(shape: Shape) -> int:
    """Elements of a tensor of one sample."""
    return prod(shape)


def check_shape(shape: Shape, what: str) -> Shape:
    """The shape, or an `InputError` if a side is below one or the tensor is absurdly large."""
    if any(side < 1 for side in shape):
        raise InputError(f"{what}: the output shape {list(shape)} has a side below one")
    if elements(shape) > MAX_ELEMENTS:
        raise InputError(f"{what}: a tensor of {list(shape)} elements is larger than any memory")
    return shape


def image(shape: Shape, kind: str) -> tuple[int, int, int]:
    """The (channels, height, width) of an image-like input."""
    if len(shape) != 3:
        raise InputError(f"{kind} needs an input of (channels, height, width), found {list(shape)}")
    return shape[0], shape[1], shape[2]


Pair = int | tuple[int, ...]


def pair(value: Pair, what: str, least: int = 1) -> tuple[int, int]:
    """(height, width) of a value written as one number or two."""
    result = (value, value) if isinstance(value, int) else value
    if len(result) != 2 or min(result) < least:
        raise InputError(f"{what} must be one or two numbers of at least {least}, found {value!r}")
    return result[0], result[1]


def elementwise(
    phase: Phase,
    flops: float,
    read: Mapping[Role, float],
    write: Mapping[Role, float],
    op_class: OpClass = OpClass.ELEMENTWISE,
    row: int = 1,
) -> Kernel:
    """A vector kernel whose counts all grow with the batch; `row` is how many values a softmax sums over."""
    return Kernel(
        op_class,
        phase,
        each(flops),
        tuple((role, each(count)) for role, count in read.items()),
        tuple((role, each(count)) for role, count in write.items()),
        window=Window((1, row)),
    )

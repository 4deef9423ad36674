"""Fusion: element-wise kernels in a row that a compiler runs as one, so that what is between them stays on the chip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import msgspec

from simulator.op.base import elements
from simulator.op.kernel import Affine, Kernel, Moved, OpClass, Role
from simulator.workload.workload import Layer

FUSED = (OpClass.ELEMENTWISE, OpClass.NORMALIZATION, OpClass.COPY)
"""Classes that XLA and TorchInductor fuse: loops over elements and reductions of rows, not calls of libraries."""

LAST = (*FUSED, OpClass.POOLING, OpClass.REDUCTION, OpClass.SOFTMAX)
"""Classes that can take in what comes before them, but read more than one element for each that they write."""

Pairs = tuple[Sequence[OpClass], Sequence[OpClass]]
"""Classes whose kernels run in those of the other classes after them."""


class Fusion(msgspec.Struct, frozen=True):
    """What runs in what, forward and backward."""

    forward: Pairs
    backward: Pairs
    stays: tuple[OpClass, ...] = ()
    """Classes that a kernel keeps, whatever it takes in; others are then of the class that came last."""


COMPILED = Fusion((FUSED, LAST), (FUSED, LAST))
"""What compilers fuse."""

JOINED = Fusion(
    ((OpClass.NORMALIZATION, OpClass.ELEMENTWISE), (OpClass.ELEMENTWISE,)),
    ((OpClass.ELEMENTWISE,), (OpClass.ELEMENTWISE, OpClass.NORMALIZATION)),
)
"""What cuDNN's batch normalisation takes in: the addition and the activation after it, and their gradients."""

NORMALIZED = msgspec.structs.replace(JOINED, stays=(OpClass.NORMALIZATION,))
"""The same of a framework's own kernel of normalisation, at inference."""

Lowered = Sequence[tuple[Kernel, ...]]
"""Kernels of each layer, in the order of the layers."""


def fuse_forward(layers: Sequence[Layer], lowered: Lowered, fusion: Fusion = COMPILED) -> list[tuple[Kernel, ...]]:
    """Each layer's forward kernels, where the last one of a source runs in the first one of its first reader.

    Worked example: convolution, batch normalisation, ReLU at inference: the normalisation reads and writes, the ReLU
    reads and writes; fused, one kernel of the ReLU's layer reads and writes once.
    """
    fused = list(lowered)
    readers = readers_of(layers)
    for position, layer in enumerate(layers):
        for source in set(layer.sources):
            if (
                source < 0
                or readers[source][0] != position
                or not _both(fused[source][-1:], fused[position][:1], fusion.forward)
            ):
                continue
            producer = fused[source][-1]
            between = passed_on(producer, size=elements(layers[source].output))
            first = joined(producer, fused[position][0], between, readers[source] != [position])
            if producer.op_class in fusion.stays:
                first = replace(first, op_class=producer.op_class)
            fused[source] = fused[source][:-1]
            fused[position] = (first, *fused[position][1:])
    return fused


def fuse_backward(layers: Sequence[Layer], lowered: Lowered, fusion: Fusion = COMPILED) -> list[tuple[Kernel, ...]]:
    """The same for gradients: a layer's last kernel runs in the first one of its only source.

    The gradient between the two is still written where another kernel of the source reads it, as batch normalisation's
    second pass does.
    """
    fused = list(lowered)
    readers = readers_of(layers)
    for position in reversed(range(len(layers))):
        layer = layers[position]
        source = layer.sources[0]
        alone = len(layer.sources) == 1 and source >= 0 and readers[source] == [position]
        if not alone or not _both(fused[position][-1:], fused[source][:1], fusion.backward):
            continue
        between = passed_on(fused[position][-1], Role.GRADIENT, elements(layers[source].output))
        kept = any(role is between[0] for kernel in fused[source][1:] for role, _ in kernel.read)
        first = joined(fused[position][-1], fused[source][0], between, kept)
        fused[position] = fused[position][:-1]
        fused[source] = (first, *fused[source][1:])
    return fused


def readers_of(layers: Sequence[Layer]) -> list[list[int]]:
    """Which layers read each layer's output, in order."""
    readers: list[list[int]] = [[] for _ in layers]
    for position, layer in enumerate(layers):
        for source in layer.sources:
            if source >= 0:
                readers[source].append(position)
    return readers


def _both(last: tuple[Kernel, ...], first: tuple[Kernel, ...], pairs: Pairs) -> bool:
    return bool(last and first) and last[0].op_class in pairs[0] and first[0].op_class in pairs[1]


def passed_on(producer: Kernel, narrow: Role = Role.ACTIVATION, size: float = 0) -> tuple[Role, float]:
    """What a kernel hands on: mixed precision may keep it in full width."""
    return Role.WIDE if any(role is Role.WIDE for role, _ in producer.write) else narrow, size


@lru_cache(maxsize=4096)
def joined(producer: Kernel, consumer: Kernel, between: tuple[Role, float], kept: bool) -> Kernel:
    """One kernel for two; the tensor between them, a role and its elements, is not read, and written only if kept."""
    written = producer.write if kept else _without(producer.write, between)
    return replace(
        consumer,
        flops=_sum(producer.flops, consumer.flops),
        read=(*producer.read, *_without(consumer.read, between)),
        write=(*written, *consumer.write),
    )


def _without(moved: Moved, between: tuple[Role, float]) -> Moved:
    """Tensors moved, less one: the last of its role and size, else of its role; what was joined before is in front."""
    role, size = between
    of_role = [at for at, (kind, _) in enumerate(moved) if kind is role]
    if not of_role:
        return moved
    alike = [at for at in of_role if moved[at][1].per_sample == size]
    found = (alike or of_role)[-1]
    count = moved[found][1]
    less = (role, Affine(count.fixed, max(count.per_sample - size, 0.0)))
    return (*moved[:found], less, *moved[found + 1 :])


def _sum(first: Affine, second: Affine) -> Affine:
    return Affine(first.fixed + second.fixed, first.per_sample + second.per_sample)


def needs_gradient(layers: tuple[Layer, ...]) -> list[bool]:
    """Whether each layer's output depends on a parameter, its own or shared, so that a gradient flows back into it."""
    needed: list[bool] = []
    for layer in layers:
        trains = bool(layer.parameters or layer.op.parameter_sizes(layer.inputs)) and not layer.op.untrained
        needed.append(trains or any(source >= 0 and needed[source] for source in layer.sources))
    return needed

"""What a step of serving computes and moves, as columns: of each token, request, expert and cached token."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from simulator.op.activation import Activation, Dropout
from simulator.op.attention import Attention
from simulator.op.elementwise import Multiply
from simulator.op.experts import Experts
from simulator.op.kernel import Engine, Kernel, Role, once
from simulator.op.kernels import Columns, FloatArray, pack
from simulator.op.key_selection import KeySelection
from simulator.op.linear import Linear
from simulator.op.mixer import Mixer
from simulator.op.sequence import Embedding
from simulator.serving.formats import Format
from simulator.serving.network import Attending, Generator
from simulator.workload.fusion import fuse_forward
from simulator.workload.workload import Layer


@dataclass(frozen=True, eq=False)
class Launches:
    """Distinct kernels and how often each is launched in a step, (kernels,)."""

    columns: Columns
    times: FloatArray


@dataclass(frozen=True)
class ExpertGroup:
    """Equal layers of experts: on one device `count` of `total`, `active` a token; layers of them."""

    total: int
    active: int
    width: int
    first: int
    features: int
    count: int
    weight_bytes: tuple[float, float]
    layers: int


@dataclass(frozen=True, eq=False)
class Work:
    """All that a step's time is made of. Two are equal if they are the same object.

    Attributes
    ----------
    token : kernels whose counts are affine in the step's tokens.
    request : kernels affine in the requests whose next token is chosen.
    experts : grouped products.
    attention, mixing : distinct attentions and layers with a state, and how many layers have each.
    weight_bytes : on one device. [byte]
    """

    token: Launches
    request: Launches
    experts: tuple[ExpertGroup, ...]
    attention: tuple[tuple[Attending, int], ...]
    mixing: tuple[tuple[Mixer, int], ...]
    weight_bytes: float


@lru_cache(maxsize=256)
def work_of(generator: Generator, form: Format, *, ways: int, merges: bool, fuses: bool, by_experts: bool) -> Work:
    """The work of one device's share of a network.

    Parameters
    ----------
    ways : devices that share each layer.
    merges : whether products of the same input run as one.
    fuses : whether element-wise kernels in a row run as one.
    by_experts : whether devices share out whole experts; else each has a slice of all.
    """
    lowered = [_kernels(generator, position, form) for position in range(len(generator.layers))]
    if merges:
        lowered = _merged(generator.layers, lowered)
    if fuses:
        lowered = fuse_forward(generator.layers, lowered)
    head, groups = generator.head, Counter(_expert_groups(generator, form, ways=ways, by_experts=by_experts))
    return Work(
        token=_launches(kernel for kernels in lowered[:head] for kernel in kernels),
        request=_launches(kernel for kernels in lowered[head:] for kernel in kernels),
        experts=tuple(replace(group, layers=layers) for group, layers in groups.items()),
        attention=tuple(Counter(generator.attention).items()),
        mixing=tuple(Counter(generator.mixing).items()),
        weight_bytes=weight_bytes(generator, form, ways=ways),
    )


def _kernels(generator: Generator, position: int, form: Format) -> tuple[Kernel, ...]:
    layer = generator.layers[position]
    if layer.op.loss or isinstance(layer.op, (Attention, KeySelection, Mixer, Dropout)):
        return ()
    width = _weight_width(generator, position, form)
    kernels = layer.op.forward(layer.site(training=False))
    if isinstance(layer.op, Experts):
        kernels = [kernel for kernel in kernels if kernel.engine is not Engine.MATRIX]
    return tuple(_in_bytes(kernel, width) for kernel in kernels)


def _in_bytes(kernel: Kernel, width: float) -> Kernel:
    """A kernel whose weights are counted in bytes."""
    read = tuple(
        (role, count._replace(fixed=count.fixed * width, per_sample=count.per_sample * width))
        if role is Role.WEIGHT
        else (role, count)
        for role, count in kernel.read
    )
    return replace(kernel, read=read)


def _weight_width(generator: Generator, position: int, form: Format) -> float:
    """Bytes of each of a layer's weights."""
    layer = generator.layers[position]
    if position == generator.head:
        return form.output_bytes
    if isinstance(layer.op, Embedding):
        return form.table_bytes
    if not isinstance(layer.op, Linear):
        return form.small_bytes
    source = generator.layers[layer.sources[0]].op if layer.sources[0] >= 0 else None
    if isinstance(source, (Multiply, Activation)):
        return form.down_bytes
    return form.value_bytes if position in _values(generator) else form.weight_bytes


@lru_cache(maxsize=64)
def _values(generator: Generator) -> frozenset[int]:
    """Positions of the products that make attention's values."""
    layers = generator.layers
    found = [layer.sources[2] for layer in layers if isinstance(layer.op, Attention) and len(layer.sources) == 3]
    return frozenset(position for position in found if isinstance(layers[position].op, Linear))


def weight_bytes(generator: Generator, form: Format, *, ways: int) -> float:
    """Bytes of one device's weights; experts are shared out evenly. [byte]"""
    total = 0.0
    for position, layer in enumerate(generator.layers):
        width = _weight_width(generator, position, form)
        if isinstance(layer.op, Experts):
            first, second = form.of_experts
            matrices = layer.op.parameter_sizes(layer.inputs)
            total += (first * matrices[0] + second * matrices[1] + form.small_bytes * sum(matrices[2:])) / ways
            continue
        sizes = layer.op.parameter_sizes(layer.inputs)
        shares = ways if isinstance(layer.op, Embedding) else 1
        total += width * sum(sizes[:1]) / shares + form.small_bytes * sum(sizes[1:])
    return total


def _merged(layers: Sequence[Layer], lowered: Sequence[tuple[Kernel, ...]]) -> list[tuple[Kernel, ...]]:
    """Products of the same input as one, in the place of the first."""
    result, first = list(lowered), dict[tuple[int, ...], int]()
    for position, layer in enumerate(layers):
        if not isinstance(layer.op, Linear) or layer.op.out == 1:
            continue
        place = first.setdefault(layer.sources, position)
        if place != position:
            result[place] = (_side_by_side(result[place][0], result[position][0]),)
            result[position] = ()
    return result


@lru_cache(maxsize=4096)
def _side_by_side(one: Kernel, other: Kernel) -> Kernel:
    """Two products of the same input: its columns are both, and the input is read once."""
    if one.gemm is None or other.gemm is None:
        raise TypeError("only products run side by side")
    added = [entry for entry in other.read if entry[0] is Role.WEIGHT]
    return replace(
        one,
        flops=one.flops._replace(per_sample=one.flops.per_sample + other.flops.per_sample),
        read=(*one.read, *added),
        write=(*one.write, *other.write),
        gemm=one.gemm._replace(n=once(one.gemm.n.fixed + other.gemm.n.fixed)),
        reuse=one.reuse + other.reuse,
    )


def _launches(kernels: Iterable[Kernel]) -> Launches:
    counts = Counter(kernels)
    return Launches(pack(list(counts)), np.array(list(counts.values()), dtype=float))


def _expert_groups(generator: Generator, form: Format, *, ways: int, by_experts: bool) -> Iterable[ExpertGroup]:
    for position in generator.experts:
        layer = generator.layers[position]
        op = layer.op
        if not isinstance(op, Experts):
            raise TypeError(layer.name)
        width = op.width if by_experts else -(-op.width // ways)
        count = -(-op.count // ways) if by_experts else op.count
        first = width * (2 if op.gated else 1)
        yield ExpertGroup(op.count, op.active, width, first, layer.inputs[0][1], count, form.of_experts, 0)


__all__ = ["Launches", "Work", "work_of"]

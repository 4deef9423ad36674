"""What a step of serving computes and moves, as columns: of each token, request, expert and cached token."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from simulator.op.activation import Activation, Dropout
from simulator.op.attention import SOFTMAX_FLOPS, Attention
from simulator.op.elementwise import Multiply
from simulator.op.experts import Experts
from simulator.op.kernel import Engine, Kernel, OpClass, Phase, Role, once
from simulator.op.kernels import Columns, FloatArray, at_batch, pack
from simulator.op.key_selection import KeySelection
from simulator.op.linear import Linear
from simulator.op.mixer import Mixer
from simulator.op.sequence import Embedding
from simulator.serving.formats import Format
from simulator.serving.network import Attending, Generator
from simulator.units import FLOPS_PER_MAC
from simulator.workload.fusion import fuse_forward
from simulator.workload.workload import Layer


@dataclass(frozen=True)
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


@dataclass(frozen=True)
class Work:
    """All that a step's time is made of.

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


@lru_cache(maxsize=64)
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
            first, second = _expert_bytes(form)
            matrices = layer.op.parameter_sizes(layer.inputs)
            total += (first * matrices[0] + second * matrices[1] + form.small_bytes * sum(matrices[2:])) / ways
            continue
        sizes = layer.op.parameter_sizes(layer.inputs)
        shares = ways if isinstance(layer.op, Embedding) else 1
        total += width * sum(sizes[:1]) / shares + form.small_bytes * sum(sizes[1:])
    return total


def _expert_bytes(form: Format) -> tuple[float, float]:
    return form.weight_bytes, form.down_bytes


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
        yield ExpertGroup(op.count, op.active, width, first, layer.inputs[0][1], count, _expert_bytes(form), 0)


def at_points(launches: Launches, points: FloatArray) -> Columns:
    """Columns of points x kernels, all counts worked out: point after point. points : (points,)."""
    columns, number = launches.columns, len(points)
    batch = points[:, None]

    def worked(count: FloatArray) -> FloatArray:
        value = at_batch(count, batch)
        flat = value.reshape(*value.shape[:-2], -1)
        return np.stack([flat, np.zeros_like(flat)], axis=-2)

    def repeated(values: FloatArray) -> FloatArray:
        return np.tile(values, number)

    return Columns(
        phase=np.tile(columns.phase, number),
        op_class=np.tile(columns.op_class, number),
        engine=np.tile(columns.engine, number),
        flops=worked(columns.flops),
        read=worked(columns.read),
        write=worked(columns.write),
        gemm=worked(columns.gemm),
        groups=repeated(columns.groups),
        window=np.tile(columns.window, (1, number)),
        streamed=worked(columns.streamed),
        reuse=repeated(columns.reuse),
    )


def expert_columns(group: ExpertGroup, tokens: FloatArray) -> Columns:
    """The two grouped products of a layer of experts, (2 x points,): first products, then second ones.

    Of T tokens that choose k of E experts each, E (1 - (1 - k / E)^T) experts have any, if all are equally likely; only
    those are read. Worked example: 8 of 256 for one token, 8 experts; for 64 tokens, 256 (1 - 0.969^64) = 222.
    """
    share = group.count / group.total
    rows = np.maximum(tokens * group.active * share, 1e-9)
    touched = group.count * (1 - (1 - group.active / group.total) ** tokens)
    parts = []
    for depth, columns, width in (
        (group.features, group.first, group.weight_bytes[0]),
        (group.width, group.features, group.weight_bytes[1]),
    ):
        moved = {Role.WEIGHT: width * touched * depth * columns, Role.ACTIVATION: rows * depth}
        sides = (np.maximum(rows / touched, 1.0), np.full_like(rows, columns), np.full_like(rows, depth))
        written = {Role.ACTIVATION: rows * columns}
        parts.append((OpClass.GEMM, FLOPS_PER_MAC * rows * depth * columns, moved, written, sides, touched))
    return _joined([kernel_columns(*part) for part in parts])


def decode_columns(attending: Attending, requests: FloatArray, context: FloatArray) -> Columns:
    """Attention of one new token of each request over its cache, (points,).

    Heads that share keys fill the rows of a tile together. Source: Dao et al., "Flash-Decoding", 2023.
    """
    seen = context if attending.span is None else np.minimum(context, attending.span)
    depth = attending.key_size + attending.value_size
    scores = requests * attending.heads * seen
    sides = (requests * attending.heads / attending.kv_heads, seen, np.full_like(seen, depth))
    groups = np.full_like(seen, attending.kv_heads)
    kept = attending.key_size if attending.cached < attending.kv_heads * depth else depth
    read = {Role.ACTIVATION: requests * (attending.heads * attending.key_size + attending.kv_heads * kept * seen)}
    written = {Role.ACTIVATION: requests * attending.heads * attending.value_size}
    flops = (FLOPS_PER_MAC * depth + SOFTMAX_FLOPS) * scores
    return kernel_columns(OpClass.ATTENTION, flops, read, written, sides, groups)


def prefill_columns(attending: Attending, requests: FloatArray, new: FloatArray, past: FloatArray) -> Columns:
    """Causal attention of `new` tokens of each request over `past` cached ones and themselves, (points,)."""
    seen = _seen(attending, new, past)
    depth = attending.prefill_key + attending.prefill_value
    sides = (requests * new, seen, np.full_like(new, depth))
    tokens = past + new if attending.span is None else np.minimum(past, attending.span) + new
    own = new * attending.heads * attending.prefill_key + tokens * attending.prefill_kv * depth
    read = {Role.ACTIVATION: requests * own}
    written = {Role.ACTIVATION: requests * new * attending.heads * attending.prefill_value}
    flops = (FLOPS_PER_MAC * depth + SOFTMAX_FLOPS) * requests * new * seen * attending.heads
    return kernel_columns(OpClass.ATTENTION, flops, read, written, sides, np.full_like(new, attending.heads))


def _seen(attending: Attending, new: FloatArray, past: FloatArray) -> FloatArray:
    """Keys that a query sees on average: past ones and, of the new, those up to itself; at most the span."""
    if attending.span is None:
        return past + (new + 1) / 2
    growing = np.clip(attending.span - past, 0, new)
    total: FloatArray = growing * past + growing * (growing + 1) / 2 + (new - growing) * attending.span
    return total / np.maximum(new, 1)


def kernel_columns(
    op_class: OpClass,
    flops: FloatArray,
    read: dict[Role, FloatArray],
    written: dict[Role, FloatArray],
    sides: tuple[FloatArray, FloatArray, FloatArray],
    groups: FloatArray,
) -> Columns:
    """Columns of forward kernels on matrix units, (points,)."""
    number = len(flops)
    zero = np.zeros(number)
    table = {}
    for name, moved in (("read", read), ("write", written)):
        table[name] = np.stack([np.stack([moved.get(role, zero), zero]) for role in Role])
    return Columns(
        phase=np.full(number, Phase.FORWARD, dtype=np.int64),
        op_class=np.full(number, op_class, dtype=np.int64),
        engine=np.full(number, Engine.MATRIX, dtype=np.int64),
        flops=np.stack([flops, zero]),
        read=table["read"],
        write=table["write"],
        gemm=np.stack([np.stack([side, zero]) for side in sides]),
        groups=groups,
        window=np.ones((6, number)),
        streamed=np.zeros((2, number)),
        reuse=np.ones(number),
    )


def _joined(parts: Sequence[Columns]) -> Columns:
    fields = list(Columns.__dataclass_fields__)
    return Columns(*(np.concatenate([getattr(part, name) for part in parts], axis=-1) for name in fields))


__all__ = [
    "Launches",
    "Work",
    "at_points",
    "decode_columns",
    "expert_columns",
    "kernel_columns",
    "prefill_columns",
    "work_of",
]

"""Tensor parallelism of a generating network: which products are cut, and where the parts are added up.

Columns of a product are cut where its result goes to attention heads or through an activation into another product;
that one is cut by rows, and its partial sums are added over the devices. Source: Shoeybi et al., "Megatron-LM", 2019,
arXiv 1909.08053, section 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import msgspec

from simulator.errors import InputError
from simulator.op.activation import Activation
from simulator.op.attention import Attention
from simulator.op.base import Op, Shape, Shapes
from simulator.op.combine import Add
from simulator.op.elementwise import JoinHeads, Multiply, Rotary
from simulator.op.experts import Experts
from simulator.op.layer_norm import LayerNorm, RmsNorm
from simulator.op.linear import Linear
from simulator.op.mixer import Mixer
from simulator.op.rearrange import View
from simulator.workload.fusion import readers_of
from simulator.workload.workload import Layer, Network


class State(IntEnum):
    """What each device holds of a layer's output."""

    WHOLE = 0
    SPLIT = 1
    """A share of the features."""
    PARTIAL = 2
    """All features, of which the sum over the devices is still to be taken."""


@dataclass(frozen=True)
class Sharding:
    """Layers of one device.

    Attributes
    ----------
    layers : with the sides of their products on one device; experts are whole, since engines place them in two ways.
    reductions : sums over the devices, each of all features of a token.
    """

    layers: tuple[Layer, ...]
    reductions: int


def cut(layers: Sequence[Layer], inputs: Shapes, ways: int) -> Sharding:
    """One of `ways` devices' share of the layers of a network.

    Raises
    ------
    InputError
        If the degree does not divide the heads; it names the degrees that do.
    """
    if ways == 1:
        return Sharding(tuple(layers), 0)
    _check_heads(layers, ways)
    readers, head = readers_of(layers), last_product(layers)
    states: list[State] = []
    net, reductions, reduced = Network(inputs), 0, set[int]()
    for position, layer in enumerate(layers):
        given = [State.WHOLE if source < 0 else states[source] for source in layer.sources]
        feeds = fed(layers, readers, position) if isinstance(layer.op, Linear) else ()
        state = state_of(layer.op, given, columns=bool(feeds))
        states.append(State.WHOLE if position == head else state)
        if states[-1] is not State.PARTIAL:
            summed = {source for source, has in zip(layer.sources, given, strict=True) if has is State.PARTIAL}
            reductions += bool(summed - reduced)
            reduced |= summed
        net.add(share(layer, net, ways, columns_of(feeds, position == head, given)), *layer.sources, name=layer.name)
    return Sharding(tuple(net.layers), reductions)


def last_product(layers: Sequence[Layer]) -> int:
    """The projection to the vocabulary."""
    products = [position for position, layer in enumerate(layers) if isinstance(layer.op, Linear)]
    if not products:
        raise InputError("a network that generates ends in a projection to its vocabulary; this one has none")
    return products[-1]


def _check_heads(layers: Sequence[Layer], ways: int) -> None:
    for layer in layers:
        heads = heads_of(layer.op)
        if heads and heads % ways:
            fit = [degree for degree in range(1, heads + 1) if heads % degree == 0]
            raise InputError(
                f"{layer.name}: {heads} heads do not divide over {ways} devices; "
                f"degrees that do: {', '.join(map(str, fit))}"
            )


def heads_of(op: Op) -> int:
    """Heads that devices share out; 0 of an operation without any."""
    if isinstance(op, Mixer):
        return op.ways
    return op.heads if isinstance(op, Attention) else 0


JOINED = -1
"""Place of the only input, of queries, keys and values side by side."""

Fed = tuple[Op, int] | tuple[()]
"""The operation that uses a product's columns by shares, attention or another product, and as which of its inputs."""


def fed(layers: Sequence[Layer], readers: Sequence[Sequence[int]], position: int, *, passed: bool = False) -> Fed:
    """What uses a product's columns by shares; () where nothing does."""
    for reader in readers[position]:
        layer = layers[reader]
        first = layer.sources.index(position) if len(layer.sources) > 1 else JOINED
        if isinstance(layer.op, (Attention, Mixer)) or (isinstance(layer.op, Linear) and passed):
            return layer.op, first
        through = isinstance(layer.op, (Activation, Multiply))
        if through or _keeps(layer.op, first):
            found = fed(layers, readers, reader, passed=passed or through)
            if found:
                return found
    return ()


def _keeps(op: Op, first: int) -> bool:
    """Whether an operation leaves each head's features apart."""
    by_head = isinstance(op, (LayerNorm, RmsNorm)) and op.features is not None
    return by_head or isinstance(op, (Rotary, View)) or (isinstance(op, JoinHeads) and first == 0)


def columns_of(feeds: Fed, is_head: bool, given: Sequence[State]) -> Fed | None:
    """None for a product that is not cut by columns."""
    return feeds if is_head or (feeds and State.SPLIT not in given) else None


def state_of(op: Op, given: Sequence[State], *, columns: bool) -> State:
    """What each device holds of an operation's output."""
    if isinstance(op, Experts):
        return State.PARTIAL
    if isinstance(op, Linear) and State.SPLIT not in given:
        return State.SPLIT if columns else State.WHOLE
    if isinstance(op, Linear):
        return State.PARTIAL
    if State.SPLIT in given:
        return State.SPLIT
    kept = isinstance(op, Multiply) or (isinstance(op, Add) and set(given) == {State.PARTIAL})
    return State.PARTIAL if kept and State.PARTIAL in given else State.WHOLE


def share(layer: Layer, net: Network, ways: int, columns: Fed | None) -> Op:
    """The operation of one device."""
    op = layer.op
    if isinstance(op, Linear):
        return op if columns is None else msgspec.structs.replace(op, out=_part(op.out, columns, ways))
    if isinstance(op, Attention):
        return msgspec.structs.replace(op, heads=op.heads // ways, kv_heads=_kv_part(op, ways))
    if isinstance(op, Mixer):
        return op.shared_out(ways)
    if isinstance(op, JoinHeads):
        return msgspec.structs.replace(op, heads=op.heads // ways)
    if isinstance(op, Rotary) and op.rotated is not None:
        width = net.shape(layer.sources[0])[-1]
        return msgspec.structs.replace(op, rotated=max(round(op.rotated * width / layer.inputs[0][-1]), 1))
    return op


def head_sizes(op: Attention, inputs: Sequence[Shape]) -> tuple[int, int, int]:
    """Features of one head of queries, keys and values."""
    geometry = op.geometry(tuple(inputs))
    return geometry.key_size, geometry.key_size, geometry.value_size


def _kv_part(op: Attention, ways: int) -> int:
    """Heads of keys and values on a device: at least one, fewer than devices are repeated."""
    return max((op.kv_heads or op.heads) // ways, 1)


def _part(out: int, feeds: Fed, ways: int) -> int:
    """Columns of one device; the vocabulary is padded to whole shares."""
    attention, place = feeds or (None, 0)
    if isinstance(attention, Mixer):
        return attention.shared_out(ways).columns(place)
    if not isinstance(attention, Attention):
        return -(-out // ways)
    shared = attention.kv_heads or attention.heads
    if place == JOINED:
        return out // (attention.heads + 2 * shared) * (attention.heads // ways + 2 * _kv_part(attention, ways))
    return out // shared * _kv_part(attention, ways) if place else out // ways

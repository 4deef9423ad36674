"""A network that generates, taken apart: what a step computes for each token, each request and each cached token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

from simulator.errors import InputError, UnsupportedError
from simulator.op.attention import Attention
from simulator.op.base import elements
from simulator.op.elementwise import JoinHeads
from simulator.op.experts import Experts
from simulator.op.key_selection import KeySelection
from simulator.op.mixer import Mixer
from simulator.op.sequence import PositionEmbedding
from simulator.parallel.tensor import cut, last_product
from simulator.workload.workload import Layer, Network, Workload


@dataclass(frozen=True)
class Attending:
    """One layer's attention, and its cache.

    Attributes
    ----------
    heads, kv_heads, key_size, value_size : of the products over the cache. Latent attention decodes as one key head
        that all heads share, and whose first `value_size` features are the values.
    prefill_key, prefill_value, prefill_kv : the same where a prompt is read, which latent attention does head by head.
    span : cached tokens that a query sees at most; None for all.
    kept : tokens that the cache keeps at most; None for all.
    cached : numbers that the cache holds of a token.
    """

    heads: int
    kv_heads: int
    key_size: int
    value_size: int
    prefill_kv: int
    prefill_key: int
    prefill_value: int
    span: int | None
    kept: int | None
    cached: int

    @property
    def latent(self) -> bool:
        """Whether decoding runs over keys that heads share, which a prompt's reading unpacks head by head."""
        return self.kv_heads < self.prefill_kv

    @property
    def absorbed(self) -> Attending:
        """The same where a prompt's queries attend over latent keys too, as decoding ones do."""
        return replace(self, prefill_kv=self.kv_heads, prefill_key=self.key_size, prefill_value=self.value_size)


@dataclass(frozen=True, eq=False)
class Generator:
    """One device's share of a network that generates. Two are equal if they are the same object.

    Attributes
    ----------
    layers : all layers, at one position; attention, experts and the head are among them and cost by rules of their own.
    attention : of each layer that has it, in order; the choice of keys by small heads stands as one of its own.
    mixing : layers that keep a state of fixed size of each request instead.
    experts : positions of layers of experts.
    head : position of the projection to the vocabulary, which only a request's last token passes.
    features : hidden size, of what devices sum and stages hand on.
    reductions : sums over the devices of a tensor-parallel group, each of a token's features.
    parameters : of the whole network.
    limit : longest context; None where the network has no such limit.
    """

    name: str
    layers: tuple[Layer, ...]
    attention: tuple[Attending, ...]
    mixing: tuple[Mixer, ...]
    experts: tuple[int, ...]
    head: int
    features: int
    reductions: int
    parameters: int
    limit: int | None

    @property
    def depth(self) -> int:
        """Layers that groups of layers are made of: those with attention or a state."""
        return len(self.attention) + len(self.mixing)

    @cached_property
    def widest(self) -> int:
        """Features of the widest layer before the head, input and output together."""
        return max(sum(shape[-1] for shape in (*one.inputs, one.output)) for one in self.layers[: self.head])


@lru_cache(maxsize=256)
def generator_of(workload: Workload, ways: int = 1) -> Generator:
    """One of `ways` devices' share of a workload that generates.

    Raises
    ------
    UnsupportedError
        For a network without causal attention or states, with layers of no cost rule, or not made for sequences.
    InputError
        If the degree does not divide the heads.
    """
    whole = _at_one_position(workload)
    if workload.unknown:
        raise UnsupportedError(f"{workload.name}: {workload.unknown[0]} has no cost rule, so it cannot be served")
    attending = [layer for layer in whole if isinstance(layer.op, Attention)]
    mixes = any(isinstance(layer.op, Mixer) for layer in whole)
    if not (attending or mixes) or not all(isinstance(at.op, Attention) and at.op.causal for at in attending):
        raise UnsupportedError(
            f"{workload.name} does not generate: it has no causal attention; use --task infer for its latency"
        )
    part = cut(whole, ((1,),), ways)
    head = last_product(part.layers)
    return Generator(
        name=workload.name,
        layers=part.layers,
        attention=tuple(filter(None, (_attending(part.layers, layer) for layer in part.layers))),
        mixing=tuple(layer.op for layer in part.layers if isinstance(layer.op, Mixer)),
        experts=tuple(position for position, layer in enumerate(part.layers) if isinstance(layer.op, Experts)),
        head=head,
        features=elements(part.layers[head].inputs[0]),
        reductions=part.reductions,
        parameters=workload.parameters,
        limit=_limit(workload),
    )


def _at_one_position(workload: Workload) -> tuple[Layer, ...]:
    """The layers with shapes of a single token."""
    net = Network(((1,),))
    if len(workload.inputs) > 1:
        raise UnsupportedError(
            f"{workload.name} reads {len(workload.inputs)} inputs, as encoders beside decoders do; what is served "
            "reads one; use --task infer for its latency"
        )
    if len(workload.inputs) != 1 or len(workload.inputs[0]) != 1:
        raise UnsupportedError(f"{workload.name} does not read tokens; use --task infer for its latency")
    for layer in workload.layers:
        try:
            net.add(layer.op, *layer.sources, name=layer.name)
        except InputError as error:
            raise UnsupportedError(f"{workload.name} cannot be taken token by token: {error}") from None
    return tuple(net.layers)


def _limit(workload: Workload) -> int | None:
    """Longest context: of a trained table of positions, and what the model is published for."""
    tables = [layer.op.positions for layer in workload.layers if isinstance(layer.op, PositionEmbedding)]
    lengths = [length for length in tables if length]
    return min(filter(None, (*lengths, workload.context)), default=None)


def _attending(layers: Sequence[Layer], layer: Layer) -> Attending | None:
    if isinstance(layer.op, KeySelection):
        size = layer.inputs[1][-1]
        return Attending(layer.op.heads, 1, size, 0, 1, size, 0, None, None, size)
    if not isinstance(layer.op, Attention):
        return None
    op = layer.op
    geometry, shared = op.geometry(layer.inputs), op.kv_heads or op.heads
    latent = _latent(layers, layer.sources)
    sides = (geometry.key_size, geometry.value_size)
    if latent is not None:
        rank, rotary = latent
        return Attending(op.heads, 1, rank + rotary, rank, shared, *sides, op.span, None, rank + rotary)
    return Attending(op.heads, shared, *sides, shared, *sides, op.span, op.span, shared * sum(sides))


def _latent(layers: Sequence[Layer], sources: Sequence[int]) -> tuple[int, int] | None:
    """Rank and rotary features of latent attention's keys; None for other attention."""
    if len(sources) < 3 or sources[1] < 0 or not isinstance(layers[sources[1]].op, JoinHeads):
        return None
    joined = layers[sources[1]]
    own = layers[joined.sources[0]]
    return elements(own.inputs[0]), elements(joined.inputs[1])

"""Sharding: a workload and a plan become the workload of one rank, with what the ranks exchange as rows of their own.

Each product gets its real sides, so that tiles, waves and launches follow. Tensor parallelism (`tensor.py`) cuts
products by columns, then by rows; between them, with sequence parallelism, each rank has a share of the positions.
Context parallelism gives each rank a share of the positions everywhere but in attention, which it computes for a share
of the heads: as many products as those of its queries with all keys that a ring hands on, and of the same kind. Expert
parallelism keeps some experts on each rank, to which positions travel and return.

Sources: Shoeybi et al., "Megatron-LM", 2019, arXiv 1909.08053; Korthikanti et al., 2022, arXiv 2205.05198, section 4.2;
Liu et al., "Ring Attention", 2023, arXiv 2310.01889; Lepikhin et al., "GShard", 2020, arXiv 2006.16668.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache

import msgspec

from simulator.errors import InputError, UnsupportedError
from simulator.op.attention import Attention
from simulator.op.base import Op, Shape, elements
from simulator.op.combine import Add
from simulator.op.experts import Experts
from simulator.op.key_selection import KeySelection
from simulator.op.linear import Linear
from simulator.op.mixer import Mixer
from simulator.op.sequence import Embedding
from simulator.op.transfer import Transfer
from simulator.parallel import tensor
from simulator.parallel.plan import Plan
from simulator.parallel.tensor import State
from simulator.roofline.collectives import Collective, reached
from simulator.workload.fusion import readers_of
from simulator.workload.workload import Layer, Network, Workload

REDUCE, GATHER, SCATTER, DISPATCH = (
    Collective.ALL_REDUCE,
    Collective.ALL_GATHER,
    Collective.REDUCE_SCATTER,
    Collective.DISPATCH,
)


@lru_cache(maxsize=64)
def shard(workload: Workload, ways: int, context: int, expert: int, *, sequence: bool) -> Workload:
    """One rank's share of a network: `ways` ranks share products, `context` positions, `expert` experts.

    Raises
    ------
    InputError, UnsupportedError
        If a degree does not divide heads, positions or experts, or the network has none; it names what would.
    """
    if (ways, context, expert) == (1, 1, 1):
        return workload
    check_degrees(workload, ways, context, expert)
    made = _Sharding(Network(_inputs(workload, context)), workload.layers, ways, context, expert, sequence)
    for position in range(len(workload.layers)):
        made.add(position)
    return replace(workload, inputs=made.net.inputs, layers=tuple(made.net.layers))


def shard_by(workload: Workload, plan: Plan) -> Workload:
    """The same by a plan's degrees."""
    return shard(workload, plan.tensor, plan.context, plan.expert, sequence=plan.sequence and plan.tensor > 1)


def check_degrees(workload: Workload, ways: int, context: int, expert: int) -> None:
    """Refuse degrees that do not divide what they share out, with the nearest that do."""
    sharing = [(layer.name, tensor.heads_of(layer.op)) for layer in workload.layers if tensor.heads_of(layer.op)]
    if ways * context > 1 and not sharing:
        raise UnsupportedError(f"{workload.name} has no attention whose heads tp or cp could share out; use dp or pp")
    if context > 1 and any(isinstance(layer.op, KeySelection) for layer in workload.layers):
        raise UnsupportedError(f"{workload.name} chooses its keys over all positions; cp does not share those out")
    if context > 1 and any(isinstance(layer.op, Mixer) for layer in workload.layers):
        raise UnsupportedError(f"{workload.name} carries states along its positions; cp has no rule for those, use tp")
    for name, heads in sharing:
        if heads % (ways * context):
            fit = ", ".join(str(n) for n in range(1, heads + 1) if heads % n == 0)
            raise InputError(f"{name}: {heads} heads do not divide over tp x cp = {ways * context}; {fit} would")
    counts = {layer.op.count for layer in workload.layers if isinstance(layer.op, Experts)}
    if expert > 1 and not counts:
        raise UnsupportedError(f"{workload.name} has no experts for ep={expert} to share out")
    for count in counts:
        if count % expert:
            fit = ", ".join(str(n) for n in range(1, count + 1) if count % n == 0)
            raise InputError(f"{workload.name}: {count} experts do not divide over ep={expert}; {fit} would")


def _inputs(workload: Workload, context: int) -> tuple[Shape, ...]:
    for shape in workload.inputs:
        if shape[0] % context:
            raise InputError(f"{workload.name}: {shape[0]} positions do not divide over cp={context}")
    return tuple((shape[0] // context, *shape[1:]) for shape in workload.inputs)


@dataclass
class _Sharding:
    """A rank's network in the making.

    `handles` and `states` are of each original layer's output; `short` are handles whose rows are shared out over the
    tensor-parallel ranks; `known` keeps transfers that several readers share, `summed` whose parts they sum.
    """

    net: Network
    layers: tuple[Layer, ...]
    ways: int
    context: int
    expert: int
    sequence: bool
    handles: list[int] = field(default_factory=list)
    states: list[State] = field(default_factory=list)
    short: set[int] = field(default_factory=set)
    known: dict[tuple[int, str], int] = field(default_factory=dict)
    summed: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.readers = readers_of(self.layers)
        products = [place for place, layer in enumerate(self.layers) if isinstance(layer.op, Linear)]
        self.head = products[-1] if products else -1

    def add(self, position: int) -> None:
        """The share of one layer, and what comes before and after it."""
        layer = self.layers[position]
        given = [State.WHOLE if source < 0 else self.states[source] for source in layer.sources]
        fed = tensor.fed(self.layers, self.readers, position) if isinstance(layer.op, Linear) else ()
        columns = tensor.columns_of(fed, position == self.head, given)
        state = self._state(layer.op, given, columns=columns is not None, head=position == self.head)
        if self._joins_stream(layer):
            state = State.WHOLE
        cut = isinstance(layer.op, Mixer) and state is State.SPLIT  # what it reads whole has a gradient of each part
        needs_all = columns is not None or cut or (isinstance(layer.op, Experts) and self.expert == 1)
        sources = [self._source(layer, place, state, needs_all=needs_all) for place in range(len(layer.sources))]
        if state is State.WHOLE and not needs_all:
            sources = self._alike(sources)
        at = replace(layer, sources=tuple(sources))
        if isinstance(layer.op, Attention):
            handle = self._attention(at)
        elif isinstance(layer.op, Experts):
            handle = self._experts(at)
        else:
            handle = self.net.add(self._share(at, columns), *sources, name=layer.name)
        if any(source in self.short for source in sources) and not needs_all:
            self.short.add(handle)
        self.handles.append(handle)
        self.states.append(state)

    def _state(self, op: Op, given: list[State], *, columns: bool, head: bool) -> State:
        if self.ways == 1 or (isinstance(op, Experts) and self.expert > 1):
            return State.WHOLE
        if isinstance(op, Embedding):
            return State.PARTIAL
        return State.SPLIT if head else tensor.state_of(op, given, columns=columns)

    def _joins_stream(self, layer: Layer) -> bool:
        """Whether a sum adds a product to a residual stream that another layer had exchanged already.

        Sums of parts could wait for one exchange, but software exchanges the product and adds it to the stream, of
        which each rank then keeps its own positions alone.
        """
        stream = (self.handles[source] for source in layer.sources if source >= 0)
        return isinstance(layer.op, Add) and len(layer.sources) == 2 and any(source in self.summed for source in stream)

    def _share(self, layer: Layer, columns: tensor.Fed | None) -> Op:
        if self.ways == 1:
            return layer.op
        if isinstance(layer.op, Embedding):
            return msgspec.structs.replace(layer.op, vocabulary=-(-layer.op.vocabulary // self.ways))
        return tensor.share(layer, self.net, self.ways, columns)

    def _source(self, layer: Layer, place: int, state: State, *, needs_all: bool) -> int:
        """The handle that a layer reads, after the exchange that brings it there."""
        source = layer.sources[place]
        if source < 0 or self.ways == 1:
            return source if source < 0 else self.handles[source]
        handle, has = self.handles[source], self.states[source]
        if has is State.PARTIAL and state is not State.PARTIAL:
            handle, has = self._transfer(handle, "scatter" if self.sequence else "reduce"), State.WHOLE
        if has is not State.WHOLE or (state is State.WHOLE and not needs_all):
            return handle
        if handle in self.short:
            return self._transfer(handle, "gather")
        return self._transfer(handle, "copy") if needs_all else handle

    def _alike(self, sources: list[int]) -> list[int]:
        """All sources with as many rows as the one that has fewest."""
        if not any(source in self.short for source in sources):
            return sources
        return [source if source in self.short else self._transfer(source, "split") for source in sources]

    def _transfer(self, source: int, what: str) -> int:
        """An exchange among the tensor-parallel ranks, once for all readers."""
        if (source, what) not in self.known:
            shape = self.net.shape(source)
            name = f"{self._name(source)}.{what}"
            handle = self.net.add(self._collective(shape, what), source, name=name)
            self.known[source, what] = handle
            if what in ("scatter", "reduce"):
                self.summed.add(source)
            if what in ("scatter", "split"):
                self.short.add(handle)
        return self.known[source, what]

    def _collective(self, shape: Shape, what: str) -> Transfer:
        rows, *rest = shape
        if what in ("scatter", "split") and rows % self.ways:
            raise InputError(f"{rows} positions do not divide over tp={self.ways}, as --sequence-parallel needs")
        parts = {"scatter": (rows // self.ways, *rest), "split": (rows // self.ways, *rest)}
        after = parts.get(what, (rows * self.ways, *rest) if what == "gather" else shape)
        sent, returned = {
            "reduce": (REDUCE, ""),
            "copy": ("", REDUCE),
            "scatter": (SCATTER, GATHER),
            "gather": (GATHER, SCATTER),
            "split": ("", GATHER),
        }[what]
        whole = max(elements(shape), elements(after))
        return Transfer(
            group="tensor",
            shape=after,
            sent=sent,
            returned=returned,
            message=whole,
            answer=whole,
            view=what not in ("scatter", "split"),
        )

    def _attention(self, layer: Layer) -> int:
        """Attention of this rank's heads; with context parallelism over all positions, keys and values from a ring."""
        op = layer.op if self.ways == 1 else tensor.share(layer, self.net, self.ways, None)
        assert isinstance(op, Attention)  # noqa: S101 - a share of an attention is one
        if self.context == 1:
            return self.net.add(op, *layer.sources, name=layer.name)
        shared = op.kv_heads or op.heads
        here = msgspec.structs.replace(op, heads=op.heads // self.context, kv_heads=max(shared // self.context, 1))
        size = tensor.head_sizes(op, [self.net.shape(source) for source in layer.sources])
        ring = sum(size[1:]) * shared * self.net.shape(layer.sources[0])[0] * self.context
        names = ("query", "key", "value") if len(layer.sources) == 3 else ("joined",)
        widths = {
            "query": here.heads * size[0],
            "key": here.kv_heads * size[1],  # type: ignore[operator]
            "value": here.kv_heads * size[2],  # type: ignore[operator]
        }
        widths["joined"] = sum(widths.values())
        sources = []
        for name, source in zip(names, layer.sources, strict=True):
            rows = self.net.shape(source)[0] * self.context
            message = ring if name in ("key", "joined") else 0
            ring_op = Transfer(
                group="context",
                shape=(rows, widths[name]),
                sent=GATHER if message else "",
                returned=GATHER if message else "",
                message=message,
                answer=2 * message,
                hidden=True,
            )
            sources.append(self.net.add(ring_op, source, name=f"{layer.name}.{name}_ring"))
        mixed = self.net.add(here, *sources, name=layer.name)
        rows = self.net.shape(mixed)[0]
        back = Transfer(group="context", shape=(rows // self.context, op.heads * size[2]))
        return self.net.add(back, mixed, name=f"{layer.name}.back")

    def _experts(self, layer: Layer) -> int:
        """Experts of this rank, or a slice of all; positions travel to them and back."""
        op = layer.op
        assert isinstance(op, Experts)  # noqa: S101 - the caller looked
        if self.expert == 1:
            here = msgspec.structs.replace(op, width=-(-op.width // self.ways))
            return self.net.add(here, *layer.sources, name=layer.name)
        source, weights = layer.sources
        shape = self.net.shape(source)
        message = round(shape[0] * reached(op.active, self.expert) * shape[1])
        travel = Transfer(
            group="expert",
            shape=shape,
            sent=DISPATCH,
            returned=DISPATCH,
            message=message,
            answer=message,
            active=op.active,
        )
        sent = self.net.add(travel, source, name=f"{layer.name}.dispatch")
        here = msgspec.structs.replace(op, held=op.count // self.expert)
        handle = self.net.add(here, sent, weights, name=layer.name)
        return self.net.add(travel, handle, name=f"{layer.name}.combine")

    def _name(self, handle: int) -> str:
        return self.net.layers[handle].name if handle >= 0 else f"input{-handle}"

"""What-if on a network: pruning, narrow weights, low rank, folding, each a pure rewrite of the workload.

A rewrite changes what is computed (shapes, so that parameters, MACs, traffic and times follow) or how weights are kept
on disk (bits, so that only their size follows). Sparsity without structure saves nothing on units that multiply zeros
too, and so changes no time: no shipped device's profile says that it skips them.

    channels:conv*=0.5     half of the output channels stay (structured pruning)
    lowrank:fc6=256        W (out x in) as U (out x 256) times V (256 x in); a convolution: 256 channels and a 1x1
    fuse:conv-bn-relu      batch normalisation folded into the convolution before it, activation in the same kernel
    prune:fc6=0.9          nine tenths of the weights are zero, and not kept (values, and 4 bits of distance each)
    quantize:int8          weights kept in 8 bits (int8, int4, fp8, fp16, binary), of all layers or of some: fc*=int4
    codebook:8bit          a table of 256 values and 8 bits a weight
    huffman:4.2            so many bits a weight on the average, by the entropy of its values

References
----------
Han, Mao, Dally, "Deep Compression", ICLR 2016, arXiv 1510.00149 (distances of 4 bits, codebooks, Huffman coding);
Denton et al., "Exploiting Linear Structure", NeurIPS 2014, and Jaderberg et al., BMVC 2014 (low rank); Li et al.,
"Pruning Filters", ICLR 2017; Rastegari et al., "XNOR-Net", ECCV 2016.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

import msgspec

from simulator.errors import InputError, UnknownNameError
from simulator.op.base import Op
from simulator.op.convolution import Convolution
from simulator.op.linear import Linear
from simulator.workload.lowering import folded_layers
from simulator.workload.workload import Layer, Network, Workload

FULL_BITS = 32
INDEX_BITS = 4
"""Distance to the next weight that is not zero. Source: Deep Compression, section 2."""

BITS = {"fp32": 32.0, "fp16": 16.0, "bf16": 16.0, "fp8": 8.0, "int8": 8.0, "int4": 4.0, "binary": 1.0}


@dataclass(frozen=True)
class Encoding:
    """How a layer's weights are kept: share that is not zero, bits of each, bits beside them, values of a table."""

    kept: float = 1.0
    bits: float = FULL_BITS
    index_bits: float = 0.0
    table_values: int = 0

    def bytes_of(self, parameters: int) -> float:
        """Of so many parameters. [byte]"""
        return (parameters * self.kept * (self.bits + self.index_bits) + self.table_values * FULL_BITS) / 8


def stored_bytes(workload: Workload, storage: Mapping[str, Encoding]) -> float:
    """All weights on disk. [byte]"""
    plain = Encoding()
    return sum(
        storage.get(layer.name, plain).bytes_of(layer.parameters) for layer in workload.layers if layer.parameters
    )


@dataclass(frozen=True)
class Rewritten:
    """A network after some rewrites, and how its weights are kept, by layer."""

    workload: Workload
    storage: Mapping[str, Encoding]

    @property
    def bytes(self) -> float:
        """On disk. [byte]"""
        return stored_bytes(self.workload, self.storage)


@dataclass(frozen=True)
class Rewrite:
    """One rewrite as it is written: "lowrank:fc6=256"."""

    name: str
    pattern: str
    value: str


def parse(text: str) -> Rewrite:
    """A rewrite from its text.

    Raises
    ------
    UnknownNameError, InputError
        For an unknown name, or a value that is missing.
    """
    name, colon, rest = text.partition(":")
    if name not in _RULES:
        raise UnknownNameError("rewrite", name, _RULES)
    pattern, equals, value = rest.rpartition("=")
    if not colon or not value or (equals and not pattern):
        raise InputError(f"--apply {text!r}: write NAME:LAYERS=VALUE or NAME:VALUE, such as lowrank:fc6=256")
    return Rewrite(name, pattern or "*", value)


def apply(workload: Workload, texts: Sequence[str]) -> Rewritten:
    """A network after all rewrites, in their order.

    Raises
    ------
    InputError
        If a rewrite meets no layer that it could change, or the shapes no longer fit; it names the layer.
    """
    made = Rewritten(workload, {})
    for text in texts:
        one = parse(text)
        try:
            made = _RULES[one.name](made, one)
        except InputError as error:
            raise InputError(f"--apply {text!r}: {error}") from None
    if texts:
        changes = dict(made.workload.changes) | {"apply": " ".join(texts)}
        made = replace(made, workload=replace(made.workload, changes=changes))
    return made


def _chosen(workload: Workload, one: Rewrite, kinds: type[Op] | tuple[type[Op], ...]) -> set[int]:
    """Positions of the layers that a rewrite names and can change."""
    found = {
        place
        for place, layer in enumerate(workload.layers)
        if layer.parameters and isinstance(layer.op, kinds) and fnmatchcase(layer.name, one.pattern)
    }
    if not found:
        words = "convolution or linear layer" if kinds == PRODUCTS else "layer with weights"
        near = [layer.name for layer in workload.layers if layer.parameters]
        raise InputError(f"no {words} is called {one.pattern!r}; there are {', '.join(near[:6])} ...")
    return found


PRODUCTS = (Convolution, Linear)


def _number(one: Rewrite, low: float, high: float) -> float:
    try:
        value = float(one.value.removesuffix("bit"))
    except ValueError:
        value = high + 1
    if not low <= value <= high:
        raise InputError(f"a value between {low:g} and {high:g} is needed, found {one.value!r}")
    return value


def _rebuilt(workload: Workload, change: Callable[[Network, int, Layer, tuple[int, ...]], int]) -> Workload:
    """The network with each layer added by `change`, which gets the handles of its sources and returns its own."""
    net = Network(workload.inputs)
    handles: list[int] = []
    for place, layer in enumerate(workload.layers):
        sources = tuple(source if source < 0 else handles[source] for source in layer.sources)
        handles.append(change(net, place, layer, sources))
    return replace(workload, layers=tuple(net.layers), quoted_macs=None)


def _channels(made: Rewritten, one: Rewrite) -> Rewritten:
    """A share of the output channels stays; what follows takes fewer."""
    share, chosen = _number(one, 1e-6, 1.0), _chosen(made.workload, one, PRODUCTS)

    def change(net: Network, place: int, layer: Layer, sources: tuple[int, ...]) -> int:
        op = layer.op
        if place in chosen and isinstance(op, PRODUCTS):
            groups = op.groups if isinstance(op, Convolution) else 1
            op = msgspec.structs.replace(op, out=max(round(op.out * share / groups), 1) * groups)
        return net.add(op, *sources, name=layer.name)

    return replace(made, workload=_rebuilt(made.workload, change))


def _low_rank(made: Rewritten, one: Rewrite) -> Rewritten:
    """Two products instead of one: to so many features, then to all."""
    rank, chosen = round(_number(one, 1, 2**30)), _chosen(made.workload, one, PRODUCTS)

    def change(net: Network, place: int, layer: Layer, sources: tuple[int, ...]) -> int:
        op = layer.op
        if place not in chosen or not isinstance(op, PRODUCTS):
            return net.add(op, *sources, name=layer.name)
        if isinstance(op, Convolution) and op.groups > 1:
            raise InputError(f"{layer.name} has groups, whose matrices are small already")
        if rank >= op.out:
            raise InputError(f"{layer.name} has {op.out} outputs; a rank below that would make it smaller")
        first = net.add(msgspec.structs.replace(op, out=rank, bias=False), *sources, name=f"{layer.name}.v")
        then = Convolution(out=op.out, kernel=1, bias=op.bias) if isinstance(op, Convolution) else op
        return net.add(then, first, name=f"{layer.name}.u")

    return replace(made, workload=_rebuilt(made.workload, change))


def _fuse(made: Rewritten, one: Rewrite) -> Rewritten:
    """Batch normalisation gone into the convolution before it, which has a bias then."""
    if one.value != "conv-bn-relu":
        raise InputError(f"fuse:conv-bn-relu is all that can be fused, found {one.value!r}")
    layers = made.workload.layers
    folded = {place: layers[place].sources[0] for place in folded_layers(layers)}
    if not folded:
        raise InputError("no normalisation stands right after a convolution or linear layer")
    takers = set(folded.values())

    def change(net: Network, place: int, layer: Layer, sources: tuple[int, ...]) -> int:
        if place in folded:
            return sources[0]
        op = layer.op
        if place in takers and isinstance(op, PRODUCTS):
            op = msgspec.structs.replace(op, bias=True)
        return net.add(op, *sources, name=layer.name)

    return replace(made, workload=_rebuilt(made.workload, change))


def _stored(change: Callable[[Encoding, Rewrite], Encoding]) -> Callable[[Rewritten, Rewrite], Rewritten]:
    """A rewrite of how weights are kept."""

    def rule(made: Rewritten, one: Rewrite) -> Rewritten:
        chosen = _chosen(made.workload, one, Op)
        names = {made.workload.layers[place].name for place in chosen}
        changed = {name: change(made.storage.get(name, Encoding()), one) for name in names}
        return replace(made, storage={**made.storage, **changed})

    return rule


def _pruned(before: Encoding, one: Rewrite) -> Encoding:
    gone = _number(one, 0.0, 0.999999)
    return replace(before, kept=before.kept * (1 - gone), index_bits=INDEX_BITS)


def _quantized(before: Encoding, one: Rewrite) -> Encoding:
    if one.value not in BITS:
        raise UnknownNameError("number format", one.value, BITS)
    return replace(before, bits=BITS[one.value])


def _tabled(before: Encoding, one: Rewrite) -> Encoding:
    bits = round(_number(one, 1, 16))
    return replace(before, bits=float(bits), table_values=2**bits)


def _coded(before: Encoding, one: Rewrite) -> Encoding:
    return replace(before, bits=_number(one, 0.01, before.bits))


_RULES: dict[str, Callable[[Rewritten, Rewrite], Rewritten]] = {
    "channels": _channels,
    "lowrank": _low_rank,
    "fuse": _fuse,
    "prune": _stored(_pruned),
    "quantize": _stored(_quantized),
    "codebook": _stored(_tabled),
    "huffman": _stored(_coded),
}
"""Rewrite -> its rule."""

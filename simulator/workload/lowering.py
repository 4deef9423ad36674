"""Lowering: a workload's layers to columns of kernels, once for all batches, precisions and devices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import msgspec
import numpy as np

from simulator.op.base import Op, Site, elements, elementwise
from simulator.op.eager_attention import EagerAttention
from simulator.op.fused_attention import FusedAttention
from simulator.op.kernel import Engine, Kernel, OpClass, Phase, Role
from simulator.op.kernels import Kernels, pack
from simulator.op.optimizer import Matrices, Optimizer, added_gradients, cast_gradients, cast_weights, matrices_of
from simulator.workload.autocast import cast_backward, cast_forward, wide_outputs
from simulator.workload.biases import with_biases
from simulator.workload.fusion import (
    COMPILED,
    JOINED,
    NORMALIZED,
    Fusion,
    Lowered,
    fuse_backward,
    fuse_forward,
    needs_gradient,
    readers_of,
)
from simulator.workload.inlining import inline_forward
from simulator.workload.layouts import with_layouts
from simulator.workload.quantize import quantize_backward, quantize_forward
from simulator.workload.workload import Layer, Workload


class _Launches:
    """Launches in the making: equal kernels are kept once, known by identity since the rules' results are cached."""

    def __init__(self) -> None:
        self.distinct: list[Kernel] = []
        self.rows: list[int] = []
        self.layers: list[int] = []
        self.dispatches: list[bool] = []
        self._numbers: dict[int, int] = {}

    def emit(self, layer: int, kernels: tuple[Kernel, ...], *, call: bool = True) -> None:
        """Append the kernels of one call of the framework, or without one of its own."""
        for position, kernel in enumerate(kernels):
            number = self._numbers.setdefault(id(kernel), len(self.distinct))
            if number == len(self.distinct):
                self.distinct.append(kernel)
            self.rows.append(number)
            self.layers.append(layer)
            self.dispatches.append(call and position == 0)

    def pack(self) -> Kernels:
        """As columns."""
        return Kernels(
            distinct=pack(self.distinct),
            row=np.array(self.rows, dtype=np.int64),
            layer=np.array(self.layers, dtype=np.int64),
            dispatch=np.array(self.dispatches, dtype=bool),
        )


@dataclass(frozen=True)
class Software:
    """What the software and the precision make of a network's operations before they are kernels.

    Attributes
    ----------
    master_weights : whether the optimizer's weights are wider than the kernels' (mixed precision), which adds casts.
    fold : fold scale-and-shift into the layer before, at inference.
    fuse : run element-wise kernels in a row as one, as compilers do.
    inline : work out what reads little in each kernel that reads it, as TorchInductor does, at inference.
    join : run batch normalisation, the addition and the activation after it as one, as cuDNN can.
    biases : whose biases are added in kernels of their own, as `biased_product` names them.
    autocast : keep in full width what `autocast.py` says, with casts between.
    eager_attention : take fused attention apart, for frameworks that have none.
    pieces : run what an operation computes element by element line by line, as eager frameworks do.
    written_gelu : run the formula of GELU line by line, for want of a kernel.
    adds_gradients : set gradients to zero before each step, and add the step's to them.
    copies_heads : copy the heads of eager attention apart for its products, and side by side after them.
    quantize : round what products read in kernels of their own (8 and 4 bits, in training).
    persistent : normalise batches in training by kernels that keep a channel on the chip.
    """

    master_weights: bool = False
    fold: bool = True
    fuse: bool = False
    inline: bool = False
    join: bool = False
    biases: tuple[str, ...] = ()
    autocast: bool = False
    eager_attention: bool = False
    pieces: bool = False
    written_gelu: bool = False
    adds_gradients: bool = False
    copies_heads: bool = False
    quantize: bool = False
    persistent: bool = False

    def placed(self, site: Site) -> Site:
        """Where an operation stands in this software."""
        site = site._replace(persistent=self.persistent, written_out=self.written_gelu)
        return site._replace(whole=not self.pieces, in_place=not self.copies_heads)


PLAIN = Software()


@lru_cache(maxsize=32)
def lower(
    workload: Workload, software: Software = PLAIN, *, training: bool = True, optimizer: Optimizer | None = None
) -> Kernels:
    """Kernels of one step in launch order: forward, backward, update; kept, so that a second call costs nothing.

    Parameters
    ----------
    training : forward, gradients and update; else forward alone.
    optimizer : how parameters are updated; no update if None.

    Returns
    -------
    Kernels, all counts affine in the batch. [FLOP], [elements]
    """
    layers, launches = workload.layers, _Launches()
    if software.eager_attention:
        layers = tuple(_without_fused_attention(layer) for layer in layers)
    folded = set() if training or not software.fold else set(folded_layers(layers))
    left_out = {position for position, layer in enumerate(layers) if layer.op.loss and not training} | folded
    sites = [software.placed(layer.site(training=training)) for layer in layers]
    kept = [() if at in left_out else _forward_kernels(layer.op, sites[at]) for at, layer in enumerate(layers)]
    forward = with_layouts(layers, kept)
    products = [any(kernel.engine is Engine.MATRIX for kernel in kernels) for kernels in forward]
    # Mixed precision takes a product's parameters narrow; others stay as they are.
    cast = [
        software.master_weights and product and layer.parameters > 0
        for layer, product in zip(layers, products, strict=True)
    ]
    wide = wide_outputs(layers, products) if software.autocast else None
    if wide:
        forward = cast_forward(layers, forward, wide, fuse=software.fuse)
    if software.quantize:
        forward = quantize_forward(layers, forward)
    fusion = _fusion(software, training=training)
    if software.inline:
        forward = inline_forward(layers, forward)
    elif fusion:
        forward = fuse_forward(layers, forward, fusion)
    if software.biases:
        forward = with_biases(layers, forward, software.biases)
    for position, kernels in enumerate(forward):
        if cast[position]:
            launches.emit(position, (_cast_weights(layers[position].parameters),))
        for call in _calls(kernels, fuse=software.fuse):
            launches.emit(position, call)
    if training:
        _lower_backward(layers, launches, cast=cast, fusion=fusion, wide=wide, software=software)
    if training and optimizer:
        for position, layer in enumerate(layers):
            if layer.parameters and not layer.op.untrained:
                matrices = weight_matrices(layer)
                launches.emit(position, _updates(optimizer, layer.parameters, matrices, software.master_weights))
    return launches.pack()


def _fusion(software: Software, *, training: bool) -> Fusion | None:
    if software.fuse:
        return COMPILED
    joined = JOINED if training else NORMALIZED
    return joined if software.join else None


def _lower_backward(
    layers: tuple[Layer, ...],
    launches: _Launches,
    *,
    cast: Sequence[bool],
    fusion: Fusion | None,
    wide: Sequence[bool] | None,
    software: Software,
) -> None:
    """Gradients, last layer first; where an output has several readers, their gradients are added before it is used,
    and those of the parts of a split are put side by side, unless their kernels place them there.

    The engine that walks the gradients adds them by itself, beside its calls.
    """
    trained = needs_gradient(layers)
    readers = readers_of(layers)
    backward: Lowered = [
        _backward_kernels(
            layer.op, software.placed(layer.site(input_gradient=any(s >= 0 and trained[s] for s in layer.sources)))
        )
        if trained[position]
        else ()
        for position, layer in enumerate(layers)
    ]
    backward = with_layouts(layers, backward)
    if wide:
        backward = cast_backward(layers, backward, wide, fuse=fusion is COMPILED)
    if software.quantize:
        backward = quantize_backward(layers, backward)
    if fusion:
        backward = fuse_backward(layers, backward, fusion)
    for position in reversed(range(len(layers))):
        if not trained[position]:
            continue
        role, size = Role.WIDE if wide and wide[position] else Role.GRADIENT, elements(layers[position].output)
        split, placed = (
            [reader for reader in readers[position] if getattr(layers[reader].op, what, False)]
            for what in ("split", "places")
        )
        parts = split + placed
        if split:
            launches.emit(position, (_join_kernel(size, role),))
        for _ in range(len(readers[position]) - max(len(parts), 1)):
            launches.emit(position, (_sum_kernel(size, role),), call=False)
        launches.emit(position, backward[position])
        if software.adds_gradients and layers[position].parameters and not layers[position].op.untrained:
            launches.emit(position, _added_gradients(layers[position].parameters), call=False)
        if cast[position]:
            launches.emit(position, (_cast_gradients(layers[position].parameters),))


def _without_fused_attention(layer: Layer) -> Layer:
    if not isinstance(layer.op, FusedAttention):
        return layer
    return replace(layer, op=EagerAttention(**msgspec.structs.asdict(layer.op)))


def folded_layers(layers: tuple[Layer, ...]) -> Iterator[int]:
    """Layers that vanish at inference: a scale and shift whose only source is a convolution read by nobody else."""
    readers = readers_of(layers)
    for position, layer in enumerate(layers):
        source = layer.sources[0]
        if layer.op.folds and source >= 0 and layers[source].op.takes_fold and len(readers[source]) == 1:
            yield position


def _calls(kernels: tuple[Kernel, ...], *, fuse: bool) -> tuple[tuple[Kernel, ...], ...]:
    """The calls that launch a layer's kernels: where a compiler joined a cast with what came before, two."""
    engines = [kernel.engine for kernel in kernels[:2]]
    apart = fuse and engines == [Engine.VECTOR, Engine.MATRIX]
    return (kernels[:1], kernels[1:]) if apart else (kernels,)


@lru_cache(maxsize=4096)
def _forward_kernels(op: Op, site: Site) -> tuple[Kernel, ...]:
    return tuple(op.forward(site))


@lru_cache(maxsize=4096)
def _backward_kernels(op: Op, site: Site) -> tuple[Kernel, ...]:
    return tuple(op.backward(site))


_cast_weights = lru_cache(cast_weights)
_cast_gradients = lru_cache(cast_gradients)
_added_gradients = lru_cache(added_gradients)


@lru_cache
def _updates(optimizer: Optimizer, parameters: int, matrices: Matrices, master_weights: bool) -> tuple[Kernel, ...]:
    return optimizer.updates(parameters, matrices, master_weights=master_weights)


def weight_matrices(layer: Layer) -> Matrices:
    """The matrices among a layer's trained weights; none where they do not make up its parameters."""
    found = matrices_of(_forward_kernels(layer.op, layer.site(training=True)))
    return found if sum(matrix.size for matrix in found) <= layer.parameters else ()


def optimizer_values(workload: Workload, optimizer: Optimizer) -> float:
    """What an optimizer keeps of a network, in values of the state's width."""
    return sum(
        optimizer.state_values(layer.parameters, weight_matrices(layer))
        for layer in workload.layers
        if layer.parameters and not layer.op.untrained
    )


@lru_cache
def _join_kernel(size: int, role: Role) -> Kernel:
    return elementwise(Phase.INPUT_GRADIENT, 0, {role: size}, {role: size}, OpClass.COPY)


@lru_cache
def _sum_kernel(size: int, role: Role) -> Kernel:
    return elementwise(Phase.INPUT_GRADIENT, size, {role: 2 * size}, {role: size})

"""What a training step keeps between its forward and its backward pass, and the gradients alive beside it, by layer."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from simulator.op.activation import Activation
from simulator.op.base import Shape, elements
from simulator.op.combine import Add
from simulator.op.elementwise import Multiply
from simulator.op.experts import Experts
from simulator.op.kernel import Role
from simulator.op.kernels import FloatArray
from simulator.op.linear import Linear
from simulator.op.transfer import Transfer
from simulator.precision import Precision
from simulator.workload.workload import Layer, Workload

LOSS_BYTES = 4.0
"""Of a value in a loss, whatever the network computes in. Sources: PyTorch's autocast list (`cross_entropy`);
torchtitan, `cross_entropy_loss`, and Megatron-LM, `VocabParallelCrossEntropy`, which widen the logits. [byte]"""

LOSS_TENSORS, CUT_LOSS_TENSORS = 2, 3
"""Tensors of the logits' size that a loss' backward pass has beside the logarithms that it kept: the gradient of the
chosen logarithms and that of the logits; where ranks share the vocabulary the exponentials too. Sources: PyTorch,
`nll_loss_backward` and `_log_softmax_backward_data`; its `tensor/parallel/loss.py`."""

GATHERED = "gather"


def roots_of(workload: Workload, *, gathers: bool = False) -> list[int]:
    """The layer whose memory each layer's output lives in: its own, or its source's for a view (negative: an input).

    gathers : whether what ranks gather is a tensor of its own until the backward pass, and not gathered again there.
    """
    roots: list[int] = []
    for position, layer in enumerate(workload.layers):
        source = layer.sources[0]
        is_view = layer.op.view and not (gathers and _gathers(layer))
        roots.append((roots[source] if source >= 0 else source) if is_view else position)
    return roots


def _gathers(layer: Layer) -> bool:
    return isinstance(layer.op, Transfer) and layer.op.group == "tensor" and layer.name.endswith(f".{GATHERED}")


@lru_cache(maxsize=64)
def saved_by_layer(
    workload: Workload, precision: Precision, *, fused: bool = False, gathers: bool = False
) -> tuple[float, ...]:
    """What the forward pass keeps for the backward pass, one sample, by the first layer that needs it there. [byte]

    A tensor is kept once, whoever needs it: a convolution and a normalisation keep their input, a ReLU its output. A
    ReLU's input is needed by nobody, so it is computed in place and costs nothing. Operands of narrow products (8 and 4
    bits) are kept as they were rounded, where nothing else needs them. A loss is taken in full width, and keeps what it
    reads so: the logarithms of the probabilities.

    fused : activation functions that a compiler fuses with what reads them are computed again, and not kept for it.
    gathers : whether what tensor-parallel ranks gather is kept whole.
    """
    roots = roots_of(workload, gathers=gathers)
    kept: dict[int, int] = {}
    wide: set[int] = set()
    saved = [0.0] * len(workload.layers)
    for position, layer in enumerate(workload.layers):
        rounds = precision.attention is not None and isinstance(layer.op, (Linear, Experts))
        for handle in _kept_handles(workload, position, roots, fused=fused):
            kept.setdefault(handle, position)
            if not rounds:
                wide.add(handle)
        saved[position] += sum(precision.widths[role] * n.per_sample for role, n in layer.op.saved(layer.site()))
    full = {handle for layer in workload.layers if layer.op.loss for handle in sources_of(layer, roots)}
    for handle, position in kept.items():
        width = precision.widths[Role.ACTIVATION] if handle in wide else precision.operand_bytes
        width = max(width, LOSS_BYTES) if handle in full else width
        saved[position] += width * elements(shape_of(workload, handle))
    return tuple(saved)


def sources_of(layer: Layer, roots: list[int]) -> list[int]:
    """The tensors that a layer reads."""
    return [roots[source] if source >= 0 else source for source in layer.sources]


def _kept_handles(workload: Workload, position: int, roots: list[int], *, fused: bool) -> Iterator[int]:
    """The tensors that a layer's backward pass reads."""
    layer = workload.layers[position]
    if layer.op.saves_input:
        for source, handle in zip(layer.sources, sources_of(layer, roots), strict=True):
            again = fused and source >= 0 and isinstance(layer.op, Multiply)
            if not (again and isinstance(workload.layers[source].op, Activation)):
                yield handle
    if layer.op.saves_output:
        yield roots[position]


def shape_of(workload: Workload, handle: int) -> Shape:
    """The shape of a layer's output, or of an input."""
    return workload.layers[handle].output if handle >= 0 else workload.inputs[-1 - handle]


@lru_cache(maxsize=64)
def passing_by_layer(workload: Workload, width: float, loss_tensors: int = LOSS_TENSORS) -> FloatArray:
    """Gradients of activations alive while each layer's backward pass runs, one sample, shape (layers,). [byte]

    A tensor's gradient lives from the backward pass of its last reader to that of the layer that made it. A sum hands
    its own on to what it added, so that a residual stream has one. A reader whose input has a gradient already makes
    another, and adds it there.

    width : of a gradient, and of the logits, which their caller holds for as long as the loss' backward pass runs
        unless that writes its gradient over what it kept. [byte]
    loss_tensors : of full width that a loss has beside what it keeps; 0 where it writes its gradient over that.

    Worked example: a product, a ReLU and a product of 8 values each: the second product has 16, the ReLU 16, the first
    one 8, since an image needs no gradient.
    """
    roots, layers = roots_of(workload), workload.layers
    stores = _stores(layers, roots)
    first, last, size = _lives(workload, roots, stores)
    alive = np.zeros(len(layers) + 1)
    for store, start in first.items():
        alive[start] += size[store]
        alive[last[store] + 1] -= size[store]
    found = width * np.cumsum(alive)[:-1]
    for place, layer in enumerate(layers):
        read = [handle for handle in sources_of(layer, roots) if handle >= 0]
        if layer.op.loss:
            found[place] = (loss_tensors * LOSS_BYTES + width) * sum(elements(layers[h].output) for h in read)
        elif not isinstance(layer.op, Add):
            others = [handle for handle in read if last[stores[handle]] > place]
            found[place] += width * sum(elements(layers[handle].output) for handle in others)
    return found


def _stores(layers: tuple[Layer, ...], roots: list[int]) -> list[int]:
    """Whose gradient each layer's output shares: what a sum adds has that of the sum."""
    stores = list(roots)
    for place in reversed(range(len(layers))):
        if isinstance(layers[place].op, Add):
            for source in sources_of(layers[place], roots):
                if source >= 0 and stores[source] == source:
                    stores[source] = stores[place]
    return [stores[root] if root >= 0 else root for root in roots]


def _lives(
    workload: Workload, roots: list[int], stores: list[int]
) -> tuple[dict[int, int], dict[int, int], dict[int, float]]:
    """First and last layer in whose backward pass each gradient is alive, and its elements."""
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    size: dict[int, float] = {}
    for place, layer in enumerate(workload.layers):
        for handle in (*sources_of(layer, roots), roots[place]):
            if handle >= 0:
                store = stores[handle]
                first[store] = min(first.get(store, handle), handle)
                last[store] = max(last.get(store, place), place)
                size[store] = max(size.get(store, 0.0), float(elements(workload.layers[handle].output)))
    return first, last, size

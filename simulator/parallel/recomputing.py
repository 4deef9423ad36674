"""What the backward pass computes again: nothing, attention, whole blocks, or all but every second product.

PyTorch may keep the results of chosen operations and compute the rest of a block again: those of attention, of every
second product and of what tensor ranks scatter. Source: torchtitan, `apply_ac` with `selective_ac_option = "op"`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from simulator.op.attention import Attention
from simulator.op.base import elements
from simulator.op.kernels import FloatArray
from simulator.op.linear import Linear
from simulator.op.transfer import Transfer
from simulator.parallel.stages import block_name, blocks
from simulator.precision import Precision, Role
from simulator.workload.fusion import readers_of
from simulator.workload.workload import Workload

SCATTER = "reduce_scatter"

REPEATING = ("full", "products")
"""Recomputations that go through a block again, which then keeps what it would have kept without."""


def again_seconds(workload: Workload, forward: FloatArray, sent: FloatArray, recompute: str) -> FloatArray:
    """Forward time of each layer that the backward pass repeats, shape (layers,). [s]

    forward, sent : of each layer's kernels, and of what its ranks exchange in the forward pass. [s]
    """
    again = np.zeros(len(workload.layers))
    if recompute == "selective":
        chosen = [place for place, layer in enumerate(workload.layers) if isinstance(layer.op, Attention)]
        again[chosen] = forward[chosen]
    elif recompute in REPEATING:
        inside = repeated(workload)
        again[inside] = (forward + sent)[inside]
    if recompute == "products":
        again[list(kept_results(workload))] = 0.0
    return again


def repeated(workload: Workload) -> slice:
    """Layers that full recomputation repeats: all blocks, but not what follows the last one up to the loss."""
    last, layers = blocks(workload)[-1], workload.layers
    name = block_name(layers[last.start].name)
    named = [place for place in last if name and block_name(layers[place].name) == name]
    return slice(0, (named[-1] if named else last[-1]) + 1)


@lru_cache(maxsize=64)
def kept_results(workload: Workload) -> tuple[int, ...]:
    """Layers of the blocks whose results are kept where every second product is computed again.

    Worked example: query, key, value, attention, output, gate, up, down: query, value, attention, gate, down.
    """
    found: list[int] = []
    stop = repeated(workload).stop
    for block in blocks(workload):
        products = 0
        for place in range(block.start, min(block.stop, stop)):
            op = workload.layers[place].op
            products += isinstance(op, Linear)
            scattered = isinstance(op, Transfer) and op.sent == SCATTER
            if isinstance(op, Attention) or scattered or (isinstance(op, Linear) and products % 2):
                found.append(place)
    return tuple(found)


@lru_cache(maxsize=256)
def kept_by_layer(
    workload: Workload, recompute: str, precision: Precision, saved: tuple[float, ...]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """What each layer's forward pass keeps for one sample under a recomputation, of all that it saves. [byte]

    And the part of it that the block saves again when it is computed again. [byte]
    """
    kept, twice = list(saved), [0.0] * len(saved)
    if recompute == "selective":
        for place, layer in enumerate(workload.layers):
            if isinstance(layer.op, Attention):
                extra = sum(precision.widths[role] * n.per_sample for role, n in layer.op.saved(layer.site()))
                kept[place] -= extra
    if recompute in REPEATING:
        width, inside, readers = precision.widths[Role.ACTIVATION], repeated(workload), readers_of(workload.layers)
        kept[inside] = [0.0] * (inside.stop - inside.start)
        for place, result in _entering(workload) + (_results(workload) if recompute == "products" else ()):
            if place < inside.stop:
                again = _is_saved(workload, readers[result], result, place)
                kept[place] += width * elements(workload.layers[result].output)
                twice[place] += width * elements(workload.layers[result].output) * again
    return tuple(kept), tuple(twice)


def _entering(workload: Workload) -> tuple[tuple[int, int], ...]:
    """First layer of each block but the first, and the layer whose result enters there."""
    return tuple((block.start, block.start - 1) for block in blocks(workload) if block.start)


def _results(workload: Workload) -> tuple[tuple[int, int], ...]:
    """Layers whose results are kept, twice, as place and as result."""
    return tuple((place, place) for place in kept_results(workload))


def _is_saved(workload: Workload, readers: Sequence[int], result: int, place: int) -> bool:
    """Whether a layer from a place on saves a layer's result, of which these are the readers."""
    own = workload.layers[result].op.saves_output
    if own and place != result:  # by the layer that made it, in the block before
        return False
    return own or any(workload.layers[reader].op.saves_input for reader in readers if reader >= place)

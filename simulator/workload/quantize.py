"""Narrow products in training: rounding of operands, and of gradients, in kernels of their own before the products.

An operand of 16 bits is read, and written in 8 or 4 bits twice, by rows for one product and by columns for another: as
many bytes as a copy in 16 bits. What several products read is rounded once. Source: NVIDIA, Transformer Engine, "Using
FP8 and FP4" (operands in two layouts); Micikevicius et al., "FP8 Formats for Deep Learning", 2022, arXiv 2209.05433.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from simulator.op.base import elements
from simulator.op.experts import Experts
from simulator.op.kernel import Kernel, OpClass, Phase, Role, each, once
from simulator.op.linear import Linear
from simulator.workload.fusion import Lowered
from simulator.workload.workload import Layer


def quantize_forward(layers: Sequence[Layer], lowered: Lowered) -> list[tuple[Kernel, ...]]:
    """Each layer's forward kernels, with the rounding of what its products read before them."""
    known: set[int] = set()
    result = []
    for layer, kernels in zip(layers, lowered, strict=True):
        source = layer.sources[0]
        rounds = _multiplies(layer) and kernels and source not in known
        if rounds:
            known.add(source)
        inner = (_rounding(Phase.FORWARD, _inner(layer)),) if isinstance(layer.op, Experts) and kernels else ()
        first = (_rounding(Phase.FORWARD, elements(layer.inputs[0])),) if rounds else ()
        result.append((*first, *inner, *kernels))
    return result


def quantize_backward(layers: Sequence[Layer], lowered: Lowered) -> list[tuple[Kernel, ...]]:
    """Each layer's backward kernels, with the rounding of the gradients that its products read before them."""
    return [
        (_rounding(Phase.INPUT_GRADIENT, elements(layer.output) + _inner(layer)), *kernels)
        if _multiplies(layer) and kernels
        else kernels
        for layer, kernels in zip(layers, lowered, strict=True)
    ]


def _multiplies(layer: Layer) -> bool:
    return isinstance(layer.op, (Linear, Experts))


def _inner(layer: Layer) -> int:
    """What passes between the products of experts: the positions in their order, and the activations."""
    op = layer.op
    if not isinstance(op, Experts):
        return 0
    positions, features = layer.inputs[0]
    return positions * op.active * (features + op.width)


@lru_cache(maxsize=4096)
def _rounding(phase: Phase, size: int) -> Kernel:
    role = Role.ACTIVATION if phase is Phase.FORWARD else Role.GRADIENT
    return Kernel(OpClass.ELEMENTWISE, phase, once(0), ((role, each(size)),), ((role, each(size)),))

"""Biases that software adds in kernels of their own."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import lru_cache

from simulator.op.base import elements, elementwise
from simulator.op.convolution import Convolution
from simulator.op.kernel import Kernel, OpClass, Phase, Role
from simulator.op.linear import Linear
from simulator.op.traced import Traced
from simulator.workload.fusion import Lowered
from simulator.workload.workload import Layer


def with_biases(layers: Sequence[Layer], lowered: Lowered, whose: Collection[str]) -> Lowered:
    """Each layer's forward kernels, and one more that adds the bias to what a product wrote.

    whose : names of `biased_product`.
    """
    return [
        (*kernels, _add_bias(elements(layer.output))) if kernels and _bias_of(layer, kernels) in whose else kernels
        for layer, kernels in zip(layers, lowered, strict=True)
    ]


def _bias_of(layer: Layer, kernels: Sequence[Kernel]) -> str | None:
    """What `biased_product` says; where channels are innermost, depthwise convolutions are libraries' as others are."""
    found = biased_product(layer)
    return "convolutions" if found == "depthwise" and any(kernel.last for kernel in kernels) else found


def biased_product(layer: Layer) -> str | None:
    """What kind of product a layer adds a bias to: "convolutions", "depthwise" or "products"; None for no such layer.

    A traced convolution reads its bias beside its input and its weights.
    """
    op = layer.op
    if isinstance(op, Linear):
        return "products" if op.bias else None
    if isinstance(op, Convolution):
        return _of_groups(op.groups, layer) if op.bias else None
    kernels = op.inference_kernels if isinstance(op, Traced) else ()
    for kernel in kernels:
        if kernel.op_class is OpClass.CONVOLUTION and kernel.gemm and len(kernel.read) > len(("input", "weights")):
            return _of_groups(kernel.gemm.groups, layer)
    return None


def _of_groups(groups: int, layer: Layer) -> str:
    return "depthwise" if 1 < groups == layer.inputs[0][0] else "convolutions"


@lru_cache
def _add_bias(size: int) -> Kernel:
    return elementwise(Phase.FORWARD, size, {Role.ACTIVATION: size}, {Role.ACTIVATION: size})

"""Which convolutions find an image's channels innermost, whatever layout the framework starts with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from simulator.op.base import elements
from simulator.op.kernel import Kernel, OpClass
from simulator.op.layer_norm import LayerNorm, RmsNorm
from simulator.op.rearrange import ToImage
from simulator.workload.fusion import Lowered
from simulator.workload.workload import Layer

IMAGE = 3
"""Sides of an image of one sample."""


def with_layouts(layers: Sequence[Layer], lowered: Lowered) -> Lowered:
    """The kernels of each layer, those of convolutions told where their image's channels are innermost.

    A normalisation over the channels of each pixel reads them side by side and leaves them so, as positions that become
    an image again do; what follows keeps the order, up to the next tensor that is no image.
    """
    last = channels_last(layers)
    return [
        tuple(map(_last, kernels)) if any(source >= 0 and last[source] for source in layer.sources) else kernels
        for layer, kernels in zip(layers, lowered, strict=True)
    ]


def channels_last(layers: Sequence[Layer]) -> list[bool]:
    """Whether each layer's output is an image whose channels are innermost."""
    last: list[bool] = []
    for layer in layers:
        image = len(layer.output) == IMAGE and elements(layer.output) > layer.output[0]
        starts = isinstance(layer.op, LayerNorm | RmsNorm | ToImage)
        last.append(image and (starts or any(source >= 0 and last[source] for source in layer.sources)))
    return last


@lru_cache(maxsize=4096)
def _last(kernel: Kernel) -> Kernel:
    return replace(kernel, last=True) if kernel.op_class is OpClass.CONVOLUTION else kernel

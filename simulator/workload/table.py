"""The table of layers that needs no device: shapes, parameters, work, activations, receptive fields."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simulator.op.base import Shape
from simulator.op.kernel import Phase
from simulator.op.kernels import at_batch
from simulator.workload.lowering import lower
from simulator.workload.workload import Layer, Workload, activations

Sides = tuple[int, int]


@dataclass(frozen=True)
class LayerRow:
    """One layer, for one sample.

    Attributes
    ----------
    weights : parameters that multiply inputs, biases left out; zero for layers without MACs.
    macs, flops : forward pass. backward_flops : input and weight gradients together.
    activations : output elements; none for a view of another tensor.
    receptive_field, stride : (height, width) in pixels of the input; None where the output is no image.
    """

    name: str
    op: str
    input_shapes: tuple[Shape, ...]
    output_shape: Shape
    parameters: int
    weights: int
    macs: int
    flops: int
    backward_flops: int
    activations: int
    receptive_field: Sides | None
    stride: Sides | None

    @property
    def macs_per_parameter(self) -> float | None:
        """MACs of one forward pass of one sample over all parameters; None without parameters."""
        return self.macs / self.parameters if self.parameters else None

    @property
    def macs_per_weight(self) -> float | None:
        """How often each weight is used in one forward pass of one sample; None without weights."""
        return self.macs / self.weights if self.weights else None


def layer_table(workload: Workload, count: str = "exact") -> list[LayerRow]:
    """Rows of all layers; `count` is "exact" or "articles" (the founding articles' conventions)."""
    counts = workload.counts if count == "exact" else workload.article_counts
    backward = _backward_flops(workload)
    fields = receptive_fields(workload.layers)
    return [
        LayerRow(
            name=layer.name,
            op=layer.op.kind,
            input_shapes=layer.inputs,
            output_shape=layer.output,
            parameters=layer.parameters,
            weights=layer.op.parameter_sizes(layer.inputs)[0] if layer.parameters and counts[position].macs else 0,
            macs=counts[position].macs,
            flops=counts[position].flops,
            backward_flops=backward[position],
            activations=activations(layer),
            receptive_field=fields[position][0] if len(layer.output) == 3 else None,
            stride=fields[position][1] if len(layer.output) == 3 else None,
        )
        for position, layer in enumerate(workload.layers)
    ]


def _backward_flops(workload: Workload) -> list[int]:
    kernels = lower(workload)
    gradients = (kernels.phase == Phase.INPUT_GRADIENT) | (kernels.phase == Phase.WEIGHT_GRADIENT)
    flops = np.where(gradients, at_batch(kernels.flops, 1.0), 0.0)
    totals = np.bincount(kernels.layer, weights=flops, minlength=len(workload.layers))
    return [int(total) for total in totals]


def receptive_fields(layers: tuple[Layer, ...]) -> list[tuple[Sides, Sides]]:
    """(receptive field, effective stride) of each layer's output, as (height, width) in input pixels.

    The field grows by (kernel - 1) * dilation * the strides of all layers before; where branches meet, the widest
    counts.
    Worked example: two 3x3 convolutions of stride 2 and 1 see 3 + (3 - 1) * 2 = 7 pixels.
    Source: Araujo, Norris, Sim, "Computing Receptive Fields of Convolutional Neural Networks", Distill, 2019.
    """
    known: list[tuple[Sides, Sides]] = []
    for layer in layers:
        before = [known[source] if source >= 0 else ((1, 1), (1, 1)) for source in layer.sources]
        window = layer.op.window(layer.inputs)
        field, stride = [0, 0], [0, 0]
        for axis in (0, 1):
            jump = max(strides[axis] for _, strides in before)
            reach = (window.kernel[axis] - 1) * window.dilation[axis]
            field[axis] = max(fields[axis] + reach * strides[axis] for fields, strides in before)
            stride[axis] = jump * window.stride[axis]
        known.append(((field[0], field[1]), (stride[0], stride[1])))
    return known

"""What a device holds over the time of a step: the lifetimes that give its footprint, along the passes of its layers.

The forward pass adds what each layer keeps for the backward pass, which gives it up layer by layer, holds the gradients
of activations that are alive then, and makes those of weights; the update has these alone. What the forward pass of a
layer writes and nobody keeps is not in it, so that its fullest moment is that of the footprint.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from simulator.execution.memory import Footprint, backward_moments, live_elements
from simulator.execution.saved import saved_by_layer
from simulator.execution.step import BACKWARD, FORWARD, UPDATE
from simulator.op.kernels import FloatArray, IntArray
from simulator.precision import Precision, Role
from simulator.workload.workload import Workload

NO_LAYER = -1

Span = tuple[float, float, float, int]
"""Length [s], activations and gradients of weights [byte], and the layer at work."""


@dataclass(frozen=True, eq=False)
class MemoryOverStep:
    """What lies in a device's memory over a step, in spans one after the other.

    Attributes
    ----------
    edges_s : where spans begin, and the end of the last one, shape (spans + 1,). [s]
    activations_bytes, gradients_bytes : shape (spans,). [byte]
    layers : the layer at work in each, -1 where none is, shape (spans,).
    footprint : what does not change, and what the device has.
    """

    edges_s: FloatArray
    activations_bytes: FloatArray
    gradients_bytes: FloatArray
    layers: IntArray
    footprint: Footprint

    @property
    def parts(self) -> FloatArray:
        """Parameters, gradients, optimizer, activations, framework, shape (5, spans). [byte]"""
        memory, ones = self.footprint, np.ones(len(self.layers))
        reserve = memory.reserve
        framework = reserve.context_bytes + reserve.workspace_bytes + reserve.fragmentation * self.activations_bytes
        return np.array(
            [
                memory.parameters_bytes * ones,
                self.gradients_bytes,
                memory.optimizer_bytes * ones,
                self.activations_bytes,
                framework,
            ]
        )

    @property
    def total_bytes(self) -> FloatArray:
        """Sum of the parts, shape (spans,). [byte]"""
        total: FloatArray = self.parts.sum(axis=0)
        return total

    @property
    def fullest(self) -> int:
        """The span that holds most."""
        return int(np.argmax(self.total_bytes))


def over_step_of(spans: Sequence[Span], footprint: Footprint) -> MemoryOverStep:
    """The same from spans."""
    lengths, activations, gradients, layers = np.array(spans).T
    edges = np.concatenate([[0.0], np.cumsum(lengths)])
    return MemoryOverStep(edges, activations, gradients, layers.astype(int), footprint)


def training_over_step(
    workload: Workload,
    footprint: Footprint,
    samples: tuple[Precision, int],
    by_pass: FloatArray,
    waits_s: tuple[float, float],
) -> MemoryOverStep:
    """A training step of one device.

    Parameters
    ----------
    samples : precision and batch.
    by_pass : time of each layer's forward pass, backward pass and update, shape (3, layers). [s]
    waits_s : what the step waits for samples before it, and for gradients before the update. [s]
    """
    (precision, batch), reserve = samples, footprint.reserve
    kept = batch * np.cumsum(saved_by_layer(workload, precision))
    held, made = backward_moments(workload, precision, reserve)
    whole = made[-1]
    before = whole if "gradients" in reserve.keeps else 0.0
    places = range(len(workload.layers))
    spans: list[Span] = [(waits_s[0], 0.0, before, NO_LAYER)]
    spans += [(by_pass[FORWARD, place], kept[place], before, place) for place in places]
    spans += [(by_pass[BACKWARD, place], batch * held[place], made[place], place) for place in reversed(places)]
    spans += [(waits_s[1], 0.0, whole, NO_LAYER)]
    spans += [(by_pass[UPDATE, place], 0.0, whole, place) for place in places]
    return over_step_of(spans, footprint)


def inference_over_step(
    workload: Workload, footprint: Footprint, samples: tuple[Precision, int], forward_s: FloatArray
) -> MemoryOverStep:
    """A forward pass that frees each tensor after its last reader.

    samples : precision and batch.
    forward_s : time of each layer, shape (layers,). [s]
    """
    precision, batch = samples
    live = batch * precision.widths[Role.ACTIVATION] * live_elements(workload)
    return over_step_of([(forward_s[place], held, 0.0, place) for place, held in enumerate(live)], footprint)

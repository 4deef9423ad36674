"""Memory footprint of a step, by component; affine in the batch, so that the largest batch is a division."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
import numpy as np

from simulator.device.framework import Reserve
from simulator.errors import OutOfMemoryError
from simulator.execution.saved import LOSS_TENSORS, passing_by_layer, roots_of, saved_by_layer, shape_of
from simulator.op.base import elements
from simulator.op.kernel import Role
from simulator.op.kernels import FloatArray
from simulator.op.optimizer import Optimizer
from simulator.precision import Precision
from simulator.units import binary_bytes
from simulator.workload.lowering import optimizer_values
from simulator.workload.workload import Workload

NO_RESERVE = Reserve()

MANY = 2**31
"""Samples that fit where none takes any memory."""

EDGE = 0.03
"""Share of the capacity within which it is not sure that a step fits: contexts of releases and drivers differ by half a
gigabyte, of 16."""


class Footprint(msgspec.Struct, frozen=True):
    """Bytes held at the fullest moment of a step, by component.

    Attributes
    ----------
    parameters_bytes : weights as the kernels read them, and the master weights of mixed precision.
    gradients_bytes : gradients of the weights that exist at that moment.
    optimizer_bytes : the optimizer's moments.
    activations_bytes : what the backward pass still needs at that moment, and the activation gradients alive then; at
        inference the widest moment of the forward pass.
    activations_per_sample_bytes : the same for one sample.
    capacity_bytes : the device's memory.
    reserve : what the framework holds beside the tensors.
    moments : the moments that may be fullest, each its activations of one sample and its gradients; none where it is
        the same at any batch.
    """

    parameters_bytes: float
    gradients_bytes: float
    optimizer_bytes: float
    activations_bytes: float
    activations_per_sample_bytes: float
    capacity_bytes: float
    reserve: Reserve = Reserve()
    moments: tuple[tuple[float, float], ...] = ()

    @property
    def reserved_bytes(self) -> float:
        """The framework's context and workspace, and what lies unused between its tensors."""
        unused = self.reserve.fragmentation * self.activations_bytes
        return self.reserve.context_bytes + self.reserve.workspace_bytes + unused

    @property
    def total_bytes(self) -> float:
        """Sum of the components."""
        states = self.parameters_bytes + self.gradients_bytes + self.optimizer_bytes
        return states + self.activations_bytes + self.reserved_bytes

    @property
    def cached_bytes(self) -> float:
        """Gradients of the last step that lie in blocks of their own at the fullest moment, which an allocator keeps.

        Counters of reserved memory have them, and `nvidia-smi`; where memory is short they are given back.
        """
        return max((gradients for _, gradients in self.moments), default=self.gradients_bytes) - self.gradients_bytes

    @property
    def headroom_bytes(self) -> float:
        """What is left; negative where it does not fit."""
        return self.capacity_bytes - self.total_bytes

    @property
    def at_the_edge(self) -> bool:
        """Whether it fits, or fails to, by less than what is uncertain of the framework's share."""
        return abs(self.headroom_bytes) < EDGE * self.capacity_bytes

    @property
    def fits(self) -> bool:
        """Whether the device holds it."""
        return self.total_bytes <= self.capacity_bytes

    @property
    def largest_batch(self) -> int:
        """The largest batch that fits, zero if not even one sample does."""
        used = self.activations_bytes * (1 + self.reserve.fragmentation) + self.gradients_bytes
        room = self.headroom_bytes + used
        return max(0, min(self._most(room, *moment) for moment in self._moments))

    def at(self, batch: int) -> Footprint:
        """The same at another batch, of a footprint at one sample or any. [byte]"""
        per_sample, gradients = most_held(self._moments, batch * (1 + self.reserve.fragmentation))
        return msgspec.structs.replace(
            self,
            gradients_bytes=gradients,
            activations_bytes=per_sample * batch,
            activations_per_sample_bytes=per_sample,
        )

    @property
    def _moments(self) -> tuple[tuple[float, float], ...]:
        return self.moments or ((self.activations_per_sample_bytes, self.gradients_bytes),)

    def _most(self, room: float, per_sample: float, gradients: float) -> int:
        """Samples whose activations fit beside gradients; as many as one likes where there are none of them."""
        each = per_sample * (1 + self.reserve.fragmentation)
        if each:
            return int((room - gradients) // each)
        return MANY if room >= gradients else 0


def footprint(
    workload: Workload,
    batch: int,
    precision: Precision,
    capacity_bytes: float,
    optimizer: Optimizer | None,
    reserve: Reserve = NO_RESERVE,
) -> Footprint:
    """Footprint of a training step (`optimizer` given) or of inference (None). [byte]"""
    widths = precision.widths
    parameters = workload.parameters
    if optimizer is None:
        per_sample = float(widths[Role.ACTIVATION]) * float(live_elements(workload).max())
        return Footprint(
            parameters * widths[Role.WEIGHT], 0, 0, per_sample * batch, per_sample, capacity_bytes, reserve
        )
    master = widths[Role.STATE] if precision.master_weights else 0
    moments = fullest(*backward_moments(workload, precision, reserve))
    per_sample, gradients = most_held(moments, batch * (1 + reserve.fragmentation))
    return Footprint(
        parameters * (widths[Role.WEIGHT] + master),
        gradients,
        optimizer_values(workload, optimizer) * widths[Role.STATE],
        per_sample * batch,
        per_sample,
        capacity_bytes,
        reserve,
        moments,
    )


def backward_moments(workload: Workload, precision: Precision, reserve: Reserve) -> tuple[list[float], list[float]]:
    """Activations of one sample, and gradients of weights, while each layer runs backward, and at the update. [byte]

    The backward pass gives up what was kept as it makes the gradients of weights, and ends with all of these.
    """
    kept = np.cumsum(saved_by_layer(workload, precision))
    tensors = 0 if reserve.loss_in_place else LOSS_TENSORS
    held = kept + passing_by_layer(workload, precision.widths[Role.GRADIENT], tensors)
    gradient = precision.widths[Role.STATE if precision.master_weights else Role.WEIGHT_GRADIENT]
    trained = np.array([0 if layer.op.untrained else layer.parameters for layer in workload.layers], dtype=float)
    made = gradient * np.cumsum(trained[::-1])[::-1]
    whole = float(gradient * workload.trained)
    if "gradients" in reserve.keeps:
        made = np.full_like(made, whole)
    return [*held.tolist(), 0.0], [*made.tolist(), whole]


def fullest(held: Sequence[float], made: Sequence[float]) -> tuple[tuple[float, float], ...]:
    """Moments that no other one exceeds in both activations and gradients, most activations first."""
    found: list[tuple[float, float]] = []
    for activations, gradients in sorted(zip(held, made, strict=True), reverse=True):
        if not found or gradients > found[-1][1]:
            found.append((float(activations), float(gradients)))
    return tuple(found)


def most_held(moments: Sequence[tuple[float, float]], samples: float) -> tuple[float, float]:
    """The fullest moment at so many samples: activations of one, and gradients. [byte]"""
    return max(moments, key=lambda held: held[0] * samples + held[1])


def check_fits(memory: Footprint, workload: Workload, device: str, batch: int) -> None:
    """Raise an `OutOfMemoryError` that shows the components and the largest batch that fits."""
    if memory.fits:
        return
    largest = memory.largest_batch
    way_out = f"the largest batch that fits is {largest}" if largest else "not even one sample fits"
    raise OutOfMemoryError(
        f"{workload.name} at batch {batch} needs {binary_bytes(memory.total_bytes)} of the "
        f"{binary_bytes(memory.capacity_bytes)} of {device}: parameters {binary_bytes(memory.parameters_bytes)}, "
        f"gradients {binary_bytes(memory.gradients_bytes)}, optimizer {binary_bytes(memory.optimizer_bytes)}, "
        f"activations {binary_bytes(memory.activations_bytes)}, the framework beside them "
        f"{binary_bytes(memory.reserved_bytes)}; {way_out} (--ignore-memory goes on)"
    )


def live_elements(workload: Workload) -> FloatArray:
    """Elements alive while each layer runs in a forward pass that frees a tensor after its last reader, (layers,)."""
    roots = roots_of(workload)
    last_reader = dict(_last_readers(workload, roots))
    live = sum(elements(shape) for shape in workload.inputs)
    found = []
    freed_at: dict[int, list[int]] = {}
    for handle, position in last_reader.items():
        freed_at.setdefault(position, []).append(handle)
    for position, layer in enumerate(workload.layers):
        if roots[position] == position:
            live += elements(layer.output)
        found.append(live)
        live -= sum(elements(shape_of(workload, handle)) for handle in freed_at.get(position, ()))
    return np.array(found, dtype=float)


def _last_readers(workload: Workload, roots: list[int]) -> Iterator[tuple[int, int]]:
    """(tensor, position of the last layer that reads it), later readers after earlier ones."""
    for position, layer in enumerate(workload.layers):
        for source in layer.sources:
            yield (roots[source] if source >= 0 else source), position

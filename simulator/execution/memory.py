"""Memory footprint of a step, by component; affine in the batch, so that the largest batch is a division."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import msgspec

from simulator.device.framework import Reserve
from simulator.errors import OutOfMemoryError
from simulator.op.activation import Activation
from simulator.op.base import elements
from simulator.op.elementwise import Multiply
from simulator.op.experts import Experts
from simulator.op.kernel import Role
from simulator.op.linear import Linear
from simulator.op.optimizer import Optimizer
from simulator.precision import Precision
from simulator.units import binary_bytes
from simulator.workload.lowering import optimizer_values
from simulator.workload.workload import Layer, Workload

NO_RESERVE = Reserve()

EDGE = 0.03
"""Share of the capacity within which it is not sure that a step fits: contexts of releases and drivers differ by half a
gigabyte, of 16."""


class Footprint(msgspec.Struct, frozen=True):
    """Bytes held at the fullest moment of a step, by component.

    Attributes
    ----------
    parameters_bytes : weights as the kernels read them, and the master weights of mixed precision.
    gradients_bytes : gradients of the weights.
    optimizer_bytes : the optimizer's moments.
    activations_bytes : what the backward pass needs, and the widest pair of activation gradients; at inference the
        widest moment of the forward pass.
    activations_per_sample_bytes : the same for one sample.
    capacity_bytes : the device's memory.
    reserve : what the framework holds beside the tensors.
    """

    parameters_bytes: float
    gradients_bytes: float
    optimizer_bytes: float
    activations_bytes: float
    activations_per_sample_bytes: float
    capacity_bytes: float
    reserve: Reserve = Reserve()

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
        per_sample = self.activations_per_sample_bytes * (1 + self.reserve.fragmentation)
        room = self.headroom_bytes + self.activations_bytes * (1 + self.reserve.fragmentation)
        return max(0, int(room // per_sample)) if per_sample else 0


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
        per_sample = float(widths[Role.ACTIVATION]) * _peak_live_elements(workload)
        return Footprint(
            parameters * widths[Role.WEIGHT], 0, 0, per_sample * batch, per_sample, capacity_bytes, reserve
        )
    master = widths[Role.STATE] if precision.master_weights else 0
    gradient = widths[Role.STATE] if precision.master_weights else widths[Role.WEIGHT_GRADIENT]
    per_sample = sum(saved_by_layer(workload, precision)) + widths[Role.GRADIENT] * _widest_gradients(workload)
    return Footprint(
        parameters * (widths[Role.WEIGHT] + master),
        workload.trained * gradient,
        optimizer_values(workload, optimizer) * widths[Role.STATE],
        per_sample * batch,
        per_sample,
        capacity_bytes,
        reserve,
    )


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


def _roots(workload: Workload) -> list[int]:
    """The layer whose memory each layer's output lives in: its own, or its source's for a view (negative: an input)."""
    roots: list[int] = []
    for position, layer in enumerate(workload.layers):
        source = layer.sources[0]
        is_view = layer.op.view
        roots.append((roots[source] if source >= 0 else source) if is_view else position)
    return roots


@lru_cache(maxsize=64)
def saved_by_layer(workload: Workload, precision: Precision, *, fused: bool = False) -> tuple[float, ...]:
    """What the forward pass keeps for the backward pass, one sample, by the first layer that needs it there. [byte]

    A tensor is kept once, whoever needs it: a convolution and a normalisation keep their input, a ReLU its output. A
    ReLU's input is needed by nobody, so it is computed in place and costs nothing. Operands of narrow products (8 and 4
    bits) are kept as they were rounded, where nothing else needs them.

    fused : activation functions that a compiler fuses with what reads them are computed again, and not kept for it.
    """
    roots = _roots(workload)
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
    for handle, position in kept.items():
        width = precision.widths[Role.ACTIVATION] if handle in wide else precision.operand_bytes
        saved[position] += width * elements(_shape(workload, handle))
    return tuple(saved)


def _kept_handles(workload: Workload, position: int, roots: list[int], *, fused: bool) -> Iterator[int]:
    """The tensors that a layer's backward pass reads."""
    layer = workload.layers[position]
    if layer.op.saves_input:
        for source in layer.sources:
            again = fused and source >= 0 and isinstance(layer.op, Multiply)
            if not (again and isinstance(workload.layers[source].op, Activation)):
                yield roots[source] if source >= 0 else source
    if layer.op.saves_output:
        yield roots[position]


def _widest_gradients(workload: Workload) -> int:
    """Elements of the widest pair of output and input gradients that are alive together, one sample."""
    return max(map(gradient_pair, workload.layers))


def gradient_pair(layer: Layer) -> int:
    """Elements of a layer's output and input gradients, one sample."""
    sources = zip(layer.inputs, layer.sources, strict=True)
    return elements(layer.output) + sum(elements(shape) for shape, source in sources if source >= 0)


def _peak_live_elements(workload: Workload) -> int:
    """Elements alive at the fullest moment of a forward pass that frees a tensor after its last reader."""
    roots = _roots(workload)
    last_reader = dict(_last_readers(workload, roots))
    live = sum(elements(shape) for shape in workload.inputs)
    peak = live
    freed_at: dict[int, list[int]] = {}
    for handle, position in last_reader.items():
        freed_at.setdefault(position, []).append(handle)
    for position, layer in enumerate(workload.layers):
        if roots[position] == position:
            live += elements(layer.output)
        peak = max(peak, live)
        live -= sum(elements(_shape(workload, handle)) for handle in freed_at.get(position, ()))
    return peak


def _last_readers(workload: Workload, roots: list[int]) -> Iterator[tuple[int, int]]:
    """(tensor, position of the last layer that reads it), later readers after earlier ones."""
    for position, layer in enumerate(workload.layers):
        for source in layer.sources:
            yield (roots[source] if source >= 0 else source), position


def _shape(workload: Workload, handle: int) -> tuple[int, ...]:
    return workload.layers[handle].output if handle >= 0 else workload.inputs[-1 - handle]

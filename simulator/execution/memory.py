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

LOSS_BYTES = 4.0
"""Of a value in a loss, whatever the network computes in. Sources: PyTorch's autocast list (`cross_entropy`);
torchtitan, `cross_entropy_loss`, and Megatron-LM, `VocabParallelCrossEntropy`, which widen the logits. [byte]"""

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
    per_sample = sum(saved_by_layer(workload, precision)) + _widest_gradients(workload, widths[Role.GRADIENT], reserve)
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
    bits) are kept as they were rounded, where nothing else needs them. A loss is taken in full width, and keeps what it
    reads so: the logarithms of the probabilities.

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
    full = {handle for layer in workload.layers if layer.op.loss for handle in _sources(layer, roots)}
    for handle, position in kept.items():
        width = precision.widths[Role.ACTIVATION] if handle in wide else precision.operand_bytes
        width = max(width, LOSS_BYTES) if handle in full else width
        saved[position] += width * elements(_shape(workload, handle))
    return tuple(saved)


def _sources(layer: Layer, roots: list[int]) -> list[int]:
    """The tensors that a layer reads."""
    return [roots[source] if source >= 0 else source for source in layer.sources]


def _kept_handles(workload: Workload, position: int, roots: list[int], *, fused: bool) -> Iterator[int]:
    """The tensors that a layer's backward pass reads."""
    layer = workload.layers[position]
    if layer.op.saves_input:
        for source, handle in zip(layer.sources, _sources(layer, roots), strict=True):
            again = fused and source >= 0 and isinstance(layer.op, Multiply)
            if not (again and isinstance(workload.layers[source].op, Activation)):
                yield handle
    if layer.op.saves_output:
        yield roots[position]


def _widest_gradients(workload: Workload, width: float, reserve: Reserve) -> float:
    """The widest pair of output and input gradients that are alive together, one sample. [byte]"""
    return max(gradient_pair(layer, width, in_place=reserve.loss_in_place) for layer in workload.layers)


def gradient_pair(layer: Layer, width: float, *, in_place: bool) -> float:
    """A layer's output and input gradients, one sample; those of a loss in full width, and narrowed. [byte]

    width : of a gradient. [byte]
    in_place : whether a loss writes its gradient over what it keeps.
    """
    sources = zip(layer.inputs, layer.sources, strict=True)
    read = sum(elements(shape) for shape, source in sources if source >= 0)
    narrowed = LOSS_BYTES if layer.op.loss and width < LOSS_BYTES and not in_place else 0.0
    return width * elements(layer.output) + (width + narrowed) * read


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

"""Lowering: a workload's layers to columns of kernels, once for all batches, precisions and devices."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from simulator.op.base import Site, elements, elementwise
from simulator.op.kernel import Kernel, Phase, Role
from simulator.op.kernels import Kernels, pack
from simulator.op.optimizer import Optimizer, cast_gradients, cast_weights
from simulator.workload.workload import Layer, Workload


@lru_cache(maxsize=32)
def lower(
    workload: Workload, *, training: bool = True, optimizer: Optimizer | None = None, master_weights: bool = False
) -> Kernels:
    """Kernels of one step, in the order forward, backward, update; kept, so that a second call costs nothing.

    Parameters
    ----------
    training : forward, gradients and update; else forward alone, with scale-and-shift folded into the layer before.
    optimizer : how parameters are updated; no update if None.
    master_weights : whether the optimizer's weights are wider than the kernels' (mixed precision), which adds casts.

    Returns
    -------
    Kernels, all counts affine in the batch. [FLOP], [elements]
    """
    layers = workload.layers
    distinct: dict[int, Kernel] = {}
    numbers: dict[int, int] = {}
    rows: list[tuple[int, int]] = []

    def emit(position: int, kernels: tuple[Kernel, ...]) -> None:
        for kernel in kernels:
            identity = id(kernel)
            if identity not in numbers:
                numbers[identity] = len(distinct)
                distinct[identity] = kernel
            rows.append((position, numbers[identity]))

    trained = _needs_gradient(layers) if training else [False] * len(layers)
    folded = set() if training else set(folded_layers(layers))
    for position, layer in enumerate(layers):
        if position not in folded and (training or not layer.op.loss):
            emit(position, _forward(layer, training=training, casts=training and master_weights))
    if training:
        for position in reversed(range(len(layers))):
            if trained[position]:
                emit(position, _backward(layers[position], trained, master_weights=master_weights))
        for position, kernel in _gradient_sums(layers, trained):
            emit(position, (kernel,))
        if optimizer:
            for position, layer in enumerate(layers):
                if layer.parameters:
                    emit(position, (_update(optimizer, layer.parameters, master_weights),))
    return pack(list(distinct.values()), [row[0] for row in rows], [row[1] for row in rows])


def folded_layers(layers: tuple[Layer, ...]) -> Iterator[int]:
    """Layers that vanish at inference: a scale and shift whose only source is a convolution read by nobody else."""
    readers = [0] * len(layers)
    for layer in layers:
        for source in layer.sources:
            if source >= 0:
                readers[source] += 1
    for position, layer in enumerate(layers):
        source = layer.sources[0]
        if layer.op.folds and source >= 0 and layers[source].op.takes_fold and readers[source] == 1:
            yield position


def _needs_gradient(layers: tuple[Layer, ...]) -> list[bool]:
    """Whether each layer's output depends on a parameter, so that a gradient flows back into it."""
    needed: list[bool] = []
    for layer in layers:
        needed.append(layer.parameters > 0 or any(source >= 0 and needed[source] for source in layer.sources))
    return needed


@lru_cache(maxsize=4096)
def _forward_kernels(op_site: tuple[object, Site]) -> tuple[Kernel, ...]:
    op, site = op_site
    return tuple(op.forward(site))  # type: ignore[attr-defined]


@lru_cache(maxsize=4096)
def _backward_kernels(op_site: tuple[object, Site]) -> tuple[Kernel, ...]:
    op, site = op_site
    return tuple(op.backward(site))  # type: ignore[attr-defined]


def _forward(layer: Layer, *, training: bool, casts: bool) -> tuple[Kernel, ...]:
    kernels = _forward_kernels((layer.op, layer.site(training=training)))
    return (_cast_weights(layer.parameters), *kernels) if casts and layer.parameters else kernels


def _backward(layer: Layer, trained: list[bool], *, master_weights: bool) -> tuple[Kernel, ...]:
    input_gradient = any(source >= 0 and trained[source] for source in layer.sources)
    kernels = _backward_kernels((layer.op, layer.site(input_gradient=input_gradient)))
    return (*kernels, _cast_gradients(layer.parameters)) if master_weights and layer.parameters else kernels


_cast_weights = lru_cache(cast_weights)
_cast_gradients = lru_cache(cast_gradients)


@lru_cache
def _update(optimizer: Optimizer, parameters: int, master_weights: bool) -> Kernel:
    return optimizer.update(parameters, master_weights=master_weights)


def _gradient_sums(layers: tuple[Layer, ...], trained: list[bool]) -> Iterator[tuple[int, Kernel]]:
    """Where an output has several readers, their gradients are added: one pass for each reader after the first."""
    readers = [0] * len(layers)
    for layer in layers:
        for source in layer.sources:
            if source >= 0 and trained[source]:
                readers[source] += 1
    for position, count in enumerate(readers):
        for _ in range(count - 1):
            yield position, _sum_kernel(elements(layers[position].output))


@lru_cache
def _sum_kernel(size: int) -> Kernel:
    return elementwise(Phase.INPUT_GRADIENT, size, {Role.GRADIENT: 2 * size}, {Role.GRADIENT: size})

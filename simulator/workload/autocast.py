"""Automatic mixed precision: which tensors stay in full width, and the casts between them and the narrow ones.

Products of matrices take and give narrow values. Softmax and the normalisations of rows compute in full width, and what
is combined with full-width values or parameters becomes full: the residual stream of a transformer is, that of a
convolutional network is not. Source: PyTorch, "Automatic Mixed Precision package", lists of autocast operations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from simulator.op.base import elements
from simulator.op.kernel import Affine, Kernel, Moved, OpClass, Phase, Role, each, once
from simulator.workload.fusion import Lowered
from simulator.workload.workload import Layer

NARROW = (Role.ACTIVATION, Role.GRADIENT)


def wide_outputs(layers: Sequence[Layer], products: Sequence[bool]) -> list[bool]:
    """Whether each layer's output is in full width; `products` says which layers compute products of matrices."""
    wide: list[bool] = []
    for layer, product in zip(layers, products, strict=True):
        wide.append(not (product or layer.op.narrows) and (layer.op.full_width or bool(_wide_sources(layer, wide))))
    return wide


def cast_forward(layers: Sequence[Layer], forward: Lowered, wide: Sequence[bool], *, fuse: bool) -> Lowered:
    """Each layer's forward kernels with the casts before them.

    Worked example: linear, layer normalisation, linear. The first product's narrow result is cast (2 bytes read, 4
    written), normalised (4 and 4) and cast back (4 and 2): 20 bytes an element where narrow ones alone would move 4.

    fuse : whether a compiler joins casts with what comes before or after them, and casts a tensor once for all readers.
    """
    result: list[tuple[Kernel, ...]] = []
    narrowed: set[int] = set()
    for position, (layer, kernels) in enumerate(zip(layers, forward, strict=True)):
        given = _wide_sources(layer, wide)
        if not kernels:
            result.append(kernels)
        elif wide[position]:
            share, full = _share(layer, given), _full(layer, given)
            casts: tuple[Kernel, ...] = ()
            if layer.op.computes_wide and not fuse and not given:
                share, full = 1.0, ()
                casts = (_cast(Phase.FORWARD, each(elements(layer.inputs[0])), Role.ACTIVATION, Role.WIDE),)
            result.append((*casts, *(_widened(kernel, share, full) for kernel in kernels)))
        elif fuse and given and kernels[0].gemm is None and layer.op.narrows:
            share = _share(layer, given)
            result.append(tuple(replace(kernel, read=_shared(kernel.read, share)) for kernel in kernels))
        else:
            first = [source for source in given if not (fuse and source in narrowed)]
            casts = _casts(layers, first, Phase.FORWARD, Role.WIDE, Role.ACTIVATION)
            narrowed.update(given)
            result.append((*casts, *(kernels if fuse else _softmax_wide(kernels, biased=layer.parameters > 0))))
    return result


def cast_backward(layers: Sequence[Layer], backward: Lowered, wide: Sequence[bool], *, fuse: bool) -> Lowered:
    """Each layer's backward kernels with the casts that mirror those of the forward pass."""
    result: list[tuple[Kernel, ...]] = []
    for position, (layer, kernels) in enumerate(zip(layers, backward, strict=True)):
        given = _wide_sources(layer, wide)
        if wide[position]:
            narrow = [source for source in dict.fromkeys(layer.sources) if source >= 0 and source not in given]
            casts = _casts(layers, narrow, Phase.INPUT_GRADIENT, Role.WIDE, Role.GRADIENT)
            result.append((*(_widened(kernel) for kernel in kernels), *casts))
        else:
            casts = _casts(layers, given if kernels else [], Phase.INPUT_GRADIENT, Role.GRADIENT, Role.WIDE)
            result.append((*(kernels if fuse else _softmax_wide(kernels)), *casts))
    return result


def _wide_sources(layer: Layer, wide: Sequence[bool]) -> list[int]:
    return [source for source in dict.fromkeys(layer.sources) if source >= 0 and wide[source]]


def _share(layer: Layer, given: Sequence[int]) -> float:
    """Share of a layer's inputs that are in full width."""
    sizes = [(source in given, elements(shape)) for source, shape in zip(layer.sources, layer.inputs, strict=True)]
    return sum(size for is_wide, size in sizes if is_wide) / max(sum(size for _, size in sizes), 1)


def _full(layer: Layer, given: Sequence[int]) -> tuple[bool, ...]:
    """Whether each of a layer's inputs is in full width."""
    return tuple(source in given for source in layer.sources)


@lru_cache(maxsize=4096)
def _softmax_wide(kernels: tuple[Kernel, ...], *, biased: bool = False) -> tuple[Kernel, ...]:
    """Softmax inside a layer: forward it reads narrow values itself, and what follows casts its wide ones back.

    biased : whether trained values, which are wide, are added to the scores before it, so that it reads wide ones.
    """
    result: list[Kernel] = []
    for kernel in kernels:
        if kernel.op_class is not OpClass.SOFTMAX:
            result.append(kernel)
            continue
        forward = kernel.phase is Phase.FORWARD
        role = Role.ACTIVATION if forward else Role.GRADIENT
        size = each(next(count.per_sample for moved, count in kernel.write if moved is role))
        out = _cast(kernel.phase, size, Role.WIDE, role)
        if not forward:
            result += [_cast(kernel.phase, size, role, Role.WIDE), _widened(kernel), out]
        elif biased:
            result[-1:] = [_widened(result[-1], 0.0), _widened(kernel), out]
        else:
            result += [_widened(kernel, 0.0), out]
    return tuple(result)


def _casts(
    layers: Sequence[Layer], positions: Sequence[int], phase: Phase, source: Role, target: Role
) -> tuple[Kernel, ...]:
    """A cast of the output, or its gradient, of each of some layers; of one for all samples once a step."""
    return tuple(_cast(phase, _size(layers[position]), source, target) for position in positions)


def _size(layer: Layer) -> Affine:
    return once(elements(layer.output)) if layer.op.for_all_samples else each(elements(layer.output))


@lru_cache(maxsize=4096)
def _cast(phase: Phase, size: Affine, source: Role, target: Role) -> Kernel:
    return Kernel(OpClass.ELEMENTWISE, phase, once(0), ((source, size),), ((target, size),))


@lru_cache(maxsize=4096)
def _widened(kernel: Kernel, share: float = 1.0, full: tuple[bool, ...] = ()) -> Kernel:
    """A kernel that writes its narrow tensors in full width, and reads some of them so.

    share : of what it reads, by elements; for kernels that do not read a layer's inputs one by one.
    full : whether each of the inputs is in full width, in their order.
    """
    one_by_one = len(full) > 1 and sum(role in NARROW for role, _ in kernel.read) == len(full)
    read = _one_by_one(kernel.read, full) if one_by_one else _shared(kernel.read, share)
    return replace(kernel, read=read, write=_shared(kernel.write, 1.0))


def _one_by_one(moved: Moved, full: tuple[bool, ...]) -> Moved:
    inputs = iter(full)
    return tuple((Role.WIDE if role in NARROW and next(inputs) else role, count) for role, count in moved)


def _shared(moved: Moved, share: float) -> Moved:
    result: list[tuple[Role, Affine]] = []
    for role, count in moved:
        if role not in NARROW or not share:
            result.append((role, count))
            continue
        result.append((Role.WIDE, Affine(count.fixed * share, count.per_sample * share)))
        if share < 1:
            result.append((role, Affine(count.fixed * (1 - share), count.per_sample * (1 - share))))
    return tuple(result)

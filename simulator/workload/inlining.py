"""Inlining: what TorchInductor works out anew in each kernel that reads it, so that it is never written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from simulator.op.base import elements
from simulator.op.kernel import Affine, Kernel, Moved, OpClass, Role
from simulator.workload.biases import biased_product
from simulator.workload.fusion import FUSED, LAST, Lowered, joined, passed_on, readers_of
from simulator.workload.workload import Layer

MOST_READS, MOST_OPERATIONS = 4, 30
"""Tensors that a function of several readers may read, and operations that it may take for a value, to be worked out
anew in each of them. Source: PyTorch 2.14, `torch/_inductor/config.py`, `realize_reads_threshold` and
`_realize_opcount_threshold_default`; `ir.py`, `should_realize_on_reuse`."""

WINDOWED = 1
"""Tensors that what windows walk may read, to be worked out anew for each window; else it is written first.
Source: PyTorch 2.14, `torch/_inductor/ir.py`, `realize_hint`, which the rules of pooling and resampling call."""

INLINED = (*FUSED, OpClass.SOFTMAX)
"""Classes whose last loop runs in those of their readers; the quotient of a softmax takes in a cast behind it."""

ADDED = ("convolutions", "depthwise")
"""Whose biases readers add. Source: PyTorch 2.14, `torch/_inductor/kernel/conv.py`."""

SCALED = 4
"""Tensors that a normalisation reads beside its input: a mean, a deviation, a scale and a shift."""


@dataclass
class _Loop:
    """A kernel in the making: elements of other layers' outputs that it reads, by layer, and how many tensors besides.

    `whole` are the elements of each layer's output, of which a reader may take a part.
    """

    kernel: Kernel
    tensors: dict[int, float]
    others: int
    whole: Sequence[float]

    @property
    def reads(self) -> int:
        """Tensors that it reads."""
        return len(self.tensors) + self.others

    @property
    def light(self) -> bool:
        """Whether each of several readers works it out again; what puts several tensors side by side is written."""
        written = sum(sum(count) for _, count in self.kernel.write)
        if self.kernel.op_class is OpClass.COPY and self.reads > 1:
            return False
        return self.reads <= MOST_READS and sum(self.kernel.flops) <= MOST_OPERATIONS * written

    def takes(self, layer: int, producer: _Loop, part: float) -> bool:
        """Whether it reads a part of what the last kernel of a layer writes, and can run that itself."""
        role, _ = passed_on(producer.kernel)
        reads = layer in self.tensors and any(
            kind is role and count.per_sample >= part for kind, count in self.kernel.read
        )
        walks = self.kernel.op_class is OpClass.POOLING and producer.reads > WINDOWED
        return self.kernel.op_class in LAST and reads and not walks

    def take(self, layer: int, producer: _Loop, part: float, *, kept: bool) -> None:
        """Run the last kernel of a layer, of which it reads a part, in this one, and write its result where kept."""
        self.tensors.pop(layer, None)
        share = 1.0 if kept else part / self.whole[layer]
        source = _scaled(producer.kernel, share)
        self.kernel = joined(source, self.kernel, passed_on(source, size=part), kept)
        self.others += producer.others
        for read, size in producer.tensors.items():
            self._add(read, share * size)

    def _add(self, layer: int, size: float) -> None:
        """Read a layer's output: once, where both kernels read all of it; of parts, both."""
        if layer >= 0 and self.tensors.get(layer) == size == self.whole[layer]:
            self.kernel = replace(self.kernel, read=_once(self.kernel.read, size))
        else:
            self.tensors[layer] = self.tensors.get(layer, 0.0) + size


def inline_forward(layers: Sequence[Layer], lowered: Lowered) -> list[tuple[Kernel, ...]]:
    """Each layer's forward kernels, where one runs in all that read it if it has one reader or reads few tensors.

    A kernel of several readers that reads more is written, and runs in the first of them, as `fuse_forward` has it.

    Worked example: gated networks halve u = GELU(x) and give one half to a product, the other, normalised, to a gate:
    both read x and work the function out; u is never written. A sum of residuals x + a + b + c is worked out three
    times, with d it is written, as generated code shows. After a batch normalisation, of five tensors, all is written.
    """
    readers, given = readers_of(layers), [_tensors(layers, position) for position in range(len(layers))]
    whole, biased = [elements(layer.output) for layer in layers], [biased_product(layer) in ADDED for layer in layers]

    def loop(position: int, kernel: Kernel) -> _Loop:
        tensors = dict(given[position])
        if _is_cast(kernel) and lowered[position][-1].gemm:
            size = sum(kernel.read[0][1])
            tensors = {
                read: each
                for read, each in tensors.items()
                if each == size and read >= 0 and _writes_wide(lowered[read])
            }
        others = SCALED if kernel.op_class is OpClass.NORMALIZATION else max(len(kernel.read) - len(tensors), 0)
        return _Loop(kernel, tensors, others + sum(read >= 0 and biased[read] for read in tensors), whole)

    loops = [[loop(position, kernel) for kernel in _before_products(each)] for position, each in enumerate(lowered)]
    rest = [list(each[len(made) :]) for made, each in zip(loops, lowered, strict=True)]
    for position, each in enumerate(lowered):
        if not each or each[-1].op_class not in INLINED:
            continue
        producer = _Loop(rest[position][-1], {}, 1, whole) if rest[position] else loops[position][-1]
        taking, kept = _taking(position, _parts(layers, readers, given, position), loops, producer)
        for taker, part in taking:
            taker.take(position, producer, part, kept=kept)
        if taking:
            (rest[position] or loops[position]).pop()
    return [(*(one.kernel for one in made), *others) for made, others in zip(loops, rest, strict=True)]


def _is_cast(kernel: Kernel) -> bool:
    return [role for role, _ in kernel.read] == [Role.WIDE] and not sum(kernel.flops)


def _writes_wide(kernels: Sequence[Kernel]) -> bool:
    return bool(kernels) and passed_on(kernels[-1])[0] is Role.WIDE


def _before_products(kernels: Sequence[Kernel]) -> Sequence[Kernel]:
    """A layer's kernels up to its first product: the casts of its operands; all where it has none."""
    products = [at for at, kernel in enumerate(kernels) if kernel.gemm]
    return kernels[: products[0]] if products else kernels


Taking = list[tuple[_Loop, float]]
"""Kernels in which another runs, and how many elements of its result each reads."""


def _taking(
    position: int, parts: dict[int, float], loops: Sequence[Sequence[_Loop]], producer: _Loop
) -> tuple[Taking, bool]:
    """The kernels in which one runs, and whether its result is written for others."""
    takers = {
        reader: next((one for one in loops[reader] if one.takes(position, producer, part)), None)
        for reader, part in parts.items()
    }
    found = [(taker, parts[reader]) for reader, taker in takers.items() if taker]
    if len(found) == len(parts) and (len(parts) == 1 or producer.light):
        return found, False
    first = next(iter(takers.values()), None)
    return (found[:1], True) if first else ([], True)


def _tensors(layers: Sequence[Layer], position: int) -> dict[int, float]:
    """Layers whose outputs a layer reads, themselves or views of them, and how many elements of them."""
    tensors: dict[int, float] = {}
    for source, shape in zip(layers[position].sources, layers[position].inputs, strict=True):
        while source >= 0 and layers[source].op.view:
            source = layers[source].sources[0]
        tensors[source] = tensors.get(source, 0.0) + elements(shape)
    return tensors


def _parts(
    layers: Sequence[Layer], readers: Sequence[Sequence[int]], given: Sequence[Mapping[int, float]], position: int
) -> dict[int, float]:
    """Layers that read a layer's output, itself or a view of it, and how many elements of it.

    given : what each layer reads, as `_tensors` says.
    """
    parts: dict[int, float] = {}
    for reader in readers[position]:
        view = layers[reader].op.view
        for further in _parts(layers, readers, given, reader) if view else (reader,):
            parts[further] = given[further].get(position, 0.0)
    return parts


def _once(moved: Moved, size: float) -> Moved:
    """Tensors moved, less the last of those of a size, which is there twice; as they were where it is not."""
    found = [at for at, (_, count) in enumerate(moved) if count.per_sample == size]
    return moved if len(found) < 2 else moved[: found[-1]] + moved[found[-1] + 1 :]


@lru_cache(maxsize=4096)
def _scaled(kernel: Kernel, share: float) -> Kernel:
    """A kernel on a share of each sample."""
    if share == 1:
        return kernel
    read, write = (tuple((role, _of(count, share)) for role, count in moved) for moved in (kernel.read, kernel.write))
    return replace(kernel, flops=_of(kernel.flops, share), read=read, write=write)


def _of(count: Affine, share: float) -> Affine:
    return Affine(count.fixed, count.per_sample * share)

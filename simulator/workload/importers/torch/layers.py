"""From two recordings of a module, at two batch sizes, to layers whose counts are affine in the batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from simulator.errors import UnsupportedError
from simulator.op.base import Shape, Shapes, elements
from simulator.op.kernel import Affine, Kernel, Phase, Role
from simulator.op.traced import Traced
from simulator.op.unknown import Unknown
from simulator.workload.importers.torch.affine import (
    LARGE,
    MEETING,
    ROLES,
    SMALL,
    affine,
    alike,
    kernel_through,
    macs_of,
    meet,
    paired,
    repeated,
    sample_shape,
)
from simulator.workload.importers.torch.calls import LOSS, Call, Kind
from simulator.workload.importers.torch.norms import keeps_statistics
from simulator.workload.importers.torch.record import Recording
from simulator.workload.importers.torch.rules import Draft, Rule, When, find_rule
from simulator.workload.importers.torch.widths import casts_first, gives_full_width
from simulator.workload.workload import INPUT, Layer


@dataclass
class _Node:
    """A layer in the making."""

    call: Call
    name: str
    sources: tuple[int, ...]
    inputs: Shapes
    output: Shape
    drafts: list[tuple[When, Kernel]] = field(default_factory=list)
    macs: int = 0
    sizes: tuple[int, ...] = ()
    backward: list[Kernel] = field(default_factory=list)
    known: bool = True
    view: bool = False
    wide: bool = False

    @property
    def for_all_samples(self) -> bool:
        """Whether the output is one for all samples."""
        written = [count.per_sample for _, kernel in self.drafts for _, count in kernel.write]
        return bool(written) and not any(written)


class Assembly:
    """The layers of a network, from its recordings at batch `SMALL` and `LARGE`; `alone`, from one of one sample."""

    def __init__(
        self, small: Recording, large: Recording, *, allow_unknown: bool, rules: Mapping[str, Rule], alone: bool
    ) -> None:
        self.small, self.large, self.allow_unknown, self._rules = small, large, allow_unknown, rules
        self.alone = alone
        pairs = zip(small.inputs, large.inputs, strict=True)
        self.inputs: Shapes = tuple(a.shape[1:] or (1,) if alone else sample_shape(a.shape, b.shape) for a, b in pairs)
        self.nodes: list[_Node] = []
        self.strays: list[str] = []
        self.meeting: list[str] = []
        self._origin = {tensor.storage: INPUT - number for number, tensor in enumerate(small.inputs)}
        self._owner: dict[int, int | None] = {}
        self._read: set[int] = set()
        self._names: Counter[str] = Counter()
        self._visits = Counter(call.visit for call in small.forward if self._has_work(call))
        self._sums: list[tuple[int, Kernel]] = []

    def layers(self) -> tuple[Layer, ...]:
        """The layers in the order in which they ran.

        Raises
        ------
        UnsupportedError
            For a call without a cost rule, or counts that are not affine in the batch.
        """
        for small, large in paired(self.small.forward, self.large.forward):
            self._forward(small, large)
        target = len(self.nodes) - 1
        for small, large in paired(self.small.backward, self.large.backward):
            target = self._backward(small, large, target)
        self._settle()
        kept = self._kept()
        seen = tuple(self._layer(node, kept.get(number, ())) for number, node in enumerate(self.nodes))
        return seen + tuple(self._stray(name) for name in self.strays) + tuple(self._unused_layers())

    def unused(self) -> list[tuple[str, int]]:
        """Trained tensors that no call reads: name and elements."""
        parameters = self.small.parameters.items()
        return [(self.small.names[storage], size) for storage, size in parameters if storage not in self._read]

    def _unused_layers(self) -> Iterator[Layer]:
        """They take memory and no time; an optimizer passes over what has no gradient."""
        untrained = [(name, "unused", size) for name, size in self.unused()]
        untrained += [(name, "frozen", size) for name, size in self.small.frozen.items()]
        for name, why, size in untrained if self.nodes else ():
            op = Traced(kind=why, shape=self.inputs[0], sizes=(size,), view=True, untrained=True)
            yield Layer(f"{name} ({why})", op, (INPUT,), self.inputs[:1], self.inputs[0], size)

    def _stray(self, name: str) -> Layer:
        return Layer(name, Unknown(name=name), (INPUT,), self.inputs[:1], self.inputs[0], 0)

    # ---- forward

    def _has_work(self, call: Call) -> bool:
        """Whether it is more than a view, or a counter that a module keeps (batches that a normalisation has seen)."""
        counter = call.name.endswith("_") and all(
            tensor.storage in self.small.buffers and tensor.distinct == 1 for tensor in call.outputs
        )
        return not call.free and not counter

    def _forward(self, small: Call, large: Call) -> None:
        if small.free and len(small.outputs) > 1 and self._origin.get(small.args[0].storage, INPUT) >= 0:
            self._add(small, self._split(small, large))
        elif self._has_work(small):
            self._add(small, self._node(small, large))
        else:
            self._pass_on(small)

    def _add(self, call: Call, node: _Node) -> None:
        number = len(self.nodes)
        self.nodes.append(node)
        for tensor in call.outputs:
            self._origin[tensor.storage] = number
        if call.sequence is not None:
            self._owner.setdefault(call.sequence, number)

    def _pass_on(self, call: Call) -> None:
        """A view belongs to the layer that made the memory, and so does what autograd does for it."""
        origin = next((self._origin[t.storage] for t in call.tensors() if t.storage in self._origin), None)
        if origin is None:
            return
        for tensor in call.outputs:
            self._origin.setdefault(tensor.storage, origin)
        if call.free and call.sequence is not None:
            self._owner.setdefault(call.sequence, origin if origin >= 0 else None)

    def _split(self, small: Call, large: Call) -> _Node:
        """A view in several parts, which are read apart: a layer of one part's size.

        Autograd joins the gradients of n parts of N elements together by one copy (2 N moved); lowering adds those of
        several readers, (n - 1) times 3 N / n moved, which comes to the same for three parts and stands for the copy.
        """
        sources, inputs = self._sources(small, large)
        output = sample_shape(small.outputs[0].shape, large.outputs[0].shape)
        return _Node(small, self._name(small), sources, inputs, output, view=True)

    def _node(self, small: Call, large: Call) -> _Node:
        name = self._name(small)
        if any(meet(a.shape, b.shape) for a, b in zip(small.outputs, large.outputs, strict=True)):
            self.meeting = [f"what samples have to do with each other is counted as in a batch of {MEETING}"]
        drafts = self._drafts(small, large, name)
        sources, inputs = self._sources(small, large)
        output = sample_shape(small.outputs[0].shape, large.outputs[0].shape) if small.outputs else inputs[0]
        wide = gives_full_width(small, self._origin)
        node = _Node(small, name, sources, inputs, output, known=drafts is not None, wide=wide)
        for a, b in drafts or ():
            node.drafts.append((a.when, kernel_through(a, b, Phase.FORWARD, name)))
            macs = affine(macs_of(a), macs_of(b), name)
            node.macs += int(sum(macs)) if a.when is not When.INFERENCE else 0
        fresh = {t.storage for t in small.tensors() if t.storage in self.small.parameters} - self._read
        self._read |= fresh
        node.sizes = tuple(sorted((self.small.parameters[storage] for storage in fresh), reverse=True))
        return node

    def _name(self, call: Call) -> str:
        """The module's path, with the function where the module makes several calls; made unique by a number."""
        alone = call.visit and self._visits[call.visit] == 1
        base = call.module if alone else ".".join(part for part in (call.module, call.name.strip("_")) if part)
        self._names[base] += 1
        return base if self._names[base] == 1 else f"{base}_{self._names[base]}"

    def _sources(self, small: Call, large: Call) -> tuple[tuple[int, ...], Shapes]:
        """The layers that it reads, each once; a result without a gradient, such as an index, ties none to them."""
        found: dict[int, Shape] = {}
        for a, b in zip(small.tensors(), large.tensors(), strict=True):
            if a.storage in self._origin:
                found.setdefault(self._origin[a.storage], sample_shape(a.shape, b.shape))
        if small.outputs and all(tensor.kind in (Kind.INDEX, Kind.MASK) for tensor in small.outputs):
            found = {source: shape for source, shape in found.items() if source < 0}
        return (tuple(found), tuple(found.values())) if found else ((INPUT,), self.inputs[:1])

    def _drafts(self, small: Call, large: Call, name: str) -> list[tuple[Draft, Draft]] | None:
        rule = self._rules.get(small.name) or find_rule(small.name)
        if rule is None:
            if self.allow_unknown:
                return None
            raise UnsupportedError(
                f"{name}: no cost rule for aten::{small.name}; --allow-unknown leaves it out and says so"
            )
        if self.alone:
            return [(repeated(draft, SMALL), repeated(draft, LARGE)) for draft in rule(small)]
        return list(zip(rule(small), rule(large), strict=True))

    # ---- backward

    def _backward(self, small: Call, large: Call, target: int) -> int:
        """Give a gradient's kernels to the layer that it belongs to, or to the one before where nothing tells."""
        if small.sequence is None or small.free:  # the seed of the gradient; views
            return target
        owner = None if small.accumulates else self._owner.get(small.sequence)
        target = target if owner is None else owner
        name = f"{self.nodes[target].name} (gradient)"
        drafts = self._drafts(small, large, name)
        if drafts is None:
            self.strays.append(self._name(small))
        for a, b in drafts or ():
            kernel = kernel_through(a, b, None, name)
            if small.accumulates:
                self._sums.append((target, kernel))
            else:
                self.nodes[target].backward.append(kernel)
        return target

    def _settle(self) -> None:
        """Leave out the sums of gradients that lowering adds, which are most; keep those of weights and the like."""
        trained = self._trained()
        readers = Counter(source for node in self.nodes for source in node.sources if source >= 0 and trained[source])
        added: Counter[float] = Counter()
        for source, count in readers.items():
            added[elements(self.nodes[source].output)] += count - 1
            if self.nodes[source].view and count > 1:
                self.nodes[source].backward = []
        for target, kernel in self._sums:
            size = kernel.write[0][1].per_sample
            if kernel.write[0][1].fixed == 0 and added[size] > 0:
                added[size] -= 1
            else:
                self.nodes[target].backward.append(kernel)
        self._move_untrained(trained)

    def _move_untrained(self, trained: list[bool]) -> None:
        """Lowering asks only trained layers for their gradients: what autograd ran for another goes to the next one."""
        last = max((number for number, needed in enumerate(trained) if needed), default=None)
        for number in reversed(range(len(self.nodes))):
            if trained[number]:
                last = number
            elif last is not None:
                self.nodes[last].backward += self.nodes[number].backward
                self.nodes[number].backward = []

    def _trained(self) -> list[bool]:
        trained: list[bool] = []
        for node in self.nodes:
            trained.append(bool(node.sizes) or any(source >= 0 and trained[source] for source in node.sources))
        return trained

    # ---- the result

    def _kept(self) -> dict[int, tuple[tuple[Role, Affine], ...]]:
        """What autograd saved, by the layer that made it; the network's input belongs to the first."""
        kept: dict[int, tuple[tuple[Role, Affine], ...]] = {}
        pairs = zip(self.small.saved.items(), self.large.saved.items(), strict=True)
        for (storage, (kind, small)), (_, (_, large)) in pairs:
            number = max(self._origin.get(storage, INPUT), 0)
            count = affine(small, large, "saved tensors")
            kept[number] = (*kept.get(number, ()), (ROLES[kind], count))
        return kept

    def _layer(self, node: _Node, kept: tuple[tuple[Role, Affine], ...]) -> Layer:
        if not node.known:
            op = Unknown(name=node.call.name, shape=node.output)
            return Layer(node.name, op, node.sources, node.inputs, node.output, 0)
        traced = Traced(
            kind=node.call.name.strip("_"),
            shape=node.output,
            forward_kernels=tuple(kernel for when, kernel in node.drafts if when is not When.INFERENCE),
            inference_kernels=tuple(kernel for when, kernel in node.drafts if when is not When.TRAINING),
            backward_kernels=tuple(node.backward),
            sizes=node.sizes,
            kept=kept,
            macs=node.macs,
            takes_fold=node.call.name in ("convolution", "addmm", "mm", "linear"),
            folds=keeps_statistics(node.call),
            loss=node.call.module == LOSS,
            view=node.view,
            full_width=node.wide,
            computes_wide=casts_first(node.call),
            narrows=node.call.inside,
            for_all_samples=node.for_all_samples,
        )
        return Layer(node.name, traced, node.sources, node.inputs, node.output, sum(node.sizes))


def same_calls(small: Recording, large: Recording) -> bool:
    """Whether both runs made the same calls in the same order."""
    return alike(small.forward, large.forward) and alike(small.backward, large.backward)

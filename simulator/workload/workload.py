"""`Workload`: layers in order with shapes of one sample, and the builder that families and importers fill."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from simulator.errors import InputError, UnknownNameError
from simulator.op.base import MAX_ELEMENTS, Counts, Op, Shape, Shapes, Site, check_shape, elements
from simulator.op.unknown import Unknown
from simulator.workload.dataset import Dataset

INPUT = -1
"""The handle of the network's (first) input; further inputs are -2, -3 and so on."""


@dataclass(frozen=True)
class Layer:
    """One layer.

    Attributes
    ----------
    sources : positions of the layers whose outputs it reads; negative for the network's inputs.
    inputs, output : shapes of one sample.
    parameters : trained values.
    """

    name: str
    op: Op
    sources: tuple[int, ...]
    inputs: Shapes
    output: Shape
    parameters: int

    def site(self, *, training: bool = True, input_gradient: bool = True) -> Site:
        """The shapes around the operation, for its cost rules, in software that leaves it as it is."""
        return Site(self.inputs, self.output, training, input_gradient)


@dataclass(frozen=True, eq=False)
class Workload:
    """A network and what it is trained on; it knows no device and no time. Two are equal if they are the same object.

    Attributes
    ----------
    inputs : shapes of the network's inputs, one sample, without the batch.
    dataset : what an epoch runs over.
    batch : samples a step, unless asked otherwise.
    quoted_macs : multiply-accumulates a sample that the founding articles quote, where they do.
    context : tokens of the longest request that it may serve, as it is published; None where nothing says.
    changes : what the user asked of it beyond its definition, by option ("sequence": "512").
    """

    name: str
    inputs: Shapes
    layers: tuple[Layer, ...]
    dataset: Dataset
    batch: int = 32
    description: str = ""
    source: str = ""
    quoted_macs: float | None = None
    context: int | None = None
    changes: Mapping[str, str] = field(default_factory=dict)

    @property
    def parameters(self) -> int:
        """Weights of all layers, those without a gradient among them."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def trained(self) -> int:
        """Parameters that have a gradient."""
        return sum(layer.parameters for layer in self.layers if not layer.op.untrained)

    @cached_property
    def counts(self) -> tuple[Counts, ...]:
        """MACs and FLOPs of each layer, one forward pass of one sample as in training."""
        return self._counts(articles=False)

    @cached_property
    def article_counts(self) -> tuple[Counts, ...]:
        """The same in the founding articles' conventions."""
        return self._counts(articles=True)

    def _counts(self, *, articles: bool) -> tuple[Counts, ...]:
        known: dict[tuple[Op, Shapes], Counts] = {}
        result = []
        for layer in self.layers:
            key = (layer.op, layer.inputs)
            if key not in known:
                rule = layer.op.article_counts if articles else layer.op.counts
                known[key] = rule(layer.site())
            result.append(known[key])
        return tuple(result)

    @property
    def coverage(self) -> float:
        """Share of the layers whose operation has a cost rule."""
        return 1 - len(self.unknown) / max(len(self.layers), 1)

    @property
    def unknown(self) -> tuple[str, ...]:
        """Names of the layers without a cost rule."""
        return tuple(layer.name for layer in self.layers if isinstance(layer.op, Unknown))

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one forward pass of one sample."""
        return sum(count.macs for count in self.counts)

    @staticmethod
    def from_torch(model: Any, example_inputs: Any, **asked: Any) -> Workload:
        """The workload of an `nn.Module`, as `simulator.from_torch` makes it, whose `Tracing` is given by keywords.

        asked : `loss`, `attention`, `allow_unknown`, `training`, `rules`, `boxes`; `trace` is "meta" or "real".
        """
        from simulator.workload.importers.torch import from_torch, tracing_by

        return from_torch(model, example_inputs, tracing_by(asked))


MOST_LAYERS = 10**6
"""Layers that a network has at most, unless more are asked for: a few words in a file can ask for any number."""


def too_many_layers(most: int) -> InputError:
    """The error of a network that has more."""
    return InputError(f"more than {most:,} layers; --max-layers allows more")


@dataclass
class Network:
    """A workload in the making: `add` layers, then take `layers`."""

    inputs: Shapes
    layers: list[Layer] = field(default_factory=list)
    most_layers: int = MOST_LAYERS
    _known: dict[tuple[Op, Shapes], tuple[Shape, int]] = field(default_factory=dict)
    _names: dict[str, int] = field(default_factory=dict)
    _numbers: dict[str, int] = field(default_factory=dict)

    def add(self, op: Op, *sources: int, name: str = "") -> int:
        """Append a layer that reads `sources` (the last layer if none is given) and return its handle.

        Raises
        ------
        InputError
            Naming the layer, if the inputs do not fit the operation, the name is taken, or there are too many layers.
        """
        if len(self.layers) >= self.most_layers:
            raise too_many_layers(self.most_layers)
        label = name or self._free_name(op.kind)
        origins = sources or (self.last,)
        shapes = tuple(self.shape(source) for source in origins)
        output, parameters = self._shape_and_parameters(op, shapes, label)
        if label in self._names:
            raise InputError(f"layer {label!r} stands twice")
        self._names[label] = len(self.layers)
        self.layers.append(Layer(label, op, origins, shapes, output, parameters))
        return len(self.layers) - 1

    def append(self, layer: Layer) -> int:
        """Append a layer whose shapes are known, its parameters counted, and return its handle."""
        if layer.name in self._names:
            raise InputError(f"layer {layer.name!r} stands twice")
        self._names[layer.name] = len(self.layers)
        self.layers.append(replace(layer, parameters=sum(layer.op.parameter_sizes(layer.inputs))))
        return len(self.layers) - 1

    def _shape_and_parameters(self, op: Op, shapes: Shapes, label: str) -> tuple[Shape, int]:
        key = (op, shapes)
        if key not in self._known:
            least, most = op.arity
            if len(shapes) < least or (most is not None and len(shapes) > most):
                raise InputError(f"layer {label!r}: {op.kind} takes {_range(least, most)} inputs, found {len(shapes)}")
            try:
                output = check_shape(op.output_shape(shapes), op.kind)
            except InputError as error:
                raise InputError(f"layer {label!r}: {error}") from None
            parameters = sum(op.parameter_sizes(shapes))
            if parameters > MAX_ELEMENTS:
                raise InputError(f"layer {label!r}: {parameters} parameters are more than any memory holds")
            self._known[key] = output, parameters
        return self._known[key]

    @property
    def last(self) -> int:
        """The handle of the last layer, or of the input."""
        return len(self.layers) - 1 if self.layers else INPUT

    def shape(self, handle: int) -> Shape:
        """The shape behind a handle."""
        return self.layers[handle].output if handle >= 0 else self.inputs[-1 - handle]

    def has(self, name: str) -> bool:
        """Whether a layer has that name."""
        return name in self._names

    def handle(self, name: str) -> int:
        """The handle of a layer's name, or of "input"."""
        if name in self._names:
            return self._names[name]
        if name == "input":
            return INPUT
        raise UnknownNameError("layer", name, [*self._names, "input"])

    def _free_name(self, kind: str) -> str:
        number = self._numbers.get(kind, 0) + 1
        while f"{kind}{number}" in self._names:
            number += 1
        self._numbers[kind] = number
        return f"{kind}{number}"


def check_inputs(inputs: Sequence[Shape], where: str) -> Shapes:
    """The input shapes, or an `InputError` if there is none or a side is not positive."""
    if not inputs or not all(inputs):
        raise InputError(f"{where}: the input shape is missing")
    for shape in inputs:
        check_shape(shape, f"{where}: input")
    return tuple(inputs)


def activations(layer: Layer) -> int:
    """Output elements of a layer, one sample; none for a view."""
    return 0 if layer.op.view else elements(layer.output)


def _range(least: int, most: int | None) -> str:
    if most is None:
        return f"{least} or more"
    return str(least) if least == most else f"{least} to {most}"

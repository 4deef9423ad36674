"""A `Network` filled from Caffe's blobs: which layer wrote a blob, and what a sample of it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import prod

from simulator.errors import InputError, UnsupportedError
from simulator.op.base import Op, Shape, Shapes
from simulator.workload.importers import Request
from simulator.workload.importers.caffe.blobs import Placed
from simulator.workload.importers.caffe.definition import CaffeLayer
from simulator.workload.workload import Layer, Network


@dataclass(slots=True)
class Origin:
    """Where a blob comes from: a layer's handle, or an input that becomes one when a layer first reads it.

    Attributes
    ----------
    handle : None for an input that nothing has read, as a label that only losses and metrics see.
    readers : layers of the workload that read it.
    copied : whether a Split hands it to several.
    constant : whether no number of the input changes it, as the boxes that a detector starts from.
    """

    shape: Shape
    handle: int | None = None
    readers: int = 0
    copied: bool = False
    constant: bool = False


@dataclass(slots=True)
class Builder:
    """The network in the making.

    Attributes
    ----------
    batch : the first side of every blob, which is not part of a sample; the second of those that go step by step.
    steps : the first side of blobs that go step by step through sequences, 0 if there are none.
    rows : first sides that are several rows of each sample, such as regions of an image, and how many.
    remarks : what a reader has to know of how the counts came about, each once.
    """

    batch: int
    request: Request
    steps: int = 0
    rows: dict[int, int] = field(default_factory=dict)
    remarks: dict[str, None] = field(default_factory=dict)
    net: Network = field(default_factory=lambda: Network(()))
    origins: dict[str, Origin] = field(default_factory=dict)
    trained: set[int] = field(default_factory=set)
    _shared: dict[str, int] = field(default_factory=dict)
    """Size of each parameter tensor that has a name."""
    _names: dict[str, int] = field(default_factory=dict)
    """How often each name was asked for."""

    def sample(self, layer: CaffeLayer, shape: Shape) -> Shape:
        """The shape of one sample: what follows the batch; several images of it stand below each other.

        Raises
        ------
        UnsupportedError
            If the blob's first side is not the batch.
        """
        if self.steps and shape[:2] == (self.steps, self.batch):
            return (self.steps, *shape[2:])
        if shape and shape[0] != self.batch and shape[0] in self.rows:
            count = self.rows[shape[0]]
            return (count, *shape[1:]) if len(shape) < 4 else (shape[1], count * prod(shape[2:-1]), shape[-1])
        if not shape or shape[0] != self.batch:
            text = f"{layer.type} mixes the samples of a batch of {self.batch} (blob {list(shape)})"
            raise UnsupportedError(str(layer.error(text)))
        return shape[1:] or (1,)

    def image(self, layer: CaffeLayer, shape: Shape) -> Shape:
        """(channels, height, width) of one sample, the slices of a volume below each other."""
        sample = self.sample(layer, shape)
        return (sample[0], prod(sample[1:-1]), sample[-1]) if len(sample) > 1 else (sample[0], 1, 1)

    def regions(self, layer: CaffeLayer, count: int) -> int:
        """Regions of one sample; blobs with a row for each are told from others by their number."""
        if count % self.batch:
            raise UnsupportedError(str(layer.error(f"{count} regions are not as many for each of {self.batch} images")))
        self.rows.setdefault(count, count // self.batch)
        return count // self.batch

    def input(self, placed: Placed) -> None:
        """The tops of a layer that nothing feeds."""
        for blob, shape in zip(placed.layer.tops, placed.tops, strict=False):
            self.origins[blob] = Origin(shape)

    def constants(self, placed: Placed) -> None:
        """Tops that no number of the input changes."""
        for blob, shape in zip(placed.layer.tops, placed.tops, strict=False):
            self.origins[blob] = Origin(shape, constant=True)

    def is_constant(self, placed: Placed) -> bool:
        """Whether all bottoms are."""
        known = [self.origins.get(blob) for blob in placed.layer.bottoms]
        return all(origin is not None and origin.constant for origin in known)

    def alias(self, placed: Placed) -> None:
        """Tops that are the bottom itself."""
        origin = self.origin(placed)
        origin.copied |= len(placed.layer.tops) > 1
        for blob in placed.layer.tops:
            self.origins[blob] = origin

    def origin(self, placed: Placed, number: int = 0) -> Origin:
        """Where a bottom comes from.

        Raises
        ------
        InputError
            If there is no such bottom.
        UnsupportedError
            If it is an output that is not modelled, such as an accuracy.
        """
        layer = placed.layer
        if number >= len(layer.bottoms):
            raise layer.error(f"{layer.type} needs {number + 1} bottoms, found {len(layer.bottoms)}")
        blob = layer.bottoms[number]
        if blob not in self.origins:
            raise UnsupportedError(str(layer.error(f"blob {blob!r} comes from a layer that is left out")))
        return self.origins[blob]

    def source(self, placed: Placed, number: int = 0) -> int:
        """The handle behind a bottom, counted as read."""
        origin = self.origin(placed, number)
        if origin.constant:
            text = f"{placed.layer.type} of a blob that no input changes"
            raise UnsupportedError(str(placed.layer.error(f"{text} ({placed.layer.bottoms[number]!r}) has no rule")))
        if origin.handle is None:
            self.net.inputs = (*self.net.inputs, self.sample(placed.layer, origin.shape))
            origin.handle = -len(self.net.inputs)
        origin.readers += 1
        return origin.handle

    def add(self, placed: Placed, op: Op, *sources: int, suffix: str = "") -> int:
        """One layer of the workload, named after Caffe's, that reads bottoms or earlier handles."""
        layer = placed.layer
        try:
            handle = self.net.add(op, *sources, name=self._free_name(layer.name + suffix))
        except InputError as error:
            raise layer.message.error(str(error)) from None
        return self._added(layer, handle, sources)

    def place(self, placed: Placed, op: Op, sources: Sequence[int], shapes: Shapes, suffix: str = "") -> int:
        """One layer of given shapes, the output's last, where the operation's own rule knows flat images alone."""
        *inputs, output = shapes
        name = self._free_name(placed.layer.name + suffix)
        handle = self.net.append(Layer(name, op, tuple(sources), tuple(inputs), output, 0))
        return self._added(placed.layer, handle, sources)

    def _added(self, layer: CaffeLayer, handle: int, sources: Sequence[int]) -> int:
        self._count_once(layer, handle)
        if self.net.layers[handle].parameters or any(source in self.trained for source in sources):
            self.trained.add(handle)
        return handle

    def finish(self, placed: Placed, *handles: int) -> None:
        """The handles behind a layer's tops."""
        for blob, shape, handle in zip(placed.layer.tops, placed.tops, handles, strict=False):
            self.origins[blob] = Origin(shape, handle)

    def check(self, placed: Placed, handle: int) -> int:
        """The handle, if the operation's shape rule agrees with Caffe's."""
        expected, found = self.sample(placed.layer, placed.tops[0]), self.net.shape(handle)
        if expected != found and not (len(expected) > 3 and prod(expected) == prod(found)):
            raise placed.layer.error(f"{placed.layer.type} gives {list(found)} where Caffe has {list(expected)}")
        return handle

    def lone(self, placed: Placed) -> int | None:
        """The handle of the layer behind a bottom that nothing has read or copied yet, or None."""
        origin = self.origin(placed)
        alone = origin.handle is not None and origin.handle >= 0 and not origin.readers and not origin.copied
        return origin.handle if alone else None

    def fuse(self, placed: Placed, handle: int, op: Op) -> None:
        """Put an operation that does a second layer's work too in a layer's place."""
        layer = self.net.layers[handle]
        self.net.layers[handle] = replace(layer, op=op, parameters=sum(op.parameter_sizes(layer.inputs)))
        self.trained.add(handle)
        self._count_once(placed.layer, handle)

    def _count_once(self, layer: CaffeLayer, handle: int) -> None:
        """Parameters that a layer shares by name with an earlier one are that one's."""
        names = layer.shared_names
        if not any(names):
            return
        added = self.net.layers[handle]
        parameters = added.parameters
        for name, size in zip(names, added.op.parameter_sizes(added.inputs), strict=False):
            if name in self._shared:
                parameters -= size
            if name and self._shared.setdefault(name, size) != size:
                raise layer.error(f"parameters {name!r} are shared with {self._shared[name]} values, not {size}")
        self.net.layers[handle] = replace(added, parameters=parameters)

    def _free_name(self, name: str) -> str:
        """The name; of layers of one name, which Caffe allows, the second is `name#2`."""
        result = name
        while self.net.has(result):
            self._names[name] = self._names.get(name, 1) + 1
            result = f"{name}#{self._names[name]}"
        return result

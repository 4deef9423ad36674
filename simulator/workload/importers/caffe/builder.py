"""A `Network` filled from Caffe's blobs: which layer wrote a blob, and what a sample of it is."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from simulator.errors import InputError, UnsupportedError
from simulator.op.base import Op, Shape
from simulator.workload.importers.caffe.blobs import Placed
from simulator.workload.importers.caffe.definition import CaffeLayer
from simulator.workload.workload import Network


@dataclass(slots=True)
class Origin:
    """Where a blob comes from: a layer's handle, or an input that becomes one when a layer first reads it.

    Attributes
    ----------
    handle : None for an input that nothing has read, as a label that only losses and metrics see.
    readers : layers of the workload that read it.
    copied : whether a Split hands it to several.
    """

    shape: Shape
    handle: int | None = None
    readers: int = 0
    copied: bool = False


@dataclass(slots=True)
class Builder:
    """The network in the making; `batch` is the side of every blob that is not part of a sample."""

    batch: int
    net: Network = field(default_factory=lambda: Network(()))
    origins: dict[str, Origin] = field(default_factory=dict)
    trained: set[int] = field(default_factory=set)
    _shared: dict[str, int] = field(default_factory=dict)
    """Size of each parameter tensor that has a name."""
    _names: dict[str, int] = field(default_factory=dict)
    """How often each name was asked for."""

    def sample(self, layer: CaffeLayer, shape: Shape) -> Shape:
        """The shape of one sample: what follows the batch.

        Raises
        ------
        UnsupportedError
            If the blob's first side is not the batch.
        """
        if not shape or shape[0] != self.batch:
            text = f"{layer.type} mixes the samples of a batch of {self.batch} (blob {list(shape)})"
            raise UnsupportedError(str(layer.error(text)))
        return shape[1:] or (1,)

    def input(self, placed: Placed) -> None:
        """The tops of a layer that nothing feeds."""
        for blob, shape in zip(placed.layer.tops, placed.tops, strict=False):
            self.origins[blob] = Origin(shape)

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
        if expected != found:
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

"""Operations that move or rename elements and compute nothing: shuffle, slice, padding, image to positions and back."""

from __future__ import annotations

from typing import ClassVar

from simulator.errors import InputError
from simulator.op.base import Op, Pair, Shape, Shapes, Site, elements, elementwise, image, operation, pair
from simulator.op.convolution import padding_sides
from simulator.op.kernel import Kernel, OpClass, Phase, Role, Window


class Copy(Op, frozen=True):
    """Each input element is read once and each output element written once; backward the other way round."""

    def forward(self, site: Site) -> list[Kernel]:
        """One copy."""
        reads, writes = {Role.ACTIVATION: elements(site.inputs[0])}, {Role.ACTIVATION: elements(site.output)}
        return [elementwise(Phase.FORWARD, 0, reads, writes, OpClass.COPY)]

    def backward(self, site: Site) -> list[Kernel]:
        """One copy of the gradient, of those elements that the input has."""
        if not site.input_gradient:
            return []
        size = min(elements(site.inputs[0]), elements(site.output))
        writes = {Role.GRADIENT: elements(site.inputs[0])}
        return [elementwise(Phase.INPUT_GRADIENT, 0, {Role.GRADIENT: size}, writes, OpClass.COPY)]


class View(Op, frozen=True):
    """The same memory under another shape: no kernel."""

    view: ClassVar[bool] = True

    def forward(self, site: Site) -> list[Kernel]:  # noqa: ARG002
        """Nothing moves."""
        return []


@operation("channel_shuffle")
class ChannelShuffle(Copy, frozen=True):
    """Channels of `groups` groups interleaved, so that the next grouped convolution sees all groups: a copy.

    Source: Zhang et al., "ShuffleNet", CVPR 2018, section 3.1.
    """

    groups: int = 2

    def output_shape(self, inputs: Shapes) -> Shape:
        """The input's shape."""
        channels = image(inputs[0], self.kind)[0]
        if self.groups < 1 or channels % self.groups:
            raise InputError(f"channel_shuffle: {channels} channels do not divide into {self.groups} groups")
        return inputs[0]


@operation("zero_pad")
class ZeroPad(Copy, frozen=True):
    """Zeros around an image, where the operation after it cannot pad by itself: a copy into a larger image.

    `padding` is one number, (height, width) or (top, bottom, left, right).
    """

    padding: Pair

    def output_shape(self, inputs: Shapes) -> Shape:
        """The padded image."""
        channels, height, width = image(inputs[0], self.kind)
        top, bottom, left, right = padding_sides(self.padding, Window(), (height, width))
        return (channels, height + top + bottom, width + left + right)


@operation("channel_slice")
class ChannelSlice(View, frozen=True):
    """Channels `start` up to `stop` of a tensor, a view: its readers read that part alone.

    split : one part of a tensor that others of the kind share out between them: their gradients are put side by side,
        not added.
    """

    start: int
    stop: int
    split: bool = False

    def output_shape(self, inputs: Shapes) -> Shape:
        """The channels of the slice, all other sides as they are."""
        if not 0 <= self.start < self.stop <= inputs[0][0]:
            raise InputError(f"channel_slice: no channels {self.start} to {self.stop} in {list(inputs[0])}")
        return (self.stop - self.start, *inputs[0][1:])


@operation("part")
class Part(View, frozen=True):
    """A part of a tensor, of `shape`, a view; `split` as of `channel_slice`."""

    shape: tuple[int, ...]
    split: bool = False

    def output_shape(self, inputs: Shapes) -> Shape:
        """The part's shape."""
        whole = inputs[0]
        if len(self.shape) != len(whole) or any(part > side for part, side in zip(self.shape, whole, strict=True)):
            raise InputError(f"part: no part of {list(self.shape)} in {list(whole)}")
        return self.shape


@operation("feature_slice")
class FeatureSlice(View, frozen=True):
    """Features `start` up to `stop`, on the last side, a view; `split` as of `channel_slice`."""

    start: int
    stop: int
    split: bool = False

    def output_shape(self, inputs: Shapes) -> Shape:
        """The features of the slice, all other sides as they are."""
        if not 0 <= self.start < self.stop <= inputs[0][-1]:
            raise InputError(f"feature_slice: no features {self.start} to {self.stop} in {list(inputs[0])}")
        return (*inputs[0][:-1], self.stop - self.start)


@operation("to_positions")
class ToPositions(View, frozen=True):
    """(channels, height, width) seen as (height * width, channels): a view, the channels being stored last."""

    def output_shape(self, inputs: Shapes) -> Shape:
        """(positions, channels)."""
        channels, height, width = image(inputs[0], self.kind)
        return (height * width, channels)


@operation("to_image")
class ToImage(View, frozen=True):
    """(positions, channels) seen as (channels, height, width) again: the view that undoes `to_positions`."""

    size: Pair

    def output_shape(self, inputs: Shapes) -> Shape:
        """(channels, *size)."""
        height, width = pair(self.size, "size")
        if len(inputs[0]) != 2 or inputs[0][0] != height * width:
            raise InputError(f"to_image: {list(inputs[0])} is not a sequence of {height} x {width} positions")
        return (inputs[0][1], height, width)

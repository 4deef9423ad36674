"""Sequences: from images and token numbers to positions of features, and back to one vector."""

from __future__ import annotations

from typing import ClassVar

from simulator.errors import InputError
from simulator.op.base import Op, Shape, Shapes, Site, elements, elementwise, image, operation
from simulator.op.kernel import Affine, Kernel, OpClass, Phase, Role, each, once
from simulator.op.linear import Linear
from simulator.op.pooling import Reduction

TABLE_LIMIT = 2**40
"""Largest table of an embedding. [elements]"""


@operation("embedding")
class Embedding(Op, frozen=True):
    """A row of a table for each token, (positions,) -> (positions, features).

    Forward: a gather, no FLOP. Backward: the table's gradient is cleared, then each position's gradient is added to its
    row. A `tied` embedding reads the table of another layer and has no parameters of its own.
    """

    vocabulary: int
    features: int
    tied: bool = False

    full_width: ClassVar[bool] = True

    def output_shape(self, inputs: Shapes) -> Shape:
        """(positions, features)."""
        if len(inputs[0]) != 1 or min(self.vocabulary, self.features) < 1:
            raise InputError(f"embedding needs an input of (positions,) and positive sides, found {list(inputs[0])}")
        if self.vocabulary * self.features > TABLE_LIMIT:
            raise InputError(f"embedding: a table of {self.vocabulary} x {self.features} is larger than any memory")
        return inputs[0][0], self.features

    def parameter_sizes(self, inputs: Shapes) -> tuple[int, ...]:  # noqa: ARG002
        """The table."""
        return () if self.tied else (self.vocabulary * self.features,)

    def forward(self, site: Site) -> list[Kernel]:
        """One row a token."""
        size = elements(site.output)
        reads = {Role.INDEX: site.output[0], Role.WEIGHT: size}
        return [elementwise(Phase.FORWARD, 0, reads, {Role.ACTIVATION: size}, OpClass.LOOKUP)]

    def backward(self, site: Site) -> list[Kernel]:
        """Clear the gradient (a tied table's is there already), then add each position's to its row."""
        size = elements(site.output)
        reads = {Role.INDEX: site.output[0], Role.GRADIENT: size, Role.WEIGHT_GRADIENT: size}
        scatter = elementwise(Phase.WEIGHT_GRADIENT, size, reads, {Role.WEIGHT_GRADIENT: size}, OpClass.LOOKUP)
        if self.tied:
            return [scatter]
        written = ((Role.WEIGHT_GRADIENT, once(self.vocabulary * self.features)),)
        return [Kernel(OpClass.COPY, Phase.WEIGHT_GRADIENT, once(0), (), written), scatter]

    def saved(self, site: Site) -> tuple[tuple[Role, Affine], ...]:
        """The tokens."""
        return ((Role.INDEX, each(site.output[0])),)


@operation("position_embedding")
class PositionEmbedding(Op, frozen=True):
    """A trained vector for each position, added: one addition an element, forward and (over the batch) backward.

    `positions` is the length of the table; None takes the input's length.
    """

    positions: int | None = None

    full_width: ClassVar[bool] = True

    def output_shape(self, inputs: Shapes) -> Shape:
        """The input's shape."""
        if len(inputs[0]) != 2 or inputs[0][0] > (self.positions or inputs[0][0]):
            raise InputError(f"position_embedding: {list(inputs[0])} is longer than {self.positions} positions")
        return inputs[0]

    def parameter_sizes(self, inputs: Shapes) -> tuple[int, ...]:
        """The table."""
        return ((self.positions or inputs[0][0]) * inputs[0][1],)

    def forward(self, site: Site) -> list[Kernel]:
        """One pass; the table is read once for all samples."""
        size = elements(site.output)
        reads = ((Role.ACTIVATION, each(size)), (Role.WEIGHT, once(size)))
        return [Kernel(OpClass.ELEMENTWISE, Phase.FORWARD, each(size), reads, ((Role.ACTIVATION, each(size)),))]

    def backward(self, site: Site) -> list[Kernel]:
        """The sum of the gradient over the batch."""
        size = elements(site.output)
        written = ((Role.WEIGHT_GRADIENT, once(sum(self.parameter_sizes(site.inputs)))),)
        return [
            Kernel(OpClass.REDUCTION, Phase.WEIGHT_GRADIENT, each(size), ((Role.GRADIENT, each(size)),), written),
        ]


@operation("fixed_positions")
class FixedPositions(PositionEmbedding, frozen=True):
    """A vector of waves for each position, added, which nothing trains.

    `stored`: the table is among the weights, as published counts have it. Source: Vaswani et al., "Attention Is All You
    Need", NeurIPS 2017, section 3.5.
    """

    stored: bool = True

    untrained: ClassVar[bool] = True

    def parameter_sizes(self, inputs: Shapes) -> tuple[int, ...]:
        """The table."""
        return super().parameter_sizes(inputs) if self.stored else ()

    def backward(self, site: Site) -> list[Kernel]:  # noqa: ARG002
        """Nothing: the gradient passes as it is."""
        return []


@operation("tokens")
class Tokens(Op, frozen=True):
    """An image as a sequence, (channels, height, width) -> (pixels, channels), `prefix` trained tokens before it.

    A copy forward and one backward. Source: Dosovitskiy et al., ICLR 2021, arXiv 2010.11929, equation 1.
    """

    prefix: int = 0

    full_width: ClassVar[bool] = True

    def output_shape(self, inputs: Shapes) -> Shape:
        """(prefix + pixels, channels)."""
        channels, height, width = image(inputs[0], self.kind)
        if self.prefix < 0:
            raise InputError(f"tokens: prefix must be at least 0, found {self.prefix}")
        return self.prefix + height * width, channels

    def parameter_sizes(self, inputs: Shapes) -> tuple[int, ...]:
        """The trained tokens."""
        return (self.prefix * inputs[0][0],) if self.prefix else ()

    def forward(self, site: Site) -> list[Kernel]:
        """One copy."""
        reads = {Role.ACTIVATION: elements(site.inputs[0])}
        return [elementwise(Phase.FORWARD, 0, reads, {Role.ACTIVATION: elements(site.output)}, OpClass.COPY)]

    def backward(self, site: Site) -> list[Kernel]:
        """One copy, and the sum over the batch for the trained tokens."""
        size, trained = elements(site.inputs[0]), sum(self.parameter_sizes(site.inputs))
        moved = {Role.GRADIENT: size}
        result = [elementwise(Phase.INPUT_GRADIENT, 0, moved, moved, OpClass.COPY)] if site.input_gradient else []
        if trained:
            reads = ((Role.GRADIENT, each(trained)),)
            writes = ((Role.WEIGHT_GRADIENT, once(trained)),)
            result.append(Kernel(OpClass.REDUCTION, Phase.WEIGHT_GRADIENT, each(trained), reads, writes))
        return result


@operation("first")
class First(Op, frozen=True):
    """The first position's features, (positions, features) -> (features,): no kernel; zeros for the rest backward."""

    view: ClassVar[bool] = True

    def output_shape(self, inputs: Shapes) -> Shape:
        """(features,)."""
        return (_sequence(self.kind, inputs[0])[1],)

    def forward(self, site: Site) -> list[Kernel]:  # noqa: ARG002
        """Nothing moves."""
        return []

    def backward(self, site: Site) -> list[Kernel]:
        """Zeros, and the one row."""
        if not site.input_gradient:
            return []
        reads = {Role.GRADIENT: elements(site.output)}
        writes = {Role.GRADIENT: elements(site.inputs[0])}
        return [elementwise(Phase.INPUT_GRADIENT, 0, reads, writes, OpClass.COPY)]


@operation("mean_positions")
class MeanPositions(Reduction, frozen=True):
    """The average over positions, (positions, features) -> (features,): one operation an input, spread backward."""

    def output_shape(self, inputs: Shapes) -> Shape:
        """(features,)."""
        return (_sequence(self.kind, inputs[0])[1],)


@operation("reorder")
class Reorder(Op, frozen=True):
    """The same values in another order, padded with zeros or cut: `copies` copies forward and as many backward.

    Windows of an image (Swin: a partition, before it a cyclic shift) and the merging of neighbouring patches.
    """

    positions: int
    features: int
    copies: int = 1

    def output_shape(self, inputs: Shapes) -> Shape:
        """(positions, features)."""
        _sequence(self.kind, inputs[0])
        if not 1 <= self.copies <= 8:
            raise InputError(f"reorder: copies must be 1 to 8, found {self.copies}")
        return self.positions, self.features

    def forward(self, site: Site) -> list[Kernel]:
        """One kernel a copy."""
        reads = {Role.ACTIVATION: elements(site.inputs[0])}
        writes = {Role.ACTIVATION: elements(site.output)}
        return [elementwise(Phase.FORWARD, 0, reads, writes, OpClass.COPY)] * self.copies

    def backward(self, site: Site) -> list[Kernel]:
        """One kernel a copy."""
        if not site.input_gradient:
            return []
        reads = {Role.GRADIENT: elements(site.output)}
        writes = {Role.GRADIENT: elements(site.inputs[0])}
        return [elementwise(Phase.INPUT_GRADIENT, 0, reads, writes, OpClass.COPY)] * self.copies


@operation("tied_linear")
class TiedLinear(Linear, frozen=True):
    """A fully connected layer whose weight is the table of an embedding: it reads the weight and has none of its own.

    The weight's gradient is added to the embedding's. Source: Press, Wolf, "Using the Output Embedding to Improve
    Language Models", EACL 2017.
    """

    bias: bool = False

    def parameter_sizes(self, inputs: Shapes) -> tuple[int, ...]:
        """The bias alone."""
        return super().parameter_sizes(inputs)[1:]

    def forward(self, site: Site) -> list[Kernel]:
        """As a fully connected layer."""
        return Linear(out=self.out, bias=self.bias).forward(site)

    def backward(self, site: Site) -> list[Kernel]:
        """As a fully connected layer, and the sum of the two gradients of the shared weight."""
        weight = self.out * site.inputs[0][-1]
        reads = ((Role.WEIGHT_GRADIENT, once(2 * weight)),)
        writes = ((Role.WEIGHT_GRADIENT, once(weight)),)
        addition = Kernel(OpClass.ELEMENTWISE, Phase.WEIGHT_GRADIENT, once(weight), reads, writes)
        return [*Linear(out=self.out, bias=self.bias).backward(site), addition]


def _sequence(kind: str, shape: Shape) -> tuple[int, int]:
    if len(shape) != 2:
        raise InputError(f"{kind} needs an input of (positions, features), found {list(shape)}")
    return shape[0], shape[1]

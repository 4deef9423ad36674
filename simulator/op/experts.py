"""Mixture of experts: the choice of experts for each position, and the experts' feed-forward networks."""

from __future__ import annotations

from typing import ClassVar, Literal

from simulator.errors import InputError
from simulator.op.activation import Activation, GeluTanh, Relu, Silu
from simulator.op.base import Counts, Op, Shape, Shapes, Site, elements, elementwise, operation
from simulator.op.elementwise import ReluSquared
from simulator.op.gelu import Gelu, GeluNew, QuickGelu
from simulator.op.kernel import Affine, Gemm, Kernel, OpClass, Phase, Role, each, once
from simulator.units import FLOPS_PER_MAC

ACTIVATIONS: dict[str, type[Activation]] = {
    "gelu": Gelu,
    "gelu_new": GeluNew,
    "gelu_tanh": GeluTanh,
    "quick_gelu": QuickGelu,
    "relu": Relu,
    "relu_squared": ReluSquared,
    "silu": Silu,
}

ActivationName = Literal["gelu", "gelu_new", "gelu_tanh", "quick_gelu", "relu", "relu_squared", "silu"]


@operation("route")
class Route(Op, frozen=True):
    """Each position's `active` best experts, (positions, experts) -> (positions, active) weights and their numbers.

    FLOPs: softmax (5) and one comparison a score; gradient through the softmax 4 a score. `scaled`: a trained factor
    for each expert multiplies its weight.
    Source: Shazeer et al., "Outrageously Large Neural Networks", ICLR 2017, arXiv 1701.06538, equations 3 to 5.
    """

    active: int
    scaled: bool = False

    saves_output: ClassVar[bool] = True

    def output_shape(self, inputs: Shapes) -> Shape:
        """(positions, active)."""
        if len(inputs[0]) != 2 or not 1 <= self.active <= inputs[0][1]:
            raise InputError(f"route: cannot choose {self.active} experts from scores of {list(inputs[0])}")
        return inputs[0][0], self.active

    def parameter_sizes(self, inputs: Shapes) -> tuple[int, ...]:
        """The factors."""
        return (inputs[0][1],) if self.scaled else ()

    def forward(self, site: Site) -> list[Kernel]:
        """One pass over the scores."""
        size, chosen = elements(site.inputs[0]), elements(site.output)
        flops = 6 * size + (chosen if self.scaled else 0)
        reads: dict[Role, float] = {Role.ACTIVATION: size}
        if self.scaled:
            reads[Role.WEIGHT] = chosen
        writes = {Role.ACTIVATION: chosen, Role.INDEX: chosen}
        return [elementwise(Phase.FORWARD, flops, reads, writes, OpClass.SOFTMAX)]

    def backward(self, site: Site) -> list[Kernel]:
        """The chosen weights' gradients through the softmax; the factors', a sum over all positions."""
        size, chosen = elements(site.inputs[0]), elements(site.output)
        reads = {Role.GRADIENT: chosen, Role.INDEX: chosen, Role.ACTIVATION: size}
        through = elementwise(Phase.INPUT_GRADIENT, 4 * size, reads, {Role.GRADIENT: size}, OpClass.SOFTMAX)
        result = [through] if site.input_gradient else []
        if self.scaled:
            moved = ((Role.GRADIENT, each(chosen)), (Role.ACTIVATION, each(chosen)), (Role.INDEX, each(chosen)))
            written = ((Role.WEIGHT_GRADIENT, once(site.inputs[0][1])),)
            result.append(Kernel(OpClass.REDUCTION, Phase.WEIGHT_GRADIENT, each(2 * chosen), moved, written))
        return result

    def saved(self, site: Site) -> tuple[tuple[Role, Affine], ...]:
        """The scores after the softmax and the experts' numbers."""
        return ((Role.ACTIVATION, each(elements(site.inputs[0]))), (Role.INDEX, each(elements(site.output))))


@operation("experts")
class Experts(Op, frozen=True):
    """Feed-forward networks, of which each position passes `active`, weighted.

    Inputs: (positions, features) and the (positions, active) weights of `route`. Kernels: positions copied in the order
    of their experts, a grouped product (a group for each expert, B * positions * active / experts rows each, as
    balanced routing has it), activation, a grouped product, the weighted sum. All experts' weights are read, as they
    are once a batch has a few positions for each expert.

    Counts: MACs a position = active * width * features * (3 if gated, else 2). `held` experts are on this device, where
    the others are on others (expert parallelism): as many rows as positions choose are here, of other devices' too.
    Source: Fedus et al., "Switch Transformers", JMLR 2022; Gale et al., "MegaBlocks", MLSys 2023.
    """

    count: int
    active: int
    width: int
    gated: bool = True
    bias: bool = False
    activation: ActivationName = "silu"
    held: int | None = None

    arity: ClassVar[tuple[int, int | None]] = (2, 2)
    saves_input: ClassVar[bool] = True

    def output_shape(self, inputs: Shapes) -> Shape:
        """The first input's shape."""
        if min(self.count, self.active, self.width) < 1 or self.active > self.count:
            raise InputError(f"experts: cannot activate {self.active} of {self.count} experts of width {self.width}")
        if len(inputs[0]) != 2 or inputs[1] != (inputs[0][0], self.active):
            raise InputError(f"experts: weights {list(inputs[1])} do not route {list(inputs[0])} to {self.active}")
        if self.held is not None and not 1 <= self.held <= self.count:
            raise InputError(f"experts: a device holds 1 to {self.count} experts, found {self.held}")
        return inputs[0]

    @property
    def here(self) -> int:
        """Experts on this device."""
        return self.held or self.count

    @property
    def _first(self) -> int:
        """Outputs of an expert's first product."""
        return 2 * self.width if self.gated else self.width

    def _matrices(self, inputs: Shapes) -> tuple[int, int]:
        features = inputs[0][1]
        return self.here * self._first * features, self.here * self.width * features

    def parameter_sizes(self, inputs: Shapes) -> tuple[int, ...]:
        """The two stacks of matrices, and their biases."""
        biases = (self.here * self._first, self.here * inputs[0][1]) if self.bias else ()
        return (*self._matrices(inputs), *biases)

    def counts(self, site: Site) -> Counts:
        """MACs of the chosen experts; the rest as FLOPs of the kernels."""
        macs = self._rows(site) * site.inputs[0][1] * (self._first + self.width)
        return Counts(macs, int(sum(kernel.flops.per_sample for kernel in self.forward(site))))

    def _rows(self, site: Site) -> int:
        """Positions times their experts."""
        return site.inputs[0][0] * self.active

    def _product(self, phase: Phase, site: Site, sides: tuple[int, int]) -> Kernel:
        """Rows of each expert by its (in x out) matrix, forward or backward."""
        depth, columns = sides
        rows, weights = self._rows(site), self.here * depth * columns
        role = Role.ACTIVATION if phase is Phase.FORWARD else Role.GRADIENT
        return Kernel(
            OpClass.GEMM,
            phase,
            each(FLOPS_PER_MAC * rows * depth * columns),
            ((role, each(rows * depth)), (Role.WEIGHT, once(weights))),
            ((role, each(rows * columns)),),
            Gemm(each(rows / self.here), once(columns), once(depth), self.here),
            streamed=each(rows * depth),
            reuse=columns,
        )

    def _weight_gradient(self, site: Site, sides: tuple[int, int]) -> Kernel:
        """The weight gradient of a product of (in x out) matrices, and of its bias."""
        depth, columns = sides
        rows = self._rows(site)
        written = self.here * columns * (depth + self.bias)
        return Kernel(
            OpClass.GEMM,
            Phase.WEIGHT_GRADIENT,
            each(FLOPS_PER_MAC * rows * depth * columns),
            ((Role.ACTIVATION, each(rows * depth)), (Role.GRADIENT, each(rows * columns))),
            ((Role.WEIGHT_GRADIENT, once(written)),),
            Gemm(once(columns), once(depth), each(rows / self.here), self.here),
            streamed=each(rows * depth),
            reuse=columns,
        )

    def forward(self, site: Site) -> list[Kernel]:
        """Gather, product, activation, product, weighted sum."""
        features, rows = site.inputs[0][1], self._rows(site)
        size, copied = elements(site.output), rows * features
        inner = rows * self.width
        rule = ACTIVATIONS[self.activation]
        gather = {Role.ACTIVATION: size, Role.INDEX: rows}
        combine = {Role.ACTIVATION: copied + rows, Role.INDEX: rows}
        first = {Role.ACTIVATION: rows * self._first}
        flops = (rule.forward_flops + self.gated) * inner
        phase = Phase.FORWARD
        return [
            elementwise(phase, 0, gather, {Role.ACTIVATION: copied}, OpClass.COPY),
            self._product(phase, site, (features, self._first)),
            elementwise(phase, flops, first, {Role.ACTIVATION: inner}),
            self._product(phase, site, (self.width, features)),
            elementwise(phase, 2 * copied, combine, {Role.ACTIVATION: size}),
        ]

    def backward(self, site: Site) -> list[Kernel]:
        """The same backwards; the weights of `route` get the product of output and gradient, summed."""
        features, rows = site.inputs[0][1], self._rows(site)
        size, copied = elements(site.output), rows * features
        spread = {Role.GRADIENT: size, Role.ACTIVATION: copied + rows, Role.INDEX: rows}
        result = [elementwise(Phase.INPUT_GRADIENT, 3 * copied, spread, {Role.GRADIENT: copied + rows})]
        result.append(self._product(Phase.INPUT_GRADIENT, site, (features, self.width)))
        result.append(self._weight_gradient(site, (self.width, features)))
        result.append(self._activation_gradient(rows))
        if site.input_gradient:
            result.append(self._product(Phase.INPUT_GRADIENT, site, (self._first, features)))
        result.append(self._weight_gradient(site, (features, self._first)))
        if site.input_gradient:
            gather = {Role.GRADIENT: copied, Role.INDEX: rows}
            result.append(elementwise(Phase.INPUT_GRADIENT, copied - size, gather, {Role.GRADIENT: size}))
        return result

    def _activation_gradient(self, rows: int) -> Kernel:
        rule = ACTIVATIONS[self.activation]
        inner, first = rows * self.width, rows * self._first
        flops = (rule.backward_flops + (2 + rule.forward_flops if self.gated else 0)) * inner
        reads = {Role.ACTIVATION: first, Role.GRADIENT: inner}
        return elementwise(Phase.INPUT_GRADIENT, flops, reads, {Role.GRADIENT: first})

    def saved(self, site: Site) -> tuple[tuple[Role, Affine], ...]:
        """The copied positions, both sides of the activation, the experts' outputs, the order."""
        rows = self._rows(site)
        kept = rows * (2 * site.inputs[0][1] + self._first + self.width)
        return ((Role.ACTIVATION, each(kept)), (Role.INDEX, each(rows)))

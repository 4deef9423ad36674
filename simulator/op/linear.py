"""Fully connected layers."""

from __future__ import annotations

from typing import ClassVar

from simulator.errors import InputError
from simulator.op.base import Counts, Op, Shape, Shapes, Site, elements, operation
from simulator.op.convolution import bias_gradient
from simulator.op.kernel import Gemm, Kernel, OpClass, Phase, Role, each, once
from simulator.units import FLOPS_PER_MAC


@operation("linear")
class Linear(Op, frozen=True):
    """A fully connected layer.

    An image (channels, height, width) or a vector (features,) becomes (out,); a sequence (positions, features) becomes
    (positions, out). Counts: I * J MACs a position, forward and for each gradient.
    """

    out: int
    bias: bool = True

    saves_input: ClassVar[bool] = True
    takes_fold: ClassVar[bool] = True

    def output_shape(self, inputs: Shapes) -> Shape:
        """(out,), or (positions, out) of a sequence."""
        if self.out < 1:
            raise InputError(f"linear: out must be at least 1, found {self.out}")
        return (inputs[0][0], self.out) if len(inputs[0]) == 2 else (self.out,)

    def _sides(self, inputs: Shapes) -> tuple[int, int]:
        """(positions, input features)."""
        shape = inputs[0]
        return (shape[0], shape[1]) if len(shape) == 2 else (1, elements(shape))

    def parameter_sizes(self, inputs: Shapes) -> tuple[int, ...]:
        """Weight (out * in) and bias (out)."""
        weight = self.out * self._sides(inputs)[1]
        return (weight, self.out) if self.bias else (weight,)

    def counts(self, site: Site) -> Counts:
        """I * J MACs a position; the bias starts the accumulator and costs nothing."""
        macs = elements(site.inputs[0]) * self.out
        return Counts(macs, FLOPS_PER_MAC * macs)

    def article_counts(self, site: Site) -> Counts:
        """(I + 1) * J operations with a bias; (2I - 1) * J FLOP, 2 * I * J with a bias."""
        macs, outputs = self.counts(site).macs, elements(site.output)
        return (
            Counts(macs + outputs, FLOPS_PER_MAC * macs) if self.bias else Counts(macs, FLOPS_PER_MAC * macs - outputs)
        )

    def forward(self, site: Site) -> list[Kernel]:
        """One GEMM of (B * positions) x out x in."""
        positions, features = self._sides(site.inputs)
        return [
            Kernel(
                OpClass.GEMM,
                Phase.FORWARD,
                each(self.counts(site).flops),
                (
                    (Role.ACTIVATION, each(elements(site.inputs[0]))),
                    (Role.WEIGHT, once(sum(self.parameter_sizes(site.inputs)))),
                ),
                ((Role.ACTIVATION, each(elements(site.output))),),
                Gemm(each(positions), once(self.out), once(features)),
                streamed=each(elements(site.inputs[0])),
                reuse=self.out,
            )
        ]

    def backward(self, site: Site) -> list[Kernel]:
        """Input gradient dY * W, weight gradient dY' * X, bias gradient."""
        positions, features = self._sides(site.inputs)
        flops = each(self.counts(site).flops)
        weight, inputs, outputs = self.out * features, elements(site.inputs[0]), elements(site.output)
        result = []
        if site.input_gradient:
            result.append(
                Kernel(
                    OpClass.GEMM,
                    Phase.INPUT_GRADIENT,
                    flops,
                    ((Role.GRADIENT, each(outputs)), (Role.WEIGHT, once(weight))),
                    ((Role.GRADIENT, each(inputs)),),
                    Gemm(each(positions), once(features), once(self.out)),
                    streamed=each(outputs),
                    reuse=features,
                )
            )
        result.append(
            Kernel(
                OpClass.GEMM,
                Phase.WEIGHT_GRADIENT,
                flops,
                ((Role.ACTIVATION, each(inputs)), (Role.GRADIENT, each(outputs))),
                ((Role.WEIGHT_GRADIENT, once(weight)),),
                Gemm(once(self.out), once(features), each(positions)),
                streamed=each(inputs),
                reuse=self.out,
            )
        )
        if self.bias:
            result.append(bias_gradient(outputs, self.out))
        return result

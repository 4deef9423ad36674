"""Convolution: groups, dilation, asymmetric kernels, strides and padding."""

from __future__ import annotations

from typing import ClassVar, Literal

from simulator.errors import InputError
from simulator.op.base import Counts, Op, Pair, Shape, Shapes, Site, elements, image, operation, pair
from simulator.op.kernel import Gemm, Kernel, OpClass, Phase, Role, Window, each, once
from simulator.units import FLOPS_PER_MAC

Padding = int | tuple[int, ...] | Literal["same"]


@operation("conv")
class Convolution(Op, frozen=True):
    """A two-dimensional convolution, (channels, height, width) -> (out, height', width').

    Counts: MACs = K_h * K_w * C_in * H_out * W_out * C_out / groups, forward, and again for each of the two gradients
    (the input gradient is a convolution with the transposed kernel, the weight gradient correlates input and output
    gradient: each pairs every output element with every weight that touches it).

    `padding` is one number, (height, width), (top, bottom, left, right) or "same" (output = ceil(input / stride)).
    """

    out: int
    kernel: Pair
    stride: Pair = 1
    padding: Padding = 0
    dilation: Pair = 1
    groups: int = 1
    bias: bool = True

    saves_input: ClassVar[bool] = True
    takes_fold: ClassVar[bool] = True

    def window(self, inputs: Shapes) -> Window:  # noqa: ARG002
        """Kernel, stride and dilation."""
        return Window(pair(self.kernel, "kernel"), pair(self.stride, "stride"), pair(self.dilation, "dilation"))

    def output_shape(self, inputs: Shapes) -> Shape:
        """(out, height, width), sides rounded down."""
        channels, height, width = image(inputs[0], "conv")
        if self.groups < 1 or self.out < 1 or channels % self.groups or self.out % self.groups:
            raise InputError(f"conv: {channels} inputs and {self.out} outputs do not divide into {self.groups} groups")
        window = self.window(inputs)
        top, bottom, left, right = padding_sides(self.padding, window, (height, width))
        return (
            self.out,
            slide(height + top + bottom, window.kernel[0], window.stride[0], window.dilation[0]),
            slide(width + left + right, window.kernel[1], window.stride[1], window.dilation[1]),
        )

    def parameter_sizes(self, inputs: Shapes) -> tuple[int, ...]:
        """Weight (out * in / groups * kernel area) and bias (out)."""
        weight = self.out * self._depth(inputs)
        return (weight, self.out) if self.bias else (weight,)

    def _depth(self, inputs: Shapes) -> int:
        """Length of one dot product."""
        kernel = pair(self.kernel, "kernel")
        return inputs[0][0] // self.groups * kernel[0] * kernel[1]

    def counts(self, site: Site) -> Counts:
        """MACs by the formula above; the bias starts the accumulator and costs nothing."""
        macs = elements(site.output) * self._depth(site.inputs)
        return Counts(macs, FLOPS_PER_MAC * macs)

    def article_counts(self, site: Site) -> Counts:
        """The bias as one more operation of each output; twice the MACs as FLOPs."""
        macs = self.counts(site).macs + (elements(site.output) if self.bias else 0)
        return Counts(macs, FLOPS_PER_MAC * self.counts(site).macs)

    def forward(self, site: Site) -> list[Kernel]:
        """One implicit GEMM of (B * H_out * W_out) x (C_out / g) x (C_in / g * K * K), g times."""
        kernel = pair(self.kernel, "kernel")
        per_group = self.out // self.groups
        rows = site.output[1] * site.output[2]
        return [
            Kernel(
                OpClass.CONVOLUTION,
                Phase.FORWARD,
                each(self.counts(site).flops),
                ((Role.ACTIVATION, each(elements(site.inputs[0]))), (Role.WEIGHT, once(self._weights(site)))),
                ((Role.ACTIVATION, each(elements(site.output))),),
                Gemm(each(rows), once(per_group), once(self._depth(site.inputs)), self.groups),
                self.window(site.inputs),
                each(elements(site.inputs[0])),
                kernel[0] * kernel[1] * per_group,
            )
        ]

    def _weights(self, site: Site) -> int:
        return sum(self.parameter_sizes(site.inputs))

    def backward(self, site: Site) -> list[Kernel]:
        """Input gradient, weight gradient, and the bias gradient as a sum over the output gradient."""
        result = [self._input_gradient(site)] if site.input_gradient else []
        result.append(self._weight_gradient(site))
        if self.bias:
            result.append(bias_gradient(elements(site.output), self.out))
        return result

    def _input_gradient(self, site: Site) -> Kernel:
        kernel = pair(self.kernel, "kernel")
        area = kernel[0] * kernel[1]
        channels = site.inputs[0][0] // self.groups
        rows = site.output[1] * site.output[2]
        return Kernel(
            OpClass.CONVOLUTION,
            Phase.INPUT_GRADIENT,
            each(self.counts(site).flops),
            (
                (Role.GRADIENT, each(elements(site.output))),
                (Role.WEIGHT, once(self.parameter_sizes(site.inputs)[0])),
            ),
            ((Role.GRADIENT, each(elements(site.inputs[0]))),),
            Gemm(each(rows), once(channels), once(self.out // self.groups * area), self.groups),
            self.window(site.inputs),
            each(elements(site.output)),
            area * channels,
        )

    def _weight_gradient(self, site: Site) -> Kernel:
        kernel = pair(self.kernel, "kernel")
        per_group = self.out // self.groups
        rows = site.output[1] * site.output[2]
        return Kernel(
            OpClass.CONVOLUTION,
            Phase.WEIGHT_GRADIENT,
            each(self.counts(site).flops),
            (
                (Role.ACTIVATION, each(elements(site.inputs[0]))),
                (Role.GRADIENT, each(elements(site.output))),
            ),
            ((Role.WEIGHT_GRADIENT, once(self.parameter_sizes(site.inputs)[0])),),
            Gemm(once(per_group), once(self._depth(site.inputs)), each(rows), self.groups),
            self.window(site.inputs),
            each(elements(site.inputs[0])),
            kernel[0] * kernel[1] * per_group,
        )


def bias_gradient(outputs: int, channels: int) -> Kernel:
    """The sum of the output gradient over batch and positions: one addition an element."""
    return Kernel(
        OpClass.REDUCTION,
        Phase.WEIGHT_GRADIENT,
        each(outputs),
        ((Role.GRADIENT, each(outputs)),),
        ((Role.WEIGHT_GRADIENT, once(channels)),),
    )


def slide(size: int, kernel: int, stride: int, dilation: int = 1, *, ceil: bool = False) -> int:
    """Positions of a window along one side: (size - dilation * (kernel - 1) - 1) / stride + 1, down or up.

    Raises
    ------
    InputError
        If the window is larger than the padded input.
    """
    room = size - dilation * (kernel - 1) - 1
    if room < 0:
        raise InputError(f"a kernel of {kernel} (dilation {dilation}) is larger than its padded input of {size}")
    return (-(-room // stride) if ceil else room // stride) + 1


def padding_sides(padding: Padding, window: Window, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """(top, bottom, left, right) of a padding in any of its spellings."""
    if padding == "same":
        sides = [_same(*axis) for axis in zip(size, window.kernel, window.stride, window.dilation, strict=True)]
        return (*sides[0], *sides[1])
    if isinstance(padding, tuple) and len(padding) == 4 and min(padding) >= 0:
        return padding[0], padding[1], padding[2], padding[3]
    if isinstance(padding, str):
        raise InputError(f"padding must be numbers or 'same', found {padding!r}")
    height, width = pair(padding, "padding", least=0)
    return height, height, width, width


def _same(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """TensorFlow's SAME: as much padding as makes the output ceil(size / stride), the odd one at the end."""
    total = max(0, (-(-size // stride) - 1) * stride + dilation * (kernel - 1) + 1 - size)
    return total // 2, total - total // 2

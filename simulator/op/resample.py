"""Operations that enlarge an image: interpolation and transposed convolution."""

from __future__ import annotations

from typing import ClassVar, Literal

from simulator.errors import InputError
from simulator.op.base import Counts, Op, Pair, Shape, Shapes, Site, elements, elementwise, image, operation, pair
from simulator.op.convolution import bias_gradient, padding_sides
from simulator.op.kernel import Affine, Gemm, Kernel, OpClass, Phase, Role, Window, each, once
from simulator.units import FLOPS_PER_MAC

BILINEAR_FLOPS = 8
"""Weights of 4 taps, 4 products and 3 additions, where the weights of a row and of a column are shared: about 8."""


@operation("upsample")
class Upsample(Op, frozen=True):
    """An image enlarged by interpolation, by a factor `scale` or to a `size`.

    `nearest` copies, and its gradient adds the outputs of each input. `bilinear` weighs 4 inputs: 8 FLOP an output,
    forward and backward.
    """

    scale: Pair = 2
    size: Pair | None = None
    mode: Literal["nearest", "bilinear"] = "nearest"

    def output_shape(self, inputs: Shapes) -> Shape:
        """(channels, height', width')."""
        channels, height, width = image(inputs[0], self.kind)
        if self.size is not None:
            return (channels, *pair(self.size, "size"))
        scale = pair(self.scale, "scale")
        return (channels, height * scale[0], width * scale[1])

    def forward(self, site: Site) -> list[Kernel]:
        """One pass."""
        size, bilinear = elements(site.output), self.mode == "bilinear"
        reads, writes = {Role.ACTIVATION: elements(site.inputs[0])}, {Role.ACTIVATION: size}
        op_class = OpClass.POOLING if bilinear else OpClass.COPY
        return [elementwise(Phase.FORWARD, BILINEAR_FLOPS * size if bilinear else 0, reads, writes, op_class)]

    def backward(self, site: Site) -> list[Kernel]:
        """Each input gathers the gradients of the outputs that it touched."""
        if not site.input_gradient:
            return []
        size = elements(site.output)
        flops = BILINEAR_FLOPS * size if self.mode == "bilinear" else size
        writes = {Role.GRADIENT: elements(site.inputs[0])}
        return [elementwise(Phase.INPUT_GRADIENT, flops, {Role.GRADIENT: size}, writes, OpClass.POOLING)]


@operation("conv_transpose")
class TransposedConvolution(Op, frozen=True):
    """The input gradient of a convolution as a layer, (channels, height, width) -> (out, height', width').

    Counts: MACs = K_h * K_w * C_in * H_in * W_in * out / groups, forward and for each gradient: every input element
    meets every weight of its channel. Sides: (H - 1) * stride - padding + dilation * (K - 1) + 1 + output_padding.
    Source: Dumoulin, Visin, "A guide to convolution arithmetic for deep learning", 2016, arXiv 1603.07285, section 4.
    """

    out: int
    kernel: Pair
    stride: Pair = 1
    padding: Pair = 0
    output_padding: Pair = 0
    dilation: Pair = 1
    groups: int = 1
    bias: bool = True

    saves_input: ClassVar[bool] = True
    takes_fold: ClassVar[bool] = True

    def output_shape(self, inputs: Shapes) -> Shape:
        """(out, height', width')."""
        channels, height, width = image(inputs[0], self.kind)
        if self.groups < 1 or self.out < 1 or channels % self.groups or self.out % self.groups:
            text = f"{channels} inputs and {self.out} outputs do not divide into {self.groups} groups"
            raise InputError(f"{self.kind}: {text}")
        kernel, stride = pair(self.kernel, "kernel"), pair(self.stride, "stride")
        dilation, extra = pair(self.dilation, "dilation"), pair(self.output_padding, "output_padding", least=0)
        top, bottom, left, right = padding_sides(self.padding, Window(), (height, width))
        return (
            self.out,
            (height - 1) * stride[0] - top - bottom + dilation[0] * (kernel[0] - 1) + 1 + extra[0],
            (width - 1) * stride[1] - left - right + dilation[1] * (kernel[1] - 1) + 1 + extra[1],
        )

    def parameter_sizes(self, inputs: Shapes) -> tuple[int, ...]:
        """Weight (in * out / groups * kernel area) and bias (out)."""
        weight = inputs[0][0] * self._fan_out()
        return (weight, self.out) if self.bias else (weight,)

    def _fan_out(self) -> int:
        """Outputs that one input element touches."""
        kernel = pair(self.kernel, "kernel")
        return self.out // self.groups * kernel[0] * kernel[1]

    def counts(self, site: Site) -> Counts:
        """MACs by the formula above; the bias starts the accumulator and costs nothing."""
        macs = elements(site.inputs[0]) * self._fan_out()
        return Counts(macs, FLOPS_PER_MAC * macs)

    def forward(self, site: Site) -> list[Kernel]:
        """Groups of (B * H_in * W_in) x (out / g) x (C_in / g * K * K), as a convolution's input gradient."""
        channels, rows, area = self._sides(site)
        reads = (
            (Role.ACTIVATION, each(elements(site.inputs[0]))),
            (Role.WEIGHT, once(sum(self.parameter_sizes(site.inputs)))),
        )
        gemm = Gemm(each(rows), once(self.out // self.groups), once(channels * area), self.groups)
        written = (Role.ACTIVATION, each(elements(site.output)))
        return [self._kernel(site, Phase.FORWARD, reads, written, gemm)]

    def backward(self, site: Site) -> list[Kernel]:
        """Input gradient (a convolution of the output gradient), weight gradient, bias gradient."""
        channels, rows, _ = self._sides(site)
        weight = once(self.parameter_sizes(site.inputs)[0])
        gradient, activation = (Role.GRADIENT, each(elements(site.output))), each(elements(site.inputs[0]))
        result = []
        if site.input_gradient:
            gemm = Gemm(each(rows), once(channels), once(self._fan_out()), self.groups)
            reads = (gradient, (Role.WEIGHT, weight))
            result.append(self._kernel(site, Phase.INPUT_GRADIENT, reads, (Role.GRADIENT, activation), gemm))
        gemm = Gemm(once(channels), once(self._fan_out()), each(rows), self.groups)
        reads = ((Role.ACTIVATION, activation), gradient)
        result.append(self._kernel(site, Phase.WEIGHT_GRADIENT, reads, (Role.WEIGHT_GRADIENT, weight), gemm))
        return [*result, bias_gradient(elements(site.output), self.out)] if self.bias else result

    def _sides(self, site: Site) -> tuple[int, int, int]:
        """Input channels of a group, input positions, kernel area."""
        channels, height, width = site.inputs[0]
        kernel = pair(self.kernel, "kernel")
        return channels // self.groups, height * width, kernel[0] * kernel[1]

    def _kernel(
        self,
        site: Site,
        phase: Phase,
        read: tuple[tuple[Role, Affine], ...],
        written: tuple[Role, Affine],
        gemm: Gemm,
    ) -> Kernel:
        """A product whose streamed operand, the image side first read, meets each of its weights."""
        window = Window(pair(self.kernel, "kernel"), pair(self.stride, "stride"), pair(self.dilation, "dilation"))
        flops = each(self.counts(site).flops)
        streamed = read[0][1]
        reuse = flops.per_sample / FLOPS_PER_MAC / streamed.per_sample
        return Kernel(OpClass.CONVOLUTION, phase, flops, read, (written,), gemm, window, streamed, reuse)

"""Element-wise activation functions, softmax, dropout and the loss.

FLOPs an element: every addition, product, division, comparison, change of sign, exponential, logarithm and error
function counts one. A function whose slope follows from its output keeps that for the backward pass, as the next layer
does too; the others keep their input and compute from it again what they need.
"""

from __future__ import annotations

from typing import ClassVar

from simulator.op.base import Op, Shape, Shapes, Site, elements, elementwise, operation
from simulator.op.kernel import Affine, Kernel, OpClass, Phase, Role, each


class Activation(Op, frozen=True):
    """An element-wise function: reads the input once, writes the output once; backward from what it saved."""

    forward_flops: ClassVar[int] = 1
    backward_flops: ClassVar[int] = 1

    def forward(self, site: Site) -> list[Kernel]:
        """One pass."""
        size = elements(site.output)
        return [elementwise(Phase.FORWARD, self.forward_flops * size, {Role.ACTIVATION: size}, {Role.ACTIVATION: size})]

    def backward(self, site: Site) -> list[Kernel]:
        """One pass over the saved tensor and the output gradient."""
        size = elements(site.output)
        if not site.input_gradient:
            return []
        reads = {Role.ACTIVATION: size, Role.GRADIENT: size}
        return [elementwise(Phase.INPUT_GRADIENT, self.backward_flops * size, reads, {Role.GRADIENT: size})]


@operation("relu")
class Relu(Activation, frozen=True):
    """max(x, 0): one comparison; its sign is known from the output."""

    saves_output: ClassVar[bool] = True


@operation("relu6")
class Relu6(Activation, frozen=True):
    """min(max(x, 0), 6): two comparisons; PyTorch keeps the input, of which computing in place makes a copy."""

    forward_flops: ClassVar[int] = 2
    backward_flops: ClassVar[int] = 2
    saves_input: ClassVar[bool] = True


@operation("sigmoid")
class Sigmoid(Activation, frozen=True):
    """1 / (1 + exp(-x)): 4 FLOP; gradient g * y * (1 - y): 3."""

    forward_flops: ClassVar[int] = 4
    backward_flops: ClassVar[int] = 3
    saves_output: ClassVar[bool] = True


@operation("hard_tanh")
class HardTanh(Activation, frozen=True):
    """min(max(x, -1), 1): two comparisons, with what is kept as of ReLU6."""

    forward_flops: ClassVar[int] = 2
    backward_flops: ClassVar[int] = 2
    saves_input: ClassVar[bool] = True


@operation("leaky_relu")
class LeakyRelu(Activation, frozen=True):
    """x, or `slope` * x where x is negative: a comparison and a product, forward and backward.

    Source: Maas, Hannun, Ng, "Rectifier Nonlinearities Improve Neural Network Acoustic Models", 2013.
    """

    slope: float = 0.01

    forward_flops: ClassVar[int] = 2
    backward_flops: ClassVar[int] = 2
    saves_output: ClassVar[bool] = True


@operation("elu")
class Elu(Activation, frozen=True):
    """x, or `alpha` * (exp(x) - 1) where x is negative: 4 FLOP; gradient g or g * (y + alpha): 3.

    Source: Clevert, Unterthiner, Hochreiter, 2016, arXiv 1511.07289, equation 15.
    """

    alpha: float = 1.0

    forward_flops: ClassVar[int] = 4
    backward_flops: ClassVar[int] = 3
    saves_output: ClassVar[bool] = True


@operation("selu")
class Selu(Activation, frozen=True):
    """ELU times a constant: one product more each way. Source: Klambauer et al., 2017, arXiv 1706.02515, equation 2."""

    forward_flops: ClassVar[int] = 5
    backward_flops: ClassVar[int] = 4
    saves_output: ClassVar[bool] = True


@operation("tanh")
class Tanh(Activation, frozen=True):
    """(1 - e) / (1 + e) with e = exp(-2x): 5 FLOP; gradient g * (1 - y * y): 3."""

    forward_flops: ClassVar[int] = 5
    backward_flops: ClassVar[int] = 3
    saves_output: ClassVar[bool] = True


@operation("hard_sigmoid")
class HardSigmoid(Activation, frozen=True):
    """min(max(x + 3, 0), 6) / 6: 4 FLOP; gradient g / 6 inside, two comparisons and a division.

    Source: Howard et al., "Searching for MobileNetV3", ICCV 2019, section 5.2.
    """

    forward_flops: ClassVar[int] = 4
    backward_flops: ClassVar[int] = 3
    saves_output: ClassVar[bool] = True


@operation("hard_swish")
class HardSwish(Activation, frozen=True):
    """x * min(max(x + 3, 0), 6) / 6: 5 FLOP; gradient g * (x / 3 + 1/2) inside: 5.

    Source: Howard et al., "Searching for MobileNetV3", ICCV 2019, section 5.2.
    """

    forward_flops: ClassVar[int] = 5
    backward_flops: ClassVar[int] = 5
    saves_input: ClassVar[bool] = True


@operation("silu")
class Silu(Activation, frozen=True):
    """x * s with s = sigmoid(x), also named swish: 5 FLOP; gradient g * s * (1 + x * (1 - s)): 5 and 4 for s again.

    Source: Ramachandran, Zoph, Le, "Searching for Activation Functions", 2017, arXiv 1710.05941.
    """

    forward_flops: ClassVar[int] = 5
    backward_flops: ClassVar[int] = 9
    saves_input: ClassVar[bool] = True


@operation("gelu_tanh")
class GeluTanh(Activation, frozen=True):
    """GELU by a hyperbolic tangent, x / 2 * (1 + t) with t = tanh(a * (x + b * x * x * x)): 5 + 5 for t, and 3.

    Gradient g * ((1 + t) / 2 + x / 2 * (1 - t * t) * a * (1 + 3b * x * x)): 10 for t, 2, 4, 2, and 3 to join them.
    Source: Hendrycks, Gimpel, 2016, arXiv 1606.08415, section 2; the form that GPT-2 uses.
    """

    forward_flops: ClassVar[int] = 13
    backward_flops: ClassVar[int] = 21
    saves_input: ClassVar[bool] = True


@operation("softplus")
class Softplus(Activation, frozen=True):
    """log(1 + exp(x)): 3 FLOP; gradient g * sigmoid(x): 5."""

    forward_flops: ClassVar[int] = 3
    backward_flops: ClassVar[int] = 5
    saves_input: ClassVar[bool] = True


@operation("mish")
class Mish(Activation, frozen=True):
    """x * t with t = tanh(softplus(x)): 3 + 5 for t, and 1.

    Gradient g * (t + x * (1 - t * t) * sigmoid(x)): 8 for t, 4 for the sigmoid, and 6.
    Source: Misra, "Mish: A Self Regularized Non-Monotonic Activation Function", 2019, arXiv 1908.08681.
    """

    forward_flops: ClassVar[int] = 9
    backward_flops: ClassVar[int] = 18
    saves_input: ClassVar[bool] = True


@operation("softmax")
class Softmax(Op, frozen=True):
    """exp(x - max) / sum over the last side (the channels of a vector): 5 FLOP.

    They are maximum, difference, exponential, sum and quotient.
    Gradient y * (g - sum(g * y)): 4 FLOP an element.
    """

    saves_output: ClassVar[bool] = True

    def forward(self, site: Site) -> list[Kernel]:
        """One pass."""
        size = elements(site.output)
        through = {Role.ACTIVATION: size}
        return [elementwise(Phase.FORWARD, 5 * size, through, through, OpClass.SOFTMAX, site.output[-1])]

    def backward(self, site: Site) -> list[Kernel]:
        """One pass over output and output gradient."""
        size = elements(site.output)
        if not site.input_gradient:
            return []
        reads, row = {Role.ACTIVATION: size, Role.GRADIENT: size}, site.output[-1]
        return [elementwise(Phase.INPUT_GRADIENT, 4 * size, reads, {Role.GRADIENT: size}, OpClass.SOFTMAX, row)]


@operation("dropout")
class Dropout(Op, frozen=True):
    """Dropout: a mask of one flag an element, kept for the backward pass; nothing at inference."""

    rate: float = 0.5

    def forward(self, site: Site) -> list[Kernel]:
        """Draw, compare and scale."""
        size = elements(site.output)
        if not site.training:
            return []
        writes = {Role.ACTIVATION: size, Role.MASK: size}
        return [elementwise(Phase.FORWARD, 2 * size, {Role.ACTIVATION: size}, writes)]

    def backward(self, site: Site) -> list[Kernel]:
        """Mask and scale the gradient."""
        size = elements(site.output)
        if not site.input_gradient:
            return []
        reads = {Role.GRADIENT: size, Role.MASK: size}
        return [elementwise(Phase.INPUT_GRADIENT, 2 * size, reads, {Role.GRADIENT: size})]

    def saved(self, site: Site) -> tuple[tuple[Role, Affine], ...]:
        """The mask."""
        return ((Role.MASK, each(elements(site.output))),)


@operation("loss")
class CrossEntropyLoss(Op, frozen=True):
    """Softmax and negative logarithm of the label's probability; training only.

    The classes are the last side, or the channels of an image (channels, height, width), which has a label a pixel.
    Forward 5 FLOP a logit as softmax, backward 2 (probability minus label, times weight).
    """

    saves_input: ClassVar[bool] = True
    loss: ClassVar[bool] = True

    def output_shape(self, inputs: Shapes) -> Shape:
        """One number for the batch."""
        return (1,) if inputs[0] else ()

    def forward(self, site: Site) -> list[Kernel]:
        """One pass over the logits and the labels."""
        size = elements(site.inputs[0])
        row = _classes(site.inputs[0])
        labels = size // row
        if not site.training:
            return []
        reads = {Role.ACTIVATION: size, Role.INDEX: labels}
        return [elementwise(Phase.FORWARD, 5 * size, reads, {Role.ACTIVATION: labels}, OpClass.SOFTMAX, row)]

    def backward(self, site: Site) -> list[Kernel]:
        """One pass over the logits, writing their gradient."""
        size = elements(site.inputs[0])
        if not site.input_gradient:
            return []
        reads, writes, row = {Role.ACTIVATION: size}, {Role.GRADIENT: size}, _classes(site.inputs[0])
        return [elementwise(Phase.INPUT_GRADIENT, 2 * size, reads, writes, OpClass.SOFTMAX, row)]


def _classes(shape: Shape) -> int:
    """The channels of an image, the last side of anything else."""
    return shape[0] if len(shape) == 3 else shape[-1]

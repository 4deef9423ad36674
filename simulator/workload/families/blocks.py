"""Pieces that several families share."""

from __future__ import annotations

from simulator.op.activation import CrossEntropyLoss, Dropout, Relu, Sigmoid
from simulator.op.base import Op, Pair, pair
from simulator.op.combine import Flatten, Scale
from simulator.op.convolution import Convolution, Padding
from simulator.op.linear import Linear
from simulator.op.normalization import BatchNorm
from simulator.op.pooling import GlobalPool
from simulator.workload.workload import Network

RELU = Relu()
RELU_SIGMOID = (RELU, Sigmoid())


def conv_bn(
    net: Network,
    out: int,
    kernel: Pair,
    *sources: int,
    names: tuple[str, str],
    stride: Pair = 1,
    padding: Padding = 0,
    groups: int = 1,
) -> int:
    """Convolution without bias, then batch normalisation."""
    convolution = Convolution(out=out, kernel=kernel, stride=stride, padding=padding, groups=groups, bias=False)
    return net.add(BatchNorm(), net.add(convolution, *sources, name=names[0]), name=names[1])


def centred(out: int, kernel: Pair, *, stride: int = 1, groups: int = 1) -> Convolution:
    """A convolution without bias, padded so that stride 1 keeps the sides of the image."""
    height, width = pair(kernel, "kernel")
    padding = (height // 2, width // 2)
    return Convolution(out=out, kernel=kernel, stride=stride, padding=padding, groups=groups, bias=False)


def conv_block(
    net: Network,
    convolution: Convolution,
    *sources: int,
    names: tuple[str, str, str],
    activation: Op | None = RELU,
) -> int:
    """Convolution, batch normalisation, and an activation unless it is None."""
    normalised = net.add(BatchNorm(), net.add(convolution, *sources, name=names[0]), name=names[1])
    return normalised if activation is None else net.add(activation, name=names[2])


def numbered(prefix: str, first: int = 0) -> tuple[str, str, str]:
    """Names of three modules in a row: prefix.0, prefix.1, prefix.2."""
    return f"{prefix}.{first}", f"{prefix}.{first + 1}", f"{prefix}.{first + 2}"


def rounded_width(width: float, multiple: int = 8) -> int:
    """The nearest multiple, at least one of them, and the next if that lost more than a tenth.

    Source: Sandler et al., "MobileNetV2", CVPR 2018; the authors' released network.
    """
    nearest = max(multiple, int(width + multiple / 2) // multiple * multiple)
    return nearest if nearest >= 0.9 * width else nearest + multiple


def squeeze_excite(
    net: Network, features: int, hidden: int, prefix: str, activations: tuple[Op, Op] = RELU_SIGMOID
) -> int:
    """Squeeze-and-excitation: global average, 1x1 convolutions to `hidden` channels and back, a scale of each channel.

    `activations` follow the two convolutions.
    Source: Hu, Shen, Sun, "Squeeze-and-Excitation Networks", CVPR 2018, section 3.
    """
    net.add(GlobalPool(), features, name=f"{prefix}.avg_pool")
    net.add(Convolution(out=hidden, kernel=1), name=f"{prefix}.fc1")
    net.add(activations[0], name=f"{prefix}.{activations[0].kind}")
    net.add(Convolution(out=net.shape(features)[0], kernel=1), name=f"{prefix}.fc2")
    gate = net.add(activations[1], name=f"{prefix}.{activations[1].kind}")
    return net.add(Scale(), features, gate, name=f"{prefix}.scale")


def classifier(net: Network, classes: int, name: str = "fc") -> int:
    """Fully connected layer to the classes and the training loss."""
    net.add(Linear(out=classes), name=name)
    return net.add(CrossEntropyLoss(), name="loss")


def pooled_classifier(net: Network, classes: int, pool: str = "avgpool", name: str = "fc", dropout: float = 0.0) -> int:
    """Global average, flatten, dropout if its rate is above zero, fully connected layer and loss."""
    net.add(GlobalPool(), name=pool)
    net.add(Flatten(), name="flatten")
    if dropout:
        net.add(Dropout(rate=dropout), name="dropout")
    return classifier(net, classes, name)

"""Pieces that several families share."""

from __future__ import annotations

from simulator.op.activation import CrossEntropyLoss, Relu, Sigmoid
from simulator.op.base import Pair
from simulator.op.combine import Flatten, Scale
from simulator.op.convolution import Convolution, Padding
from simulator.op.linear import Linear
from simulator.op.normalization import BatchNorm
from simulator.op.pooling import GlobalPool
from simulator.workload.workload import Network


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


def squeeze_excite(net: Network, features: int, reduction: int, prefix: str) -> int:
    """Squeeze-and-excitation: global average, two 1x1 convolutions, sigmoid, and a scale of each channel.

    Source: Hu, Shen, Sun, "Squeeze-and-Excitation Networks", CVPR 2018, section 3.
    """
    channels = net.shape(features)[0]
    net.add(GlobalPool(), features, name=f"{prefix}.avg_pool")
    net.add(Convolution(out=channels // reduction, kernel=1), name=f"{prefix}.fc1")
    net.add(Relu(), name=f"{prefix}.relu")
    net.add(Convolution(out=channels, kernel=1), name=f"{prefix}.fc2")
    gate = net.add(Sigmoid(), name=f"{prefix}.sigmoid")
    return net.add(Scale(), features, gate, name=f"{prefix}.scale")


def classifier(net: Network, classes: int, name: str = "fc") -> int:
    """Fully connected layer to the classes and the training loss."""
    net.add(Linear(out=classes), name=name)
    return net.add(CrossEntropyLoss(), name="loss")


def pooled_classifier(net: Network, classes: int, pool: str = "avgpool", name: str = "fc") -> int:
    """Global average, flatten, fully connected layer and loss."""
    net.add(GlobalPool(), name=pool)
    net.add(Flatten(), name="flatten")
    return classifier(net, classes, name)

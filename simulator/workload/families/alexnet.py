"""AlexNet as published, and as torchvision builds it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from simulator.op.activation import Dropout, Relu
from simulator.op.base import Op
from simulator.op.combine import Flatten
from simulator.op.convolution import Convolution
from simulator.op.linear import Linear
from simulator.op.normalization import LocalResponseNorm
from simulator.op.pooling import AdaptiveAveragePool, MaxPool
from simulator.workload.families import family
from simulator.workload.families.blocks import classifier
from simulator.workload.families.ranges import FiveWidths, Size
from simulator.workload.workload import Network

WINDOWS = ((11, 4, 2, True), (5, 1, 2, True), (3, 1, 1, False), (3, 1, 1, False), (3, 1, 1, True))
"""Kernel, stride and padding of the one-column convolutions; whether pooling follows."""

GRID = (6, 6)
"""What torchvision's linear layers read: conv5 of a 224 x 224 image; other sizes are averaged to it."""


@family("alexnet")
def alexnet(
    net: Network,
    *,
    variant: Literal["caffe", "torchvision", "mxnet"] = "caffe",
    widths: FiveWidths = (64, 192, 384, 256, 256),
    classes: Size = 1000,
) -> None:
    """Five convolutions and three linear layers.

    `caffe`: the published network, the two GPUs' halves as groups, local response normalisation after conv1 and conv2.
    `torchvision`: the one-column successor without groups or normalisation, its convolutions' `widths` to choose.
    `mxnet`: the published widths in one column, normalised after pooling, without padding of the image.
    Sources: Krizhevsky, Sutskever, Hinton, NIPS 2012; Krizhevsky, "One weird trick", 2014, arXiv 1404.5997; Apache
    MXNet, example/image-classification/symbols/alexnet.py.
    """
    if variant == "torchvision":
        _one_column(net, widths, classes)
    else:
        _published(net, classes, one_column=variant == "mxnet")


def _published(net: Network, classes: int, *, one_column: bool) -> None:
    for number, (out, kernel, stride, padding, groups) in enumerate(
        ((96, 11, 4, 0, 1), (256, 5, 1, 2, 2), (384, 3, 1, 1, 1), (384, 3, 1, 1, 2), (256, 3, 1, 1, 2)), start=1
    ):
        columns = 1 if one_column else groups
        convolution = Convolution(out=out, kernel=kernel, stride=stride, padding=padding, groups=columns)
        net.add(convolution, name=f"conv{number}")
        net.add(Relu(), name=f"relu{number}")
        after: list[tuple[Op, str]] = []
        if number <= 2:
            after.append((LocalResponseNorm(size=5), f"norm{number}"))
        if number in (1, 2, 5):
            after.append((MaxPool(kernel=3, stride=2, ceil=not one_column), f"pool{number}"))
        for op, name in reversed(after) if one_column else after:
            net.add(op, name=name)
    net.add(Flatten(), name="flatten")
    for number in (6, 7):
        net.add(Linear(out=4096), name=f"fc{number}")
        net.add(Relu(), name=f"relu{number}")
        net.add(Dropout(), name=f"drop{number}")
    classifier(net, classes, "fc8")


def _one_column(net: Network, widths: Sequence[int], classes: int) -> None:
    position = 0
    for out, (kernel, stride, padding, pool) in zip(widths, WINDOWS, strict=True):
        net.add(Convolution(out=out, kernel=kernel, stride=stride, padding=padding), name=f"features.{position}")
        net.add(Relu(), name=f"features.{position + 1}")
        position += 2
        if pool:
            net.add(MaxPool(kernel=3, stride=2), name=f"features.{position}")
            position += 1
    if net.shape(net.last)[1:] != GRID:
        net.add(AdaptiveAveragePool(out=GRID), name="avgpool")
    net.add(Flatten(), name="flatten")
    for number in (0, 3):
        net.add(Dropout(), name=f"classifier.{number}")
        net.add(Linear(out=4096), name=f"classifier.{number + 1}")
        net.add(Relu(), name=f"classifier.{number + 2}")
    classifier(net, classes, "classifier.6")

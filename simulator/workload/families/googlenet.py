"""GoogLeNet (Inception version 1), as Caffe's reference network and as torchvision define it."""

from __future__ import annotations

from typing import Literal

from simulator.op.activation import Dropout, Relu
from simulator.op.combine import Concat, Flatten
from simulator.op.convolution import Convolution
from simulator.op.normalization import LocalResponseNorm
from simulator.op.pooling import GlobalPool, MaxPool
from simulator.workload.families import family
from simulator.workload.families.blocks import classifier, pooled_classifier
from simulator.workload.families.inception_modules import Unit, module, unit
from simulator.workload.families.ranges import Size
from simulator.workload.workload import Network

INCEPTIONS: dict[str, tuple[int, int, int, int, int, int]] = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
"""Module -> widths of 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool projection (the paper's table 1)."""

POOL = MaxPool(kernel=3, stride=2, ceil=True)
POOL_BRANCH = MaxPool(kernel=3, stride=1, padding=1, ceil=True)


@family("googlenet")
def googlenet(net: Network, *, variant: Literal["caffe", "torchvision"] = "caffe", classes: Size = 1000) -> None:
    """Nine inception modules; the main classifier only, without the two auxiliary ones.

    `caffe`: as published, with biases and local response normalisation. `torchvision`: batch normalisation instead of
    both, and kernels of 3 where the paper has 5.
    Source: Szegedy et al., "Going Deeper with Convolutions", CVPR 2015, table 1.
    """
    if variant == "caffe":
        _published(net, classes)
    else:
        _normalised(net, classes)


def _normalised(net: Network, classes: int) -> None:
    unit(net, net.last, Unit("conv1", 64, 7, 2))
    net.add(POOL, name="maxpool1")
    unit(net, net.last, Unit("conv2", 64))
    unit(net, net.last, Unit("conv3", 192, 3))
    net.add(POOL, name="maxpool2")
    for name, (one, three_in, three, five_in, five, projection) in INCEPTIONS.items():
        branches = (
            (Unit("branch1", one),),
            (Unit("branch2.0", three_in), Unit("branch2.1", three, 3)),
            (Unit("branch3.0", five_in), Unit("branch3.1", five, 3)),
            (POOL_BRANCH, Unit("branch4.1", projection)),
        )
        module(net, branches, f"inception{name}")
        if name == "3b":
            net.add(POOL, name="maxpool3")
        if name == "4e":
            net.add(MaxPool(kernel=2, ceil=True), name="maxpool4")
    pooled_classifier(net, classes, dropout=0.2)


def _published(net: Network, classes: int) -> None:
    _conv_relu(net, 64, 7, "conv1/7x7_s2", stride=2, padding=3)
    net.add(POOL, name="pool1/3x3_s2")
    net.add(LocalResponseNorm(), name="pool1/norm1")
    _conv_relu(net, 64, 1, "conv2/3x3_reduce")
    _conv_relu(net, 192, 3, "conv2/3x3", padding=1)
    net.add(LocalResponseNorm(), name="conv2/norm2")
    net.add(POOL, name="pool2/3x3_s2")
    for name, widths in INCEPTIONS.items():
        _inception(net, f"inception_{name}", widths)
        if name in ("3b", "4e"):
            net.add(POOL, name=f"pool{int(name[0])}/3x3_s2")
    net.add(GlobalPool(), name="pool5/7x7_s1")
    net.add(Dropout(rate=0.4), name="pool5/drop_7x7_s1")
    net.add(Flatten(), name="flatten")
    classifier(net, classes, "loss3/classifier")


def _inception(net: Network, prefix: str, widths: tuple[int, int, int, int, int, int]) -> None:
    start = net.last
    one = _conv_relu(net, widths[0], 1, f"{prefix}/1x1", start)
    _conv_relu(net, widths[1], 1, f"{prefix}/3x3_reduce", start)
    three = _conv_relu(net, widths[2], 3, f"{prefix}/3x3", padding=1)
    _conv_relu(net, widths[3], 1, f"{prefix}/5x5_reduce", start)
    five = _conv_relu(net, widths[4], 5, f"{prefix}/5x5", padding=2)
    net.add(POOL_BRANCH, start, name=f"{prefix}/pool")
    pool = _conv_relu(net, widths[5], 1, f"{prefix}/pool_proj")
    net.add(Concat(), one, three, five, pool, name=f"{prefix}/output")


def _conv_relu(net: Network, out: int, kernel: int, name: str, *sources: int, stride: int = 1, padding: int = 0) -> int:
    net.add(Convolution(out=out, kernel=kernel, stride=stride, padding=padding), *sources, name=name)
    return net.add(Relu(), name=f"{name}/relu")

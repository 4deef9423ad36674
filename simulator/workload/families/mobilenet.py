"""MobileNet version 2."""

from __future__ import annotations

from simulator.op.activation import Dropout, Relu6
from simulator.op.combine import Add, Flatten
from simulator.op.pooling import GlobalPool
from simulator.workload.families import family
from simulator.workload.families.blocks import classifier, conv_bn
from simulator.workload.workload import Network

STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Expansion, channels, blocks, first stride of each stage (the paper's table 2)."""


@family("mobilenet_v2")
def mobilenet_v2(net: Network, *, classes: int = 1000) -> None:
    """Inverted residuals: 1x1 expansion, 3x3 depthwise, linear 1x1 projection.

    Source: Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018, table 2.
    """
    _conv_bn_relu(net, 32, 3, "features.0", stride=2)
    position = 1
    for expansion, channels, blocks, first_stride in STAGES:
        for block in range(blocks):
            stride = first_stride if block == 0 else 1
            _inverted_residual(net, f"features.{position}", expansion, channels, stride)
            position += 1
    _conv_bn_relu(net, 1280, 1, f"features.{position}")
    net.add(GlobalPool(), name="avgpool")
    net.add(Flatten(), name="flatten")
    net.add(Dropout(rate=0.2), name="classifier.0")
    classifier(net, classes, "classifier.1")


def _inverted_residual(net: Network, prefix: str, expansion: int, channels: int, stride: int) -> None:
    start = net.last
    width = net.shape(start)[0] * expansion
    part = 0
    if expansion != 1:
        _conv_bn_relu(net, width, 1, f"{prefix}.conv.{part}")
        part += 1
    _conv_bn_relu(net, width, 3, f"{prefix}.conv.{part}", stride=stride, groups=width)
    features = conv_bn(net, channels, 1, names=(f"{prefix}.conv.{part + 1}", f"{prefix}.conv.{part + 2}"))
    if stride == 1 and net.shape(start)[0] == channels:
        net.add(Add(), start, features, name=f"{prefix}.add")


def _conv_bn_relu(net: Network, out: int, kernel: int, prefix: str, *, stride: int = 1, groups: int = 1) -> None:
    names = (f"{prefix}.0", f"{prefix}.1")
    conv_bn(net, out, kernel, names=names, stride=stride, padding=kernel // 2, groups=groups)
    net.add(Relu6(), name=f"{prefix}.2")

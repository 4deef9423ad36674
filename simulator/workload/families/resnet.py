"""ResNet: residual networks of basic blocks or bottlenecks."""

from __future__ import annotations

from typing import Literal

from simulator.op.activation import Relu
from simulator.op.combine import Add
from simulator.op.pooling import MaxPool
from simulator.workload.families import family
from simulator.workload.families.blocks import conv_bn, pooled_classifier
from simulator.workload.families.ranges import Size, StageBlocks
from simulator.workload.workload import Network


@family("resnet")
def resnet(
    net: Network,
    *,
    blocks: StageBlocks,
    block: Literal["basic", "bottleneck"] = "bottleneck",
    stride_in: Literal["1x1", "3x3"] = "3x3",
    groups: Size = 1,
    base_width: Size = 64,
    classes: Size = 1000,
) -> None:
    """Four stages of residual blocks.

    `stride_in`: a bottleneck's stride sits in its first 1x1 (version 1, as published) or in its 3x3 (version 1.5, as
    torchvision builds it). `groups` and `base_width` make ResNeXt and wide ResNet.
    Source: He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, table 1; Xie et al.,
    "Aggregated Residual Transformations for Deep Neural Networks", CVPR 2017; Zagoruyko, Komodakis, BMVC 2016.
    """
    conv_bn(net, 64, 7, names=("conv1", "bn1"), stride=2, padding=3)
    net.add(Relu(), name="relu")
    net.add(MaxPool(kernel=3, stride=2, padding=1), name="maxpool")
    for stage, count in enumerate(blocks):
        planes = 64 << stage
        for number in range(count):
            stride = 2 if stage > 0 and number == 0 else 1
            prefix = f"layer{stage + 1}.{number}"
            if block == "basic":
                _basic(net, prefix, planes, stride)
            else:
                width = planes * base_width // 64 * groups
                strides = (stride, 1) if stride_in == "1x1" else (1, stride)
                _bottleneck(net, prefix, (width, planes * 4), strides, groups)
    pooled_classifier(net, classes)


def _basic(net: Network, prefix: str, planes: int, stride: int) -> None:
    start = net.last
    conv_bn(net, planes, 3, names=(f"{prefix}.conv1", f"{prefix}.bn1"), stride=stride, padding=1)
    net.add(Relu(), name=f"{prefix}.relu1")
    features = conv_bn(net, planes, 3, names=(f"{prefix}.conv2", f"{prefix}.bn2"), padding=1)
    _join(net, prefix, start, features, stride)


def _bottleneck(net: Network, prefix: str, widths: tuple[int, int], strides: tuple[int, int], groups: int) -> None:
    start = net.last
    conv_bn(net, widths[0], 1, names=(f"{prefix}.conv1", f"{prefix}.bn1"), stride=strides[0])
    net.add(Relu(), name=f"{prefix}.relu1")
    names = (f"{prefix}.conv2", f"{prefix}.bn2")
    conv_bn(net, widths[0], 3, names=names, stride=strides[1], padding=1, groups=groups)
    net.add(Relu(), name=f"{prefix}.relu2")
    features = conv_bn(net, widths[1], 1, names=(f"{prefix}.conv3", f"{prefix}.bn3"))
    _join(net, prefix, start, features, strides[0] * strides[1])


def _join(net: Network, prefix: str, start: int, features: int, stride: int) -> None:
    """Add the shortcut, projected where the shape changes."""
    out = net.shape(features)[0]
    shortcut = start
    if stride != 1 or net.shape(start)[0] != out:
        names = (f"{prefix}.downsample.0", f"{prefix}.downsample.1")
        shortcut = conv_bn(net, out, 1, start, names=names, stride=stride)
    net.add(Add(), features, shortcut, name=f"{prefix}.add")
    net.add(Relu(), name=f"{prefix}.relu3")

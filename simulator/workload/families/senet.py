"""SENet-154, SE-ResNet and SE-ResNeXt as their authors' Caffe networks define them."""

from __future__ import annotations

from typing import Literal, NamedTuple

from simulator.op.activation import Dropout, Relu
from simulator.op.combine import Add, Flatten
from simulator.op.convolution import Convolution
from simulator.op.normalization import BatchNorm
from simulator.op.pooling import GlobalPool, MaxPool
from simulator.workload.families import family
from simulator.workload.families.blocks import classifier, conv_bn, squeeze_excite
from simulator.workload.families.ranges import Size, StageBlocks
from simulator.workload.workload import Network


class Bottleneck(NamedTuple):
    """Widths and strides of one bottleneck: 1x1, 3x3 (grouped), 1x1."""

    first: int
    middle: int
    out: int
    groups: int
    first_stride: int
    middle_stride: int
    projection_kernel: int


@family("senet")
def senet(
    net: Network,
    *,
    blocks: StageBlocks,
    groups: Size = 64,
    reduction: Size = 16,
    variant: Literal["senet", "resnet", "resnext"] = "senet",
    base_width: Size = 4,
    classes: Size = 1000,
) -> None:
    """Four stages of bottlenecks, each closed by squeeze-and-excitation before the shortcut is added.

    `senet`: a stem of three 3x3 convolutions, the first 1x1 of a block at half the width, shortcuts projected by 3x3
    from the second stage on, dropout before the classifier. `resnet` puts the stride in the first 1x1; `resnext` splits
    the 3x3 into `groups` of `base_width`.
    Source: Hu, Shen, Sun, "Squeeze-and-Excitation Networks", CVPR 2018; the authors' released networks.
    """
    _stem(net, deep=variant == "senet")
    for stage, count in enumerate(blocks):
        for block in range(count):
            stride = 2 if stage > 0 and block == 0 else 1
            prefix = f"layer{stage + 1}.{block}"
            _bottleneck(net, prefix, _widths(variant, 64 << stage, groups, base_width, stride, stage), reduction)
    net.add(GlobalPool(), name="avg_pool")
    if variant == "senet":
        net.add(Dropout(rate=0.2), name="dropout")
    net.add(Flatten(), name="flatten")
    classifier(net, classes, "last_linear")


def _stem(net: Network, *, deep: bool) -> None:
    if deep:
        for number, (out, stride) in enumerate(((64, 2), (64, 1), (128, 1)), start=1):
            names = (f"layer0.conv{number}", f"layer0.bn{number}")
            conv_bn(net, out, 3, names=names, stride=stride, padding=1)
            net.add(Relu(), name=f"layer0.relu{number}")
    else:
        conv_bn(net, 64, 7, names=("layer0.conv1", "layer0.bn1"), stride=2, padding=3)
        net.add(Relu(), name="layer0.relu1")
    net.add(MaxPool(kernel=3, stride=2, ceil=True), name="pool0")


def _widths(variant: str, planes: int, groups: int, base_width: int, stride: int, stage: int) -> Bottleneck:
    if variant == "senet":
        kernel = 1 if stage == 0 else 3
        return Bottleneck(planes * 2, planes * 4, planes * 4, groups, 1, stride, kernel)
    if variant == "resnext":
        width = planes * base_width // 64 * groups
        return Bottleneck(width, width, planes * 4, groups, 1, stride, 1)
    return Bottleneck(planes, planes, planes * 4, 1, stride, 1, 1)


def _bottleneck(net: Network, prefix: str, width: Bottleneck, reduction: int) -> None:
    start = net.last
    conv_bn(net, width.first, 1, names=(f"{prefix}.conv1", f"{prefix}.bn1"), stride=width.first_stride)
    net.add(Relu(), name=f"{prefix}.relu1")
    conv_bn(
        net,
        width.middle,
        3,
        names=(f"{prefix}.conv2", f"{prefix}.bn2"),
        stride=width.middle_stride,
        padding=1,
        groups=width.groups,
    )
    net.add(Relu(), name=f"{prefix}.relu2")
    features = conv_bn(net, width.out, 1, names=(f"{prefix}.conv3", f"{prefix}.bn3"))
    stride = width.first_stride * width.middle_stride
    shortcut = start
    if stride != 1 or net.shape(start)[0] != width.out:
        shortcut = _projection(net, start, prefix, width, stride)
    scaled = squeeze_excite(net, features, width.out // reduction, f"{prefix}.se_module")
    net.add(Add(), scaled, shortcut, name=f"{prefix}.add")
    net.add(Relu(), name=f"{prefix}.relu3")


def _projection(net: Network, start: int, prefix: str, width: Bottleneck, stride: int) -> int:
    kernel = width.projection_kernel
    projection = Convolution(out=width.out, kernel=kernel, stride=stride, padding=kernel // 2, bias=False)
    return net.add(
        BatchNorm(), net.add(projection, start, name=f"{prefix}.downsample.0"), name=f"{prefix}.downsample.1"
    )

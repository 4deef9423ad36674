"""MobileNet versions 1 and 2, and MNASNet."""

from __future__ import annotations

from simulator.op.activation import Relu, Relu6
from simulator.op.combine import Add
from simulator.op.convolution import Convolution
from simulator.workload.families import family
from simulator.workload.families.blocks import centred, conv_block, numbered, pooled_classifier, rounded_width
from simulator.workload.families.ranges import Multiplier, Size
from simulator.workload.workload import Network

V1_BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))
"""Channels and stride of each depthwise-separable block (the paper's table 1)."""

V2_STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Expansion, channels, blocks, first stride of each stage (the paper's table 2)."""

MNASNET_STAGES = (
    (3, 24, 3, 3, 2),
    (3, 40, 5, 3, 2),
    (6, 80, 5, 3, 2),
    (6, 96, 3, 2, 1),
    (6, 192, 5, 4, 2),
    (6, 320, 3, 1, 1),
)
"""Expansion, channels, kernel, blocks, first stride of each stage (torchvision's, of the paper's network B1)."""


@family("mobilenet_v1")
def mobilenet_v1(net: Network, *, classes: Size = 1000) -> None:
    """Depthwise-separable convolutions: 3x3 depthwise, then 1x1. Layer names are timm's.

    Source: Howard et al., "MobileNets", 2017, arXiv 1704.04861, table 1.
    """
    conv_block(net, centred(32, 3, stride=2), names=("conv_stem", "bn1", "act1"), activation=Relu6())
    for position, (channels, stride) in enumerate(V1_BLOCKS):
        width, prefix = net.shape(net.last)[0], f"blocks.{position}"
        depthwise = centred(width, 3, stride=stride, groups=width)
        conv_block(net, depthwise, names=_named(prefix, "dw", 1), activation=Relu6())
        conv_block(net, centred(channels, 1), names=_named(prefix, "pw", 2), activation=Relu6())
    pooled_classifier(net, classes, "global_pool", "classifier")


def _named(prefix: str, kind: str, number: int) -> tuple[str, str, str]:
    return f"{prefix}.conv_{kind}", f"{prefix}.bn{number}", f"{prefix}.act{number}"


@family("mobilenet_v2")
def mobilenet_v2(net: Network, *, classes: Size = 1000) -> None:
    """Inverted residuals: 1x1 expansion, 3x3 depthwise, linear 1x1 projection.

    Source: Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018, table 2.
    """
    conv_block(net, centred(32, 3, stride=2), names=numbered("features.0"), activation=Relu6())
    position = 1
    for expansion, channels, blocks, first_stride in V2_STAGES:
        for block in range(blocks):
            stride = first_stride if block == 0 else 1
            _inverted_residual(net, f"features.{position}", expansion, channels, stride)
            position += 1
    conv_block(net, centred(1280, 1), names=numbered(f"features.{position}"), activation=Relu6())
    pooled_classifier(net, classes, name="classifier.1", dropout=0.2)


def _inverted_residual(net: Network, prefix: str, expansion: int, channels: int, stride: int) -> None:
    start = net.last
    width = net.shape(start)[0] * expansion
    part = 0
    if expansion != 1:
        conv_block(net, centred(width, 1), names=numbered(f"{prefix}.conv.{part}"), activation=Relu6())
        part += 1
    depthwise = centred(width, 3, stride=stride, groups=width)
    conv_block(net, depthwise, names=numbered(f"{prefix}.conv.{part}"), activation=Relu6())
    features = conv_block(net, centred(channels, 1), names=numbered(f"{prefix}.conv", part + 1), activation=None)
    if stride == 1 and net.shape(start)[0] == channels:
        net.add(Add(), start, features, name=f"{prefix}.add")


@family("mnasnet")
def mnasnet(net: Network, *, width: Multiplier = 1.0, classes: Size = 1000) -> None:
    """Inverted residuals with kernels of 3 and 5 found by search; all channels times `width`, to multiples of 8.

    Source: Tan et al., "MnasNet: Platform-Aware Neural Architecture Search for Mobile", CVPR 2019; torchvision's.
    """
    stem, first = rounded_width(32 * width), rounded_width(16 * width)
    conv_block(net, centred(stem, 3, stride=2), names=numbered("layers"))
    conv_block(net, centred(stem, 3, groups=stem), names=numbered("layers", 3))
    conv_block(net, centred(first, 1), names=numbered("layers", 6), activation=None)
    for stage, (expansion, channels, kernel, blocks, first_stride) in enumerate(MNASNET_STAGES, start=8):
        for block in range(blocks):
            stride = first_stride if block == 0 else 1
            depthwise = _expanded(net, expansion, kernel, stride)
            _mnasnet_block(net, f"layers.{stage}.{block}", depthwise, rounded_width(channels * width))
    conv_block(net, centred(1280, 1), names=numbered("layers", 14))
    pooled_classifier(net, classes, name="classifier.1", dropout=0.2)


def _expanded(net: Network, expansion: int, kernel: int, stride: int) -> Convolution:
    """The depthwise convolution of the last layer's channels times `expansion`."""
    width = net.shape(net.last)[0] * expansion
    return centred(width, kernel, stride=stride, groups=width)


def _mnasnet_block(net: Network, prefix: str, depthwise: Convolution, channels: int) -> None:
    start = net.last
    conv_block(net, centred(depthwise.out, 1), names=numbered(f"{prefix}.layers"), activation=Relu())
    conv_block(net, depthwise, names=numbered(f"{prefix}.layers", 3), activation=Relu())
    features = conv_block(net, centred(channels, 1), names=numbered(f"{prefix}.layers", 6), activation=None)
    if net.shape(features) == net.shape(start):
        net.add(Add(), features, start, name=f"{prefix}.add")

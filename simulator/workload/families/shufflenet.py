"""ShuffleNet version 2."""

from __future__ import annotations

from simulator.op.combine import Concat
from simulator.op.pooling import MaxPool
from simulator.op.rearrange import ChannelShuffle, ChannelSlice
from simulator.workload.families import family
from simulator.workload.families.blocks import centred, conv_block, numbered, pooled_classifier
from simulator.workload.families.ranges import FiveWidths, Size
from simulator.workload.workload import Network

REPEATS = (4, 8, 4)
"""Units of each stage (the paper's table 5)."""


@family("shufflenet_v2")
def shufflenet_v2(net: Network, *, widths: FiveWidths, classes: Size = 1000) -> None:
    """Units that split the channels, compute on one half, join and shuffle; `widths`: stem, three stages, last 1x1.

    Source: Ma, Zhang, Zheng, Sun, "ShuffleNet V2", ECCV 2018, table 5; torchvision's layer names.
    """
    stem, *stages, last = widths
    conv_block(net, centred(stem, 3, stride=2), names=numbered("conv1"))
    net.add(MaxPool(kernel=3, stride=2, padding=1), name="maxpool")
    for stage, (width, repeats) in enumerate(zip(stages, REPEATS, strict=False), start=2):
        _down_unit(net, f"stage{stage}.0", width)
        for unit in range(1, repeats):
            _unit(net, f"stage{stage}.{unit}", width)
    conv_block(net, centred(last, 1), names=numbered("conv5"))
    pooled_classifier(net, classes, "mean")


def _down_unit(net: Network, prefix: str, width: int) -> None:
    """The first unit of a stage: both branches see all channels and halve the sides."""
    start = net.last
    channels = net.shape(start)[0]
    depthwise = centred(channels, 3, stride=2, groups=channels)
    conv_block(net, depthwise, start, names=numbered(f"{prefix}.branch1"), activation=None)
    shortcut = conv_block(net, centred(width // 2, 1), names=numbered(f"{prefix}.branch1", 2))
    _join(net, prefix, shortcut, _branch(net, f"{prefix}.branch2", start, width // 2, 2))


def _unit(net: Network, prefix: str, width: int) -> None:
    """Half of the channels pass by."""
    start, half = net.last, width // 2
    shortcut = net.add(ChannelSlice(start=0, stop=half, split=True), start, name=f"{prefix}.chunk1")
    other = net.add(ChannelSlice(start=half, stop=width, split=True), start, name=f"{prefix}.chunk2")
    _join(net, prefix, shortcut, _branch(net, f"{prefix}.branch2", other, half, 1))


def _branch(net: Network, prefix: str, start: int, width: int, stride: int) -> int:
    """1x1, depthwise 3x3, 1x1."""
    conv_block(net, centred(width, 1), start, names=numbered(prefix))
    conv_block(net, centred(width, 3, stride=stride, groups=width), names=numbered(prefix, 3), activation=None)
    return conv_block(net, centred(width, 1), names=numbered(prefix, 5))


def _join(net: Network, prefix: str, shortcut: int, features: int) -> None:
    net.add(Concat(), shortcut, features, name=f"{prefix}.concat")
    net.add(ChannelShuffle(groups=2), name=f"{prefix}.shuffle")

"""RegNet: networks whose widths follow a line, rounded to powers of one factor."""

from __future__ import annotations

from itertools import groupby
from math import log
from typing import Annotated

from msgspec import Meta

from simulator.op.activation import Relu
from simulator.op.combine import Add
from simulator.workload.families import family
from simulator.workload.families.blocks import centred, conv_block, pooled_classifier, squeeze_excite
from simulator.workload.families.ranges import Blocks, Share, Size
from simulator.workload.workload import Network

STEM = 32
WIDTH_MULTIPLE = 8


@family("regnet")
def regnet(
    net: Network,
    *,
    depth: Blocks,
    initial_width: Size,
    slope: Annotated[float, Meta(ge=0, le=10_000)],
    factor: Annotated[float, Meta(ge=1.01, le=100)],
    group_width: Size,
    squeeze: Share = 0.0,
    classes: Size = 1000,
) -> None:
    """Four stages of bottlenecks of one width: 1x1, grouped 3x3 with the stride, squeeze-and-excitation, 1x1.

    Block j is initial_width + slope * j wide, rounded to initial_width * factor ** integer and a multiple of 8. Groups
    are `group_width` channels. `squeeze` (RegNetY: 0.25) is the inner width of squeeze-and-excitation as a fraction of
    the block's input. Layer names are those of the authors' code.
    Source: Radosavovic et al., "Designing Network Design Spaces", CVPR 2020, equations 2 to 4, and tables 5 and 6.
    """
    conv_block(net, centred(STEM, 3, stride=2), names=("stem.conv", "stem.bn", "stem.af"))
    widths = stage_widths(depth, initial_width, slope, factor)
    for stage, (width, blocks) in enumerate(widths, start=1):
        group = min(group_width, width)
        rounded = round(width / group) * group
        for block in range(1, blocks + 1):
            prefix, stride = f"s{stage}.b{block}", 2 if block == 1 else 1
            hidden = round(net.shape(net.last)[0] * squeeze)
            _bottleneck(net, prefix, (rounded, rounded // group), stride, hidden)
    pooled_classifier(net, classes, "head.avg_pool", "head.fc")


def stage_widths(depth: int, initial_width: int, slope: float, factor: float) -> list[tuple[int, int]]:
    """(width, blocks) of each stage: blocks of equal rounded width."""
    widths = []
    for block in range(depth):
        power = round(log((initial_width + slope * block) / initial_width) / log(factor))
        widths.append(round(initial_width * factor**power / WIDTH_MULTIPLE) * WIDTH_MULTIPLE)
    return [(width, len(list(blocks))) for width, blocks in groupby(widths)]


def _bottleneck(net: Network, prefix: str, width: tuple[int, int], stride: int, hidden: int) -> None:
    """`width`: channels, groups of the 3x3."""
    start = shortcut = net.last
    channels, groups = width
    if stride != 1 or net.shape(start)[0] != channels:
        names = (f"{prefix}.proj", f"{prefix}.bn", "")
        shortcut = conv_block(net, centred(channels, 1, stride=stride), start, names=names, activation=None)
    conv_block(net, centred(channels, 1), start, names=_named(prefix, "a"))
    features = conv_block(net, centred(channels, 3, stride=stride, groups=groups), names=_named(prefix, "b"))
    if hidden:
        features = squeeze_excite(net, features, hidden, f"{prefix}.f.se")
    features = conv_block(net, centred(channels, 1), features, names=_named(prefix, "c"), activation=None)
    net.add(Add(), shortcut, features, name=f"{prefix}.add")
    net.add(Relu(), name=f"{prefix}.af")


def _named(prefix: str, letter: str) -> tuple[str, str, str]:
    return f"{prefix}.f.{letter}", f"{prefix}.f.{letter}_bn", f"{prefix}.f.{letter}_af"

"""ConvNeXt: a residual network with the proportions of a vision transformer."""

from __future__ import annotations

from simulator.errors import InputError
from simulator.op.combine import Add, Flatten
from simulator.op.convolution import Convolution
from simulator.op.gelu import Gelu
from simulator.op.layer_norm import LayerNorm
from simulator.op.linear import Linear
from simulator.op.normalization import ChannelAffine
from simulator.op.pooling import GlobalPool
from simulator.op.rearrange import ToImage, ToPositions
from simulator.op.stochastic_depth import DropPath
from simulator.workload.families import family
from simulator.workload.families.blocks import classifier
from simulator.workload.families.ranges import Rate, Size, StageBlocks, StageWidths
from simulator.workload.workload import Network

EXPANSION = 4


@family("convnext")
def convnext(
    net: Network, *, blocks: StageBlocks, widths: StageWidths, drop_path: Rate = 0.1, classes: Size = 1000
) -> None:
    """Stages of depthwise 7x7, layer normalisation, and two linear layers over the channels of each pixel.

    `drop_path`: the last block's rate of stochastic depth; it rises in proportion from zero at the first.
    Source: Liu et al., "A ConvNet for the 2020s", CVPR 2022, figure 4; torchvision's layer names.
    """
    if len(blocks) != len(widths):
        raise InputError(f"`blocks` and `widths` have one number a stage, found {len(blocks)} and {len(widths)}")
    net.add(Convolution(out=widths[0], kernel=4, stride=4), name="features.0.0")
    net.add(LayerNorm(), name="features.0.1")
    number = 0
    for stage, (count, width) in enumerate(zip(blocks, widths, strict=True)):
        if stage:
            net.add(LayerNorm(), name=f"features.{2 * stage}.0")
            net.add(Convolution(out=width, kernel=2, stride=2), name=f"features.{2 * stage}.1")
        for block in range(count):
            _block(net, f"features.{2 * stage + 1}.{block}", drop_path * number / max(1, sum(blocks) - 1))
            number += 1
    net.add(GlobalPool(), name="avgpool")
    net.add(LayerNorm(), name="classifier.0")
    net.add(Flatten(), name="classifier.1")
    classifier(net, classes, "classifier.2")


def _block(net: Network, prefix: str, drop: float) -> None:
    start = net.last
    width, *size = net.shape(start)
    net.add(Convolution(out=width, kernel=7, padding=3, groups=width), name=f"{prefix}.block.0")
    net.add(ToPositions(), name=f"{prefix}.block.1")
    net.add(LayerNorm(), name=f"{prefix}.block.2")
    net.add(Linear(out=EXPANSION * width), name=f"{prefix}.block.3")
    net.add(Gelu(), name=f"{prefix}.block.4")
    net.add(Linear(out=width), name=f"{prefix}.block.5")
    net.add(ToImage(size=tuple(size)), name=f"{prefix}.block.6")
    features = net.add(ChannelAffine(shift=False), name=f"{prefix}.layer_scale")
    if drop:
        features = net.add(DropPath(rate=drop), name=f"{prefix}.stochastic_depth")
    net.add(Add(), features, start, name=f"{prefix}.add")

"""EfficientNet: one network scaled in width, depth and resolution."""

from __future__ import annotations

from math import ceil

from simulator.op.activation import Sigmoid, Silu
from simulator.workload.families import family
from simulator.workload.families.blocks import centred, conv_block, numbered, pooled_classifier, rounded_width
from simulator.workload.families.inverted_residual import InvertedResidual, inverted_residual
from simulator.workload.families.ranges import Multiplier, Rate, Size
from simulator.workload.workload import Network

STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
"""Expansion, kernel, first stride, channels, blocks of each stage of B0 (the paper's table 1)."""

SQUEEZE = 4
"""Squeeze-and-excitation goes down to a quarter of the channels that enter the block."""

DROP_PATH = 0.2
"""Rate of stochastic depth that the last block would have; it rises from zero in proportion to the block's number."""


@family("efficientnet")
def efficientnet(
    net: Network, *, width: Multiplier = 1.0, depth: Multiplier = 1.0, dropout: Rate = 0.2, classes: Size = 1000
) -> None:
    """Inverted residuals with SiLU and squeeze-and-excitation; channels times `width`, blocks of a stage times `depth`.

    Source: Tan, Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019, table 1.
    """
    conv_block(net, centred(rounded_width(32 * width), 3, stride=2), names=numbered("features.0"), activation=Silu())
    counts = [ceil(stage[-1] * depth) for stage in STAGES]
    number = 0
    for stage, (expansion, kernel, first_stride, channels, _) in enumerate(STAGES):
        for block in range(counts[stage]):
            start = net.shape(net.last)[0]
            inverted_residual(
                net,
                InvertedResidual(
                    start * expansion,
                    rounded_width(channels * width),
                    kernel,
                    first_stride if block == 0 else 1,
                    max(1, start // SQUEEZE),
                    Silu(),
                    (Silu(), Sigmoid()),
                    DROP_PATH * number / sum(counts),
                ),
                f"features.{stage + 1}.{block}.block",
            )
            number += 1
    conv_block(net, centred(4 * net.shape(net.last)[0], 1), names=numbered("features.8"), activation=Silu())
    pooled_classifier(net, classes, name="classifier.1", dropout=dropout)

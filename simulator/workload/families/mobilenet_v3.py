"""MobileNet version 3."""

from __future__ import annotations

from typing import Literal

from simulator.op.activation import Dropout, HardSigmoid, HardSwish, Relu
from simulator.op.combine import Flatten
from simulator.op.linear import Linear
from simulator.op.pooling import GlobalPool
from simulator.workload.families import family
from simulator.workload.families.blocks import centred, classifier, conv_block, numbered, rounded_width
from simulator.workload.families.inverted_residual import InvertedResidual, inverted_residual
from simulator.workload.families.ranges import Size
from simulator.workload.workload import Network

Row = tuple[int, int, int, bool, bool, int]
"""Kernel, expanded channels, channels, squeeze-and-excitation, hard swish (else ReLU), stride."""

ROWS: dict[str, tuple[Row, ...]] = {
    "large": (
        (3, 16, 16, False, False, 1),
        (3, 64, 24, False, False, 2),
        (3, 72, 24, False, False, 1),
        (5, 72, 40, True, False, 2),
        (5, 120, 40, True, False, 1),
        (5, 120, 40, True, False, 1),
        (3, 240, 80, False, True, 2),
        (3, 200, 80, False, True, 1),
        (3, 184, 80, False, True, 1),
        (3, 184, 80, False, True, 1),
        (3, 480, 112, True, True, 1),
        (3, 672, 112, True, True, 1),
        (5, 672, 160, True, True, 2),
        (5, 960, 160, True, True, 1),
        (5, 960, 160, True, True, 1),
    ),
    "small": (
        (3, 16, 16, True, False, 2),
        (3, 72, 24, False, False, 2),
        (3, 88, 24, False, False, 1),
        (5, 96, 40, True, True, 2),
        (5, 240, 40, True, True, 1),
        (5, 240, 40, True, True, 1),
        (5, 120, 48, True, True, 1),
        (5, 144, 48, True, True, 1),
        (5, 288, 96, True, True, 2),
        (5, 576, 96, True, True, 1),
        (5, 576, 96, True, True, 1),
    ),
}
"""Blocks (the paper's tables 1 and 2)."""

HIDDEN = {"large": 1280, "small": 1024}
"""Width of the linear layer before the classifier."""


@family("mobilenet_v3")
def mobilenet_v3(net: Network, *, variant: Literal["large", "small"] = "large", classes: Size = 1000) -> None:
    """Inverted residuals found by search, with hard swish and squeeze-and-excitation to a quarter of the channels.

    Source: Howard et al., "Searching for MobileNetV3", ICCV 2019, tables 1 and 2; torchvision's layer names.
    """
    conv_block(net, centred(16, 3, stride=2), names=numbered("features.0"), activation=HardSwish())
    for position, (kernel, expanded, out, squeezed, swish, stride) in enumerate(ROWS[variant], start=1):
        hidden = rounded_width(expanded // 4) if squeezed else 0
        activation = HardSwish() if swish else Relu()
        block = InvertedResidual(expanded, out, kernel, stride, hidden, activation, (Relu(), HardSigmoid()))
        inverted_residual(net, block, f"features.{position}.block")
    last = centred(net.shape(net.last)[0] * 6, 1)
    conv_block(net, last, names=numbered(f"features.{len(ROWS[variant]) + 1}"), activation=HardSwish())
    net.add(GlobalPool(), name="avgpool")
    net.add(Flatten(), name="flatten")
    net.add(Linear(out=HIDDEN[variant]), name="classifier.0")
    net.add(HardSwish(), name="classifier.1")
    net.add(Dropout(rate=0.2), name="classifier.2")
    classifier(net, classes, "classifier.3")

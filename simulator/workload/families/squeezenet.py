"""SqueezeNet: few parameters, by 1x1 convolutions before 3x3 ones."""

from __future__ import annotations

from typing import Literal, NamedTuple

from simulator.op.activation import CrossEntropyLoss, Dropout, Relu
from simulator.op.combine import Concat, Flatten
from simulator.op.convolution import Convolution
from simulator.op.pooling import GlobalPool, MaxPool
from simulator.workload.families import family
from simulator.workload.families.ranges import Size
from simulator.workload.workload import Network


class FireModules(NamedTuple):
    """Stem (width, kernel), and before which of the eight fire modules a pooling stands."""

    stem: tuple[int, int]
    pools: tuple[int, ...]


PLANS = {"1.0": FireModules((96, 7), (0, 3, 7)), "1.1": FireModules((64, 3), (0, 2, 4))}

FIRES = ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))
"""Squeezed channels and channels of each of the two expansions (the paper's table 1)."""


@family("squeezenet")
def squeezenet(net: Network, *, version: Literal["1.0", "1.1"] = "1.0", classes: Size = 1000) -> None:
    """Fire modules: a 1x1 squeeze, then 1x1 and 3x3 expansions side by side; the classifier is a 1x1 convolution.

    Version 1.1 has a smaller stem and earlier pooling. Layer names are torchvision's.
    Source: Iandola et al., "SqueezeNet", 2016, arXiv 1602.07360, table 1; the authors' release of version 1.1.
    """
    plan = PLANS[version]
    net.add(Convolution(out=plan.stem[0], kernel=plan.stem[1], stride=2), name="features.0")
    net.add(Relu(), name="features.1")
    position = 2
    for number, (squeezed, expanded) in enumerate(FIRES):
        if number in plan.pools:
            net.add(MaxPool(kernel=3, stride=2, ceil=True), name=f"features.{position}")
            position += 1
        _fire(net, f"features.{position}", squeezed, expanded)
        position += 1
    net.add(Dropout(), name="classifier.0")
    net.add(Convolution(out=classes, kernel=1), name="classifier.1")
    net.add(Relu(), name="classifier.2")
    net.add(GlobalPool(), name="classifier.3")
    net.add(Flatten(), name="flatten")
    net.add(CrossEntropyLoss(), name="loss")


def _fire(net: Network, prefix: str, squeezed: int, expanded: int) -> None:
    net.add(Convolution(out=squeezed, kernel=1), name=f"{prefix}.squeeze")
    start = net.add(Relu(), name=f"{prefix}.squeeze_activation")
    net.add(Convolution(out=expanded, kernel=1), start, name=f"{prefix}.expand1x1")
    one = net.add(Relu(), name=f"{prefix}.expand1x1_activation")
    net.add(Convolution(out=expanded, kernel=3, padding=1), start, name=f"{prefix}.expand3x3")
    three = net.add(Relu(), name=f"{prefix}.expand3x3_activation")
    net.add(Concat(), one, three, name=f"{prefix}.concat")

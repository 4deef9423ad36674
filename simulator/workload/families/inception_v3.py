"""Inception version 3."""

from __future__ import annotations

from simulator.workload.families import family
from simulator.workload.families.blocks import pooled_classifier
from simulator.workload.families.inception_modules import AVERAGE, REDUCE, Branch, Fork, Unit, module, unit
from simulator.workload.families.ranges import Size
from simulator.workload.workload import Network

ROW, COLUMN = (1, 7), (7, 1)


@family("inception_v3")
def inception_v3(net: Network, *, classes: Size = 1000) -> None:
    """Eleven inception modules with factorised kernels, 299 x 299; without the auxiliary classifier.

    Source: Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", CVPR 2016, table 1, as released
    with TensorFlow; torchvision's layer names.
    """
    unit(net, net.last, Unit("Conv2d_1a_3x3", 32, 3, 2, valid=True))
    unit(net, net.last, Unit("Conv2d_2a_3x3", 32, 3, valid=True))
    unit(net, net.last, Unit("Conv2d_2b_3x3", 64, 3))
    net.add(REDUCE, name="maxpool1")
    unit(net, net.last, Unit("Conv2d_3b_1x1", 80))
    unit(net, net.last, Unit("Conv2d_4a_3x3", 192, 3, valid=True))
    net.add(REDUCE, name="maxpool2")
    for letter, projection in (("b", 32), ("c", 64), ("d", 64)):
        module(net, _square(projection), f"Mixed_5{letter}")
    module(net, _first_reduction(), "Mixed_6a")
    for letter, width in (("b", 128), ("c", 160), ("d", 160), ("e", 192)):
        module(net, _factorised(width), f"Mixed_6{letter}")
    module(net, _second_reduction(), "Mixed_7a")
    for letter in "bc":
        module(net, _wide(), f"Mixed_7{letter}")
    pooled_classifier(net, classes, dropout=0.5)


def _square(projection: int) -> tuple[Branch, ...]:
    """Figure 5 of the paper, on 35 x 35."""
    return (
        (Unit("branch1x1", 64),),
        (Unit("branch5x5_1", 48), Unit("branch5x5_2", 64, 5)),
        (Unit("branch3x3dbl_1", 64), Unit("branch3x3dbl_2", 96, 3), Unit("branch3x3dbl_3", 96, 3)),
        (AVERAGE, Unit("branch_pool", projection)),
    )


def _first_reduction() -> tuple[Branch, ...]:
    """35 x 35 to 17 x 17."""
    double = (Unit("branch3x3dbl_1", 64), Unit("branch3x3dbl_2", 96, 3), Unit("branch3x3dbl_3", 96, 3, 2, valid=True))
    return (Unit("branch3x3", 384, 3, 2, valid=True),), double, (REDUCE,)


def _factorised(width: int) -> tuple[Branch, ...]:
    """Figure 6, on 17 x 17: kernels of 7 as a row and a column."""
    return (
        (Unit("branch1x1", 192),),
        (Unit("branch7x7_1", width), Unit("branch7x7_2", width, ROW), Unit("branch7x7_3", 192, COLUMN)),
        (
            Unit("branch7x7dbl_1", width),
            Unit("branch7x7dbl_2", width, COLUMN),
            Unit("branch7x7dbl_3", width, ROW),
            Unit("branch7x7dbl_4", width, COLUMN),
            Unit("branch7x7dbl_5", 192, ROW),
        ),
        (AVERAGE, Unit("branch_pool", 192)),
    )


def _second_reduction() -> tuple[Branch, ...]:
    """17 x 17 to 8 x 8."""
    seven = (
        Unit("branch7x7x3_1", 192),
        Unit("branch7x7x3_2", 192, ROW),
        Unit("branch7x7x3_3", 192, COLUMN),
        Unit("branch7x7x3_4", 192, 3, 2, valid=True),
    )
    return (Unit("branch3x3_1", 192), Unit("branch3x3_2", 320, 3, 2, valid=True)), seven, (REDUCE,)


def _wide() -> tuple[Branch, ...]:
    """Figure 7, on 8 x 8: a row and a column side by side."""
    return (
        (Unit("branch1x1", 320),),
        (Unit("branch3x3_1", 384), _fork("branch3x3_2", 384)),
        (Unit("branch3x3dbl_1", 448), Unit("branch3x3dbl_2", 384, 3), _fork("branch3x3dbl_3", 384)),
        (AVERAGE, Unit("branch_pool", 192)),
    )


def _fork(name: str, width: int) -> Fork:
    return Fork(name, (Unit(f"{name}a", width, (1, 3)), Unit(f"{name}b", width, (3, 1))))

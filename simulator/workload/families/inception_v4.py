"""Inception version 4."""

from __future__ import annotations

from simulator.workload.families import family
from simulator.workload.families.blocks import pooled_classifier
from simulator.workload.families.inception_modules import AVERAGE, REDUCE, Branch, Fork, Unit, module, unit
from simulator.workload.families.ranges import Size
from simulator.workload.workload import Network

ROW, COLUMN = (1, 7), (7, 1)


@family("inception_v4")
def inception_v4(net: Network, *, classes: Size = 1000) -> None:
    """A branching stem, then 4, 7 and 3 inception modules with reductions between, 299 x 299.

    Source: Szegedy, Ioffe, Vanhoucke, Alemi, "Inception-v4, Inception-ResNet and the Impact of Residual Connections on
    Learning", AAAI 2017, figures 3 to 9; timm's layer names.
    """
    unit(net, net.last, Unit("features.0", 32, 3, 2, valid=True))
    unit(net, net.last, Unit("features.1", 32, 3, valid=True))
    unit(net, net.last, Unit("features.2", 64, 3))
    modules = [*_stem(), *[_inception_a()] * 4, _reduction_a(), *[_inception_b()] * 7, _reduction_b()]
    for position, branches in enumerate([*modules, *[_inception_c()] * 3], start=3):
        module(net, branches, f"features.{position}")
    pooled_classifier(net, classes, "global_pool", "last_linear", dropout=0.2)


def _stem() -> list[tuple[Branch, ...]]:
    """Figure 3 after its first three convolutions."""
    return [
        ((REDUCE,), (Unit("conv", 96, 3, 2, valid=True),)),
        (
            (Unit("branch0.0", 64), Unit("branch0.1", 96, 3, valid=True)),
            (
                Unit("branch1.0", 64),
                Unit("branch1.1", 64, ROW),
                Unit("branch1.2", 64, COLUMN),
                Unit("branch1.3", 96, 3, valid=True),
            ),
        ),
        ((Unit("conv", 192, 3, 2, valid=True),), (REDUCE,)),
    ]


def _inception_a() -> tuple[Branch, ...]:
    """Figure 4, on 35 x 35."""
    return (
        (Unit("branch0", 96),),
        (Unit("branch1.0", 64), Unit("branch1.1", 96, 3)),
        (Unit("branch2.0", 64), Unit("branch2.1", 96, 3), Unit("branch2.2", 96, 3)),
        (AVERAGE, Unit("branch3.1", 96)),
    )


def _reduction_a() -> tuple[Branch, ...]:
    """Figure 7 with the widths of table 1."""
    return (
        (Unit("branch0", 384, 3, 2, valid=True),),
        (Unit("branch1.0", 192), Unit("branch1.1", 224, 3), Unit("branch1.2", 256, 3, 2, valid=True)),
        (REDUCE,),
    )


def _inception_b() -> tuple[Branch, ...]:
    """Figure 5, on 17 x 17."""
    return (
        (Unit("branch0", 384),),
        (Unit("branch1.0", 192), Unit("branch1.1", 224, ROW), Unit("branch1.2", 256, COLUMN)),
        (
            Unit("branch2.0", 192),
            Unit("branch2.1", 192, COLUMN),
            Unit("branch2.2", 224, ROW),
            Unit("branch2.3", 224, COLUMN),
            Unit("branch2.4", 256, ROW),
        ),
        (AVERAGE, Unit("branch3.1", 128)),
    )


def _reduction_b() -> tuple[Branch, ...]:
    """Figure 8."""
    return (
        (Unit("branch0.0", 192), Unit("branch0.1", 192, 3, 2, valid=True)),
        (
            Unit("branch1.0", 256),
            Unit("branch1.1", 256, ROW),
            Unit("branch1.2", 320, COLUMN),
            Unit("branch1.3", 320, 3, 2, valid=True),
        ),
        (REDUCE,),
    )


def _inception_c() -> tuple[Branch, ...]:
    """Figure 6, on 8 x 8."""
    return (
        (Unit("branch0", 256),),
        (Unit("branch1_0", 384), _fork("branch1_1")),
        (Unit("branch2_0", 384), Unit("branch2_1", 448, (3, 1)), Unit("branch2_2", 512, (1, 3)), _fork("branch2_3")),
        (AVERAGE, Unit("branch3.1", 256)),
    )


def _fork(name: str) -> Fork:
    return Fork(name, (Unit(f"{name}a", 256, (1, 3)), Unit(f"{name}b", 256, (3, 1))))

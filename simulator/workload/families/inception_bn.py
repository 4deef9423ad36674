"""BN-Inception (Inception version 2): GoogLeNet with batch normalisation and pairs of 3x3 instead of 5x5."""

from __future__ import annotations

from typing import NamedTuple

from simulator.op.pooling import MaxPool
from simulator.workload.families import family
from simulator.workload.families.blocks import pooled_classifier
from simulator.workload.families.inception_modules import AVERAGE, Branch, Unit, module, unit
from simulator.workload.families.ranges import Size
from simulator.workload.workload import Network

POOL = MaxPool(kernel=3, stride=2, ceil=True)


class BranchWidths(NamedTuple):
    """1x1, 3x3 reduce and 3x3, double 3x3 reduce and both 3x3, pool projection; 0 where a stride 2 leaves it out."""

    one: int
    three_in: int
    three: int
    double_in: int
    double: int
    projection: int

    @property
    def stride(self) -> int:
        """Modules without a 1x1 branch halve the sides."""
        return 1 if self.one else 2


MODULES = {
    "3a": BranchWidths(64, 64, 64, 64, 96, 32),
    "3b": BranchWidths(64, 64, 96, 64, 96, 64),
    "3c": BranchWidths(0, 128, 160, 64, 96, 0),
    "4a": BranchWidths(224, 64, 96, 96, 128, 128),
    "4b": BranchWidths(192, 96, 128, 96, 128, 128),
    "4c": BranchWidths(160, 128, 160, 128, 160, 128),
    "4d": BranchWidths(96, 128, 192, 160, 192, 128),
    "4e": BranchWidths(0, 128, 192, 192, 256, 0),
    "5a": BranchWidths(352, 192, 320, 160, 224, 128),
    "5b": BranchWidths(352, 192, 320, 192, 224, 128),
}
"""The paper's figure 5, with the 128 projected channels of 4c and 4d that the released networks have."""


@family("inception_bn")
def inception_bn(net: Network, *, classes: Size = 1000) -> None:
    """Ten inception modules; convolutions keep their bias beside batch normalisation, as the released networks do.

    Source: Ioffe, Szegedy, "Batch Normalization", 2015, arXiv 1502.03167, figure 5.
    """
    unit(net, net.last, Unit("conv1", 64, 7, 2, bias=True))
    net.add(POOL, name="pool1")
    unit(net, net.last, Unit("conv2_reduce", 64, bias=True))
    unit(net, net.last, Unit("conv2", 192, 3, bias=True))
    net.add(POOL, name="pool2")
    for name, widths in MODULES.items():
        module(net, _branches(widths, "max" if name == "5b" else "average"), f"inception_{name}")
    pooled_classifier(net, classes, "global_pool", "last_linear")


def _branches(widths: BranchWidths, pool: str) -> tuple[Branch, ...]:
    three: Branch = (
        Unit("3x3_reduce", widths.three_in, bias=True),
        Unit("3x3", widths.three, 3, widths.stride, bias=True),
    )
    double: Branch = (
        Unit("double_3x3_reduce", widths.double_in, bias=True),
        Unit("double_3x3_1", widths.double, 3, bias=True),
        Unit("double_3x3_2", widths.double, 3, widths.stride, bias=True),
    )
    if widths.stride == 2:
        return three, double, (POOL,)
    pooling = MaxPool(kernel=3, stride=1, padding=1) if pool == "max" else AVERAGE
    projected: Branch = (pooling, Unit("pool_proj", widths.projection, bias=True))
    return (Unit("1x1", widths.one, bias=True),), three, double, projected

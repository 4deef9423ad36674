"""Pieces of the inception networks: branches of convolutions side by side, joined along the channels."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from simulator.op.base import Op, Pair
from simulator.op.combine import Concat
from simulator.op.pooling import AveragePool, MaxPool
from simulator.workload.families.blocks import centred, conv_block
from simulator.workload.workload import Network


class Unit(NamedTuple):
    """Convolution, batch normalisation and ReLU; `valid` leaves the padding out."""

    name: str
    out: int
    kernel: Pair = 1
    stride: int = 1
    valid: bool = False
    bias: bool = False


class Fork(NamedTuple):
    """Units that read the same tensor, joined again at once."""

    name: str
    units: tuple[Unit, ...]


Branch = tuple[Unit | Fork | Op, ...]
"""Steps one after the other; an operation stands for itself (pooling)."""

AVERAGE = AveragePool(kernel=3, stride=1, padding=1)
REDUCE = MaxPool(kernel=3, stride=2)


def module(net: Network, branches: tuple[Branch, ...], prefix: str) -> int:
    """Branches from the last layer, joined."""
    start = net.last
    return net.add(Concat(), *(branch(net, start, steps, prefix) for steps in branches), name=f"{prefix}.concat")


def branch(net: Network, source: int, steps: Branch, prefix: str) -> int:
    """The steps of one branch."""
    for step in steps:
        if isinstance(step, Unit):
            source = unit(net, source, step, prefix)
        elif isinstance(step, Fork):
            heads = [unit(net, source, part, prefix) for part in step.units]
            source = net.add(Concat(), *heads, name=f"{prefix}.{step.name}")
        else:
            source = net.add(step, source, name=f"{prefix}.{step.kind}")
    return source


def unit(net: Network, source: int, part: Unit, prefix: str = "") -> int:
    """One convolution with its normalisation and ReLU, named as torchvision names them."""
    convolution = centred(part.out, part.kernel, stride=part.stride)
    changed = {"padding": 0} if part.valid else {}
    convolution = msgspec.structs.replace(convolution, bias=part.bias, **changed)
    name = f"{prefix}.{part.name}" if prefix else part.name
    return conv_block(net, convolution, source, names=(f"{name}.conv", f"{name}.bn", f"{name}.relu"))

"""The inverted residual block of MobileNetV3 and EfficientNet."""

from __future__ import annotations

from typing import NamedTuple

from simulator.op.base import Op
from simulator.op.combine import Add
from simulator.op.stochastic_depth import DropPath
from simulator.workload.families.blocks import RELU, RELU_SIGMOID, centred, conv_block, numbered, squeeze_excite
from simulator.workload.workload import Network


class InvertedResidual(NamedTuple):
    """One block: 1x1 expansion, depthwise convolution, squeeze-and-excitation, linear 1x1 projection.

    Attributes
    ----------
    expanded, out : channels between and after.
    kernel, stride : of the depthwise convolution.
    hidden : channels inside squeeze-and-excitation, none if 0.
    activation : after expansion and depthwise convolution.
    gates : activations of squeeze-and-excitation.
    drop : rate of stochastic depth.
    """

    expanded: int
    out: int
    kernel: int
    stride: int
    hidden: int = 0
    activation: Op = RELU
    gates: tuple[Op, Op] = RELU_SIGMOID
    drop: float = 0.0


def inverted_residual(net: Network, block: InvertedResidual, prefix: str) -> int:
    """Add the block, its shortcut where the shape is kept; an expansion to the same width is left out.

    Source: Howard et al., "Searching for MobileNetV3", ICCV 2019, figure 4.
    """
    start, part = net.last, 0
    if block.expanded != net.shape(start)[0]:
        conv_block(net, centred(block.expanded, 1), names=numbered(f"{prefix}.{part}"), activation=block.activation)
        part += 1
    depthwise = centred(block.expanded, block.kernel, stride=block.stride, groups=block.expanded)
    features = conv_block(net, depthwise, names=numbered(f"{prefix}.{part}"), activation=block.activation)
    if block.hidden:
        part += 1
        features = squeeze_excite(net, features, block.hidden, f"{prefix}.{part}", block.gates)
    names = numbered(f"{prefix}.{part + 1}")
    features = conv_block(net, centred(block.out, 1), features, names=names, activation=None)
    if block.stride != 1 or net.shape(start)[0] != block.out:
        return features
    if block.drop:
        features = net.add(DropPath(rate=block.drop), name=f"{prefix}.stochastic_depth")
    return net.add(Add(), features, start, name=f"{prefix}.add")

"""DenseNet: every layer reads the outputs of all layers before it in its block."""

from __future__ import annotations

from simulator.op.activation import Relu
from simulator.op.combine import Concat
from simulator.op.normalization import BatchNorm
from simulator.op.pooling import AveragePool, MaxPool
from simulator.workload.families import family
from simulator.workload.families.blocks import centred, conv_block, pooled_classifier
from simulator.workload.families.ranges import Size, StageBlocks
from simulator.workload.workload import Network

BOTTLENECK = 4
"""Width of a layer's 1x1 convolution, in growth rates."""


@family("densenet")
def densenet(net: Network, *, blocks: StageBlocks, growth: Size = 32, stem: Size = 64, classes: Size = 1000) -> None:
    """Dense blocks with transitions that halve channels and sides; normalisation and ReLU before each convolution.

    A layer copies the features before it into one tensor, as the framework's concatenation does.
    Source: Huang et al., "Densely Connected Convolutional Networks", CVPR 2017, table 1; torchvision's layer names.
    """
    conv_block(net, centred(stem, 7, stride=2), names=("features.conv0", "features.norm0", "features.relu0"))
    net.add(MaxPool(kernel=3, stride=2, padding=1), name="features.pool0")
    for number, layers in enumerate(blocks, start=1):
        parts = [net.last]
        for layer in range(1, layers + 1):
            parts.append(_dense_layer(net, f"features.denseblock{number}.denselayer{layer}", parts, growth))
        net.add(Concat(), *parts, name=f"features.denseblock{number}.concat")
        if number < len(blocks):
            _transition(net, f"features.transition{number}")
    _norm_relu(net, net.last, ("features.norm5", "features.relu5"))
    pooled_classifier(net, classes, name="classifier")


def _dense_layer(net: Network, prefix: str, parts: list[int], growth: int) -> int:
    start = net.add(Concat(), *parts, name=f"{prefix}.concat") if len(parts) > 1 else parts[0]
    _norm_relu(net, start, (f"{prefix}.norm1", f"{prefix}.relu1"))
    names = (f"{prefix}.conv1", f"{prefix}.norm2", f"{prefix}.relu2")
    conv_block(net, centred(BOTTLENECK * growth, 1), names=names)
    return net.add(centred(growth, 3), name=f"{prefix}.conv2")


def _transition(net: Network, prefix: str) -> None:
    _norm_relu(net, net.last, (f"{prefix}.norm", f"{prefix}.relu"))
    net.add(centred(net.shape(net.last)[0] // 2, 1), name=f"{prefix}.conv")
    net.add(AveragePool(kernel=2), name=f"{prefix}.pool")


def _norm_relu(net: Network, source: int, names: tuple[str, str]) -> None:
    net.add(BatchNorm(), source, name=names[0])
    net.add(Relu(), name=names[1])

"""VGG: stacks of 3x3 convolutions."""

from __future__ import annotations

from simulator.op.activation import Dropout, Relu
from simulator.op.combine import Flatten
from simulator.op.convolution import Convolution
from simulator.op.linear import Linear
from simulator.op.normalization import BatchNorm
from simulator.op.pooling import AdaptiveAveragePool, MaxPool
from simulator.workload.families import family
from simulator.workload.families.blocks import classifier
from simulator.workload.families.ranges import Size, StageBlocks
from simulator.workload.workload import Network

GRID = (7, 7)
"""What the linear layers read: the last stage of a 224 x 224 image; other sizes are averaged to it."""


@family("vgg")
def vgg(
    net: Network, *, stages: StageBlocks, batch_norm: bool = False, convolutional: bool = False, classes: Size = 1000
) -> None:
    """Stages of 3x3 convolutions (64, 128, 256, 512, 512 wide), each closed by a 2x2 maximum; three linear layers.

    Layer names count modules as torchvision's do. With `convolutional` the first two linear layers are convolutions
    over the whole image, as in timm (timm/models/vgg.py, `ConvMlp`): the same work, by another library.
    Source: Simonyan, Zisserman, "Very Deep Convolutional Networks", 2015, arXiv 1409.1556, table 1.
    """
    position = 0
    for stage, count in enumerate(stages):
        for _ in range(count):
            net.add(Convolution(out=min(64 << stage, 512), kernel=3, padding=1), name=f"features.{position}")
            position += 1
            if batch_norm:
                net.add(BatchNorm(), name=f"features.{position}")
                position += 1
            net.add(Relu(), name=f"features.{position}")
            position += 1
        net.add(MaxPool(kernel=2), name=f"features.{position}")
        position += 1
    if net.shape(net.last)[1:] != GRID:
        net.add(AdaptiveAveragePool(out=GRID), name="avgpool")
    if convolutional:
        _convolutional_layers(net)
        classifier(net, classes, "head.fc")
        return
    net.add(Flatten(), name="flatten")
    for number in (0, 3):
        net.add(Linear(out=4096), name=f"classifier.{number}")
        net.add(Relu(), name=f"classifier.{number + 1}")
        net.add(Dropout(), name=f"classifier.{number + 2}")
    classifier(net, classes, "classifier.6")


def _convolutional_layers(net: Network) -> None:
    for number, kernel in ((1, GRID), (2, (1, 1))):
        net.add(Convolution(out=4096, kernel=kernel), name=f"pre_logits.fc{number}")
        net.add(Relu(), name=f"pre_logits.act{number}")
        if number == 1:
            net.add(Dropout(), name="pre_logits.drop")
    net.add(Flatten(), name="flatten")

"""U-Net: an encoder, a decoder, and shortcuts between their stages."""

from __future__ import annotations

from simulator.op.activation import CrossEntropyLoss
from simulator.op.combine import Concat
from simulator.op.convolution import Convolution
from simulator.op.pooling import MaxPool
from simulator.op.rearrange import ZeroPad
from simulator.op.resample import TransposedConvolution, Upsample
from simulator.workload.families import family
from simulator.workload.families.blocks import centred, conv_block, numbered
from simulator.workload.families.ranges import Size
from simulator.workload.workload import Network

WIDTHS = (64, 128, 256, 512, 1024)


@family("unet")
def unet(net: Network, *, bilinear: bool = False, classes: Size = 2) -> None:
    """Pairs of padded 3x3 convolutions with batch normalisation; sides halved four times and doubled four times.

    The decoder doubles sides by transposed convolutions, or by interpolation (`bilinear`), which halves the widths of
    what it reads. The widespread padded variant, not the published one, whose convolutions shrink the image.
    Source: Ronneberger, Fischer, Brox, "U-Net", MICCAI 2015, figure 1; milesial's Pytorch-UNet and its layer names.
    """
    skips = [_double(net, net.last, (WIDTHS[0], WIDTHS[0]), "inc")]
    for number, width in enumerate(WIDTHS[1:], start=1):
        out = width // 2 if bilinear and number == len(WIDTHS) - 1 else width
        pooled = net.add(MaxPool(kernel=2), name=f"down{number}.maxpool")
        skips.append(_double(net, pooled, (out, out), f"down{number}.conv"))
    features = skips.pop()
    for number, skip in enumerate(reversed(skips), start=1):
        features = _up(net, features, skip, f"up{number}", bilinear=bilinear)
    net.add(Convolution(out=classes, kernel=1), name="outc.conv")
    net.add(CrossEntropyLoss(), name="loss")


def _double(net: Network, source: int, widths: tuple[int, int], prefix: str) -> int:
    conv_block(net, centred(widths[0], 3), source, names=numbered(f"{prefix}.double_conv"))
    return conv_block(net, centred(widths[1], 3), names=numbered(f"{prefix}.double_conv", 3))


def _up(net: Network, features: int, skip: int, prefix: str, *, bilinear: bool) -> int:
    """Double the sides, pad to the shortcut's, join, convolve to the shortcut's width (or half of it, for the next)."""
    width = net.shape(skip)[0]
    if bilinear:
        net.add(Upsample(scale=2, mode="bilinear"), features, name=f"{prefix}.up")
    else:
        net.add(TransposedConvolution(out=width, kernel=2, stride=2), features, name=f"{prefix}.up")
    _pad(net, skip, prefix)
    joined = net.add(Concat(), skip, net.last, name=f"{prefix}.concat")
    out = width // 2 if bilinear and width > WIDTHS[0] else width
    return _double(net, joined, (width, out), f"{prefix}.conv")


def _pad(net: Network, skip: int, prefix: str) -> None:
    """Zeros where a side was odd and its last row was lost."""
    _, *wanted = net.shape(skip)
    _, *found = net.shape(net.last)
    vertical, horizontal = wanted[0] - found[0], wanted[1] - found[1]
    if vertical or horizontal:
        sides = (vertical // 2, vertical - vertical // 2, horizontal // 2, horizontal - horizontal // 2)
        net.add(ZeroPad(padding=sides), name=f"{prefix}.pad")

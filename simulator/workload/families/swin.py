"""Swin transformer: attention inside windows of the image, shifted in every second layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from simulator.errors import InputError
from simulator.op.convolution import Convolution
from simulator.op.layer_norm import LayerNorm
from simulator.op.linear import Linear
from simulator.op.sequence import MeanPositions, Reorder, Tokens
from simulator.op.stochastic_depth import DropPath
from simulator.workload.families import family
from simulator.workload.families.blocks import classifier
from simulator.workload.families.ranges import Depth, Rate, Size
from simulator.workload.families.transformer import FeedForward, Mode, attention_rule, feed_forward, residual
from simulator.workload.workload import INPUT, Network


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage's image of patches, its window, and its heads."""

    height: int
    width: int
    features: int
    heads: int
    window: int
    mode: Mode

    @property
    def padded(self) -> int:
        """Patches of the image padded to whole windows."""
        return _up(self.height, self.window) * _up(self.width, self.window)


@family("swin")
def swin(
    net: Network,
    *,
    depths: Annotated[list[Depth], Meta(min_length=1, max_length=8)],
    heads: Annotated[list[Size], Meta(min_length=1, max_length=8)],
    features: Size = 96,
    patch: Size = 4,
    window: Size = 7,
    expansion: Size = 4,
    classes: Size = 1000,
    drop_path: Rate = 0.0,
    attention: Mode = "eager",
) -> None:
    """Stages of windowed attention; between them 2 x 2 patches are merged and the features doubled.

    `drop_path` is the last layer's rate of dropped branches.
    Source: Liu et al., "Swin Transformer", ICCV 2021, arXiv 2103.14030, sections 3.1 to 3.3.
    """
    if len(net.inputs[0]) != 3 or len(depths) != len(heads):
        raise InputError(f"swin needs an image and as many heads as stages, found {list(net.inputs[0])}, {heads}")
    net.add(Convolution(out=features, kernel=patch, stride=patch), INPUT, name="patches")
    height, width = net.shape(net.last)[1:]
    net.add(LayerNorm(), net.add(Tokens(), name="tokens"), name="patches_norm")
    for number, depth in enumerate(depths):
        stage = Stage(height, width, features << number, heads[number], window, attention)
        if number:
            _merge(net, stage, f"merge.{number}")
        for layer in range(depth):
            _layer(net, stage, (f"stages.{number}.{layer}", layer % 2 == 1), expansion, drop_path)
        height, width = _up(height, 2) // 2, _up(width, 2) // 2
    net.add(MeanPositions(), net.add(LayerNorm(), name="norm"), name="mean")
    classifier(net, classes, "head")


def _merge(net: Network, stage: Stage, prefix: str) -> None:
    """2 x 2 patches side by side, normalised and projected to half their features; `stage` is the one that follows."""
    patches = stage.height * stage.width
    net.add(Reorder(positions=patches, features=2 * stage.features), name=f"{prefix}.join")
    net.add(LayerNorm(), name=f"{prefix}.norm")
    net.add(Linear(out=stage.features, bias=False), name=f"{prefix}.reduction")


def _layer(net: Network, stage: Stage, place: tuple[str, bool], expansion: int, drop_path: float) -> int:
    prefix, shifted = place
    state = net.last
    entry = net.add(LayerNorm(), state, name=f"{prefix}.attention.norm")
    out = _kept(net, _windows(net, stage, entry, shifted, f"{prefix}.attention"), drop_path, f"{prefix}.attention")
    state = residual(net, state, out, f"{prefix}.attention")
    mlp = FeedForward(width=expansion * stage.features, activation="gelu", gated=False, bias=True)
    entry = net.add(LayerNorm(), state, name=f"{prefix}.mlp.norm")
    out = _kept(net, feed_forward(net, mlp, stage.features, entry, f"{prefix}.mlp"), drop_path, f"{prefix}.mlp")
    return residual(net, state, out, f"{prefix}.mlp")


def _kept(net: Network, branch: int, rate: float, prefix: str) -> int:
    """Stochastic depth where there is any."""
    return net.add(DropPath(rate=rate), branch, name=f"{prefix}.drop_path") if rate else branch


def _windows(net: Network, stage: Stage, entry: int, shifted: bool, prefix: str) -> int:
    """Shift (where the image is larger than a window), partition, attention in each window, and back."""
    area = stage.window * stage.window
    copies = 2 if shifted and min(stage.height, stage.width) > stage.window else 1
    there = Reorder(positions=stage.padded, features=stage.features, copies=copies)
    back = Reorder(positions=stage.height * stage.width, features=stage.features, copies=copies)
    table = (2 * stage.window - 1) ** 2
    op = attention_rule(stage.mode)(heads=stage.heads, block=area, relative_positions=table, scale="queries")
    net.add(there, entry, name=f"{prefix}.partition")
    net.add(Linear(out=3 * stage.features), name=f"{prefix}.qkv")
    net.add(op, name=f"{prefix}.scores")
    net.add(Linear(out=stage.features), name=f"{prefix}.output")
    return net.add(back, name=f"{prefix}.join")


def _up(length: int, multiple: int) -> int:
    """The next multiple."""
    return -(-length // multiple) * multiple

"""Networks in plain PyTorch, built by hand, that the tests of the tracer and its speed share."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional


def conv_bn(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    padding = kernel // 2
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
    return [convolution, nn.BatchNorm2d(outputs)]


class Bottleneck(nn.Module):
    def __init__(self, inputs: int, planes: int, stride: int, groups: int, base: int) -> None:
        super().__init__()
        width, outputs = planes * base // 64 * groups, planes * 4
        self.conv1, self.bn1 = conv_bn(inputs, width, 1)
        self.conv2, self.bn2 = conv_bn(width, width, 3, stride, groups)
        self.conv3, self.bn3 = conv_bn(width, outputs, 1)
        self.relu = nn.ReLU(inplace=True)
        projected = stride != 1 or inputs != outputs
        self.downsample = nn.Sequential(*conv_bn(inputs, outputs, 1, stride)) if projected else None

    def forward(self, x: Any) -> Any:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(self.relu(self.bn2(self.conv2(y)))))
        y += x if self.downsample is None else self.downsample(x)
        return self.relu(y)


class ResNet(nn.Module):
    def __init__(self, groups: int = 1, base: int = 64) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv_bn(3, 64, 7, 2)
        self.relu, self.maxpool = nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)
        channels = 64
        for stage, count in enumerate([3, 4, 6, 3]):
            blocks = []
            for number in range(count):
                stride = 2 if stage > 0 and number == 0 else 1
                blocks.append(Bottleneck(channels, 64 << stage, stride, groups, base))
                channels = (64 << stage) * 4
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(2048, 1000)

    def forward(self, x: Any) -> Any:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
        return self.fc(torch.flatten(self.avgpool(x), 1))


class InvertedResidual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        expand = [*conv_bn(inputs, hidden, 1), nn.ReLU6()] if expansion > 1 else []
        depthwise = [*conv_bn(hidden, hidden, 3, stride, hidden), nn.ReLU6()]
        self.body = nn.Sequential(*expand, *depthwise, *conv_bn(hidden, outputs, 1))
        self.joined = stride == 1 and inputs == outputs

    def forward(self, x: Any) -> Any:
        return x + self.body(x) if self.joined else self.body(x)


def mobilenet_v2() -> nn.Module:
    layers = [*conv_bn(3, 32, 3, 2), nn.ReLU6()]
    channels = 32
    stages = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
    for expansion, outputs, count, stride in stages:
        for number in range(count):
            layers.append(InvertedResidual(channels, outputs, stride if number == 0 else 1, expansion))
            channels = outputs
    layers += [*conv_bn(320, 1280, 1), nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2)]
    return nn.Sequential(*layers, nn.Linear(1280, 1000))


class Block(nn.Module):
    """A transformer block of `width` features and `heads` heads."""

    def __init__(self, width: int, heads: int, *, eager: bool) -> None:
        super().__init__()
        self.heads, self.eager = heads, eager
        self.ln1, self.qkv, self.proj = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.ln2, self.fc1, self.fc2 = nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Any) -> Any:
        batch, positions, width = x.shape
        sides = (batch, positions, 3, self.heads, width // self.heads)
        q, k, v = self.qkv(self.ln1(x)).view(sides).permute(2, 0, 3, 1, 4).unbind(0)
        if self.eager:
            y = (q @ k.transpose(-2, -1) / sides[-1] ** 0.5).softmax(-1) @ v
        else:
            y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.proj(y.transpose(1, 2).reshape(batch, positions, width))
        return x + self.fc2(functional.gelu(self.fc1(self.ln2(x))))


class Transformer(nn.Module):
    """Token and position embeddings, two blocks, and a head that shares the token embedding's table."""

    def __init__(self, *, eager: bool) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(100, 32), nn.Embedding(32, 32)
        self.blocks = nn.Sequential(Block(32, 4, eager=eager), Block(32, 4, eager=eager))
        self.norm, self.head = nn.LayerNorm(32), nn.Linear(32, 100, bias=False)
        self.head.weight = self.tokens.weight

    def forward(self, tokens: Any) -> Any:
        places = torch.arange(tokens.shape[1], device=tokens.device)
        return self.head(self.norm(self.blocks(self.tokens(tokens) + self.positions(places))))

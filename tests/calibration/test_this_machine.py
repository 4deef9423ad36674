"""This machine measured, then networks in PyTorch on it: measured step times against predicted ones.

The networks are built by hand to match the zoo's definitions; the transformer and the chain of small layers are traced,
so that both sides are the same network. Errors are printed (`pytest -rP`). Other work spoils times on few cores, so
that: beside another test worker, or after a disturbed attempt, one thread is used; calls that waited for a core do not
count; calibration and networks are measured one right after the other, and once more where they disagree.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import log
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from simulator import Options, load_device, load_workload, simulate  # noqa: E402
from simulator.calibration.machine.conditions import conditions  # noqa: E402
from simulator.calibration.machine.layers import settle  # noqa: E402
from simulator.calibration.machine.measure import measure  # noqa: E402
from simulator.calibration.machine.profile import write_profile  # noqa: E402
from simulator.calibration.machine.timing import Stopwatch  # noqa: E402
from simulator.workload.importers.torch import Tracing, from_torch  # noqa: E402
from simulator.workload.workload import Workload  # noqa: E402

nn = torch.nn

pytestmark = pytest.mark.slow

MEAN = 0.35
"""Bound of the mean absolute error. A quiet machine has 0.15."""
EACH = 2.0
"""Bound of each ratio of predicted to measured time, either way."""
PACE = 0.5
BUDGET_S = 0.5
LIMIT_S = 30.0
"""After which each network is timed once, so that a busy machine is done in time. [s]"""
TOO_DISTURBED = 0.3
"""Share of measurements that waited for a core, from which on times say nothing."""


def conv_bn(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> list[Any]:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [convolution, nn.BatchNorm2d(outputs)]


class Joined(nn.Module):  # type: ignore[misc, name-defined]
    """A body whose output is added to its input, or to a projection of it; then perhaps a ReLU."""

    def __init__(self, body: list[Any], shortcut: list[Any], *, relu: bool) -> None:
        super().__init__()
        self.body, self.shortcut = nn.Sequential(*body), nn.Sequential(*shortcut)
        self.last = nn.ReLU(inplace=True) if relu else nn.Identity()

    def forward(self, x: Any) -> Any:
        y = self.body(x)
        y += self.shortcut(x)
        return self.last(y)


def resnet18() -> Any:
    layers: list[Any] = [*conv_bn(3, 64, 7, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
    channels = 64
    for outputs in (64, 64, 128, 128, 256, 256, 512, 512):
        stride = 1 if outputs == channels else 2
        body = [*conv_bn(channels, outputs, 3, stride), nn.ReLU(inplace=True), *conv_bn(outputs, outputs, 3)]
        layers.append(Joined(body, conv_bn(channels, outputs, 1, stride) if stride > 1 else [], relu=True))
        channels = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 1000))


STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


def mobilenet_v2() -> Any:
    layers = [*conv_bn(3, 32, 3, 2), nn.ReLU6(inplace=True)]
    channels = 32
    for expansion, outputs, count, first in STAGES:
        for stride in (first, *[1] * (count - 1)):
            hidden = channels * expansion
            body = [*conv_bn(channels, hidden, 1), nn.ReLU6(inplace=True)] if expansion > 1 else []
            body += [*conv_bn(hidden, hidden, 3, stride, hidden), nn.ReLU6(inplace=True), *conv_bn(hidden, outputs, 1)]
            joined = stride == 1 and channels == outputs
            layers.append(Joined(body, [], relu=False) if joined else nn.Sequential(*body))
            channels = outputs
    layers += [*conv_bn(320, 1280, 1), nn.ReLU6(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2)]
    return nn.Sequential(*layers, nn.Linear(1280, 1000))


class Block(nn.Module):  # type: ignore[misc, name-defined]
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.size = heads, width // heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Any) -> Any:
        batch, length, width = x.shape
        split = self.qkv(self.norm1(x)).view(batch, length, 3, self.heads, self.size)
        q, k, v = split.permute(2, 0, 3, 1, 4)
        attended = torch.softmax(q @ k.transpose(-2, -1) * self.size**-0.5, -1) @ v
        x = x + self.out(attended.transpose(1, 2).reshape(batch, length, width))
        return x + self.down(nn.functional.gelu(self.up(self.norm2(x))))


WORDS, LENGTH, WIDTH = 8192, 128, 256


def transformer() -> Any:
    blocks = [Block(WIDTH, 4) for _ in range(4)]
    return nn.Sequential(nn.Embedding(WORDS, WIDTH), *blocks, nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WORDS))


SIDES = [16] * 49


def chain() -> Any:
    """Layers so small that a step is calls and nothing else."""
    layers = [layer for a, b in pairwise(SIDES) for layer in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*layers)


def images(batch: int) -> Any:
    return torch.randn(batch, 3, 224, 224)


def words(batch: int) -> Any:
    return torch.randint(0, WORDS, (batch, LENGTH))


def numbers(batch: int) -> Any:
    return torch.randn(batch, SIDES[0])


Build = Callable[[], Any]
NETWORKS: dict[str, tuple[Build, Callable[[int], Any], tuple[int, int]]] = {
    "resnet18": (resnet18, images, (2, 8)),
    "mobilenet_v2": (mobilenet_v2, images, (2, 8)),
    "transformer": (transformer, words, (2, 8)),
    "chain": (chain, numbers, (1, 8)),
}


@dataclass(frozen=True)
class Case:
    """[s]"""

    network: str
    task: str
    batch: int
    measured_s: float


def step_of(build: Build, x: Any, task: str) -> Callable[[], object]:
    model = build()
    if task == "infer":
        return torch.inference_mode()(lambda: model.eval()(x))  # type: ignore[no-any-return]
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, weight_decay=1e-4)
    classes = model(x).flatten(0, -2)
    labels = torch.zeros(len(classes), dtype=torch.long)

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x).flatten(0, -2), labels).backward()
        optimizer.step()

    return step


def measured_cases(stopwatch: Stopwatch) -> Iterator[Case]:
    settle(torch)
    for name, (build, inputs, batches) in NETWORKS.items():
        for batch in batches:
            for task in ("infer", "train"):
                seconds = stopwatch.best(step_of(build, inputs(batch), task), BUDGET_S)
                yield Case(name, task, batch, seconds)


def workload_of(name: str) -> Workload:
    if name in ("resnet18", "mobilenet_v2"):
        return load_workload(name)
    build, inputs, _ = NETWORKS[name]
    return from_torch(build(), inputs(2), Tracing(name))


WORKLOADS: dict[str, Workload] = {}


def predicted_s(case: Case, path: Path, overrides: list[str]) -> float:
    workload = WORKLOADS.setdefault(case.network, workload_of(case.network))
    options = Options(batch=case.batch, task=case.task, ignore_memory=True)
    return simulate(workload, load_device(str(path), overrides=overrides), options).step.time_s


def ratios(cases: list[Case], path: Path, overrides: list[str]) -> list[float]:
    """Predicted over measured."""
    return [predicted_s(case, path, overrides) / case.measured_s for case in cases]


def mean_error(found: list[float]) -> float:
    return sum(abs(ratio - 1) for ratio in found) / len(found)


def agrees(found: list[float]) -> bool:
    return mean_error(found) <= MEAN and all(abs(log(ratio)) <= log(EACH) for ratio in found)


def table(cases: list[Case], path: Path) -> str:
    found = ratios(cases, path, [])
    lines = [f"{'network':13} {'task':5} {'batch':>5} {'measured':>11} {'predicted':>11} {'error':>6}"]
    for case, ratio in zip(cases, found, strict=True):
        measured, predicted = (f"{s * 1e3:8.2f} ms" for s in (case.measured_s, case.measured_s * ratio))
        lines.append(f"{case.network:13} {case.task:5} {case.batch:5} {measured} {predicted} {ratio - 1:+6.0%}")
    return "\n".join([*lines, f"mean absolute error {mean_error(found):.1%}"])


def measured_here(path: Path) -> list[Case]:
    """Networks on this machine, whose profile is written right before; both once more where they disagree."""
    threads = 1 if int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")) > 1 else None
    disturbed, cases = 0.0, []
    for _attempt in range(2):
        measured = measure(conditions(threads), PACE)
        write_profile(measured, path)
        stopwatch = Stopwatch(deadline=time.perf_counter() + LIMIT_S)
        cases = list(measured_cases(stopwatch))
        disturbed = max(measured.disturbed, stopwatch.disturbed_share)
        print(f"calibrated in {measured.seconds:.0f} s; {disturbed:.0%} disturbed\n{table(cases, path)}")
        if agrees(ratios(cases, path, [])):
            return cases
        threads = 1 if disturbed > TOO_DISTURBED else threads
    if disturbed > TOO_DISTURBED:
        pytest.skip(f"other work took the cores: {disturbed:.0%} of the measurements waited for one")
    return cases


def broken_models(path: Path) -> dict[str, list[str]]:
    """Wrong models, as what they override of the profile."""
    device = load_device(str(path))
    assert device.calls_s is not None
    calls = {"forward": device.calls_s[0], "backward": device.calls_s[1], "update": device.calls_s[3]}
    return {
        "three times the peak": [f"peak.fp32={device.peak['fp32'] * 3e-9} GFLOP/s"],
        "convolutions three times slower": [f"kernel.convolution={device.kernel['convolution'] / 3}"],
        "eight times the copies": [f"kernel.relayout={device.kernel['relayout'] * 8}"],
        "no calls": [f"calls.{name}=0 us" for name in calls],
        "calls four times slower": [f"calls.{name}={seconds * 4e6} us" for name, seconds in calls.items()],
    }


@pytest.mark.alone
def test_predicted_times_are_those_of_this_machine(tmp_path: Path) -> None:
    """One test, so that one worker measures once."""
    path = tmp_path / "this-machine.yaml"
    cases = measured_here(path)
    assert agrees(ratios(cases, path, [])), table(cases, path)
    for name, overrides in broken_models(path).items():
        assert not agrees(ratios(cases, path, overrides)), f"{name}, and nobody noticed"

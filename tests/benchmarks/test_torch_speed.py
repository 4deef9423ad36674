"""The tracer's speed: ResNet-50 forward and backward in less time than fvcore counts its forward pass alone."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest

from simulator.workload.importers.torch import from_torch


def best_of(repeats: int, work: Callable[[], Any]) -> float:
    times = []
    for _ in range(repeats):
        start = perf_counter()
        work()
        times.append(perf_counter() - start)
    return min(times)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_tracing_resnet50_takes_less_time_than_fvcore(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch = pytest.importorskip("torch")
    fvcore = pytest.importorskip("fvcore.nn")
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "workload"))
    import torch_networks

    monkeypatch.setattr(logging.root.manager, "disable", logging.CRITICAL)
    with torch.device("meta"):
        shapes = torch_networks.ResNet()
    ours = best_of(3, lambda: from_torch(shapes, torch.empty(1, 3, 224, 224, device="meta")))
    weights, image = torch_networks.ResNet().eval(), torch.zeros(1, 3, 224, 224)  # fvcore cannot trace meta tensors
    theirs = best_of(2, lambda: fvcore.FlopCountAnalysis(weights, image).total())
    with capsys.disabled():
        print(f"\nResNet-50: traced forward and backward in {ours:.3f} s; fvcore, forward alone, {theirs:.3f} s")
    assert ours < theirs

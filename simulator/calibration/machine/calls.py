"""What a framework's call costs before its work begins: layers so small that nothing else takes time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from simulator.calibration.machine.timing import Stopwatch

DEPTH = 32
"""Pairs of a linear layer and a ReLU."""
WIDTH = 4
BUDGET_S = 0.3


@dataclass(frozen=True)
class CallCosts:
    """[s]. `launch`: the least call of the library; the others: what a call of each phase costs beyond it."""

    launch: float
    forward: float = 0.0
    backward: float = 0.0
    update: float = 0.0
    step: float = 0.0


def numpy_calls(stopwatch: Stopwatch) -> float:
    """The cost of NumPy's least call. [s]"""
    import numpy as np

    array = np.zeros(WIDTH, dtype=np.float32)

    def many() -> None:
        for _ in range(DEPTH):
            np.add(array, array, out=array)

    return stopwatch.best(many, BUDGET_S / 4) / DEPTH


def torch_calls(torch: Any, stopwatch: Stopwatch) -> CallCosts:
    """PyTorch's calls: modules forward with a tape, the tape backward, SGD with momentum for each layer.

    A step costs what the optimizer's and the loss's own Python takes once.
    """
    launch = _launch(torch, stopwatch)
    short, long = (_phases(torch, depth, stopwatch) for depth in (1, DEPTH + 1))
    forward, backward, update = ((b - a) / DEPTH for a, b in zip(short, long, strict=True))
    once = sum(short) - (2 * (forward + backward) / 2 + update)
    return CallCosts(
        launch,
        max(forward / 2 - launch, 0.0),
        max(backward / 2 - launch, 0.0),
        max(update - launch, 0.0),
        max(once, 0.0),
    )


def _launch(torch: Any, stopwatch: Stopwatch) -> float:
    x = torch.ones(WIDTH)

    def many() -> None:
        for _ in range(DEPTH):
            torch.relu_(x)

    with torch.inference_mode():
        return stopwatch.best(many, BUDGET_S) / DEPTH


def _phases(torch: Any, depth: int, stopwatch: Stopwatch) -> tuple[float, float, float]:
    """Forward, backward and update of a chain. [s]"""
    pairs = [layer for _ in range(depth) for layer in (torch.nn.Linear(WIDTH, WIDTH), torch.nn.ReLU())]
    model, x = torch.nn.Sequential(*pairs), torch.ones(1, WIDTH)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-9, momentum=0.9, weight_decay=1e-9)
    kept: list[Any] = [None]

    def forward() -> None:
        kept[0] = model(x).sum()

    def both() -> None:
        optimizer.zero_grad()
        forward()
        kept[0].backward()

    alone = stopwatch.best(forward, BUDGET_S)
    return alone, stopwatch.best(both, BUDGET_S) - alone, stopwatch.best(optimizer.step, BUDGET_S)

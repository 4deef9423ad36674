"""All measurements of this machine, in order, and the device that they make."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

from simulator.calibration.machine import bandwidth, calls, gemm, layers
from simulator.calibration.machine.bandwidth import MeasuredBandwidth
from simulator.calibration.machine.calls import CallCosts
from simulator.calibration.machine.conditions import Conditions
from simulator.calibration.machine.gemm import Product
from simulator.calibration.machine.layers import Timed
from simulator.calibration.machine.timing import Stopwatch

LIMIT_S = 50.0
"""Seconds, at pace 1, after which calls are timed once only, so that a slow machine is done in little more."""

QUICK = 0.1
"""Pace of a rough measurement."""

STAGES = ("matrix products, NumPy", "bandwidth", "calls", "matrix products, PyTorch", "layers")

Progress = Callable[[str, float], None]
"""Told the stage and the share of all work that is done."""


@dataclass(frozen=True)
class MeasuredMachine:
    """What was measured. [byte/s], [s]; `timed` is empty without PyTorch."""

    conditions: Conditions
    products: tuple[Product, ...]
    rates: tuple[MeasuredBandwidth, ...]
    first_touch: float
    costs: CallCosts
    timed: tuple[Timed, ...]
    with_torch: bool
    seconds: float
    disturbed: float

    def best(self, precision: str, *, library: str | None = None, threads: int | None = None) -> Product | None:
        """The fastest product, of all threads used if unsaid."""
        threads = threads or self.conditions.threads
        found = [p for p in self.products if (p.precision, p.threads) == (precision, threads)]
        found = [p for p in found if library in (None, p.library)]
        return max(found, key=lambda product: product.flop_per_s, default=None)


def measure(
    conditions: Conditions, pace: float = 1.0, progress: Progress | None = None, *, torch: bool = True
) -> MeasuredMachine:
    """Measure this machine.

    Parameters
    ----------
    pace : scales the time that each measurement may take; 1 is about half a minute.
    torch : use PyTorch where it is installed.
    """
    start = time.perf_counter()
    stopwatch = Stopwatch(pace, deadline=start + LIMIT_S * pace)
    threads = conditions.threads
    progress = progress or _silent
    progress(STAGES[0], 0.0)
    products = _numpy_products(threads, pace)
    progress(STAGES[1], 0.15)
    framework = _torch(threads) if torch else None
    sizes = bandwidth.working_sets(conditions)
    if framework is None:
        rates = bandwidth.numpy_rates(sizes, threads, stopwatch)
    else:
        rates = bandwidth.torch_rates(framework, sizes, stopwatch)
    first_touch = bandwidth.first_touch(threads, stopwatch)
    progress(STAGES[2], 0.3)
    found = MeasuredMachine(
        conditions, products, tuple(rates), first_touch, CallCosts(calls.numpy_calls(stopwatch)), (), False, 0.0, 0.0
    )
    if framework is not None:
        found = _with_torch(found, framework, stopwatch, progress)
    progress("done", 1.0)
    return replace(found, seconds=time.perf_counter() - start, disturbed=stopwatch.disturbed_share)


def _silent(stage: str, share: float) -> None:
    """Tell nobody."""


def _numpy_products(threads: int, pace: float) -> tuple[Product, ...]:
    parts: list[tuple[int, str, Sequence[gemm.Sides]]] = [
        (threads, "fp32", gemm.SHAPES),
        (threads, "fp64", gemm.SQUARE),
    ]
    if threads > 1:
        parts.append((1, "fp32", gemm.SQUARE))
    return tuple(product for part in parts for product in gemm.numpy_products(*part, pace))


def _torch(threads: int) -> Any:
    """PyTorch with so many threads, or None where it is missing or does not load."""
    try:
        torch = import_module("torch")
    except (ImportError, OSError):
        return None
    torch.set_num_threads(threads)
    return torch


def _with_torch(found: MeasuredMachine, torch: Any, stopwatch: Stopwatch, progress: Progress) -> MeasuredMachine:
    costs = calls.torch_calls(torch, stopwatch)
    progress(STAGES[3], 0.4)
    products = list(found.products)
    for precision, shapes in (("fp32", gemm.SHAPES), ("fp64", gemm.SQUARE), ("bf16", gemm.SHAPES)):
        products += gemm.torch_products(torch, precision, shapes, stopwatch)
    timed = []
    for call in layers.timed_layers(torch, stopwatch):
        timed.append(call)
        progress(STAGES[4], min(0.5 + 0.5 * len(timed) / layers.CALLS, 1.0))
    return replace(found, products=tuple(products), costs=costs, timed=tuple(timed), with_torch=True)

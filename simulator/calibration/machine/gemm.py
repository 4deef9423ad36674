"""Products of matrices: NumPy's in a process of its own, where the number of threads can be set, and PyTorch's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from simulator.calibration.machine.timing import Stopwatch
from simulator.errors import UnsupportedError
from simulator.units import FLOPS_PER_MAC

SHAPES = (
    (256, 256, 256),
    (512, 512, 512),
    (1024, 1024, 1024),
    (1536, 1536, 1536),
    (3136, 64, 64),
    (64, 2048, 2048),
    (8, 1024, 1024),
    (64, 64, 4096),
    (784, 128, 512),
)
"""Sides m, n, k: square, tall, flat, short, deep; of convolutions and of linear layers."""

SQUARE = SHAPES[1:3]
"""For the widths beside fp32, and for one thread."""

BUDGET_S = 0.08
"""A shape. [s]"""

Sides = tuple[int, int, int]

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")

CHILD = """
import json, sys, time
import numpy
shapes, kind, budget_s = json.loads(sys.argv[1])
for m, n, k in shapes:
    a, b, c = (numpy.ones(s, dtype=kind) for s in ((m, k), (k, n), (m, n)))
    numpy.matmul(a, b, out=c)
    times, spent = [], 0.0
    while len(times) < 3 or spent < budget_s:
        start = time.perf_counter()
        numpy.matmul(a, b, out=c)
        times.append(time.perf_counter() - start)
        spent += times[-1]
    print(min(times))
"""

LIMIT_S = 60
"""A child that takes longer has failed. [s]"""


@dataclass(frozen=True)
class Product:
    """A measured product of (m x k) by (k x n). [s]"""

    library: str
    precision: str
    threads: int
    sides: Sides
    seconds: float

    @property
    def flop_per_s(self) -> float:
        """Rate. [FLOP/s]"""
        m, n, k = self.sides
        return FLOPS_PER_MAC * m * n * k / self.seconds


def numpy_products(threads: int, precision: str, shapes: Sequence[Sides], pace: float) -> list[Product]:
    """NumPy's products, "fp32" or "fp64".

    Raises
    ------
    UnsupportedError
        If the process that measures them fails.
    """
    kind = {"fp32": "float32", "fp64": "float64"}[precision]
    command = [sys.executable, "-c", CHILD, json.dumps([shapes, kind, BUDGET_S * pace])]
    environment = os.environ | {name: str(threads) for name in THREAD_VARIABLES}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=True)  # noqa: S603 - this interpreter, our text
    except (OSError, subprocess.SubprocessError) as error:
        raise UnsupportedError(f"measuring NumPy's products failed: {error}") from error
    times = map(float, done.stdout.split())
    return [Product("NumPy", precision, threads, sides, seconds) for sides, seconds in zip(shapes, times, strict=True)]


def torch_products(torch: Any, precision: str, shapes: Sequence[Sides], stopwatch: Stopwatch) -> list[Product]:
    """PyTorch's products with the threads that it is set to, "fp32", "fp64" or "bf16"."""
    kind = {"fp32": torch.float32, "fp64": torch.float64, "bf16": torch.bfloat16}[precision]
    products = []
    for m, n, k in shapes:
        a, b, c = (torch.ones(side, dtype=kind) for side in ((m, k), (k, n), (m, n)))
        seconds = stopwatch.best(lambda a=a, b=b, c=c: torch.mm(a, b, out=c), BUDGET_S)  # type: ignore[misc]
        products.append(Product("PyTorch", precision, torch.get_num_threads(), (m, n, k), seconds))
    return products

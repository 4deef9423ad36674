"""Bandwidth by working set, as STREAM measures it: copy and triad on all threads, in each cache and in memory.

McCalpin, "Memory Bandwidth and Machine Balance in Current High Performance Computers", 1995.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from simulator.calibration.machine.conditions import Conditions
from simulator.calibration.machine.timing import Stopwatch

SMALLEST = 2**18
"""Of one thread: below this a copy is mostly the call. [byte]"""
SMALL = 2**23
"""Least working set of NumPy's threads. [byte]"""
LEAST_MEMORY, MOST_MEMORY = 2**28, 2**30
"""Bounds of a working set that no cache holds. [byte]"""
BUDGET_S = 0.1
FRESH_BYTES = 2**26
"""Of new pages, written once. [byte]"""


@dataclass(frozen=True)
class MeasuredBandwidth:
    """Bandwidth of a working set, reads and writes counted. [byte], [byte/s]"""

    working_set: int
    copy: float
    triad: float

    @property
    def best(self) -> float:
        """The faster of the two. [byte/s]"""
        return max(self.copy, self.triad)


def working_sets(conditions: Conditions) -> list[int]:
    """From a fraction of the second level, by factors of two, to well beyond the last level. [byte]"""
    largest = min(max(4 * max(conditions.caches.values()), LEAST_MEMORY), MOST_MEMORY, conditions.memory_bytes // 8)
    sizes, size = [], SMALLEST * conditions.threads
    while size < largest // 2:
        sizes.append(size)
        size *= 2
    return [*sizes, largest]


def numpy_rates(sizes: list[int], threads: int, stopwatch: Stopwatch) -> list[MeasuredBandwidth]:
    """Copy and sum of two by NumPy, the arrays cut into a part for each thread.

    Below `SMALL` the threads' turns at the interpreter would be measured.
    """
    import numpy as np

    arrays = [np.ones(max(sizes) // 8, dtype=np.float32) for _ in range(3)]
    with ThreadPoolExecutor(threads) as pool:

        def each(function: Callable[..., object], size: int, count: int) -> Callable[[], object]:
            length = size // 4 // count // threads
            parts = [[array[i * length : (i + 1) * length] for array in arrays[:count]] for i in range(threads)]
            return lambda: list(pool.map(lambda part: function(*part), parts))

        return [
            _rate(size, each(np.copyto, size, 2), each(lambda a, b, c: np.add(a, b, out=c), size, 3), stopwatch)
            for size in sizes
            if size >= SMALL
        ]


def torch_rates(torch: Any, sizes: list[int], stopwatch: Stopwatch) -> list[MeasuredBandwidth]:
    """The same by PyTorch's own threads, whose kernels are what networks run."""
    arrays = [torch.ones(max(sizes) // 8) for _ in range(3)]

    def parts(size: int, count: int) -> list[Any]:
        return [array[: size // 4 // count] for array in arrays[:count]]

    def copy(size: int) -> Callable[[], object]:
        a, b = parts(size, 2)
        return lambda: a.copy_(b)

    def triad(size: int) -> Callable[[], object]:
        a, b, c = parts(size, 3)
        return lambda: torch.add(a, b, alpha=2.0, out=c)

    return [_rate(size, copy(size), triad(size), stopwatch) for size in sizes]


def _rate(
    size: int, copy: Callable[[], object], triad: Callable[[], object], stopwatch: Stopwatch
) -> MeasuredBandwidth:
    return MeasuredBandwidth(size, *(size / stopwatch.best(call, BUDGET_S) for call in (copy, triad)))


def held(found: list[MeasuredBandwidth]) -> MeasuredBandwidth:
    """The largest working set that the last-level cache still serves.

    Its rate is more than the geometric mean of the memory's and of what a cache of 16 MiB or its nearest below gives:
    a last level that other machines' work shares holds less than the system reports.
    """
    memory = found[-1].best
    cached = [rate for rate in found if rate.working_set <= 2**24] or found[:1]
    least = (memory * cached[-1].best) ** 0.5
    return [rate for rate in found if rate.best >= least][-1]


def first_touch(threads: int, stopwatch: Stopwatch) -> float:
    """Rate at which pages new from the system are written, beyond writing them again. [byte/s]"""
    import numpy as np

    def fill(array: Any) -> Callable[[], object]:
        parts = np.array_split(array, threads)
        return lambda: list(pool.map(lambda part: part.fill(1), parts))

    best = float("inf")
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(abs, range(threads)))
        for _ in range(4):
            write = fill(np.frombuffer(mmap.mmap(-1, FRESH_BYTES), dtype=np.uint8))
            first, again = stopwatch.seconds(write), stopwatch.seconds(write)
            best = min(best, max(first - again, 1e-6))
    return FRESH_BYTES / best

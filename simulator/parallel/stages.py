"""Cutting a network into the pieces of a pipeline: at blocks, as many on each, or of equal time where blocks differ."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate, pairwise

from simulator.errors import InputError
from simulator.op.base import elements
from simulator.op.kernels import FloatArray
from simulator.workload.workload import Layer, Workload

_BLOCK = re.compile(r"(.*?\b\d+)(?=\.)")
"""The name of a block in front of a layer's: "layers.3" of "layers.3.attention.query"."""

ALIKE = 0.3
"""Blocks whose times differ by less than this fraction share out evenly by count, as frameworks do."""


def block_name(layer: str) -> str:
    """The repeated block that a layer's name tells: "layers.3" of "layers.3.attention.query"; "" where none."""
    found = _BLOCK.match(layer)
    return found[1] if found else ""


@lru_cache(maxsize=64)
def blocks(workload: Workload) -> tuple[range, ...]:
    """Positions of each repeated block, in order; what comes before the first or after the last belongs to it.

    A network whose layers' names show no blocks is cut wherever a single tensor crosses.
    """
    names = [block_name(layer.name) for layer in workload.layers]
    firsts = {name: place for place, name in reversed(list(enumerate(names))) if name}
    starts = sorted(firsts.values())
    if len(starts) < 2:
        crossing = crossing_elements(workload)
        starts = [0, *(place for place in range(1, len(names)) if crossing[place - 1][1] == 1)]
    edges = [0, *starts[1:], len(names)]
    return tuple(range(first, last) for first, last in pairwise(edges) if last > first)


@lru_cache(maxsize=64)
def crossing_elements(workload: Workload) -> tuple[tuple[int, int], ...]:
    """What each layer's successors need of it and of those before: elements of one sample, and how many tensors."""
    last: dict[int, int] = {}
    for place, layer in enumerate(workload.layers):
        for source in layer.sources:
            last[_root(workload.layers, source)] = place
    result, alive = [], {}
    for place, layer in enumerate(workload.layers):
        if _root(workload.layers, place) == place and last.get(place, place) > place:
            alive[place] = elements(layer.output)
        alive = {root: size for root, size in alive.items() if last[root] > place}
        result.append((sum(alive.values()), len(alive)))
    return tuple(result)


def _root(layers: Sequence[Layer], handle: int) -> int:
    while handle >= 0 and layers[handle].op.view:
        handle = layers[handle].sources[0]
    return handle


def chunks_of(workload: Workload, count: int, seconds: FloatArray) -> tuple[range, ...]:
    """Positions of each of `count` pieces.

    seconds : time of each layer, forward and backward, shape (layers,). [s]

    Raises
    ------
    InputError
        If there are more pieces than blocks.
    """
    found = blocks(workload)
    if count == len(found) + 2:
        return _with_ends_apart(workload)
    if count > len(found):
        raise InputError(
            f"{workload.name} has {len(found)} blocks, too few for {count} pieces of a pipeline; {len(found)} would fit"
        )
    times = [float(seconds[block.start : block.stop].sum()) for block in found]
    inner = sorted(times[1:-1])
    alike = len(inner) < 2 or inner[-1] <= (1 + ALIKE) * inner[0]
    sizes = counts_of(len(found), count) if alike else balanced(times, count)
    edges = [0, *accumulate(sizes)]
    return tuple(range(found[a].start, found[b - 1].stop) for a, b in pairwise(edges))


def _with_ends_apart(workload: Workload) -> tuple[range, ...]:
    """A piece for each block, one for the embedding before them and one for the head after."""
    found, names = blocks(workload), [block_name(layer.name) for layer in workload.layers]
    first = next((place for place in found[0] if names[place]), found[0].start + 1)
    last = next((place for place in reversed(found[-1]) if names[place]), found[-1].stop - 2) + 1
    inner = [range(max(block.start, first), min(block.stop, last)) for block in found]
    return (range(first), *inner, range(last, found[-1].stop))


def counts_of(depth: int, pieces: int) -> list[int]:
    """Blocks of each piece: equal; else one fewer on the first and last, which have embedding and head; else even.

    Worked example: 126 blocks on 64 pieces: 1, 2, 2, ..., 2, 1.
    """
    each, rest = divmod(depth, pieces)
    if rest and pieces > 1 and (depth + 2) % pieces == 0 and depth >= pieces:
        each = (depth + 2) // pieces
        return [each - 1, *[each] * (pieces - 2), each - 1]
    first = (pieces - rest) // 2
    return [each + (first <= place < first + rest) for place in range(pieces)]


def balanced(times: Sequence[float], pieces: int) -> list[int]:
    """Blocks of each piece with the slowest as fast as can be: the least limit under which a greedy cut suffices."""
    low, high = max(times), sum(times)
    sums = [0.0, *accumulate(times)]
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if _parts(sums, middle) <= pieces else (middle, high)
    sizes = _greedy(times, high, pieces)
    return sizes + [0] * (pieces - len(sizes))


def _parts(sums: Sequence[float], limit: float) -> int:
    """Pieces of as many blocks as stay within the limit, of sums of the blocks' times."""
    count = start = 0
    while start < len(sums) - 1:
        start = max(bisect_right(sums, sums[start] + limit * (1 + 1e-12)) - 1, start + 1)
        count += 1
    return count


def _greedy(times: Sequence[float], limit: float, pieces: int) -> list[int]:
    """As many blocks on each piece as stay within the limit, but at least one left for each piece that follows."""
    sums = [0.0, *accumulate(times)]
    sizes: list[int] = []
    start = 0
    while start < len(times):
        stop = bisect_left(sums, sums[start] + limit * (1 + 1e-12), start + 1)
        stop = stop if stop < len(sums) and sums[stop] <= sums[start] + limit * (1 + 1e-12) else stop - 1
        left = max(pieces - len(sizes) - 1, 0)
        stop = max(min(stop, len(times) - left), start + 1)
        sizes.append(stop - start)
        start = stop
    return sizes

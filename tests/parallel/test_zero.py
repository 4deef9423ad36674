"""ZeRO and FSDP: buckets and gathers by hand, and what hides what."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from simulator.parallel.stages import balanced, counts_of
from simulator.parallel.zero import buckets_of, prefetched


def test_buckets_by_hand() -> None:
    size, when = buckets_of(np.array([10.0, 20, 0, 30]), np.array([1.0, 2, 2.5, 3]), 25)
    assert size.tolist() == [30, 30]
    assert when.tolist() == [2, 3]
    size, when = buckets_of(np.array([10.0, 20, 30]), np.array([1.0, 2, 3]), float("inf"))
    assert (size.tolist(), when.tolist()) == ([60], [3])


def test_gathers_by_hand() -> None:
    # The first block waits for its weights; those of the others come while the ones before compute.
    none = np.zeros(3)
    assert prefetched(np.array([2.0, 2, 2]), np.array([1.0, 1, 1]), none) == 7
    # Slow links: 3, 6, 9, and the last block computes.
    assert prefetched(np.array([1.0, 1, 1]), np.array([3.0, 3, 3]), none) == 10
    # A block's gradients leave when it has computed, and take the link from the next block's weights.
    assert prefetched(np.array([2.0, 2]), np.array([1.0, 1]), np.array([0.5, 0.5])) == 5.5


@given(st.lists(st.tuples(*[st.floats(0.01, 3)] * 3), min_size=1, max_size=12))
def test_no_faster_than_link_or_device(blocks: list[tuple[float, float, float]]) -> None:
    compute, gather, scatter = (np.array(column) for column in zip(*blocks, strict=True))
    spent = prefetched(compute, gather, scatter)
    assert spent >= max(compute.sum(), gather.sum() + scatter.sum()) - 1e-9
    assert spent <= compute.sum() + gather.sum() + scatter.sum() + 1e-9


def test_blocks_of_each_piece() -> None:
    assert counts_of(12, 4) == [3, 3, 3, 3]
    assert counts_of(126, 64) == [1, *[2] * 62, 1]
    assert counts_of(61, 16) == [3, *[4] * 13, *[3] * 2] or sum(counts_of(61, 16)) == 61
    assert min(counts_of(61, 16)) == 3
    assert max(counts_of(61, 16)) == 4


@given(st.lists(st.floats(0.1, 9), min_size=4, max_size=30), st.integers(1, 4))
def test_balanced_pieces_are_no_slower_than_equal_counts(times: list[float], pieces: int) -> None:
    def slowest(sizes: list[int]) -> float:
        edges = np.cumsum([0, *sizes])
        return max(sum(times[a:b]) for a, b in pairwise(edges))

    sizes = balanced(times, pieces)
    assert sum(sizes) == len(times)
    assert len(sizes) == pieces
    assert min(sizes) >= 1
    assert slowest(sizes) <= slowest(counts_of(len(times), pieces)) * (1 + 1e-6)
    assert slowest(sizes) >= max(max(times), sum(times) / pieces) - 1e-6

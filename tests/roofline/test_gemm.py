"""Products of matrices: many at once are those one by one, to the bit."""

from __future__ import annotations

import numpy as np

from simulator.roofline.gemm import TOGETHER, MatrixRates, Tiling, gemm_seconds


def test_many_products_are_worked_out_in_pieces_that_change_nothing() -> None:
    number = 2 * TOGETHER + 7
    rng = np.random.default_rng(3)
    m, n, k = (np.ceil(2 ** rng.uniform(0, 14, number)) for _ in range(3))
    groups, tiling = rng.integers(1, 5, number).astype(float), rng.choice([Tiling.PRODUCT, Tiling.TENSOR], number)
    flop_per_s, depth = rng.uniform(1e14, 9e14, number), rng.uniform(50, 200, number)

    def rates(at: slice) -> MatrixRates:
        return MatrixRates(flop_per_s[at], 132, np.asarray(11.0), depth[at], 3e12, 32, tiling[at])

    whole = gemm_seconds(m, n, k, groups, rates(slice(None)))
    one = [slice(at, at + 1) for at in range(number)]
    apart = [gemm_seconds(m[at], n[at], k[at], groups[at], rates(at))[0] for at in one]
    assert whole.tolist() == apart


def test_one_number_of_groups_serves_many_products() -> None:
    side = np.full(TOGETHER + 1, 512.0)
    rates = MatrixRates(np.asarray(1e14), 80, np.asarray(11.0), np.asarray(99.0), 1e12)
    seconds = gemm_seconds(side, side, side, np.asarray(1.0), rates)
    assert seconds.shape == side.shape
    assert set(seconds.tolist()) == {gemm_seconds(side[:1], side[:1], side[:1], np.asarray(1.0), rates)[0]}

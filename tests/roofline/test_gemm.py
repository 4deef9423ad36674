"""Products of matrices: many at once are those one by one, to the bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

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


def test_units_that_idle_leave_the_others_a_higher_clock() -> None:
    # Held to 0.62 where all are busy, half of the units keep 0.62 / root(0.5) = 0.877 of the rated clock, a quarter
    # all of it: 4 and 2 tiles of 128 x 128 on 8 units take root(0.5) and 0.62 of the time at the held clock.
    held = MatrixRates(np.asarray(1e12), 8, np.asarray(1e6), np.asarray(0.0), 1e12, 1, Tiling.LANES)
    sides = np.array([1024.0, 256.0, 128.0]), np.array([128.0, 256.0, 256.0]), np.full(3, 512.0), np.asarray(1.0)
    ratio = gemm_seconds(*sides, replace(held, clock=0.62)) / gemm_seconds(*sides, held)
    assert ratio == pytest.approx([1.0, 0.5**0.5, 0.62])


def test_more_work_never_takes_less_time_under_a_limit() -> None:
    rows = np.arange(1.0, 4000.0, 37.0)
    rates = MatrixRates(np.asarray(8e12), 40, np.asarray(10.0), np.asarray(18.0), 3e11, clock=0.62)
    seconds = gemm_seconds(rows, np.full_like(rows, 512.0), np.full_like(rows, 512.0), np.asarray(1.0), rates)
    assert (np.diff(seconds) >= -1e-12 * seconds[1:]).all()

"""What share of groups one width can hold as often as it claims."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest

from simulator.calibration.attainable import attainable

EVEN = np.array([NormalDist().inv_cdf((place + 0.5) / 200) for place in range(200)])


def test_groups_that_are_alike_are_all_held() -> None:
    assert attainable([EVEN, EVEN, EVEN], 0.825) == 1.0


def test_a_goal_outside_the_band_holds_none() -> None:
    assert attainable([EVEN, EVEN], 0.95) == 0.0


@pytest.mark.parametrize("spread", [0.1, 0.3, 0.6])
def test_scatter_of_their_own_leaves_the_share_that_its_distribution_has(spread: float) -> None:
    # One width w holds a group of scatter s with P(|z| < w / s): between 75 and 90 % where s lies within w / 1.645 and
    # w / 1.150, so that the widest share of log-normal scatters there is that around the middle of both.
    found = attainable([EVEN * np.exp(-spread), EVEN * np.exp(spread)], 0.825)
    half = np.log(NormalDist().inv_cdf(0.95) / NormalDist().inv_cdf(0.875)) / 2
    most = 1 - 2 * NormalDist().cdf(-half / spread)
    assert most - 0.1 < found <= most + 0.02


def test_shifts_of_their_own_leave_fewer() -> None:
    few = attainable([EVEN - 1.5, EVEN + 1.5], 0.825)
    more = attainable([EVEN - 0.3, EVEN + 0.3], 0.825)
    assert few < more

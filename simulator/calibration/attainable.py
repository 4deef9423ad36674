"""How many groups a stated interval can hold as often as it claims, however well its widths are fitted.

A measurer, a device or a framework that nobody knows shifts all of its rows together and scatters them more or less
than others do, and neither shows before it is measured: of two groups that one question covers, one width holds the
calm one more often and the other less. Both are drawn once a group (a random-effects model: Laird, Ware,
"Random-effects models for longitudinal data", Biometrics 38(4), 1982).
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from simulator.op.kernels import FloatArray

BAND = (0.75, 0.9)
"""Shares that a group should hold."""

DRAWS = 101
"""Groups along each of shift and scatter, at equal steps of probability."""

HALVINGS = 40

NORMAL = NormalDist()

_below = np.vectorize(NORMAL.cdf)


def attainable(groups: Sequence[FloatArray], goal: float) -> float:
    """Share of groups like these that lie within `BAND` where all of them together hold the goal.

    groups : logarithms of measured over predicted times of each group, in widths of their intervals. Shifts are taken
        as normal around none, scatters as log-normal.
    """
    shift = float(np.std([np.median(group) for group in groups]))
    scatters = np.log([np.std(group) for group in groups])
    normal = _normal_steps(DRAWS)
    shifts, scatter = np.meshgrid(shift * normal, np.exp(scatters.mean() + scatters.std() * normal))
    least, most = 0.0, 100.0
    for _ in range(HALVINGS):
        width = (least + most) / 2
        held = _below((width - shifts) / scatter) - _below((-width - shifts) / scatter)
        least, most = (width, most) if held.mean() < goal else (least, width)
    return float(np.mean((held >= BAND[0]) & (held <= BAND[1])))


def _normal_steps(number: int) -> FloatArray:
    """Normal deviates at equal steps of probability."""
    return np.array([NORMAL.inv_cdf((place + 0.5) / number) for place in range(number)])

"""The widths are those that the stored held-out errors give, and hold what they claim."""

from __future__ import annotations

from math import exp

import numpy as np
import pytest

from simulator.calibration.certainty import BEYOND, _weights, fit_widths
from simulator.calibration.measurements import Measurement
from simulator.calibration.samples import Sample, unseen_of


def row(number: int, device: str = "v100", workload: str = "resnet50", source: str = "a") -> Measurement:
    framework = "pytorch"
    return Measurement(str(number), workload, device, "train", "fp32", 64, 1, 1.0, True, framework, "", source=source)


def test_a_width_is_the_quantile_of_the_errors() -> None:
    # Errors of 1 to 100 %: of a hundred, 92 are at most 92 %.
    samples = [Sample(row(n, workload=f"net{n}"), "", n / 100, 0.0) for n in range(1, 101)]
    width = exp(fit_widths(samples, 1).base - BEYOND)
    assert 0.85 < width < 1.05
    below = exp(fit_widths(samples, -1).base - BEYOND)
    assert below < 0.05


def test_what_no_row_of_a_fit_shared_is_unseen() -> None:
    # Four groups, one held out at a time: the workload "rare" stands in source "d" alone.
    rows = [row(n, source=source) for n, source in enumerate("abc")] + [row(9, workload="rare", source="d")]
    unseen = unseen_of(rows, lambda one: one.source)
    assert unseen["9"] == {"measurer", "workload"}
    assert unseen["0"] == {"measurer"}


def test_a_small_group_is_not_lost_in_a_large_one() -> None:
    # Two measurers held out, of 16 settings and of one: each is one draw of how far measurers differ.
    large = [Sample(row(n, workload=f"net{n}", source="a"), "measurer", 0.1, 0.0) for n in range(16)]
    small = [Sample(row(99, workload="rare", source="b"), "measurer", 0.1, 0.0)]
    weights = _weights([*large, *small])
    assert weights[:16] == pytest.approx(np.full(16, 0.5 / 16))
    assert weights[16] == pytest.approx(0.5)

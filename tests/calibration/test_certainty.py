"""The widths are those that the stored held-out errors give, and hold what they claim."""

from __future__ import annotations

from math import exp

from simulator.calibration.certainty import BEYOND, fit_widths
from simulator.calibration.measurements import Measurement
from simulator.calibration.samples import Sample, unseen_of


def row(number: int, device: str = "v100", workload: str = "resnet50", source: str = "a") -> Measurement:
    framework = "pytorch"
    return Measurement(str(number), workload, device, "train", "fp32", 64, 1, 1.0, True, framework, "", source=source)


def test_a_width_is_the_quantile_of_the_errors() -> None:
    # Errors of 1 to 100 %: of a hundred, 93 are at most 93 %.
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

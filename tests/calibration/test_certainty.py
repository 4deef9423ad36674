"""The widths are those that the stored held-out errors give, and hold what they claim."""

from __future__ import annotations

from dataclasses import replace
from math import exp, log

import numpy as np
import pytest

from simulator.calibration import widths
from simulator.calibration.certainty import fit_widths, share_inside
from simulator.calibration.measurements import Measurement
from simulator.calibration.samples import KEYS, Sample, distance, group_of, held_of, is_kept, parts_of, unseen_of
from simulator.calibration.widths import (
    GOAL,
    GROUPED,
    HELD,
    SOFTNESS,
    TAIL,
    UNMEASURED,
    descend,
    groups_of,
    slope,
    weights_of,
)
from simulator.op.kernels import FloatArray


def row(number: int, device: str = "v100", workload: str = "resnet50", source: str = "a") -> Measurement:
    framework = "pytorch"
    return Measurement(str(number), workload, device, "train", "fp32", 64, 1, 1.0, True, framework, "", source=source)


def test_a_width_is_the_quantile_of_the_errors() -> None:
    # Errors of 1 to 100 %, none held out, so that no group pulls: of a hundred, 90 are at most 90 %.
    samples = [Sample(row(n, workload=f"net{n}"), "", n / 100, 0.0) for n in range(1, 101)]
    low, high = fit_widths(samples)
    assert exp(high.base + high.batch * 0.5) == pytest.approx(0.9, abs=0.05)
    assert exp(low.base + low.batch * 0.5) < 0.1


def test_the_share_of_a_group_that_lies_far_is_brought_to_the_goal() -> None:
    # Two measurers at a batch of 64, errors to either side: one errs by up to 0.5, at fp32; one, at fp16, by
    # twice as much.
    new = frozenset({"measurer"})
    full = [row(n, workload=f"net{n}", source="a") for n in range(1, 51)]
    near = [Sample(one, "measurer", (-1) ** n * n / 100, 0.0, new) for n, one in enumerate(full, start=1)]
    half = [replace(row(n, workload=f"net{n}", source="b"), precision="fp16") for n in range(1, 51)]
    far = [Sample(one, "measurer", (-1) ** n * n / 50, 0.0, new) for n, one in enumerate(half, start=1)]
    low, high = fit_widths(near + far)
    shares = [share_inside(group, low, high) for group in (near, far)]
    assert shares == pytest.approx([GOAL, GOAL], abs=0.09)
    assert high.narrow + high.narrow_training == pytest.approx(log(2), abs=0.1)


def test_the_slope_is_that_of_the_loss() -> None:
    # Finite differences of what `slope` derives: the loss of both quantiles and the squared distances of shares.
    samples = [
        Sample(row(n, workload=f"net{n}", source="ab"[n % 2]), "measurer", (n - 30) / 90, 0.0) for n in range(60)
    ]
    error = np.array([sample.error for sample in samples])
    weights, groups = weights_of(samples), groups_of(samples)
    at = np.full((60, 2), -1.2)

    def loss(logarithms: FloatArray) -> float:
        width = np.exp(logarithms)
        over = np.stack((-error, error), axis=1) - width
        quantile = (weights[:, None] * np.where(over > 0, TAIL * over, (TAIL - 1) * over)).sum()
        inside = 1 / (1 + np.exp((over / width) / SOFTNESS))
        share = groups.mean(inside.sum(axis=1) - 1)
        return float(quantile + GROUPED * (groups.weight * (share - GOAL) ** 2).sum())

    found = slope(at, error, weights, groups)
    for sample, side in ((3, 0), (3, 1), (40, 0), (58, 1)):
        moved = at.copy()
        moved[sample, side] += 1e-6
        assert found[sample, side] == pytest.approx((loss(moved) - loss(at)) / 1e-6, rel=1e-3, abs=1e-8)


def test_the_first_step_of_the_descent_is_as_long_in_every_direction(monkeypatch: pytest.MonkeyPatch) -> None:
    # Adam's means start at nothing and are corrected for it, so that the first step is its size times the sign of the
    # slope: of two steps, whose second has no length, half of the rate.
    monkeypatch.setattr(widths, "STEPS", 2)
    monkeypatch.setattr(widths, "LEAST_WIDTHS", dict.fromkeys(widths.WIDENING, 0.0))
    samples = [Sample(row(n, workload=f"net{n}"), "", n / 10, 0.0) for n in range(1, 31)]
    moved = descend(samples) - np.array([widths.START, *[0.0] * (len(KEYS) - 1)])
    free = np.abs(moved) > 0
    assert np.abs(moved[free]) == pytest.approx(widths.RATE / 2, rel=1e-3)
    assert free[:, 0].all()


def test_a_handful_of_rows_says_nothing_of_its_share_and_processors_stand_apart() -> None:
    many = [Sample(row(n, source="a"), "measurer", 0.1, 0.0) for n in range(50)]
    few = [Sample(row(n, source="b"), "measurer", 0.1, 0.0) for n in range(19)]
    slow = [Sample(row(n, device="core-i9-10940x", source="a"), "measurer", 0.1, 0.0) for n in range(50)]
    other = [Sample(row(n, device="t4"), "device", 0.1, 0.0) for n in range(25)]
    # Measurers weigh two, a device of 25 rows one half.
    assert groups_of([*many, *few, *slow, *other]).weight == pytest.approx(np.array([2, 0, 2, 0.5]) / 4.5)


def test_what_no_row_of_a_fit_shared_is_unseen() -> None:
    # Four groups, one held out at a time: the workload "rare" stands in source "d" alone.
    rows = [row(n, source=source) for n, source in enumerate("abc")] + [row(9, workload="rare", source="d")]
    unseen = unseen_of(rows, "measurer")
    assert unseen["9"] == {"measurer", "workload"}
    assert unseen["0"] == {"measurer"}


def test_of_a_pair_neither_group_is_in_the_fit() -> None:
    # Sources a to d and devices t4 and v100, the first of four and of two quarters. A fit without a and t4 keeps b on
    # v100, one without b and v100 a on t4, so that each shares its framework and its network alone.
    rows = [row(0, source="a", device="t4"), row(1, source="b", device="v100-sxm2-16gb")]
    rows += [row(2, source="c", device="t4"), row(3, source="d", device="v100-sxm2-16gb")]
    assert parts_of(rows, "measurer+device") == [(0, 0), (1, 1), (2, 0), (3, 1)]
    assert not is_kept((0, 1), (0, 0))
    assert not is_kept((1, 0), (0, 0))
    assert is_kept((1, 1), (0, 0))
    assert unseen_of(rows, "measurer+device")["0"] == {"measurer", "device", "software", "family"}
    assert unseen_of(rows, "measurer")["0"] == {"measurer"}
    assert [group_of("measurer+device", one) for one in rows[:2]] == ["t4", "v100-sxm2-16gb"]


def test_what_a_family_that_nobody_measured_adds_is_no_fit_of_its_errors() -> None:
    samples = [
        Sample(row(n, workload=f"net{n}"), "device", (-1) ** n * n / 100, 0.0, frozenset({"family"} if n > 30 else ()))
        for n in range(1, 61)
    ]
    low, high = fit_widths(samples)
    assert low.family == high.family == UNMEASURED
    for side in (low, high):
        assert distance(samples[-1], side) == pytest.approx(exp(UNMEASURED) * distance(samples[0], side))


def test_a_board_that_its_power_holds_is_wider_by_a_number_that_no_error_moves() -> None:
    # A T4 at fp32 keeps 0.62 of its clock: 0.38 are taken, so that 0.53 x 0.38 = 0.2 are added in squares.
    samples = [Sample(row(n, workload=f"net{n}"), "measurer", (-1) ** n * n / 100, 0.0) for n in range(1, 61)]
    low, high = fit_widths(samples)
    t4, other = (Sample(row(99, device=name), "measurer", 0.0, 0.0) for name in ("t4", "v100-sxm2-16gb"))
    taken = held_of(t4)
    assert taken == pytest.approx(0.38, abs=0.01)
    assert held_of(other) == 0
    for side in (low, high):
        assert side.held == HELD
        assert distance(t4, side) == pytest.approx((distance(other, side) ** 2 + (HELD * taken) ** 2) ** 0.5)


def test_a_small_group_is_not_lost_in_a_large_one() -> None:
    # Two measurers held out, of 16 settings and of one: each is one draw of how far measurers differ.
    large = [Sample(row(n, workload=f"net{n}", source="a"), "measurer", 0.1, 0.0) for n in range(16)]
    small = [Sample(row(99, workload="rare", source="b"), "measurer", 0.1, 0.0)]
    weights = weights_of([*large, *small])
    assert weights[:16] == pytest.approx(np.full(16, 0.5 / 16))
    assert weights[16] == pytest.approx(0.5)

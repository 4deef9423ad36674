"""Failures: published formulas, a simulation by chance as their test, and the bill of a run."""

from __future__ import annotations

from math import inf, isfinite, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.device.device import load_device
from simulator.errors import InputError
from simulator.execution.bill import Circumstances, bill_of
from simulator.execution.failures import (
    Failures,
    daly_interval,
    expected_seconds,
    interrupted,
    young_interval,
)

HOUR = 3600.0
V100 = load_device("v100-sxm2-16gb")
A100 = load_device("a100-sxm4-80gb")


def played(work_s: float, interval_s: float, given: Failures, mtbf_s: float, seed: int) -> float:
    """The same run with failures drawn by chance."""
    rng = np.random.default_rng(seed)
    now, done, fails = 0.0, 0.0, rng.exponential(mtbf_s)
    while done < work_s:
        piece = min(interval_s, work_s - done)
        if now + piece + given.checkpoint_s <= fails:
            now, done = now + piece + given.checkpoint_s, done + piece
            continue
        now = fails
        while True:  # a restart may fail too
            fails = now + rng.exponential(mtbf_s)
            if now + given.restart_s <= fails:
                now += given.restart_s
                break
            now = fails
    return now


def test_the_formulas_by_hand() -> None:
    assert young_interval(60, 10 * HOUR) == pytest.approx(sqrt(2 * 60 * 36000))
    # C / 2M = 60 / 72,000 = 1 / 1200: 2078.5 (1 + 0.02887 / 3 + 0.00009) - 60 = 2038.6
    assert daly_interval(60, 10 * HOUR) == pytest.approx(2038.6, abs=0.5)
    assert daly_interval(100, 40) == 40
    assert expected_seconds(1e6, 2018, Failures(1, 60, 300), 10 * HOUR) / 1e6 == pytest.approx(1.069, abs=0.002)


@pytest.mark.parametrize(("mtbf_s", "checkpoint_s"), [(10 * HOUR, 60.0), (2 * HOUR, 120.0)])
def test_a_run_by_chance_takes_as_long(mtbf_s: float, checkpoint_s: float) -> None:
    failures = Failures(mtbf_s, checkpoint_s, 300.0)
    interval = daly_interval(checkpoint_s, mtbf_s)
    work = 500 * interval
    mean = np.mean([played(work, interval, failures, mtbf_s, seed) for seed in range(20)])
    assert mean == pytest.approx(expected_seconds(work, interval, failures, mtbf_s), rel=0.01)


@given(mtbf_s=st.floats(1e3, 1e7), checkpoint_s=st.floats(1, 100), other=st.floats(0.2, 5))
def test_dalys_interval_is_the_best(mtbf_s: float, checkpoint_s: float, other: float) -> None:
    failures = Failures(mtbf_s, checkpoint_s, 0.0)
    best = daly_interval(checkpoint_s, mtbf_s)
    least = expected_seconds(1e6, best, failures, mtbf_s)
    assert expected_seconds(1e6, best * other, failures, mtbf_s) >= least * (1 - 1e-3)


def test_more_devices_fail_more_often() -> None:
    one, many = (interrupted(1e6, devices, Failures(50_000 * HOUR)) for devices in (1, 1024))
    assert one.time_s < many.time_s
    assert many.failures == pytest.approx(many.time_s * 1024 / (50_000 * HOUR))
    assert many.time_s == pytest.approx(many.work_s + many.checkpoints_s + many.lost_s)


def test_failures_faster_than_checkpoints_are_an_error() -> None:
    with pytest.raises(InputError, match="no time for checkpoints"):
        interrupted(1e6, 10**6, Failures(1000.0, checkpoint_s=60))
    for restart_s, ends in ((499.0, True), (501.0, False), (1e9, False)):
        assert isfinite(expected_seconds(1.0, 1.0, Failures(1.0, 0.0, restart_s), 1.0)) is ends
    assert expected_seconds(1.0, 501.0, Failures(1.0, 0.0, 0.0), 1.0) == inf
    for fields in ({"mtbf_s": 0.0}, {"mtbf_s": 1.0, "checkpoint_s": -1.0}, {"mtbf_s": 1.0, "interval_s": 0.0}):
        with pytest.raises(InputError):
            Failures(**fields)


def test_a_bill_by_hand() -> None:
    # 10 hours on 8 boards of 400 W at 3.4309 USD: 32 kWh, 1.2 times that with the building, 400 g each.
    bill = bill_of(10 * HOUR, A100, 8, Circumstances(pue=1.2, carbon_g_per_kwh=400))
    assert bill.cost_usd == pytest.approx(80 * 3.4309)
    assert bill.energy_j == pytest.approx(1.2 * 32 * 3.6e6)
    assert bill.carbon_g == pytest.approx(1.2 * 32 * 400)
    assert bill.price_date == "2026-11-09"


def test_what_is_not_known_stays_unknown() -> None:
    bill = bill_of(HOUR, V100, 1, Circumstances())
    assert bill.cost_usd is None
    assert bill.carbon_g is None
    given_price = bill_of(HOUR, V100, 1, Circumstances(price_usd_per_hour=2))
    assert given_price.cost_usd == pytest.approx(2)
    assert given_price.price_date == ""
    with pytest.raises(InputError, match="--pue"):
        Circumstances(pue=0.5)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_are_none_are_refused(number: float) -> None:
    for key in ("price_usd_per_hour", "pue", "carbon_g_per_kwh"):
        with pytest.raises(InputError, match="must be a number"):
            Circumstances(**{key: number})
    with pytest.raises(InputError, match="finite"):
        Failures(mtbf_s=number)


def test_a_run_that_failures_leave_no_time_for_is_refused() -> None:
    with pytest.raises(InputError, match="over 100 times its work"):
        interrupted(1e6, 1, Failures(mtbf_s=50_000 * 3600, checkpoint_s=1e6 * 3600))

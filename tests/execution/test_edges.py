"""What a run may be told: the last value that is allowed passes, the next is refused in the option's own words."""

from __future__ import annotations

from math import inf, nan
from typing import Any

import pytest

from simulator.device.storage import load_storage
from simulator.errors import InputError
from simulator.execution.bill import Circumstances
from simulator.execution.course import Habits
from simulator.execution.failures import Failures
from simulator.execution.input import Feeding
from simulator.execution.plan_certainty import DENSE, EXPERTS, plan_interval
from simulator.workload.reading import load_workload


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (Circumstances, {"pue": 1.0}),
        (Circumstances, {"price_usd_per_hour": 0.0, "carbon_g_per_kwh": 0.0}),
        (Habits, {"evaluate_every": 1, "evaluate_samples": 1}),
        (Habits, {"warm_up_steps": 0, "straggler_spread": 0.0}),
        (Habits, {"straggler_spread": 0.999}),
        (Failures, {"mtbf_s": 1e-9, "checkpoint_s": 0.0, "restart_s": 0.0}),
        (Failures, {"mtbf_s": 1.0, "interval_s": 1e-9}),
        (Feeding, {"loader": "pillow", "workers": 1, "samples_per_s": 1e-9}),
        (Feeding, {"loader": "pillow", "storage": "hdd", "cache_bytes": 0.0}),
    ],
)
def test_the_last_value_that_is_allowed(kind: Any, fields: dict[str, Any]) -> None:
    assert kind(**fields) == kind(**fields)


@pytest.mark.parametrize(
    ("kind", "fields", "option"),
    [
        (Circumstances, {"pue": 0.999}, "--pue is at least 1"),
        (Circumstances, {"price_usd_per_hour": -0.01}, "--price cannot be negative, found -0.01"),
        (Circumstances, {"carbon_g_per_kwh": -0.01}, "--carbon cannot be negative, found -0.01"),
        (Circumstances, {"carbon_g_per_kwh": inf}, "--carbon must be a number"),
        (Habits, {"evaluate_every": 0}, "--evaluate-every must be at least 1"),
        (Habits, {"evaluate_every": 1, "evaluate_samples": 0}, "--evaluate-samples must be at least 1"),
        (Habits, {"evaluate_samples": 1}, "give --evaluate-every"),
        (Habits, {"warm_up_steps": -1}, "--warm-up-steps cannot be negative"),
        (Habits, {"straggler_spread": 1.0}, "--straggler-spread"),
        (Habits, {"straggler_spread": -0.01}, "--straggler-spread"),
        (Habits, {"straggler_spread": nan}, "--straggler-spread"),
        (Habits, {"last_batch": "half"}, "--last-batch"),
        (Failures, {"mtbf_s": 0.0}, "--mtbf must be positive"),
        (Failures, {"mtbf_s": 1.0, "checkpoint_s": -1e-9}, "cannot be negative"),
        (Failures, {"mtbf_s": 1.0, "restart_s": -1e-9}, "cannot be negative"),
        (Failures, {"mtbf_s": 1.0, "interval_s": 0.0}, "cannot be negative"),
        (Failures, {"mtbf_s": 1.0, "restart_s": inf}, "must be finite"),
        (Feeding, {"loader": "pillow", "samples_per_s": 0.0}, "rate"),
        (Feeding, {"loader": "pillow", "samples_per_s": inf}, "rate"),
        (Feeding, {"loader": "pillow", "workers": 0}, "--workers"),
        (Feeding, {"loader": "pillow", "cache_bytes": 1.0}, "--page-cache is of what --storage holds"),
        (Feeding, {"loader": "pillow", "storage": "hdd", "cache_bytes": -1.0}, "--page-cache"),
    ],
)
def test_the_first_value_that_is_refused(kind: Any, fields: dict[str, Any], option: str) -> None:
    with pytest.raises(InputError, match=option):
        kind(**fields)


@pytest.mark.parametrize(
    ("workload", "bounds", "validated", "reasons"),
    [
        ("gpt2", DENSE, True, 0),
        ("mixtral_8x7b", EXPERTS, True, 1),
        ("resnet50", DENSE, False, 1),
    ],
)
def test_how_sure_a_plan_is(workload: str, bounds: tuple[float, float], validated: bool, reasons: int) -> None:
    found = plan_interval(load_workload(workload))
    assert (found.low, found.high, found.coverage) == (*bounds, 0.8)
    assert found.validated is validated
    assert len(found.reasons) == reasons


def test_what_is_not_said_adds_nothing() -> None:
    given = Circumstances()
    assert (given.pue, given.price_usd_per_hour, given.carbon_g_per_kwh, given.failures) == (1.0, None, None, None)
    assert Habits() == Habits("keep", 0, None, None, None)
    assert Failures(1.0) == Failures(1.0, 60.0, 300.0, None)


def test_storage_is_read_once() -> None:
    assert load_storage("hdd") is load_storage("hdd")

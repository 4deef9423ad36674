"""`--prices`: one list for plans, served models and sweeps, and what no list knows."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

Simulate = Callable[..., Any]

PLAN = ("plan", "--workload", "resnet50", "--device", "h100,b200,a100-sxm4-80gb", "--devices", "1", "--batch", "64")
SERVE = ("serve", "--workload", "llama3_8b", "--device", "h100", "--concurrency", "8")
SWEEP = ("sweep", "--workload", "lenet5", "--device", "h100,a100-sxm4-80gb", "--batch", "64", "--json")


def test_a_plan_takes_prices_of_a_list(simulate: Simulate) -> None:
    document = json.loads(simulate(*PLAN, "--prices", "nebius", "--json").stdout)
    assert document["cheapest"]["device"] in ("h100-sxm5-80gb", "b200"), "an A100 has no price there"
    spot = json.loads(simulate(*PLAN, "--prices", "nebius:spot", "--json").stdout)
    assert spot["cheapest"]["device"] == "h100-sxm5-80gb", "a B200's spot price is not known"
    whole = json.loads(simulate(*PLAN, "--device", "h100", "--prices", "nebius", "--json").stdout)
    assert spot["cheapest"]["cost_usd"] < whole["cheapest"]["cost_usd"]


def test_a_served_model_has_its_price_of_a_list_or_of_the_user(simulate: Simulate) -> None:
    def usd(*words: str) -> float | None:
        found: float | None = json.loads(simulate(*SERVE, *words, "--json").stdout)["concurrency"][0]["cost_usd"]
        return found

    dollar = usd("--price", "1")
    assert dollar is not None
    assert usd("--prices", "nebius") == pytest.approx(2.95 * dollar)
    assert usd("--prices", "nebius:spot") == pytest.approx(1.25 * dollar)
    assert usd("--prices", "lambda") is None


def test_rows_of_a_sweep_have_prices_of_a_list(simulate: Simulate) -> None:
    rows = json.loads(simulate(*SWEEP, "--prices", "nebius").stdout)
    assert {row["device"]: row["price.usd_per_hour"] for row in rows} == {
        "h100-sxm5-80gb": 2.95,
        "a100-sxm4-80gb": None,
    }


@pytest.mark.parametrize("words", [(*SERVE, "--price", "1"), (*SWEEP, "--price", "1")])
def test_one_price_and_a_list_are_one_too_many(simulate: Simulate, words: tuple[str, ...]) -> None:
    answer = simulate(*words, "--prices", "nebius")
    assert (answer.code, answer.stdout) == (2, "")
    assert answer.stderr.count("\n") == 1
    assert "give one of the two" in answer.stderr


@pytest.mark.parametrize("words", [PLAN, SERVE, SWEEP])
def test_a_list_that_is_not_there_is_named_before_any_work(simulate: Simulate, words: tuple[str, ...]) -> None:
    answer = simulate(*words, "--prices", "nebuis")
    assert (answer.code, answer.stdout) == (2, "")
    assert "nebuis" in answer.stderr
    assert "nebius" in answer.stderr

"""`simulate plan --serve` from the command line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Simulate = Callable[..., Any]
PLAN = ("plan", "--serve", "--workload", "llama3_8b", "--device", "h100,l4,t4", "--tp", "1", "--requests", "100")
DOCUMENT = (Path(__file__).parents[2] / "docs" / "json.md").read_text(encoding="utf-8")


def test_the_answer_comes_first_and_others_have_their_reasons(simulate: Simulate) -> None:
    answer = simulate(*PLAN, "--rate", "10/s", "--slo", "ttft=500ms,tpot=80ms", "--input", "500", "--output", "100")
    assert answer.code == 0
    lines = answer.stdout.splitlines()
    assert "10 requests/s of 500 tokens in, 100 out, 95 of 100 within ttft 500 ms, tpot 80.0 ms" in lines[0]
    assert re.search(r"cheapest: \d+ x h100-sxm5-80gb, 1 replica of 1 in bf16 under vllm; (not )?sure", lines[1])
    assert re.search(r"l4 +price unknown", answer.stdout)
    assert re.search(r"t4 +(does not fit|misses)", answer.stdout)


def test_a_rate_alone_is_answered_too_and_prices_are_yours(simulate: Simulate) -> None:
    words = (*PLAN, "--rate", "300/min", "--price", "l4=0.05")
    document = json.loads(simulate(*words, "--json").stdout)
    assert document["demand"]["rate_per_s"] == 5
    assert document["demand"]["slo"] == {}
    assert document["cheapest"]["device"] == "l4"
    assert document["cheapest"]["usd_per_hour"] == pytest.approx(0.05 * document["cheapest"]["devices"])


def test_formats_engines_and_machines_are_chosen_among(simulate: Simulate) -> None:
    words = ("plan", "--serve", "--workload", "llama3_8b", "--system", "dgx-h100", "--tp", "2", "--rate", "1/s")
    document = json.loads(
        simulate(*words, "--precision", "bf16,fp8", "--engine", "vllm,sglang", "--requests", "50", "--json").stdout
    )
    assert document["considered"] == 4
    assert document["fewest"]["devices"] == 8
    assert document["fewest"]["system"] == "dgx-h100"


def test_every_key_is_documented(simulate: Simulate) -> None:
    document = json.loads(simulate(*PLAN, "--rate", "5/s", "--slo", "e2e=20s", "--json").stdout)
    named = set(re.findall(r"`([a-z_0-9]+)`", DOCUMENT))

    def keys(value: Any) -> set[str]:
        if isinstance(value, dict):
            return set(value) | {key for inner in value.values() for key in keys(inner)}
        return {key for inner in value for key in keys(inner)} if isinstance(value, list) else set()

    assert keys(document) <= named


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "--rate 5/s"),
        (("--rate", "often"), "5/s"),
        (("--rate", "5/s", "--slo", "fast"), "ttft=500ms"),
        (("--rate", "5/s", "--epochs", "3"), "--epochs is of a run"),
        (("--rate", "5/s", "--deadline", "3d"), "--deadline is of a run"),
        (("--rate", "5/s", "--tp", "0"), "at least 1"),
        (("--rate", "5/s", "--input", "9", "--input", "8"), "once"),
        (("--rate", "5/s", "--output", "many"), "lognormal"),
        (("--rate", "5/s", "--arrivals", "burst"), "pattern of arrivals"),
        (("--rate", "5/s", "--system", "dgx-h1000"), "did you mean"),
        (("--rate", "5/s", "--pp", "0"), "each number is at least 1"),
        (("--rate", "5/s", "--expert-parallel", "some"), "not one of"),
        (("--rate", "5/s", "--tp", "3"), "nothing that is offered runs llama3_8b: layers.0.attention.scores: 32 heads"),
        (("--rate", "5/s", "--tp", "1", "--workload", "resnet50"), "runs resnet50: resnet50 does not read tokens"),
        (("--rate", "5/s", "--seed", "-2"), "--seed must be at least 0"),
    ],
)
def test_what_cannot_be_is_one_line(simulate: Simulate, words: tuple[str, ...], said: str) -> None:
    answer = simulate(*PLAN, *words)
    assert answer.code == 2
    assert said in answer.stderr
    assert len(answer.stderr.strip().splitlines()) == 1


def test_options_of_serving_need_it(simulate: Simulate) -> None:
    answer = simulate("plan", "--workload", "resnet50", "--device", "v100", "--slo", "ttft=1s")
    assert answer.code == 2
    assert "--slo is of a served model; add --serve" in answer.stderr

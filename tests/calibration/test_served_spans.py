"""Spans of served requests' latencies: quantiles by hand, and that the profile is what the rows give."""

from __future__ import annotations

from math import exp, log
from pathlib import Path

import pytest

from simulator.calibration.served_spans import LEAST_ROWS, SHARES, Seen, held_out, seen, span, spans

SAMPLE = Path(__file__).parents[1] / "validation" / "served.csv"


def rows(engine: str, device: str, ratios: list[float]) -> list[Seen]:
    return [Seen(part, engine, device, log(ratio)) for part in SHARES for ratio in ratios]


def test_ends_leave_as_many_rows_on_either_side_and_hold_the_prediction() -> None:
    # Logarithms 0 to 10 tenths: a tenth of eleven evenly spaced values is the second, nine tenths the tenth.
    found = span([place / 10 for place in range(-5, 6)], 0.8)
    assert found.low == pytest.approx(exp(-0.4), abs=0.006)
    assert found.high == pytest.approx(exp(0.4), abs=0.006)
    assert span([log(2.0)] * 3, 0.8).low == 1.0
    assert span([log(0.5)] * 3, 0.8).high == 1.0


def test_an_engine_of_few_rows_has_the_ends_of_all() -> None:
    many = rows("vllm", "h100", [2.0] * LEAST_ROWS)
    few = rows("sglang", "h100", [8.0])
    assert spans([*many, *few], "vllm").token.high == 2.0
    assert spans([*many, *few], "sglang") == spans([*many, *few])


def test_a_device_is_judged_by_the_others() -> None:
    # All of h100's rows are within the others'; b200's lie beyond what was seen without it.
    seen_rows = [
        *rows("vllm", "h100", [1.1] * 40),
        *rows("vllm", "a100", [1.0, 1.2] * 40),
        *rows("vllm", "b200", [9.0]),
    ]
    shares = {(part, device): share for part, device, _, share in held_out(seen_rows)}
    assert shares["token", "h100"] == 1.0
    assert shares["first", "b200"] == 0.0


def test_rows_of_a_table_are_those_of_latencies_under_load(tmp_path: Path) -> None:
    heading, *lines = SAMPLE.read_text(encoding="utf-8").splitlines()
    some = tmp_path / "some.csv"
    some.write_text("\n".join([heading, *lines[::12]]) + "\n", encoding="utf-8")
    found = list(seen(some))
    assert {row.part for row in found} <= set(SHARES)
    assert 3 < len(found) < len(lines[::12])

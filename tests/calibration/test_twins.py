"""Rows that are marked as of one build and show another."""

from __future__ import annotations

from dataclasses import replace

from simulator.calibration.doubt import doubt_of
from simulator.calibration.served import predict_served
from simulator.calibration.served_rows import ServedRow, deployment_of
from simulator.calibration.twins import MARK, marked

NOTE = "llama-bench; weights 4080263168 bytes; fa=-fa 1 b= hipblaslt=1; average package power 98 W"


def row(engine: str, value: float, prompt: int = 2048, note: str = NOTE) -> ServedRow:
    return ServedRow(
        engine, "llama2_7b", "radeon-8060s", "q4_k_m", 1, 0, 0, engine, 1, prompt, 0, "prefill_tok_s", value, 2025,
        "a/b", note, "llama-2-7b.Q4_K_M/results.jsonl",
    )  # fmt: skip


def test_a_build_as_slow_as_without_rocwmma_is_in_doubt() -> None:
    plain, none, real = row("llama.cpp-hip", 383.3), row("llama.cpp-rocwmma", 380.2), row("llama.cpp-rocwmma", 1014.1)
    found = marked([plain, none, real])
    assert [MARK in one.note for one in found] == [False, True, False]
    assert MARK in doubt_of(found[1])
    assert not doubt_of(found[2])


def test_other_files_options_and_prompts_say_nothing() -> None:
    slow = row("llama.cpp-rocwmma", 380.2)
    for other in (
        replace(row("llama.cpp-hip", 383.3), file="another"),
        row("llama.cpp-hip", 383.3, prompt=512),
        row("llama.cpp-hip", 383.3, note=NOTE.replace("hipblaslt=1", "hipblaslt=")),
        row("llama.cpp-hip", 383.3, note=NOTE.replace("fa=-fa 1", "fa=")),
    ):
        assert MARK not in marked([other, slow])[1].note


def test_a_context_that_a_table_says_twice_counts_once() -> None:
    """llama-bench's tokens behind a context have it as their prompt too."""
    usual = replace(row("llama.cpp-hip", 10.0, prompt=32768), output=32, metric="decode_tok_s", note="llama-bench")
    twice = replace(usual, note="llama-bench; context depth 32768 before the test")
    assert predict_served(twice).predicted == predict_served(usual).predicted


def test_pieces_of_a_prompt_are_as_the_row_says() -> None:
    assert deployment_of(row("llama.cpp-hip", 1.0)).engine.scheduler.tokens == 512
    pieces = row("llama.cpp-hip", 1.0, note=NOTE.replace("b= ", "b=-b 256 "))
    assert deployment_of(pieces).engine.scheduler.tokens == 256

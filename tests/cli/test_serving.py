"""`simulate serve`, and curves of inference, from the command line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Simulate = Callable[..., Any]
MODEL = ("serve", "--workload", "llama3_8b", "--device", "h100")
DOCUMENT = (Path(__file__).parents[2] / "docs" / "json.md").read_text(encoding="utf-8")


def keys(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value) | {key for inner in value.values() for key in keys(inner)}
    return {key for inner in value for key in keys(inner)} if isinstance(value, list) else set()


def test_the_issue_of_a_design_review_is_answered(simulate: Simulate) -> None:
    answer = simulate(
        "serve", "--workload", "llama3_70b", "--device", "h100-sxm5-80gb", "--devices", "4",
        "--precision", "fp8", "--input", "2048", "--output", "256",
    )  # fmt: skip
    assert answer.code == 0
    for part in (
        "first token after",
        "a token",
        "tokens/s",
        "the cache holds",
        "how sure: 80%",
        "reading a prompt waits for",
        "USD",
    ):
        assert part in answer.stdout


def test_every_key_of_the_json_is_documented(simulate: Simulate) -> None:
    answer = simulate(*MODEL, "--rate", "5/s", "--requests", "50", "--slo", "ttft=1s,tpot=50ms", "--json")
    document = json.loads(answer.stdout)
    assert document["queue"]["latency"]["ttft"]["p50_s"] > 0
    assert document["interval"]["token"]["low"] < 1 < document["interval"]["token"]["high"]
    assert document["memory"]["requests"] == pytest.approx(document["memory"]["tokens"] / 1280)
    named = set(re.findall(r"`([a-z_0-9]+)`", DOCUMENT))
    assert keys(document) - {"tpot_s", "ttft_s"} <= named


def test_figures_tables_and_a_trace_are_written(simulate: Simulate, tmp_path: Path) -> None:
    answer = simulate(*MODEL, "--rate", "5/s", "--requests", "20", "--out", str(tmp_path))
    assert answer.code == 0
    folder = tmp_path / "serve-llama3_8b-h100-sxm5-80gb"
    names = {path.name for path in folder.iterdir()}
    assert {
        "throughput.png",
        "roofline.svg",
        "memory.png",
        "latency.png",
        "queue.svg",
        "concurrency.csv",
        "requests.csv",
    } <= names
    events = json.loads((folder / "trace.json").read_text(encoding="utf-8"))["traceEvents"]
    spans = [event for event in events if event["ph"] == "X"]
    # Each request waits for its first token, then decodes.
    assert len(spans) == 2 * 20
    assert all(event["dur"] >= 0 for event in spans)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--devices", "3"), "degrees that do"),
        (("--tp", "3", "--devices", "4"), "must be the 4 devices"),
        (("--tp", "-1"), "--tp must be at least 1, found -1"),
        (("--devices", "0"), "--devices must be at least 1, found 0"),
        (("--pp", "0"), "--pp must be at least 1, found 0"),
        (("--pp", "33"), "32 layers, which are no 33 groups; at most --pp 32"),
        (("--rate", "5/s", "--seed", "-1"), "--seed must be at least 0, found -1"),
        (("--slo", ""), "--slo is empty"),
        (("--slo", "tpot=50ms,tpot=40ms"), "tpot is there twice"),
        (("--speculate", "100000:0.5"), "0 to 64 tokens ahead"),
        (("--step-tokens", "131072", "--step-requests", "131072"), "lower --step-tokens or --step-requests"),
        (("--workload", "t5_base"), "reads 2 inputs, as encoders beside decoders do"),
        (("--memory-fraction", "1.5"), "above 0 and at most 1"),
        (("--memory-fraction", "0.1"), "the cache holds no request"),
        (("--step-tokens", "0"), "from 1 to 131,072"),
        (("--step-requests", "-4"), "from 1 to 131,072"),
        (("--precision", "fp9"), "did you mean"),
        (("--engine", "vlm"), "unknown engine"),
        (("--kv", "fp7"), "--kv"),
        (("--rate", "fast"), "5/s"),
        (("--rate", "5/s", "--speculate", "x"), "4:0.7"),
        (("--slo", "ttft"), "ttft=500ms"),
        (("--slo", "ttft=1us"), "ask for longer limits"),
        (("--concurrency", "0"), "at least 1"),
        (("--input", "many"), "lognormal"),
        (("--requests", "nowhere.csv"), "nowhere.csv"),
        (("--input", "9000000"), "has a context of 131072 tokens"),
        (("--device", "l4", "--input", "40000"), "ask for at most"),
        (("--rate", "1/s", "--requests", "20", "--input", "uniform:1000-240000"), "longer than llama3_8b's context"),
        (("--speculate", "4:1.7"), "acceptance from 0 to below 1"),
        (("--prefix", "1024"), "leave none of a prompt of 1024; at most 1023"),
        (("--prefix", "-1"), "at least 0 tokens, found -1"),
        (("--prefill-devices", "-2"), "at least 1, found -2"),
        (("--prefill-devices", "3"), "degrees that do"),
        (("--requests", "20"), "add --rate 5/s"),
    ],
)
def test_what_cannot_be_is_one_line(simulate: Simulate, words: tuple[str, ...], said: str) -> None:
    answer = simulate(*MODEL, *words)
    assert answer.code == 2
    assert said in answer.stderr
    assert len(answer.stderr.strip().splitlines()) == 1


def test_a_curve_of_inference_and_its_limit(simulate: Simulate, tmp_path: Path) -> None:
    words = ("--workload", "resnet50", "--device", "h100", "--task", "infer", "--batch", "1:64:x4", "--slo", "50ms")
    answer = simulate(*words, "--out", str(tmp_path), "--json")
    document = json.loads(answer.stdout)
    assert [point["batch"] for point in document["batches"]] == [1, 4, 16, 64]
    assert document["within_slo"]["latency_s"] <= 0.05
    assert (tmp_path / "resnet50-h100-sxm5-80gb" / "latency.png").is_file()
    named = set(re.findall(r"`([a-z_0-9]+)`", DOCUMENT))
    assert keys(document) <= named
    text = simulate(*words, "--no-report").stdout
    assert "knee" in text
    assert "largest batch within 50.0 ms" in text


def test_streams_and_replicas_run_beside_each_other(simulate: Simulate) -> None:
    words = ("--workload", "resnet50", "--device", "h100", "--task", "infer", "--batch", "64", "--no-report")
    document = json.loads(simulate(*words, "--streams", "4", "--json").stdout)
    assert (document["streams"], document["replicas"]) == (4, 1)
    assert "4 replicas" in simulate(*words, "--replicas", "4").stdout
    both = simulate(*words, "--replicas", "4", "--streams", "2")
    assert both.code == 2
    assert "not both" in both.stderr


def test_without_graphs_each_kernel_is_launched_by_itself(simulate: Simulate) -> None:
    usual, apart = (
        json.loads(simulate(*MODEL, "--concurrency", "1", "--graphs", graphs, "--json").stdout)["concurrency"][0]
        for graphs in ("on", "off")
    )
    assert apart["token_s"] > 1.05 * usual["token_s"]

"""A queue and a plan in words and as traces, of numbers made up by hand."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from simulator.errors import InputError
from simulator.report import plan_trace, serving, serving_files
from simulator.serving.arrivals import Requests
from simulator.serving.scheduler import Served
from simulator.serving.traffic import Promise, QueueAnswer


def named(**fields: Any) -> Any:
    return SimpleNamespace(**fields)


# ---- queues


def queue(promise: Promise | None = None, rate: float | None = None) -> QueueAnswer:
    """Three requests, one a second, of eleven tokens: the first after 0.1 to 0.3 s, the others in a second."""
    arrivals = np.arange(3.0)
    requests = Requests(arrivals, np.array([100, 200, 300]), np.full(3, 11))
    first = arrivals + np.array([0.3, 0.1, 0.2])
    served = Served(
        requests,
        first,
        first + 1.0,
        moment_s=np.array([0.0, 1.0, 9.0]),
        waiting=np.array([0.0, 2.0, 1.0]),
        running=np.array([1.0, 3.0, 2.0]),
        cached=np.array([0.0, 50.0, 20.0]),
        preempted=4,
        tokens=33,
    )
    line: Any = named(rules=named(blocks=200))
    return QueueAnswer(line, served, promise, rate)


def test_a_queue_in_words() -> None:
    (plain,) = serving.queue_lines(queue())
    tokens = f"{queue().served.tokens_per_s:,.0f}"
    assert plain == (
        f"3 requests at 1/s: {tokens} tokens/s, at most 3 at a time, 2 waiting, cache full to 25%, 4 preempted"
    )
    _, good, rate = serving.queue_lines(queue(Promise((("ttft", 0.5), ("tpot", 0.2))), 2.5))
    assert good.startswith("100.0% of the requests keep all limits: goodput ")
    _, some = serving.queue_lines(queue(Promise((("ttft", 0.15), ("tpot", 0.2)))))
    assert some.startswith("33.3% of the requests keep all limits: goodput ")
    assert rate == "largest rate of which 95 of 100 keep ttft 500 ms, tpot 200 ms: 2.5/s"
    first, token, whole = serving.latency_rows(queue())
    assert [row["latency"] for row in (first, token, whole)] == ["first token", "a token", "request"]
    assert (first["p50"], token["p50"], whole["p50"]) == ("200 ms", "100 ms", "1.20 s")
    summary = serving._queue_summary(queue(Promise((("ttft", 0.5),)), 2.5))
    assert (summary["requests"], summary["rate_per_s"], summary["preempted"]) == (3, 1.0, 4)
    assert (summary["most_running"], summary["most_waiting"], summary["cache_share"]) == (3, 2, 0.25)
    assert (summary["slo"], summary["largest_rate_per_s"]) == ({"ttft_s": 0.5}, 2.5)
    assert serving._queue_summary(queue())["slo"] is None


def test_a_cache_that_holds_tokens_states_or_both() -> None:
    def held(token_bytes: float, state_bytes: float, *spans: int) -> str:
        room = named(
            token_bytes=token_bytes,
            state_bytes=state_bytes,
            tokens=5000,
            windows=[(span, 1) for span in spans],
            requests=lambda length: 6000 / length,
        )
        return serving._held(room, 2000)

    assert held(1.0, 0.0) == "5,000 tokens, 3.00 requests of 2,000"
    assert held(1.0, 2**20) == "3.00 requests of 2,000 tokens, each with a state of 1.00 MiB"
    assert held(1.0, 0.0, 128, 4096) == ("3.00 requests of 2,000 tokens, of which some layers keep the last 128, 4,096")
    assert held(0.0, 2**20) == "3.00 requests of any length, each a state of 1.00 MiB"


def test_a_queue_as_a_table_and_as_a_trace() -> None:
    import csv
    from io import StringIO

    rows = list(csv.DictReader(StringIO(serving_files.requests_text(cast(Any, None), queue()))))
    assert [(row["arrival_s"], row["input"], row["output"]) for row in rows] == [
        ("0.0", "100", "11"),
        ("1.0", "200", "11"),
        ("2.0", "300", "11"),
    ]
    assert [float(row["first_token_s"]) for row in rows] == pytest.approx([0.3, 0.1, 0.2])
    assert [float(row["token_s"]) for row in rows] == pytest.approx([0.1] * 3)
    assert [float(row["request_s"]) for row in rows] == pytest.approx([1.3, 1.1, 1.2])
    found = json.loads(serving_files.trace_text(cast(Any, None), queue()))
    spans = [event for event in found["traceEvents"] if event["ph"] == "X"]
    assert [(span["name"], span["tid"]) for span in spans] == [
        (name, request) for request in range(3) for name in ("to the first token", "decoding")
    ]
    assert [span["ts"] for span in spans] == pytest.approx([0, 3e5, 1e6, 1.1e6, 2e6, 2.2e6])
    assert [span["dur"] for span in spans] == pytest.approx([3e5, 1e6, 1e5, 1e6, 2e5, 1e6])
    assert spans[2]["args"] == {"input": 200, "output": 11}
    # Counters up to the last of the requests' ends, 3.2 s.
    counters = [(event["name"], event["ts"], event["args"]) for event in found["traceEvents"] if event["ph"] == "C"]
    assert counters[3:] == [
        ("waiting", 1e6, {"waiting": 2.0}),
        ("running", 1e6, {"running": 3.0}),
        ("blocks", 1e6, {"blocks": 50.0}),
    ]
    assert {event["pid"] for event in found["traceEvents"]} == {1}
    assert found["displayTimeUnit"] == "ms"


# ---- plans


def test_blocks_of_a_piece_have_names_and_layers() -> None:
    names = ["stem", "layers.0.fc", "layers.0.act", "layers.1.fc", "head", "head"]
    layers = [named(name=name) for name in names]
    made = named(share=named(workload=named(layers=layers)))
    runs = plan_trace._runs(cast(Any, made), cast(Any, named(layers=range(6))))
    assert runs == [
        ("stem", range(1)),
        ("layers.0", range(1, 3)),
        ("layers.1", range(3, 4)),
        ("head", range(4, 6)),
    ]
    assert plan_trace._runs(cast(Any, made), cast(Any, named(layers=range(2, 4)))) == [
        ("layers.0", range(2, 3)),
        ("layers.1", range(3, 4)),
    ]


def test_a_trace_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_trace, "trace_text", lambda _: "{}")
    plan_trace.write_trace(cast(Any, None), tmp_path / "trace.json")
    assert (tmp_path / "trace.json").read_text(encoding="utf-8") == "{}"
    with pytest.raises(InputError, match="cannot write the timeline to"):
        plan_trace.write_trace(cast(Any, None), tmp_path)

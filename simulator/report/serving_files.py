"""Files of a served model: figures, tables, and a trace of the queue for Perfetto."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from simulator.report.csv_text import frame_text
from simulator.report.outputs import SERVING, write_folder
from simulator.report.serving import serving_summary
from simulator.report.summary import json_text
from simulator.serving.answer import Serving
from simulator.serving.traffic import QueueAnswer

TRACED = 500
"""Requests of a trace: more are not looked at one by one."""

US = 1e6


def write_serving(answer: Serving, queue: QueueAnswer | None, out: Path) -> Path:
    """All outputs of a served model, and of the queue if one was played, in a folder named after the question.

    Raises
    ------
    InputError
        If the folder cannot be written.
    """
    folder = out / f"serve-{answer.deployment.workload.name}-{answer.deployment.device.name}"
    return write_folder(SERVING, folder, answer, queue)


def concurrency_text(answer: Serving, queue: QueueAnswer | None) -> str:  # noqa: ARG001
    """A row a number of requests at a time, as CSV."""
    import pandas as pd

    return frame_text(pd.DataFrame([asdict(point) for point in answer.points]))


def summary_text(answer: Serving, queue: QueueAnswer | None) -> str:
    """Everything as JSON."""
    return json_text(serving_summary(answer, queue)) + "\n"


def requests_text(answer: Serving, queue: QueueAnswer) -> str:  # noqa: ARG001
    """A row a request of the queue, as CSV. [s]"""
    import pandas as pd

    served = queue.served
    columns = {
        "arrival_s": served.requests.arrival_s,
        "input": served.requests.prompt,
        "output": served.requests.output,
        "first_token_s": served.first_token_s,
        "token_s": served.token_s,
        "request_s": served.request_s,
    }
    return frame_text(pd.DataFrame(columns))


def trace_text(answer: Serving, queue: QueueAnswer) -> str:  # noqa: ARG001
    """The queue's trace as the text of a file."""
    return json.dumps(trace(queue))


def trace(queue: QueueAnswer) -> dict[str, Any]:
    """The first requests as spans, and the queue as counters, in Chrome's trace format, which Perfetto opens."""
    served, events = queue.served, []
    number = min(len(served.requests), TRACED)
    spans = (
        ("to the first token", served.requests.arrival_s, served.first_s),
        ("decoding", served.first_s, served.end_s),
    )
    for index in range(number):
        size = {"input": int(served.requests.prompt[index]), "output": int(served.requests.output[index])}
        for name, start, end in spans:
            times = {"ts": US * float(start[index]), "dur": US * float(end[index] - start[index])}
            events.append({"name": name, "ph": "X", "pid": 1, "tid": index, "args": size, **times})
    last = float(served.end_s[:number].max())
    for moment, waiting, running, cached in zip(
        served.moment_s, served.waiting, served.running, served.cached, strict=True
    ):
        if moment <= last:
            values = {"waiting": waiting, "running": running, "blocks": cached}
            events += [{"name": n, "ph": "C", "pid": 1, "ts": US * moment, "args": {n: v}} for n, v in values.items()]
    return {"traceEvents": events, "displayTimeUnit": "ms"}

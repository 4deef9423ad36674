"""report.md of a served model: the answer first, then each concurrency, the queue, and what it rests on."""

from __future__ import annotations

from collections.abc import Iterator

from simulator.report.serving import answer_lines, basis_line, headline, latency_rows, point_rows, queue_lines
from simulator.report.style import version
from simulator.report.tables import cell, listed, rows_table
from simulator.serving.answer import Serving
from simulator.serving.traffic import QueueAnswer

_LEFT_OUT = (
    "attention of each device on requests of its own (data-parallel attention)",
    "experts that are chosen unevenly",
    "prompts that are partly cached, but for a beginning that all share",
)


def serving_page(answer: Serving, queue: QueueAnswer | None) -> str:
    """The whole of report.md."""
    deployment = answer.deployment
    parts = [
        f"# {cell(deployment.workload.name)} on {deployment.devices} x {cell(deployment.device.label)}",
        f"**{cell(headline(answer))}.**",
        listed(answer_lines(answer)),
        "## Requests at a time",
        rows_table(point_rows(answer)),
        "![Throughput against latency](throughput.png)",
        "## What binds",
        "![Roofline of prompts and of decoding](roofline.png)",
        "## Memory",
        "![Memory against requests](memory.png)",
        *_queue(queue),
        "## What this rests on",
        listed([basis_line(answer)]),
        "## What it leaves out",
        listed(_LEFT_OUT),
        "All numbers: [summary.json](summary.json), [concurrency.csv](concurrency.csv). "
        f"Made by simulator {version()}.",
    ]
    return "\n\n".join(parts) + "\n"


def _queue(queue: QueueAnswer | None) -> Iterator[str]:
    if queue is None:
        return
    yield "## Requests over time"
    yield listed(queue_lines(queue))
    yield rows_table(latency_rows(queue))
    yield "![Latencies](latency.png)"
    yield "![The queue over time](queue.png)"
    yield "Each request: [requests.csv](requests.csv); the first as a trace for Perfetto: [trace.json](trace.json)."

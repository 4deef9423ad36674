"""Every output of a report, a plan and a served model: the file's name, what makes it, and which answers have it.

A new output is one file in this folder, with a function from the answer to a figure or a text, and one line here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from simulator.report.writing import writing


def _always(*_answer: Any) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Output:
    """One output.

    Attributes
    ----------
    name : of its file; a name without an ending is a figure's, as PNG and SVG.
    maker : "module:function" in this folder, imported when used; called with the answer, it gives a figure or a text.
    wanted : whether an answer has it, called likewise.
    gathers : whether it is made of the outputs before it, so that it is called with their folder instead.
    """

    name: str
    maker: str
    wanted: Callable[..., bool] = _always
    gathers: bool = False


PAGE = Output("report.html", "html:html_page", gathers=True)
"""The page and its figures in one file."""


def _compared(_simulation: Any, others: Sequence[Any]) -> bool:
    """Whether another device can run it."""
    return any(not isinstance(other, tuple) for other in others)


REPORT = [
    Output("roofline", "roofline:roofline_figure"),
    Output("layers", "layers:layers_figure"),
    Output("memory_over_time", "over_time:memory_figure"),
    Output("epochs", "epochs:epochs_figure"),
    Output("money", "money:bill_figure", lambda simulation, _: simulation.bill is not None),
    Output("rooflines", "rooflines:rooflines_figure", _compared),
    Output("layers.csv", "tables:layers_text"),
    Output("summary.json", "summary:summary_text"),
    Output("report.md", "page:report_page"),
    PAGE,
]
"""Of an answer and the devices that it is compared with."""

PLAN = [
    Output("step", "plan_figures:parts_figure"),
    Output("memory", "plan_figures:memory_figure"),
    Output("memory_over_time", "over_time:plan_memory_figure"),
    Output("money", "plan_figures:bill_figure", lambda answer: answer.bill is not None),
    Output("timeline", "plan_figures:timeline_figure", lambda answer: answer.plan.pipeline > 1),
    Output("stages.csv", "plan_files:stages_text"),
    Output("trace.json", "plan_trace:trace_text"),
    Output("summary.json", "plan_files:summary_text"),
    Output("report.md", "plan_page:plan_page"),
    PAGE,
]
"""Of a plan."""


def _queued(_answer: Any, queue: Any) -> bool:
    return queue is not None


SERVING = [
    Output("throughput", "serving_figures:throughput_figure"),
    Output("roofline", "serving_figures:roofline_figure"),
    Output("memory", "serving_figures:memory_figure"),
    Output("concurrency.csv", "serving_files:concurrency_text"),
    Output("summary.json", "serving_files:summary_text"),
    Output("latency", "serving_figures:latency_figure", _queued),
    Output("queue", "serving_figures:queue_figure", _queued),
    Output("requests.csv", "serving_files:requests_text", _queued),
    Output("trace.json", "serving_files:trace_text", _queued),
    Output("report.md", "serving_page:serving_page"),
    PAGE,
]
"""Of a served model, and of the queue that was played before it, if one was."""


def write_outputs(outputs: Sequence[Output], folder: Path, *answer: Any) -> None:
    """Each output that the answer has, as a file of a folder that is there."""
    for output in outputs:
        if output.wanted(*answer):
            _write(output, folder, made(output, *([folder] if output.gathers else answer)))


def write_folder(outputs: Sequence[Output], folder: Path, *answer: Any) -> Path:
    """The same in a folder that is made where it is not there.

    Raises
    ------
    InputError
        If the folder cannot be written.
    """
    with writing("the report", folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_outputs(outputs, folder, *answer)
    return folder


def made(output: Output, *answer: Any) -> Any:
    """The figure, or the text."""
    module, _, function = output.maker.partition(":")
    return getattr(import_module(f"simulator.report.{module}"), function)(*answer)


def _write(output: Output, folder: Path, content: Any) -> None:
    if isinstance(content, str):
        (folder / output.name).write_text(content, encoding="utf-8", newline="\n")
        return
    from simulator.report.style import save

    save(content, folder, output.name)

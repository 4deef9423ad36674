"""The files of a plan: figures, stages, the trace, everything as JSON."""

from __future__ import annotations

from pathlib import Path

from simulator.errors import InputError
from simulator.planned import Planned
from simulator.report import plan_figures as figures
from simulator.report.csv_text import write_frame
from simulator.report.plan import plan_summary, stage_rows
from simulator.report.plan_trace import write_trace
from simulator.report.style import save
from simulator.report.summary import json_text


def write_plan(answer: Planned, out: Path) -> Path:
    """Figures as PNG and SVG, `stages.csv`, `trace.json`, `summary.json`, in a folder named after the question.

    Raises
    ------
    InputError
        If the folder cannot be written.
    """
    degrees = answer.plan.label.replace("=", "").replace(",", "-")
    folder = out / f"{answer.workload.name.replace('/', '_')}-{answer.device.name}-{degrees}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(answer, folder)
    except OSError as error:
        raise InputError(f"cannot write the report to {folder}: {error.strerror or error}") from error
    return folder


def _write(answer: Planned, folder: Path) -> None:
    import pandas as pd

    save(figures.parts_figure(answer), folder, "step")
    save(figures.memory_figure(answer), folder, "memory")
    if answer.bill is not None:
        save(figures.bill_figure(answer, answer.bill), folder, "money")
    if answer.plan.pipeline > 1:
        save(figures.timeline_figure(answer), folder, "timeline")
    write_frame(pd.DataFrame(stage_rows(answer)), folder / "stages.csv")
    write_trace(answer, folder / "trace.json")
    (folder / "summary.json").write_text(json_text(plan_summary(answer)) + "\n", encoding="utf-8")

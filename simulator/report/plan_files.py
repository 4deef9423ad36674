"""The files of a plan: figures, stages, the trace, everything as JSON."""

from __future__ import annotations

from pathlib import Path

from simulator.errors import InputError
from simulator.planned import Planned
from simulator.report.csv_text import frame_text
from simulator.report.outputs import PLAN, write_outputs
from simulator.report.plan import plan_summary, stage_rows
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
        write_outputs(PLAN, folder, answer)
    except OSError as error:
        raise InputError(f"cannot write the report to {folder}: {error.strerror or error}") from error
    return folder


def stages_text(answer: Planned) -> str:
    """A row a stage as CSV."""
    import pandas as pd

    return frame_text(pd.DataFrame(stage_rows(answer)))


def summary_text(answer: Planned) -> str:
    """Everything as JSON."""
    return json_text(plan_summary(answer)) + "\n"

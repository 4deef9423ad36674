"""The files of a plan: figures, stages, the trace, everything as JSON."""

from __future__ import annotations

from pathlib import Path

from simulator.planned import Planned
from simulator.report.csv_text import frame_text
from simulator.report.outputs import PLAN, write_folder
from simulator.report.plan import plan_summary, stage_rows
from simulator.report.summary import json_text


def write_plan(answer: Planned, out: Path) -> Path:
    """All outputs of a plan, in a folder named after the question.

    Raises
    ------
    InputError
        If the folder cannot be written.
    """
    degrees = answer.plan.label.replace("=", "").replace(",", "-")
    folder = out / f"{answer.workload.name.replace('/', '_')}-{answer.device.name}-{degrees}"
    return write_folder(PLAN, folder, answer)


def stages_text(answer: Planned) -> str:
    """A row a stage as CSV."""
    import pandas as pd

    return frame_text(pd.DataFrame(stage_rows(answer)))


def summary_text(answer: Planned) -> str:
    """Everything as JSON."""
    return json_text(plan_summary(answer)) + "\n"

"""report.md of a plan: the answer first, then where time and memory go, and what it rests on."""

from __future__ import annotations

from collections.abc import Iterator

from simulator.planned import Planned
from simulator.report.plan import headline, lines, part_rows, stage_rows
from simulator.report.style import version
from simulator.report.tables import cell, listed, rows_table

_LEFT_OUT = (
    "traffic of other jobs on the network",
    "offloading of states or activations to the host",
    "routing to experts that is not even",
)


def plan_page(answer: Planned) -> str:
    """The whole of report.md."""
    many = answer.plan.pipeline > 1
    parts = [
        f"# {cell(answer.workload.name)}, {answer.plan.label} on {answer.plan.devices} x {cell(answer.device.label)}",
        f"**{cell(headline(answer))}.**",
        *([f"    {' '.join(answer.command.split())}"] if answer.command else []),
        listed(lines(answer)),
        "## Where the time goes",
        "On the average over the stages:" if many else "On each device:",
        rows_table(part_rows(answer)),
        "![Parts of the step](step.png)",
        *(["![The step, stage by stage](timeline.png)"] if many else []),
        "## Memory",
        "What a device of each stage computes for one micro-batch, and holds:",
        rows_table(stage_rows(answer), right=3),
        "![Memory by stage](memory.png)",
        "![Memory of the fullest stage over a step](memory_over_time.png)",
        *(["## Money and energy", "![Where time and money go](money.png)"] if answer.bill is not None else []),
        "## What this rests on",
        listed(_basis(answer)),
        "## What it leaves out",
        listed(_LEFT_OUT),
        f"All numbers: [summary.json](summary.json), [stages.csv](stages.csv); the step as a trace for Perfetto: "
        f"[trace.json](trace.json). Made by simulator {version()}.",
    ]
    return "\n\n".join(parts) + "\n"


def _basis(answer: Planned) -> Iterator[str]:
    yield "fidelity calibrated: each kernel and collective at sustained rates, fitted to measurements"
    yield f"{answer.device.label}: {answer.device.description}"
    for link in (answer.cluster.link, answer.cluster.network):
        if link is not None:
            yield f"{link.name}: {link.description}"
    yield f"framework {answer.options.framework}, optimizer {answer.options.optimizer}"

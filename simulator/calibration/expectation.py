"""What to expect where nobody measured: tables of held-out errors and of how often the stated interval held.

`python -m simulator.calibration.expectation tests/validation docs/accuracy` writes `held_out.md` and `coverage.md`,
from the predictions of fits that held groups out, and `later.md`, of step times that no fit reads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from simulator.calibration.attainable import BAND, attainable
from simulator.calibration.certainty import LEAST, Coverage, coverage, errors_in_widths
from simulator.calibration.command import run
from simulator.calibration.measurements import Measurement, device_of, read_measurements
from simulator.calibration.samples import held_out_cases, samples
from simulator.calibration.validation import Case, Errors, by_batch, errors, predict
from simulator.calibration.widths import GOAL
from simulator.execution.certainty import EAGER, PROCESSOR, certainty

WORDS = {
    "workload": "network",
    "measurer+workload": "network and measurer",
    "device": "device",
    "measurer+device": "device and measurer",
    "measurer": "measurer",
    "framework": "framework",
    "measurer+framework": "framework and measurer",
}
"""What was held out, in the words of the tables, in their order."""

KINDS = ("eager frameworks and compiled PyTorch", "TensorFlow, XLA, MXNet", "transformers", "processors")


def kind_of(case: Case) -> str:
    """One of `KINDS`; transformers are NeuSight's language models."""
    row = case.measured
    if any(word in row.workload for word in ("bert", "gpt", "opt")):
        return KINDS[2]
    if device_of(row.device).kind == PROCESSOR:
        return KINDS[3]
    return KINDS[0] if row.framework.startswith(EAGER) else KINDS[1]


def held_out_page(held_out: Mapping[str, Sequence[Case]]) -> str:
    """Markdown: errors by what was held out, kind of software and batch, each (device, workload) weighing the same."""
    lines = [
        "# Errors where nothing was fitted",
        "",
        "Each row predicted by coefficients that were fitted without its network, device, measurer or framework, or",
        "without two of these, as a reader asks: of another host, and perhaps of a device that nobody measured.",
        "",
        *_heading("held out", "of", "batch"),
    ]
    for split, word in WORDS.items():
        for kind in KINDS:
            chosen = by_batch(case for case in held_out.get(split, ()) if kind_of(case) == kind)
            for batch, group in zip((">= 16", "< 16"), chosen, strict=True):
                found = errors(group, by_setting=True)
                if found is not None:
                    lines.append(f"| {word} | {kind} | {batch} | {_cells(found)} |")
    return "\n".join(lines) + "\n"


def _heading(*keys: str) -> list[str]:
    """The heads of a table of `_cells` behind some keys."""
    statistics = ("rows", "mean", "median", "bias", "90th pct", "within 20 %", "in interval")
    sides = ["---"] * len(keys) + ["---:"] * len(statistics)
    return [f"| {' | '.join(cells)} |" for cells in ((*keys, *statistics), sides)]


def _cells(found: Errors) -> str:
    sizes = (found.mean, found.median, found.bias, found.percentile_90)
    shares = (found.within_20, found.covered)
    return " | ".join([str(found.cases), *(f"{size:.1%}" for size in sizes), *(f"{share:.0%}" for share in shares)])


def coverage_page(found: Mapping[tuple[str, str], Coverage], most: float) -> str:
    """Markdown: what was held out, rows, shares in the interval.

    most : share of groups that can lie in the band at all.
    """
    inside = sum(BAND[0] <= round(group.without, 2) <= BAND[1] for group in found.values())
    lines = [
        "# Measured times inside the stated interval, group by group",
        "",
        f"Of each group of more than {LEAST} rows, predicted by coefficients that were fitted without it: the share in",
        "intervals whose widths were fitted without it too, and in those that ship. Where measurers were held out with",
        "it, the question is a reader's: another host, another rule of measuring.",
        "",
        f"{inside} of the {len(found)} hold {BAND[0]:.0%} to {BAND[1]:.0%}, {inside / len(found):.0%}.",
        "A group that nobody knows shifts and scatters in a way of its own: were the widths just right for groups that",
        f"do so as these do, {most:.0%} of them would.",
        "",
        "| held out | group | rows | fitted without it | as shipped |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    for split, word in WORDS.items():
        for name in (name for one, name in found if one == split):
            group = found[split, name]
            lines.append(f"| {word} | {name} | {group.rows} | {group.without:.0%} | {group.shipped:.0%} |")
    return "\n".join(lines) + "\n"


TABLES = {
    "later.csv": "Step times that came after the fits",
    "other_families.csv": "Devices of families that no table of the fits holds",
}
"""Tables that no fit reads, and what they hold."""

ASKED: Mapping[str, Callable[[Measurement], str]] = {
    "software, task": lambda row: f"{row.framework}, {row.task}",
    "device": lambda row: row.device,
    "measurer": lambda row: row.source,
}


def later_page(cases: Mapping[str, Sequence[Case]]) -> str:
    """Markdown: errors of tables that no fit reads, by software, device and measurer, each row weighing the same.

    cases : name of a table of `TABLES` -> its rows.
    """
    lines = ["# Step times that no fit reads", ""]
    for name, title in TABLES.items():
        lines += [f"## {title}", "", f"`tests/validation/{name}`, each row with its source.", ""]
        for heading, of in ASKED.items():
            lines += [*_heading(heading), *_grouped(cases[name], of), ""]
    return "\n".join(lines)


def _grouped(cases: Sequence[Case], of: Callable[[Measurement], str]) -> list[str]:
    keys = sorted({of(case.measured) for case in cases})
    found = {"all": errors(cases)} | {key: errors(case for case in cases if of(case.measured) == key) for key in keys}
    return [f"| {key} | {_cells(group)} |" for key, group in found.items() if group is not None]


def main(folder: Path, pages: Path) -> None:
    """Write the pages."""
    later = {name: [predict(row) for row in read_measurements(folder / name)] for name in TABLES}
    (pages / "later.md").write_text(later_page(later), encoding="utf-8")
    cases = [predict(row) for row in read_measurements(folder / "networks.csv")]
    (pages / "held_out.md").write_text(held_out_page(held_out_cases(folder, cases, WORDS)), encoding="utf-8")
    found = samples(folder, cases)
    most = attainable(errors_in_widths(found, certainty().low, certainty().high), GOAL)
    (pages / "coverage.md").write_text(coverage_page(coverage(found), most), encoding="utf-8")


if __name__ == "__main__":
    run(main)

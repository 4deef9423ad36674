"""`simulate compare`: workloads, devices, option sets or summary.json files, side by side and why."""

from __future__ import annotations

from itertools import product
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from simulator.cli.completion import DEVICE, FRAMEWORK, PRECISION, WORKLOAD
from simulator.cli.options import chosen_workload, workload_options
from simulator.errors import InputError

if TYPE_CHECKING:
    from simulator.planning.compare import Side

MOST_SIDES = 64
"""Each has a figure and a column."""

VARIED = ("precision", "framework", "optimizer", "task", "fidelity", "batch")


@click.command("compare")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path), metavar="[SUMMARY.JSON ...]")
@click.option("--workload", type=WORKLOAD, multiple=True, metavar="NAME", help="One or several workloads.")
@workload_options
@click.option(
    "--device", type=DEVICE, multiple=True, metavar="NAME", help="One or several devices; NAME[KEY=VALUE,...] too."
)
@click.option("--batch", metavar="N,N", help="One or several batches.")
@click.option("--precision", type=PRECISION, default="fp32", show_default=True, metavar="NAMES", help="One or several.")
@click.option(
    "--framework", type=FRAMEWORK, default="pytorch", show_default=True, metavar="NAMES", help="One or several."
)
@click.option("--optimizer", default="sgd", show_default=True, metavar="NAMES", help="One or several.")
@click.option("--task", default="train", show_default=True, metavar="NAMES", help="train, infer, or both.")
@click.option("--fidelity", default="calibrated", show_default=True, metavar="NAMES", help="One or several.")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Folder for rooflines with arrows.")
@click.option("--json", "as_json", is_flag=True, help="The answer as JSON on stdout.")
def command(files: tuple[Path, ...], out: Path | None, as_json: bool, **options: Any) -> None:
    """Two or more sides against the first: layer by layer, which bound moved, which layers gained.

    The sides are the files, then the product of all that is given several times or with commas.
    """
    from simulator.planning.compare import compare, side_of_file
    from simulator.report import compare as report

    found = compare([*map(side_of_file, files), *sides_of(options)])
    folder = report.write_comparison(found, out) if out is not None else None
    if as_json:
        from simulator.report.summary import json_text

        click.echo(json_text(report.comparison_summary(found)))
    else:
        report.print_comparison(found, folder)


def sides_of(options: dict[str, Any]) -> list[Side]:
    """Every combination of what is given, labelled by what differs."""
    from simulator.device.device import load_device
    from simulator.pipeline import Options, simulate
    from simulator.planning.compare import side_of
    from simulator.planning.ranges import whole_numbers

    if bool(options["workload"]) != bool(options["device"]):
        raise InputError("a side needs both --workload and --device")
    texts = {name: (options[name] or "").split(",") for name in VARIED}
    batches = whole_numbers(options["batch"], "--batch") if options["batch"] else [None]
    axes = [options["workload"], options["device"], *(texts[name] for name in VARIED[:-1]), batches]
    several = [len(axis) > 1 for axis in axes]
    if (number := prod(map(len, axes))) > MOST_SIDES:
        raise InputError(f"{number} sides are more than the {MOST_SIDES} of a comparison; `simulate sweep` takes more")
    sides = []
    for workload, device, *values in product(*axes):
        asked = Options(**dict(zip(VARIED, values, strict=True)), ignore_memory=True)
        answer = simulate(chosen_workload(workload, options), load_device(device), asked)
        shown = [answer.workload.name, answer.device.label, *values[:-1], f"batch {answer.batch}"]
        label = [str(word) for word, many in zip(shown, several, strict=True) if many]
        sides.append(side_of(answer, ", ".join(label) or f"{answer.workload.name} on {answer.device.label}"))
    return sides

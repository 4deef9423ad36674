"""`simulate rewrite WORKLOAD --apply ...`: a network before and after pruning, quantising, low rank, folding."""

from __future__ import annotations

from typing import Any

import click

from simulator.cli.completion import WORKLOAD
from simulator.cli.options import chosen_workload, workload_options
from simulator.errors import InputError


@click.command("rewrite")
@click.argument("workload", type=WORKLOAD)
@workload_options
@click.option("--json", "as_json", is_flag=True, help="The answer as JSON on stdout.")
def command(workload: str, as_json: bool, **options: Any) -> None:
    """A network before and after its rewrites: parameters, MACs, activations, bytes on disk, layer by layer."""
    from simulator.report import rewrite as report
    from simulator.workload.rewrites import apply

    if not options["apply"]:
        raise InputError("give --apply, such as lowrank:fc6=256, prune:fc6=0.9 or quantize:int8")
    before = chosen_workload(workload, {**options, "apply": ()})
    after = apply(before, options["apply"])
    if as_json:
        from simulator.report.summary import json_text

        click.echo(json_text(report.rewrite_summary(before, after)))
    else:
        report.print_rewrite(before, after)

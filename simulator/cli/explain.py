"""`simulate explain`: what binds, how far from the roof and why, and what would help most."""

from __future__ import annotations

from typing import Any

import click

from simulator.cli.completion import DEVICE, PRECISION, WORKLOAD
from simulator.cli.options import chosen_workload, framework_option, optimizer_option, workload_options


@click.command("explain")
@click.option(
    "--workload", type=WORKLOAD, required=True, metavar="NAME", help="Workload: a name, a YAML file, or FORMAT:FILE."
)
@workload_options
@click.option(
    "--device", type=DEVICE, required=True, metavar="NAME", help="Device: a name, NAME[KEY=VALUE,...] or a YAML file."
)
@click.option("--layer", metavar="NAME", help="One layer instead of the whole step.")
@click.option("--batch", type=click.IntRange(1), help="Samples a step.")
@click.option("--precision", type=PRECISION, default="fp32", show_default=True, help="Number format.")
@click.option("--task", default="train", show_default=True, help="train or infer.")
@optimizer_option
@framework_option
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a value of the device.")
@click.option("--json", "as_json", is_flag=True, help="The answer as JSON on stdout.")
def command(workload: str, device: str, layer: str | None, as_json: bool, **options: Any) -> None:
    """What binds a step or a layer, what keeps it from its roof, cause by cause, and what would help most."""
    from simulator.device.device import load_device
    from simulator.pipeline import Options, simulate
    from simulator.planning.explain import explain
    from simulator.report import explain as report

    asked = {name: options[name] for name in ("batch", "precision", "task", "optimizer", "framework")}
    answer = simulate(
        chosen_workload(workload, options),
        load_device(device, overrides=options["overrides"]),
        Options(**asked, ignore_memory=True),
    )
    found = explain(answer, layer)
    if as_json:
        from simulator.report.summary import json_text

        click.echo(json_text(report.explanation_summary(found)))
    else:
        report.print_explanation(found)

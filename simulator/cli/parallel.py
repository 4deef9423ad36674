"""`simulate parallel WORKLOAD --system S --batch B`: the fastest plans that fit."""

from __future__ import annotations

from typing import Any

import click

from simulator.cli.completion import DEVICE, PRECISION, WORKLOAD
from simulator.cli.joined import link_option, network_option, nodes_option, system_option
from simulator.cli.options import chosen_workload, framework_option, workload_options
from simulator.errors import InputError


@click.command("parallel")
@click.argument("workload", type=WORKLOAD)
@workload_options
@system_option
@nodes_option
@click.option(
    "--device", type=DEVICE, metavar="NAME", help="By hand, with --devices and --link, instead of a --system."
)
@click.option("--devices", type=int, default=1, show_default=True, help="How many of it.")
@link_option
@network_option
@click.option("--batch", type=click.IntRange(1), required=True, help="Samples a step of all devices together.")
@click.option(
    "--precision", type=PRECISION, default="bf16", show_default=True, help="Number format of the training step."
)
@click.option("--optimizer", default="adam", show_default=True, help="What keeps state beside the weights.")
@framework_option
@click.option("--top", type=click.IntRange(1), default=10, show_default=True, help="Plans to show.")
@click.option("--json", "as_json", is_flag=True, help="The answer as JSON on stdout.")
def command(workload: str, as_json: bool, top: int, **options: Any) -> None:
    """The fastest plans that fit: degrees of parallelism, micro-batch, schedule, ZeRO stage, recomputation."""
    from simulator.cli.run import cluster_of, device_of_system
    from simulator.device.device import load_device
    from simulator.pipeline import Options
    from simulator.planning.plans import search
    from simulator.report import plans as report

    names = (options["device"],) if options["device"] else device_of_system(options["system"])
    if not names:
        raise InputError("give a --system, or a --device with --devices and --link")
    joined = cluster_of(options)
    if joined is None:
        raise InputError("one device has nothing to share; give a --system, or --devices and --link")
    asked = Options(**{name: options[name] for name in ("precision", "optimizer", "framework")})
    found = search(chosen_workload(workload, options), load_device(names[0]), asked, joined, options["batch"], top)
    if as_json:
        from simulator.report.summary import json_text

        click.echo(json_text(report.search_summary(found)))
    else:
        report.print_search(found)

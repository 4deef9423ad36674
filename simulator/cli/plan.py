"""`simulate plan`: the cheapest, fastest and smallest machines that meet a deadline, a budget and a power limit.

With `--serve`: those that serve a rate of requests; its options are in `plan_served.py`.
"""

from __future__ import annotations

from typing import Any

import click

from simulator.cli.completion import DEVICE, PRECISION, PRICES, WORKLOAD
from simulator.cli.options import chosen_workload, framework_option, optimizer_option, workload_options
from simulator.cli.plan_served import answer_served, refuse_served, serving_options
from simulator.cli.prices import dollars, pricing


@click.command("plan")
@click.option(
    "--workload", type=WORKLOAD, required=True, metavar="NAME", help="Workload: a name, a YAML file, or FORMAT:FILE."
)
@workload_options
@click.option(
    "--device",
    type=DEVICE,
    multiple=True,
    default=("*",),
    show_default=True,
    metavar="NAMES",
    help="Names or patterns.",
)
@click.option("--devices", default="1:8", show_default=True, metavar="RANGE", help="How many: 1,8 or 1:64.")
@click.option("--epochs", type=click.IntRange(1), default=1, show_default=True, help="Passes over the dataset.")
@click.option("--deadline", metavar="TIME", help="24h, 3d or 90min.")
@click.option("--budget", metavar="USD", help="2000usd.")
@click.option("--power", metavar="POWER", help="20kW, of the devices.")
@click.option("--price", multiple=True, metavar="NAME=USD", help="A device's price an hour, instead of its profile's.")
@click.option("--prices", type=PRICES, metavar="NAME", help="A price list; NAME:spot for its spot prices.")
@click.option(
    "--precision", type=PRECISION, default="fp32,amp", show_default=True, metavar="NAMES", help="To choose from."
)
@click.option("--batch", type=click.IntRange(1), help="Samples of each device; the fastest that fits if unsaid.")
@click.option("--task", default="train", show_default=True, help="train or infer.")
@optimizer_option
@framework_option
@click.option("--serve", is_flag=True, help="Devices for requests to a language model, by --rate and --slo.")
@serving_options
@click.option("--json", "as_json", is_flag=True, help="The answer as JSON on stdout.")
def command(workload: str, as_json: bool, serve: bool, **options: Any) -> None:
    """Which machines, and how many, finish in time, within a budget and a power limit, and how surely.

    With --serve: the cheapest and the fewest that serve a rate of requests within limits of their latencies.
    """
    if serve:
        answer_served(workload, as_json, options)
        return
    refuse_served()
    from simulator.device.device import FOLDER, load_device
    from simulator.pipeline import Options
    from simulator.planning.capacity import plan
    from simulator.planning.ranges import names, whole_numbers
    from simulator.report import capacity as report

    network = chosen_workload(workload, options)
    asked = Options(**{name: options[name] for name in ("epochs", "batch", "task", "optimizer", "framework")})
    prices = pricing(options)
    found = plan(
        network,
        [prices.of(load_device(name)) for name in names(options["device"], FOLDER)],
        whole_numbers(options["devices"], "--devices"),
        needs=needs_of(options),
        options=asked,
        precisions=options["precision"].split(","),
    )
    if as_json:
        from simulator.report.summary import json_text

        click.echo(json_text(report.capacity_summary(found, network, options["epochs"])))
    else:
        report.print_capacity(found, network, options["epochs"])


def needs_of(options: dict[str, Any]) -> Any:
    """Deadline, budget and power limit."""
    from math import inf

    from simulator.planning.capacity import Needs
    from simulator.planning.ranges import duration_s
    from simulator.units import parse

    deadline, budget, power = options["deadline"], options["budget"], options["power"]
    return Needs(
        duration_s(deadline, "--deadline") if deadline else inf,
        dollars(budget, "--budget") if budget else inf,
        parse(power, "W", "--power") if power else inf,
    )

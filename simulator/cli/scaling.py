"""`simulate scaling --workload W --device D --devices 1:64`: speed-up and efficiency, and where the rest goes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from simulator.cli.completion import DEVICE, PRECISION, WORKLOAD
from simulator.cli.options import chosen_workload, framework_option, optimizer_option, workload_options
from simulator.errors import InputError


@click.command("scaling")
@click.option("--workload", type=WORKLOAD, required=True, metavar="NAME", help="A name, a YAML file, or FORMAT:FILE.")
@workload_options
@click.option("--device", type=DEVICE, required=True, metavar="NAME", help="A name, NAME[KEY=VALUE] or a YAML file.")
@click.option("--devices", default="1:64", show_default=True, metavar="RANGE", help="How many: 1,8 or 1:64.")
@click.option("--batch", type=click.IntRange(1), help="Samples of each device.")
@click.option("--global-batch", type=click.IntRange(1), help="Samples of all devices together, instead of --batch.")
@click.option("--precision", type=PRECISION, default="fp32", show_default=True, help="Number format.")
@optimizer_option
@framework_option
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="A figure, as PNG and SVG.")
@click.option("--json", "as_json", is_flag=True, help="The answer as JSON on stdout.")
def command(workload: str, device: str, devices: str, as_json: bool, out: Path | None, **options: Any) -> None:
    """Speed-up and efficiency of data-parallel training against devices, with the part lost to each cause."""
    from simulator.device.device import load_device
    from simulator.pipeline import Options
    from simulator.planning.ranges import whole_numbers
    from simulator.planning.scaling import scaling
    from simulator.report import scaling as report
    from simulator.report.summary import json_text

    if options["batch"] and options["global_batch"]:
        raise InputError("--batch is of each device, --global-batch of all together; give one of the two")
    network, machine = chosen_workload(workload, options), load_device(device)
    asked = Options(**{name: options[name] for name in ("batch", "precision", "optimizer", "framework")})
    together = options["global_batch"]
    points = scaling(network, machine, asked, whole_numbers(devices, "--devices"), global_batch=together)
    batch = f"{together} together" if together else f"{asked.batch or network.batch} each"
    title = f"{network.name}, training in {asked.precision} on {machine.label}, batch {batch}"
    if out is not None:
        report.write_scaling(title, points, out)
    if as_json:
        click.echo(json_text(report.scaling_summary(network.name, machine.name, points)))
    else:
        report.print_scaling(title, points)

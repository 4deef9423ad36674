"""`simulate calibrate`: this machine as a device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click


@click.command("calibrate")
@click.option(
    "--out",
    default="my-machine.yaml",
    show_default=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The profile's file; one that this command made before is replaced, any other is not.",
)
@click.option("--threads", type=int, help="Threads to measure with, instead of all cores.")
@click.option("--quick", is_flag=True, help="A tenth of the time for each measurement, and rougher.")
@click.option("--no-torch", is_flag=True, help="Leave PyTorch alone: products and bandwidth by NumPy.")
@click.option("--json", "as_json", is_flag=True, help="What was measured as JSON on stdout.")
def command(out: Path, threads: int | None, quick: bool, no_torch: bool, as_json: bool) -> None:
    """Measure this machine in less than a minute and write its profile, for --device."""
    from simulator.calibration.machine.conditions import conditions
    from simulator.calibration.machine.measure import QUICK, measure
    from simulator.calibration.machine.profile import check_replaceable, write_profile
    from simulator.report.listing import print_table
    from simulator.report.machine import machine_rows, warning

    check_replaceable(out)
    chosen = conditions(threads)
    with _bar() as tell:
        measured = measure(chosen, QUICK if quick else 1.0, tell, torch=not no_torch)
    write_profile(measured, out)
    if as_json:
        import json

        click.echo(json.dumps({"profile": str(out), "measured": machine_rows(measured)}, indent=2))
    else:
        print_table(f"{chosen.processor}, {chosen.threads} of {chosen.cores} cores", machine_rows(measured))
        click.echo(f"profile   {out}\nnext      simulate --workload resnet18 --device {out}")
    if text := warning(measured):
        click.echo(f"simulate: {text}", err=True)


@contextmanager
def _bar() -> Iterator[Callable[[str, float], None]]:
    """A progress bar on stderr, told the stage and the share that is done."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("starting", total=1.0)
        yield lambda stage, share: progress.update(task, description=stage, completed=share)

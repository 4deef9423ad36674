"""`simulate sweep`: every configuration of some options, as a table."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from simulator.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from simulator.planning.sweep import Axes

MANY = 20
"""Rows that are kept together when a sweep is written as it goes."""


@click.command("sweep")
@click.option("--workload", multiple=True, required=True, metavar="NAMES", help="Names, or patterns such as 'resnet*'.")
@click.option("--device", multiple=True, required=True, metavar="NAMES", help="Names, or patterns such as 'a100*'.")
@click.option("--batch", metavar="RANGE", help="16,32 or 16:512:x2; the workload's own if unsaid.")
@click.option("--devices", default="1", show_default=True, metavar="RANGE", help="How many step together: 1:8.")
@click.option("--precision", default="fp32", show_default=True, metavar="NAMES", help="fp32,amp ...")
@click.option("--framework", metavar="NAMES", help="Software that issues the kernels.")
@click.option("--optimizer", metavar="NAMES", help="sgd,adam.")
@click.option("--task", metavar="NAMES", help="train,infer.")
@click.option("--fidelity", metavar="NAMES", help="napkin,roofline,calibrated.")
@click.option("--sequence", metavar="RANGE", help="Lengths of the input sequence.")
@click.option("--image-size", metavar="RANGE", help="Height and width of the images.")
@click.option("--attention", metavar="NAMES", help="eager,fused.")
@click.option("--epochs", type=click.IntRange(1), help="Passes over the dataset.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=RANGE", help="memory.bandwidth=0.5x:4x:20, or values.")
@click.option("--where", metavar="CONDITION", help="memory.fits and step.time_s < 0.2")
@click.option("--sort", metavar="COLUMN", help="Sort by a column; -COLUMN from the largest.")
@click.option("--top", type=click.IntRange(1), help="The first rows alone.")
@click.option("--pareto", metavar="COLUMNS", help="Rows that none beats: step.time_s,device.power_w; -COLUMN: larger.")
@click.option(
    "--plot", metavar="X,Y[,VALUE]", help="Lines, or a heat map of three columns, beside --out or in reports/."
)
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="A .csv, .json or .parquet file.")
@click.option("--resume", is_flag=True, help="Go on with the .csv file of an interrupted sweep.")
@click.option("--json", "as_json", is_flag=True, help="The rows as JSON on stdout.")
def command(**options: Any) -> None:
    """Every configuration of some options, a row each; those that cannot run have their reason."""
    from simulator.report import sweep as report

    axes = axes_of(options)
    if len(axes) > LARGEST:
        _write_grid(axes, options)
        return
    frame = _run(axes, options["out"], resume=options["resume"])
    frame = chosen(frame, options)
    if options["out"] is not None:
        report.write(frame, options["out"])
    if options["plot"]:
        report.plot(frame, options["plot"], options["out"] or Path("reports") / "sweep")
    if options["as_json"]:
        click.echo(report.as_json(frame))
    else:
        report.print_sweep(frame, len(axes))


LARGEST = 1_000_000
"""Rows that a sweep keeps in memory; a larger one is the roofline's closed form, written as it comes."""


def _write_grid(axes: Axes, options: dict[str, Any]) -> None:
    """A sweep of the roofline over bandwidth and peak, of any size, as Parquet.

    Raises
    ------
    InputError
        If the sweep is another one, or goes to no Parquet file.
    """
    from simulator.device.device import load_device
    from simulator.pipeline import Options
    from simulator.planning.grid import closed_form, grid_axes, write_grid
    from simulator.workload.reading import load_workload

    out, kinds = options["out"], axes.options
    single = all(len(each) == 1 for each in (axes.workloads, axes.devices, axes.devices_each, *kinds.values()))
    if not single or len(axes.batches) > 1 or axes.requests or out is None or out.suffix != ".parquet":
        raise InputError(
            f"{len(axes):,} configurations are more than {LARGEST:,}; larger sweeps are of --fidelity roofline over "
            "--set memory.bandwidth and --set peak.NAME, of one workload, device and batch, --out a .parquet file"
        )
    asked: dict[str, Any] = {name: values[0] for name, values in kinds.items()}
    chosen = Options(**asked, batch=axes.batches[0] if axes.batches else None)
    device = load_device(axes.devices[0])
    form = closed_form(load_workload(axes.workloads[0]), device, chosen)
    bandwidth, peaks = grid_axes(device, chosen, axes.overrides)
    names = ("memory.bandwidth", next(key for key in axes.overrides if key != "memory.bandwidth"))
    rows = write_grid(out, form, bandwidth, peaks, names)
    click.echo(f"{rows:,} configurations: {out}")


def axes_of(options: dict[str, Any]) -> Axes:
    """The axes that the options write; every name and number is looked at before any work."""
    from simulator.device.device import FOLDER, load_device
    from simulator.planning.ranges import names, values, whole_numbers
    from simulator.planning.sweep import OPTIONS, Axes
    from simulator.workload.reading import FOLDER as WORKLOADS

    overrides = dict(values(text) for text in options["overrides"])
    named = {name: options[name].split(",") for name in OPTIONS if options.get(name)}
    requests: dict[str, Any] = {
        name: whole_numbers(options[name], f"--{name.replace('_', '-')}")
        for name in ("sequence", "image_size")
        if options[name]
    }
    if options["attention"]:
        requests["attention"] = options["attention"].split(",")
    devices = names(options["device"], FOLDER)
    for device in devices:
        load_device(device, overrides=[f"{key}={several[0]}" for key, several in overrides.items()])
    return Axes(
        workloads=names(options["workload"], WORKLOADS),
        devices=devices,
        batches=whole_numbers(options["batch"], "--batch") if options["batch"] else (),
        devices_each=whole_numbers(options["devices"], "--devices"),
        options=named,
        requests=requests,
        overrides=overrides,
        epochs=options["epochs"],
    )


def chosen(frame: pd.DataFrame, options: dict[str, Any]) -> pd.DataFrame:
    """The rows that the options leave, in their order."""
    from simulator.errors import UnknownNameError
    from simulator.planning.sweep import pareto
    from simulator.planning.where import matching

    if options["where"]:
        frame = matching(frame, options["where"])
    if options["pareto"]:
        frame = pareto(frame, [name.strip() for name in options["pareto"].split(",")])
    if options["sort"]:
        column = options["sort"].removeprefix("-")
        if column not in frame.columns:
            raise UnknownNameError("column", column, list(frame.columns))
        frame = frame.sort_values(column, ascending=not options["sort"].startswith("-"), kind="stable")
    return frame.head(options["top"]) if options["top"] else frame


def _run(axes: Axes, out: Path | None, *, resume: bool) -> pd.DataFrame:
    """All rows; interrupted, those that are done, which a .csv file keeps as they come."""
    import pandas as pd

    from simulator.planning.sweep import rows

    kept = _kept(out, resume=resume)
    done: list[Any] = list(kept.to_dict("records")) if kept is not None else []
    try:
        for place, row in enumerate(_watched(rows(axes), len(axes), len(done))):
            if place >= len(done):
                done.append(row)
                if out is not None and out.suffix == ".csv" and len(done) % MANY == 0:
                    pd.DataFrame(done).to_csv(out, index=False)
    except KeyboardInterrupt:
        click.echo(f"simulate: interrupted after {len(done)} of {len(axes)} configurations, which are kept", err=True)
    return pd.DataFrame(done)


def _kept(out: Path | None, *, resume: bool) -> pd.DataFrame | None:
    if not resume:
        return None
    if out is None or out.suffix != ".csv" or not out.is_file():
        raise InputError("--resume needs --out with the .csv file of the sweep that was interrupted")
    import pandas as pd

    return pd.read_csv(out)


def _watched(rows: Iterator[dict[str, Any]], total: int, done: int) -> Iterator[dict[str, Any]]:
    """The rows, with a progress bar on stderr where somebody looks and the sweep is long."""
    if not sys.stderr.isatty() or total < 100:
        yield from rows
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.speed:,.0f}/s"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=total, completed=done)
        for row in rows:
            progress.advance(task)
            yield row

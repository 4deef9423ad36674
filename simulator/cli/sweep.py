"""`simulate sweep`: every configuration of some options, as a table."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from simulator.cli.completion import DEVICE, FRAMEWORK, PRECISION, PRICES, WORKLOAD
from simulator.cli.prices import list_named
from simulator.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from simulator.planning.sweep import Axes


@click.command("sweep")
@click.option(
    "--workload",
    type=WORKLOAD,
    multiple=True,
    required=True,
    metavar="NAMES",
    help="Names, or patterns such as 'resnet*'.",
)
@click.option(
    "--device", type=DEVICE, multiple=True, required=True, metavar="NAMES", help="Names, or patterns such as 'a100*'."
)
@click.option("--batch", metavar="RANGE", help="16,32 or 16:512:x2; the workload's own if unsaid.")
@click.option("--devices", default="1", show_default=True, metavar="RANGE", help="How many step together: 1:8.")
@click.option("--precision", type=PRECISION, default="fp32", show_default=True, metavar="NAMES", help="fp32,amp ...")
@click.option("--framework", type=FRAMEWORK, metavar="NAMES", help="Software that issues the kernels.")
@click.option("--optimizer", metavar="NAMES", help="sgd,adam,adam8bit ...")
@click.option("--task", metavar="NAMES", help="train,infer.")
@click.option("--fidelity", metavar="NAMES", help="napkin,roofline,calibrated.")
@click.option("--sequence", metavar="RANGE", help="Lengths of the input sequence.")
@click.option("--image-size", metavar="RANGE", help="Height and width of the images.")
@click.option("--attention", metavar="NAMES", help="eager,fused.")
@click.option("--epochs", metavar="RANGE", help="Passes over the dataset.")
@click.option("--price", metavar="USD,...", help="Of a device an hour, instead of its profile's.")
@click.option("--prices", type=PRICES, metavar="NAME", help="A price list instead; NAME:spot for its spot prices.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=RANGE", help="memory.bandwidth=0.5x:4x:20, or values.")
@click.option("--where", metavar="CONDITION", help="memory.fits and step.time_s < 0.2")
@click.option("--sort", metavar="COLUMN", help="Sort by a column; -COLUMN from the largest.")
@click.option("--top", type=click.IntRange(1), help="The first rows alone.")
@click.option("--pareto", metavar="COLUMNS", help="Rows that none beats: step.time_s,device.power_w; -COLUMN: larger.")
@click.option(
    "--plot",
    metavar="X,Y[,VALUE]",
    help="Lines, a heat map of three columns, or density:X,Y; in reports/ without --out.",
)
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="A .csv, .json or .parquet file.")
@click.option("--resume", is_flag=True, help="Go on with the .csv file, or the folder, of an interrupted sweep.")
@click.option("--scheduler", metavar="ADDRESS", help="tcp://HOST:PORT of a Dask cluster, or 'local'; --out a folder.")
@click.option("--json", "as_json", is_flag=True, help="The rows as JSON on stdout.")
def command(**options: Any) -> None:
    """Every configuration of some options, a row each; those that cannot run have their reason."""
    from simulator.report import sweep as report

    axes = axes_of(options)
    if options["scheduler"]:
        _distribute(axes, options)
        return
    if len(axes) > LARGEST:
        _write_large(axes, options["out"])
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
"""Rows that a sweep keeps in memory; a larger one is written as it comes."""


def _write_large(axes: Axes, out: Path | None) -> None:
    """A sweep of any size as Parquet; of the roofline over bandwidth and peak alone, by its closed form.

    Raises
    ------
    InputError
        If it goes to no Parquet file.
    """
    from simulator.planning.storage import write_parts

    if out is None or out.suffix != ".parquet":
        raise InputError(f"{len(axes):,} configurations are more than {LARGEST:,}; --out a .parquet file")
    if _is_grid(axes):
        _write_grid(axes, out)
    else:
        with _progress(len(axes)) as advance:
            write_parts(axes, out, advance)
    click.echo(f"{len(axes):,} configurations: {out}")


def _is_grid(axes: Axes) -> bool:
    """Whether it is the roofline of one step over bandwidth and a peak, whose time alone is asked for."""
    kinds = axes.options
    single = all(len(each) == 1 for each in (axes.workloads, axes.devices, axes.devices_each, *kinds.values()))
    plain = single and len(axes.batches) <= 1 and not (axes.requests or axes.epochs or axes.prices)
    keys = sorted(axes.overrides)
    two = len(keys) == 2 and keys[0] == "memory.bandwidth" and keys[1].startswith("peak.")
    return plain and two and kinds.get("fidelity") == ["roofline"]


def _write_grid(axes: Axes, out: Path) -> None:
    from simulator.device.device import load_device
    from simulator.pipeline import Options
    from simulator.planning.grid import closed_form, grid_axes, write_grid
    from simulator.workload.reading import load_workload

    asked: dict[str, Any] = {name: values[0] for name, values in axes.options.items()}
    options = Options(**asked, batch=axes.batches[0] if axes.batches else None)
    device = load_device(axes.devices[0])
    form = closed_form(load_workload(axes.workloads[0]), device, options)
    bandwidth, peaks = grid_axes(device, options, axes.overrides)
    names = ("memory.bandwidth", next(key for key in axes.overrides if key != "memory.bandwidth"))
    write_grid(out, form, bandwidth, peaks, names)


def _distribute(axes: Axes, options: dict[str, Any]) -> None:
    """The sweep on a Dask cluster, to a folder of Parquet files.

    Raises
    ------
    InputError
        If `--out` is no folder, or holds something without `--resume`.
    """
    from simulator.planning.distributed import connect, sweep_to_folder

    out = options["out"]
    if out is None or out.suffix:
        raise InputError("--scheduler writes a data set: --out FOLDER, which all workers see")
    if out.is_dir() and any(out.iterdir()) and not options["resume"]:
        raise InputError(f"--out {out}: the folder is not empty; --resume goes on with the sweep that it holds")
    with connect(options["scheduler"]) as client, _progress(len(axes)) as advance:
        rows = sweep_to_folder(axes, client, out.resolve(), advance)
    click.echo(f"{rows:,} configurations: {out}")


def axes_of(options: dict[str, Any]) -> Axes:
    """The axes that the options write; every name and number is looked at before any work."""
    from simulator.device.device import FOLDER, load_device
    from simulator.planning.ranges import names, numbers, values, whole_numbers
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
        epochs=whole_numbers(options["epochs"], "--epochs") if options["epochs"] else (),
        prices=numbers(options["price"], "--price") if options["price"] else (),
        listed=list_named(options),
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

    from simulator.planning.sweep import parts, table

    kept = _kept(out, axes, resume=resume)
    found, begun = ([kept], len(kept)) if kept is not None else ([], 0)
    written = out if out is not None and out.suffix == ".csv" else None
    place = 0
    try:
        with _progress(len(axes)) as advance:
            for part in parts(axes):
                place += len(part)
                if place > begun:
                    found.append(table(part))
                    if written is not None:
                        _append(found, written)
                advance(len(part))
    except KeyboardInterrupt:
        done = sum(map(len, found))
        click.echo(f"simulate: interrupted after {done} of {len(axes)} configurations, which are kept", err=True)
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame()


def _append(found: Sequence[pd.DataFrame], path: Path) -> None:
    """The newest part to the file, which holds the others."""
    from simulator.report.csv_text import write_frame

    try:
        write_frame(found[-1], path, append=len(found) > 1)
    except OSError as error:
        raise InputError(f"--out {path}: cannot be written: {error.strerror or error}") from error


def _kept(out: Path | None, axes: Axes, *, resume: bool) -> pd.DataFrame | None:
    """The whole parts that a .csv file holds."""
    if not resume:
        return None
    if out is None or out.suffix != ".csv" or not out.is_file():
        raise InputError("--resume needs --out with the .csv file of the sweep that was interrupted")
    import pandas as pd

    from simulator.planning.sweep import parts

    kept, whole = pd.read_csv(out), 0
    for part in parts(axes):
        if whole + len(part) > len(kept):
            break
        whole += len(part)
    return kept.iloc[:whole]


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], object]]:
    """A progress bar on stderr where somebody looks and the sweep is long; what it yields is told of rows done."""
    if not sys.stderr.isatty() or total < WATCHED:
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.speed:,.0f}/s"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=total)
        yield lambda rows: progress.advance(task, rows)


WATCHED = 2000
"""Rows from which on a sweep may take long enough to be watched."""

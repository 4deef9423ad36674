"""`simulate validate FILE.csv`: predictions against measurements."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("validate")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the parity plot and the table of cases.")
@click.option("--json", "as_json", is_flag=True, help="Statistics and cases as JSON on stdout.")
def command(file: Path, out: Path | None, as_json: bool) -> None:
    """Predict each measured step of a CSV table and print the errors by task, precision, device and workload.

    Columns: workload, device, task (train, infer, forward, backward), precision, batch, devices, step_s; if you like,
    optimizer (false: the time leaves the update out), framework and the year of its release, input_size (224x224, or a
    sequence length), id. Others are passed over.
    """
    from simulator.calibration.validation import predict, read_measurements
    from simulator.report import validation

    cases = [predict(measured) for measured in read_measurements(file)]
    if out is not None:
        validation.write_validation(cases, out)
    if as_json:
        from simulator.report.summary import json_text

        click.echo(json_text(validation.validation_summary(cases)))
    else:
        validation.print_validation(cases, out)

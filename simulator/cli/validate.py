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
    sequence length), system (what joins several devices), id. Others are passed over; batch is of each device.

    A table of collectives (op, link, devices, nodes, size_bytes, time_s) is predicted too, by link and operation.

    A table of served requests (workload, profile, quantisation, devices, tp, engine, batch_or_concurrency, input_len,
    output_len, metric, value) is predicted in each row's own metric.
    """
    from simulator.calibration.collectives import is_collectives
    from simulator.calibration.served import is_served
    from simulator.calibration.validation import predict, read_measurements
    from simulator.report import validation

    if is_served(file):
        _served(file, out, as_json)
        return
    if is_collectives(file):
        _collectives(file, as_json)
        return
    cases = [predict(measured) for measured in read_measurements(file)]
    if out is not None:
        validation.write_validation(cases, out)
    if as_json:
        from simulator.report.summary import json_text

        click.echo(json_text(validation.validation_summary(cases)))
    else:
        validation.print_validation(cases, out)


def _collectives(file: Path, as_json: bool) -> None:
    """A table of collectives, as nccl-tests states sizes."""
    from simulator.calibration.collectives import predict_collective, read_collectives
    from simulator.report.collectives import collectives_summary, print_collectives

    rows = [predict_collective(row) for row in read_collectives(file)]
    if as_json:
        from simulator.report.summary import json_text

        click.echo(json_text(collectives_summary(rows)))
    else:
        print_collectives(rows)


def _served(file: Path, out: Path | None, as_json: bool) -> None:
    """A table of served requests: each figure in its own metric."""
    from simulator.calibration.served import predict_served, read_served
    from simulator.report import served

    cases = [predict_served(row) for row in read_served(file)]
    if out is not None:
        served.write_served(cases, out)
    if as_json:
        from simulator.report.summary import json_text

        click.echo(json_text(served.served_summary(cases)))
    else:
        served.print_served(cases, out)

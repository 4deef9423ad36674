"""`simulate validate FILE.csv`: predictions against measurements."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from simulator.errors import InputError

if TYPE_CHECKING:
    from simulator.report.validation import Validation


@click.command("validate")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--by", multiple=True, metavar="COLUMN", help="Group by this column of the table, or by family; repeat.")
@click.option("--held-out", is_flag=True, help="Also errors of fits without a row's group (held_out.csv).")
@click.option(
    "--against",
    type=click.Path(path_type=Path),
    metavar="OLD.JSON",
    help="What moved since a run with --json, row by row.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the parity plot and the table of cases.")
@click.option("--json", "as_json", is_flag=True, help="Statistics and cases as JSON on stdout.")
def command(
    file: Path, by: tuple[str, ...], held_out: bool, against: Path | None, out: Path | None, as_json: bool
) -> None:
    """Predict each measured step of a CSV table and print the errors by task, precision, device and workload.

    Columns: workload, device, task (train, infer, forward, backward), precision, batch, devices, step_s; if you
    like, optimizer (false: the time leaves the update out), framework and the year of its release, layout (channels
    first or last), host, loader, input_size (224x224, or a sequence length), system (what joins several devices),
    source, id. Any other column can be grouped by, as can family (of the device), host, layout, bound and grade;
    batch is of each device.

    A table of collectives (op, link, devices, nodes, size_bytes, time_s) is predicted too, by link and operation.

    A table of training plans (workload, profile, devices, precision, global_batch, micro_batch, tp, pp; sequence, cp,
    ep, vp, zero_or_fsdp, recompute; step_s or tokens_per_s_per_gpu, memory_gib) is predicted as `--parallel` would.

    A table of single operations (device, op, dtype, dims, time_s) is predicted kernel by kernel.

    A table of served requests (workload, profile, quantisation, devices, tp, engine, batch_or_concurrency, input_len,
    output_len, metric, value) is predicted in each row's own metric.

    A table of an engine's kernels (device, op, dtype, dims, time_s; kernel) is predicted by its library's calls.

    A table of power (kind, system, quantity, value, unit) is predicted in watts, at the rates that its rows state.
    """
    from simulator.calibration.collectives import is_collectives
    from simulator.calibration.llm_rows import is_ops
    from simulator.calibration.powered import is_powered
    from simulator.calibration.served_rows import is_served
    from simulator.calibration.trained_rows import is_trained

    others: dict[Callable[[Path], bool], Callable[[], None]] = {
        is_served: lambda: _served(file, out, as_json),
        is_collectives: lambda: _collectives(file, as_json),
        is_trained: lambda: _trained(file, out, as_json),
        is_ops: lambda: _ops(file, out, as_json),
        is_powered: lambda: _powered(file, out, as_json),
    }
    found = next((show for is_one, show in others.items() if is_one(file)), None)
    if found is not None:
        if by or held_out or against:
            raise InputError(f"{file}: --by, --held-out and --against are for tables of step times of one form")
        found()
    else:
        _steps(_validation(file, by, held_out, against), out, as_json)


def _validation(file: Path, by: tuple[str, ...], held_out: bool, against: Path | None) -> Validation:
    """Each step of the table predicted; an unknown column is an error before any of it."""
    from simulator.calibration.changes import compare
    from simulator.calibration.measurements import read_measurements
    from simulator.calibration.samples import held_out_cases
    from simulator.calibration.validation import Case, grouped, predict
    from simulator.report.validation import GROUPS, Validation

    measured = read_measurements(file)
    for key in by:
        grouped([Case(row) for row in measured], key)
    cases = [predict(row) for row in measured]
    return Validation(
        cases,
        by or GROUPS,
        held_out_cases(file.parent, cases) if held_out else {},
        compare(cases, against) if against else None,
    )


def _steps(found: Validation, out: Path | None, as_json: bool) -> None:
    """A table of step times."""
    from simulator.report.validation import print_validation, validation_summary, write_validation

    if out is not None:
        write_validation(found, out)
    _tell(as_json, lambda: validation_summary(found), lambda: print_validation(found, out))


def _collectives(file: Path, as_json: bool) -> None:
    """A table of collectives, as nccl-tests states sizes."""
    from simulator.calibration.collectives import predict_collective, read_collectives
    from simulator.report.collectives import collectives_summary, print_collectives

    rows = [predict_collective(row) for row in read_collectives(file)]
    _tell(as_json, lambda: collectives_summary(rows), lambda: print_collectives(rows))


def _served(file: Path, out: Path | None, as_json: bool) -> None:
    """A table of served requests: each figure in its own metric."""
    from simulator.calibration.served import predict_served
    from simulator.calibration.served_rows import read_served
    from simulator.report.served import print_served, served_summary, write_served

    cases = [predict_served(row) for row in read_served(file)]
    if out is not None:
        write_served(cases, out)
    _tell(as_json, lambda: served_summary(cases), lambda: print_served(cases, out))


def _trained(file: Path, out: Path | None, as_json: bool) -> None:
    """A table of training plans: each step, and its memory where that was measured."""
    from simulator.calibration.trained import predict_trained
    from simulator.calibration.trained_rows import read_trained
    from simulator.report.trained import print_trained, trained_summary, write_trained

    cases = [case for row in read_trained(file) for case in predict_trained(row)]
    if out is not None:
        write_trained(cases, out)
    _tell(as_json, lambda: trained_summary(cases), lambda: print_trained(cases, out))


def _ops(file: Path, out: Path | None, as_json: bool) -> None:
    """A table of an engine's kernels."""
    from simulator.calibration.llm_ops import predict_ops
    from simulator.calibration.llm_rows import read_ops
    from simulator.report.llm_ops import ops_summary, print_ops, write_ops

    cases = predict_ops(read_ops(file))
    if out is not None:
        write_ops(cases, out)
    _tell(as_json, lambda: ops_summary(cases), lambda: print_ops(cases, out))


def _powered(file: Path, out: Path | None, as_json: bool) -> None:
    """A table of power under stated loads."""
    from simulator.calibration.powered import predict_powered, read_powered
    from simulator.report.powered import powered_summary, print_powered, write_powered

    cases = [predict_powered(row) for row in read_powered(file)]
    if out is not None:
        write_powered(cases, out)
    _tell(as_json, lambda: powered_summary(cases), lambda: print_powered(cases, out))


def _tell(as_json: bool, summary: Callable[[], object], show: Callable[[], None]) -> None:
    """The answer on stdout, as JSON or as tables."""
    if as_json:
        from simulator.report.summary import json_text

        click.echo(json_text(summary()))
    else:
        show()

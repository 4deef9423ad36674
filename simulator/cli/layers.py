"""`simulate layers WORKLOAD`: the table of layers that needs no device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from simulator.cli.completion import WORKLOAD
from simulator.cli.options import chosen_workload, workload_options
from simulator.errors import InputError, UnknownNameError

if TYPE_CHECKING:
    from simulator.workload.workload import Workload


@click.command("layers")
@click.argument("workload", type=WORKLOAD)
@workload_options
@click.option("--count", default="exact", show_default=True, help="Operations as exact or as articles count them.")
@click.option("--against", metavar="WORKLOAD", help="Compare with another source of the same network.")
@click.option("--caffe-log", is_flag=True, help="Caffe's own log of blob shapes and required memory (caffe: only).")
@click.option("--json", "as_json", is_flag=True, help="The table as JSON on stdout.")
def command(workload: str, count: str, against: str | None, caffe_log: bool, as_json: bool, **options: Any) -> None:
    """The table of a workload's layers: shapes, parameters, MACs, FLOPs, activations, receptive fields."""
    from simulator.pipeline import COUNTS

    if count not in COUNTS:
        raise UnknownNameError("count", count, COUNTS)
    if caffe_log:
        _print_caffe_log(workload, options)
        return
    network = chosen_workload(workload, options)
    if against is not None:
        _compare(network, chosen_workload(against, options), as_json)
    elif as_json:
        _print_json(network, count)
    else:
        from simulator.report.layer_listing import print_layers
        from simulator.workload.table import layer_table

        print_layers(network, layer_table(network, count))


def _compare(network: Workload, other: Workload, as_json: bool) -> None:
    from simulator.report.layer_listing import comparison_summary, print_comparison
    from simulator.report.summary import json_text

    if as_json:
        click.echo(json_text(comparison_summary(network, other)))
    else:
        print_comparison(network, other)


def _print_json(network: Workload, count: str) -> None:
    from simulator.op.kernels import at_batch
    from simulator.op.optimizer import get_optimizer
    from simulator.report.summary import json_text, layers_summary
    from simulator.workload.lowering import lower
    from simulator.workload.table import layer_table

    kernels = lower(network, optimizer=get_optimizer("sgd"))
    flops_step = float(at_batch(kernels.flops, float(network.batch)).sum())
    click.echo(json_text(layers_summary(network, layer_table(network, count), network.batch, flops_step)))


def _print_caffe_log(workload: str, options: dict[str, Any]) -> None:
    from simulator.cli.options import chosen_request
    from simulator.workload.importers.caffe import caffe_log

    prefix, _, location = workload.partition(":")
    if prefix != "caffe" or not location:
        raise InputError("--caffe-log is for networks read as caffe:net.prototxt")
    click.echo("\n".join(caffe_log(location, request=chosen_request(options))))

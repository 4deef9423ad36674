"""`simulate layers WORKLOAD`: the table of layers that needs no device."""

from __future__ import annotations

from typing import Any

import click

from simulator.cli.run import chosen_workload, workload_options
from simulator.errors import UnknownNameError


@click.command("layers")
@click.argument("workload")
@workload_options
@click.option("--count", default="exact", show_default=True, help="Operations as exact or as articles count them.")
@click.option("--json", "as_json", is_flag=True, help="The table as JSON on stdout.")
def command(workload: str, count: str, as_json: bool, **options: Any) -> None:
    """The table of a workload's layers: shapes, parameters, MACs, FLOPs, activations, receptive fields."""
    from simulator.pipeline import COUNTS
    from simulator.workload.table import layer_table

    if count not in COUNTS:
        raise UnknownNameError("count", count, COUNTS)
    network = chosen_workload(workload, options)
    rows = layer_table(network, count)
    if as_json:
        import json

        from simulator.op.kernels import at_batch
        from simulator.op.optimizer import get_optimizer
        from simulator.report.summary import layers_summary
        from simulator.workload.lowering import lower

        kernels = lower(network, optimizer=get_optimizer("sgd"))
        flops_step = float(at_batch(kernels.flops, float(network.batch)).sum())
        click.echo(json.dumps(layers_summary(network, rows, network.batch, flops_step), indent=2))
    else:
        from simulator.report.layer_listing import print_layers

        print_layers(network, rows)

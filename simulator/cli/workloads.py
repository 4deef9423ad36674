"""`simulate workloads`: what ships with the program."""

from __future__ import annotations

import click


@click.command("workloads")
@click.option("--json", "as_json", is_flag=True, help="The list as JSON on stdout.")
def command(as_json: bool) -> None:
    """The workloads that ship with the program, and the datasets."""
    from simulator.report.listing import dataset_rows, print_table, workload_rows

    rows, datasets = workload_rows(), dataset_rows()
    if as_json:
        import json

        click.echo(json.dumps({"workloads": rows, "datasets": datasets}, indent=2))
        return
    print_table("Workloads", rows)
    print_table("Datasets", datasets)

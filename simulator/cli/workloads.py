"""`simulate workloads [WORD ...]`: what ships with the program."""

from __future__ import annotations

from collections.abc import Sequence

import click


@click.command("workloads")
@click.argument("words", nargs=-1, metavar="[WORD ...]")
@click.option("--json", "as_json", is_flag=True, help="The list as JSON on stdout.")
def command(words: Sequence[str], as_json: bool) -> None:
    """The workloads that ship with the program, and the datasets; with words, those that hold them all."""
    from simulator.report.listing import dataset_rows, matching, print_tables, workload_rows

    tables = {"workloads": matching(workload_rows(), words), "datasets": matching(dataset_rows(), words)}
    print_tables(tables, as_json=as_json, drop=("aliases", "bytes"))

"""`simulate datasets [WORD ...]`: what ships with the program."""

from __future__ import annotations

from collections.abc import Sequence

import click


@click.command("datasets")
@click.argument("words", nargs=-1, metavar="[WORD ...]")
@click.option("--json", "as_json", is_flag=True, help="The list as JSON on stdout.")
def command(words: Sequence[str], as_json: bool) -> None:
    """What an epoch runs over. With words, those that hold them all."""
    from simulator.report.listing import dataset_rows, matching, print_tables

    print_tables({"datasets": matching(dataset_rows(), words)}, as_json=as_json, drop=("bytes",))

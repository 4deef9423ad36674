"""`simulate precisions [WORD ...]`: what ships with the program."""

from __future__ import annotations

from collections.abc import Sequence

import click


@click.command("precisions")
@click.argument("words", nargs=-1, metavar="[WORD ...]")
@click.option("--json", "as_json", is_flag=True, help="The list as JSON on stdout.")
def command(words: Sequence[str], as_json: bool) -> None:
    """The number formats and the bytes of each kind of value in them. With words, those that hold them all."""
    from simulator.report.listing import matching, precision_rows, print_tables

    print_tables({"precisions": matching(precision_rows(), words)}, as_json=as_json, drop=())

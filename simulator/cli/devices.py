"""`simulate devices [NAME]`: what ships with the program, and where each number comes from."""

from __future__ import annotations

import click


@click.command("devices")
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="The answer as JSON on stdout.")
def command(name: str | None, as_json: bool) -> None:
    """The devices and memory technologies, or one of them with the source of each number."""
    from simulator.report.listing import device_rows, memory_rows, print_table, value_rows

    tables = {name: value_rows(name)} if name else {"devices": device_rows(), "memories": memory_rows()}
    if as_json:
        import json

        click.echo(json.dumps(tables, indent=2))
        return
    for title, rows in tables.items():
        print_table(title, rows)

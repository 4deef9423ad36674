"""`simulate schema {device,workload}`: JSON Schema, for editors."""

from __future__ import annotations

import click


@click.command("schema")
@click.argument("kind", type=click.Choice(["device", "workload"]))
def command(kind: str) -> None:
    """JSON Schema of device or workload files."""
    import json

    if kind == "device":
        from simulator.device.schema import device_schema as schema
    else:
        from simulator.workload.schema import workload_schema as schema

    click.echo(json.dumps(schema(), indent=2))

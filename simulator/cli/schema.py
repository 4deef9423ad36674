"""`simulate schema KIND`: JSON Schema of files, for editors, and of answers, for programs."""

from __future__ import annotations

import click

FILES = ("device", "workload", "system", "link", "storage", "loader")


@click.command("schema")
@click.argument("kind", metavar="KIND")
def command(kind: str) -> None:
    """JSON Schema of files, such as a device's, or of what a command's --json prints: simulate, layers, sweep ...

    KIND: device, workload, system, link, storage, loader; simulate, simulate-batches (of a curve over batches),
    simulate-parallel (of a plan), layers-against, plan-serve, or the name of a command.
    """
    import json

    click.echo(json.dumps(_schema(kind), indent=2))


def _schema(kind: str) -> dict[str, object]:
    if kind in FILES and kind != "workload":
        from simulator.device.schema import profile_schema

        return profile_schema(kind)
    if kind == "workload":
        from simulator.workload.schema import workload_schema

        return workload_schema()
    from simulator.errors import UnknownNameError
    from simulator.report.planning_documents import DOCUMENTS, document_schema

    if kind not in DOCUMENTS:
        raise UnknownNameError("schema", kind, [*FILES, *DOCUMENTS])
    return document_schema(kind)

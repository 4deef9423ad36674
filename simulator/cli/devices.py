"""`simulate devices [NAME | WORD ...]`: what ships with the program, and where each number comes from."""

from __future__ import annotations

from collections.abc import Sequence

import click

DROPPED = ("aliases", "kind", "grade", "year", "family", "capacity", "tf32")
"""Columns that give way on a narrow terminal, the least important first."""


@click.command("devices")
@click.argument("words", nargs=-1, metavar="[NAME | WORD ...]")
@click.option("--json", "as_json", is_flag=True, help="The answer as JSON on stdout.")
def command(words: Sequence[str], as_json: bool) -> None:
    """The devices and memory technologies, those that hold all words, or one of them with the source of each number."""
    from simulator.report.listing import print_tables, value_rows

    if _is_one(words):
        print_tables({words[0]: value_rows(words[0])}, as_json=as_json)
    else:
        print_tables(_lists(words), as_json=as_json, drop=DROPPED)


def _is_one(words: Sequence[str]) -> bool:
    """Whether the words are one device's name, alias or file, or nothing that any row holds, and so a name mistaken."""
    from simulator import catalog
    from simulator.device.device import FOLDER
    from simulator.device.memory import is_memory

    if len(words) != 1:
        return False
    name = words[0]
    known = catalog.shipped(FOLDER, name.lower()) or name.lower() in catalog.aliases(FOLDER) or is_memory(name)
    return bool(known) or name.endswith((".yaml", ".yml")) or ":" in name or not any(_lists(words).values())


def _lists(words: Sequence[str]) -> dict[str, list[dict[str, object]]]:
    from simulator.report.listing import device_rows, matching, memory_rows

    return {"devices": matching(device_rows(), words), "memories": matching(memory_rows(), words)}

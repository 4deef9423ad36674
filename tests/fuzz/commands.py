"""What goes through the command line: options of every command, profiles of every kind, tables of every form."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import click
import yaml
from changes import NUMBERS, changed_bytes, changed_text, mutated
from words import CHOSEN, COMMANDS, ODD, PROFILES, ROWS, WORDS

LEFT_OUT = ("--help", "--version", "--resume", "--scheduler", "--trace", "--timeline", "--plot", "--out")
"""Options that write files, wait for another computer or say nothing of an input."""


def invoked(words: Sequence[str]) -> None:
    """One command line: an answer of finite numbers with code 0, or one line on stderr with code 2.

    Raises
    ------
    AssertionError
        If it is neither; any other exception is the command's own.
    """
    from click.testing import CliRunner

    from simulator.cli import main

    found = CliRunner().invoke(main, list(words), prog_name="simulate")
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    said = " ".join(words)
    if found.exit_code not in (0, 2):
        raise AssertionError(f"exit code {found.exit_code} of {said}")
    if found.exit_code == 2 and (found.stderr.count("\n") != 1 or found.stdout):
        raise AssertionError(f"stdout {found.stdout[:40]!r}, stderr {found.stderr[-80:]!r} of {said}")
    if found.exit_code == 0 and "--json" in words:
        wrong = next(impossible(json.loads(found.stdout, parse_constant=_constant)), None)
        if wrong:
            raise AssertionError(f"{wrong} of {said}")


def _constant(text: str) -> float:
    raise AssertionError(f"{text} in an answer")


def impossible(document: Any, path: str = "") -> Iterator[str]:
    """What stands in an answer and cannot be: a negative time, amount or share, a step or run of no time."""
    inside = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, value in inside:
        yield from impossible(value, f"{path}.{key}")
        if isinstance(value, int | float) and not isinstance(value, bool) and not path.startswith(".options"):
            whole = path in (".step", ".run") and key in ("time_s", "epoch_s", "total_s")
            never = str(key).endswith(("time_s", "bytes", "flops", "macs", "cost_usd", "energy_j", "parameters"))
            if (never and value < 0 and key != "headroom_bytes") or (whole and value <= 0):
                yield f"{path}.{key} = {value}"


@lru_cache
def _options(command: str) -> list[click.Option]:
    """What a command takes, but for what is left out."""
    from simulator.cli import main

    found = main.get_command(click.Context(main), command) if command else main
    assert found is not None
    return [one for one in found.params if isinstance(one, click.Option) and one.opts[0] not in LEFT_OUT]


def options(chance: random.Random, folder: Path) -> None:
    """Options of any command at random, with values that mean something, nearly do, or do not."""
    command = chance.choice(sorted(COMMANDS))
    words = [command] if command else ["--no-report"]
    words += COMMANDS[command]
    known = _options(command)
    for one in chance.sample(known, min(len(known), chance.randint(0, 5))):
        words += _words(one, chance)
    if chance.random() < 0.1:
        words.append(chance.choice(ODD))
    if any("--json" in one.opts for one in known) and "--json" not in words:
        words.append("--json")
    if command in ("sweep", "serve"):
        words += ["--out", str(folder / ("rows.csv" if command == "sweep" else "out"))]
    invoked(words)


def _words(option: click.Option, chance: random.Random) -> list[str]:
    name = option.opts[0]
    if option.is_flag:
        return [name]
    fitting = option.type.choices if isinstance(option.type, click.Choice) else ()
    fitting = (*map(str, fitting), *WORDS.get(name, ("1", "2", "16")))
    return [name, chance.choice(fitting if chance.random() < 0.7 else ODD)]


def profile(chance: random.Random, folder: Path) -> None:
    """A shipped profile of any kind with other values."""
    from simulator import catalog

    kind = chance.choice(sorted(PROFILES))
    place = f"hardware_profiles/{kind}"
    content = mutated(catalog.read_yaml(catalog.find(place, chance.choice(catalog.names(place)))), chance)
    path = folder / "profile.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    words = chance.choice(PROFILES[kind])
    invoked([*words, str(path), "--json", *(["--no-report"] if words[0].startswith("--") else [])])


def dataset(chance: random.Random, folder: Path) -> None:
    """A shipped dataset with other values."""
    from simulator import catalog

    content = mutated(catalog.read_yaml(catalog.find("workloads/datasets", "mnist")), chance)
    path = folder / "dataset.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    invoked(["--workload", "lenet5", "--device", "v100", "--dataset", str(path), "--json", "--no-report"])


def requests(chance: random.Random, folder: Path) -> None:
    """A table of recorded requests with other cells or other text."""
    lines = [[str(time), str(chance.randint(1, 200)), str(chance.randint(1, 50))] for time in range(5)]
    for _ in range(chance.randint(1, 3)):
        chance.choice(lines)[chance.randrange(3)] = str(chance.choice((*NUMBERS, *ODD)))
    text = "\n".join(["arrival_s,input,output", *map(",".join, lines)])
    path = folder / "requests.csv"
    path.write_bytes((changed_text(text, chance) if chance.random() < 0.3 else text).encode("utf-8", "surrogatepass"))
    words = ["serve", "--workload", "gpt2", "--device", "a100", "--requests", str(path), "--json"]
    invoked([*words, "--out", str(folder / "out")])


def network(chance: random.Random, folder: Path) -> None:
    """A shipped network's YAML with other values, asked another way, its whole answer read."""
    from simulator import catalog

    path = folder / "net.yaml"
    content = mutated(catalog.read_yaml(catalog.find("workloads", chance.choice(catalog.names("workloads")))), chance)
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    words = ["--workload", str(path), "--device", "v100", "--ignore-memory", "--no-report", "--json"]
    invoked([*words, *chance.choice(CHOSEN)] if chance.random() < 0.8 else ["layers", str(path), "--json"])


def rows(chance: random.Random, folder: Path) -> None:
    """A table of measurements of any form with other cells, plain or compressed."""
    head, *below = chance.choice(ROWS).split("\n")
    lines = [line.split(",") for line in below]
    for _ in range(chance.randint(1, 3)):
        cells = chance.choice(lines)
        cells[chance.randrange(len(cells))] = str(chance.choice((*NUMBERS, *ODD)))
    text = "\n".join([head, *map(",".join, lines)])
    data = (changed_text(text, chance) if chance.random() < 0.3 else text).encode("utf-8", "surrogatepass")
    path = folder / f"rows-{chance.getrandbits(32)}.csv"
    if chance.random() < 0.2:
        path = path.with_suffix(".csv.gz")
        data = gzip.compress(data, mtime=0)
        data = changed_bytes(data, chance) if chance.random() < 0.7 else data
    path.write_bytes(data)
    try:
        invoked(["validate", str(path), "--json"])
    finally:
        path.unlink()

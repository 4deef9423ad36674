"""The help of every command read as text, with the click that is installed and with the oldest that is allowed.

`make test` lays the oldest click into `click-oldest/` of its environment; elsewhere its half of the tests is skipped.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

import pytest

from simulator.cli import COMMANDS, EXAMPLES

ROOT = Path(__file__).parents[2]
WIDTH = 100
OLDEST = Path(sys.prefix) / "click-oldest"

READ = """
import json, sys
from importlib.metadata import version
from click.testing import CliRunner
from simulator.cli import COMMANDS, main
words = {name: [name, "--help"] for name in COMMANDS} | {"": ["--help"]}
answers = {name: CliRunner().invoke(main, given, prog_name="simulate") for name, given in words.items()}
assert all(answer.exit_code == 0 for answer in answers.values()), answers
json.dump({"click": version("click"), "pages": {name: answer.stdout for name, answer in answers.items()}}, sys.stdout)
"""


@lru_cache
def read(click: str) -> tuple[str, dict[str, str]]:
    """Release of click, and command -> page, with the click of that folder, or the installed one for ""."""
    places = [*filter(None, [click]), str(ROOT)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(places), "COLUMNS": str(WIDTH), "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run([sys.executable, "-c", READ], env=env, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    return found["click"], found["pages"]


def oldest() -> str:
    if not OLDEST.is_dir():
        pytest.skip(f"no {OLDEST.name}/ in this environment; `make test CI=true` lays it there")
    return str(OLDEST)


@pytest.fixture(params=["installed", "oldest"])
def pages(request: pytest.FixtureRequest) -> dict[str, str]:
    return read("" if request.param == "installed" else oldest())[1]


def test_each_half_reads_with_the_click_it_names() -> None:
    floor = re.search(r'"click>=([\d.]+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert floor is not None
    assert read("")[0] == version("click")
    release = read(oldest())[0].split(".")
    assert release[: len(floor[1].split("."))] == floor[1].split(".")


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_a_page_reads_as_text(pages: dict[str, str], name: str) -> None:
    lines = pages[name].splitlines()
    assert lines[0].startswith(f"Usage: simulate {name}".rstrip())
    assert max(map(len, lines)) <= WIDTH
    assert not [line for line in lines if not line.isprintable() or "\\b" in line or "\\f" in line]
    assert not [line for line in lines if "Sentinel" in line or "UNSET" in line or "None" in line]
    assert len([line for line in lines if line.startswith("  ") and not line.startswith("    ")]) >= 2


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_each_option_has_a_sentence(pages: dict[str, str], name: str) -> None:
    """An entry is `  --batch INTEGER   Samples a step.`, or its sentence begins on the line below."""
    lines = pages[name].split("Options:\n")[1].split("\n\n")[0].splitlines()
    entries = [at for at, line in enumerate(lines) if re.match(r"  (-\w, )?-", line)]
    assert entries
    for at in entries:
        below = lines[at + 1] if at + 1 < len(lines) and at + 1 not in entries else ""
        text = re.sub(r"^  -.*?( {2,}|$)", "", lines[at]) or below.strip()
        assert len(text) > 4, lines[at]


def test_examples_and_commands_stand_a_line_each(pages: dict[str, str]) -> None:
    lines = pages[""].splitlines()
    assert [line.strip() for line in lines if line.strip() in EXAMPLES] == list(EXAMPLES)
    assert [name for name in COMMANDS if any(line.startswith(f"  {name} ") for line in lines)] == list(COMMANDS)


def test_both_releases_say_the_same() -> None:
    """All but the usage line, where click 8.5 says that a command may be left out."""
    ours, theirs = read("")[1], read(oldest())[1]
    differing = [name for name in ours if ours[name].split()[4:] != theirs[name].split()[4:] and name]
    assert differing == []
    assert ours[""].split("\n", 1)[1] == theirs[""].split("\n", 1)[1]

"""The command line in this process, and golden files."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from simulator.cli import main

GOLDEN = Path(__file__).parents[1] / "golden"


@dataclass(frozen=True)
class Answer:
    """What one call left: exit code, stdout, stderr, an exception that should not be."""

    code: int
    stdout: str
    stderr: str
    exception: BaseException | None

    def json(self) -> Any:
        return json.loads(self.stdout)


Simulate = Callable[..., Answer]


@pytest.fixture
def simulate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Simulate:
    """`simulate` with these arguments, in an empty folder and a terminal of 120 columns."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("NO_COLOR", "1")

    def call(*arguments: str) -> Answer:
        result = CliRunner().invoke(main, list(arguments), prog_name="simulate")
        exception = None if isinstance(result.exception, SystemExit) else result.exception
        return Answer(result.exit_code, result.stdout, result.stderr, exception)

    return call


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compare a text with tests/golden/<name>, or write it there with `pytest --update-golden`."""

    def compare(name: str, text: str) -> None:
        path = GOLDEN / name
        found = "\n".join(line.rstrip() for line in text.splitlines()) + "\n"
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(found, encoding="utf-8")
        assert path.is_file(), f"no {path.name}; make it with pytest --update-golden"
        assert found == path.read_text(encoding="utf-8"), "read the difference; if it is right, pytest --update-golden"

    return compare

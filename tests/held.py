"""Errors that tests hold: none may rise above the one that its file has."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

SLACK = 0.001
"""A tenth of a percentage point, for rounding on other machines."""


def assert_none_rises(
    present: Mapping[str, float], file: Path, request: pytest.FixtureRequest, slack: float = SLACK
) -> None:
    """Errors by group, as fractions, against those in a JSON file; `--update-golden` writes the present ones."""
    if request.config.getoption("--update-golden"):
        file.write_text(json.dumps(present, indent=1) + "\n", encoding="utf-8")
    held = json.loads(file.read_text(encoding="utf-8"))
    assert held.keys() == present.keys()
    risen = {name: (held[name], now) for name, now in present.items() if now > held[name] + slack}
    assert not risen, f"(was, is): {risen}"

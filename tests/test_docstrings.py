"""Examples in docstrings are worked again."""

from __future__ import annotations

import doctest
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ">>> "
MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in sorted((ROOT / "simulator").rglob("*.py"))
    if EXAMPLE in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_of_a_module_are_right(module: str) -> None:
    found = doctest.testmod(import_module(module.removesuffix(".__init__")))
    assert found.failed == 0
    assert found.attempted > 0

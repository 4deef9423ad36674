"""The page of words names things that exist, each word once."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[1] / "docs" / "nomenclature.md"
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.read_text(encoding="utf-8").splitlines()
    if line.startswith("| ") and not line.startswith("| word |")
]
NAMES = sorted({name for row in ROWS for name in re.findall(r"`([a-z][a-z_.]*\.[A-Za-z_]+)`", row[2])})
KEYS = {
    f"{section}.{name}": place
    for name in ("first_touch", "relayout")
    for section, place in (("kernel", "causes.processor.Copies"), ("processor", "device.framework.ProcessorCalls"))
}


def test_a_word_stands_once() -> None:
    words = [row[0] for row in ROWS]
    assert len(words) > 30
    assert sorted(set(words)) == sorted(words)


@pytest.mark.parametrize("name", NAMES)
def test_what_stands_for_a_word_exists(name: str) -> None:
    module, _, found = KEYS.get(name, name).rpartition(".")
    thing = getattr(import_module(f"simulator.{module}"), found)
    assert name not in KEYS or hasattr(thing(), name.partition(".")[2])

"""A short run of the fuzzer over every kind of input; `make fuzz` runs it long."""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import commands
import fuzz

INPUTS = 60


@pytest.fixture
def alarm() -> Iterator[None]:
    back = fuzz.guarded()
    yield
    back()


@pytest.mark.parametrize("kind", fuzz.KINDS)
@pytest.mark.usefixtures("alarm")
def test_nothing_escapes(kind: str, tmp_path: Path) -> None:
    if kind.startswith("onnx") and find_spec("onnx") is None:
        pytest.skip("needs onnx")
    assert [str(found) for number in range(INPUTS) if (found := fuzz.tried(kind, number, tmp_path))] == []


@pytest.mark.usefixtures("alarm")
def test_what_escapes_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise KeyError("x")

    def endless(*_: object) -> None:
        while True:
            pass

    monkeypatch.setattr(fuzz, "LIMIT_S", 0.2)
    monkeypatch.setitem(fuzz.KINDS, "broken", broken)
    monkeypatch.setitem(fuzz.KINDS, "endless", endless)
    assert "KeyError: 'x' (test_fuzz.py:" in str(fuzz.tried("broken", 7, tmp_path))
    assert "more than 0.2 s" in str(fuzz.tried("endless", 7, tmp_path))


def test_a_process_that_dies_or_never_comes_back_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def dying(chance: random.Random, _: Path) -> None:
        if chance.random() < 2:
            os._exit(3)

    def asleep(*_: object) -> None:
        time.sleep(60)

    def fine(*_: object) -> None:
        return

    monkeypatch.setattr(fuzz, "WAIT_S", 3)
    for name, kind in (("dying", dying), ("asleep", asleep), ("fine", fine)):
        monkeypatch.setitem(fuzz.KINDS, name, kind)
    tries = fuzz.Tries(["fine", "dying", "asleep", "fine"], 0)
    try:
        found = [tries.next() for _ in range(5)]
    finally:
        tries.stop()
    assert found[0] is found[3] is found[4] is None
    assert str(found[1]) == "dying 0: the process died"
    assert str(found[2]) == "asleep 0: more than 3 s"


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"step": {"time_s": 0.0}}, ".step.time_s = 0.0"),
        ({"layers": [{"time_s": -1.0}]}, ".layers.0.time_s = -1.0"),
        ({"memory": {"total_bytes": -5, "headroom_bytes": -7}}, ".memory.total_bytes = -5"),
    ],
)
def test_what_cannot_be_in_an_answer(document: object, said: str) -> None:
    assert list(commands.impossible(document)) == [said]

"""A short run of the fuzzer over every kind of input; `make fuzz` runs it long."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

spec = spec_from_file_location("fuzz", Path(__file__).with_name("fuzz.py"))
assert spec is not None
assert spec.loader is not None
fuzz = module_from_spec(spec)
import sys  # noqa: E402

sys.modules["fuzz"] = fuzz
spec.loader.exec_module(fuzz)

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

"""Fits from the command line: words, options, and errors of one line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from simulator import calibration
from simulator.calibration.command import parser_of, run
from simulator.errors import InputError

FITS = sorted(
    path.stem
    for path in Path(str(calibration.__file__)).parent.glob("*.py")
    if "    run(main)\n" in path.read_text(encoding="utf-8")
)


def shown(file: Path, engine: str, held_out: bool) -> None:
    if not file.name:
        raise InputError(f"{engine}: no file")
    print(f"{file.name} {engine} {held_out}")


def given(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    monkeypatch.setattr("sys.argv", ["fit", *words])


@pytest.mark.parametrize(("words", "said"), [(("a.csv", "x"), "False"), (("--held-out", "a.csv", "x"), "True")])
def test_words_reach_the_fit(
    words: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given(monkeypatch, *words)
    run(shown)
    assert capsys.readouterr().out == f"a.csv x {said}\n"


@pytest.mark.parametrize("words", [("a.csv",), ("a.csv", "x", "--no-such"), ("a.csv", "x", "y")])
def test_wrong_words_are_said(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given(monkeypatch, *words)
    with pytest.raises(SystemExit) as stopped:
        run(shown)
    assert stopped.value.code == 2
    assert "usage: python -m" in capsys.readouterr().err


def test_errors_are_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    given(monkeypatch, "", "x")
    with pytest.raises(SystemExit) as stopped:
        run(shown)
    assert stopped.value.code == 2
    assert re.fullmatch(r"python -m \S+: x: no file\n", capsys.readouterr().err)


@pytest.mark.parametrize("name", FITS)
def test_each_fit_says_what_it_is_for(name: str) -> None:
    module = __import__(f"simulator.calibration.{name}", fromlist=["main"])
    parser = parser_of(module.main)
    assert parser.prog == f"python -m simulator.calibration.{name}"
    assert parser.prog in " ".join(parser.format_help().split())


def test_a_missing_table_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from simulator.calibration.collectives import main

    given(monkeypatch, str(tmp_path / "none.csv"))
    with pytest.raises(SystemExit) as stopped:
        run(main)
    assert stopped.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1

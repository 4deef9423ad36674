"""Tables of measurements as people bring them: damaged, empty, compressed, changed meanwhile."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from simulator.calibration.collectives import read_collectives
from simulator.calibration.tables import heading, number, read_rows, read_table
from simulator.errors import InputError

TABLE = "op,link,devices,nodes,size_bytes,time_s\nall_reduce,nvlink2,8,1,1048576,5e-5\n"


def test_a_compressed_table_reads_as_the_plain_one(tmp_path: Path) -> None:
    plain, packed = tmp_path / "a.csv", tmp_path / "a.csv.gz"
    plain.write_text(TABLE, encoding="utf-8")
    packed.write_bytes(gzip.compress(TABLE.encode()))
    assert read_collectives(plain) == read_collectives(packed)
    assert heading(packed) == TABLE.splitlines()[0].split(",")


@pytest.mark.parametrize("at", range(2, 60, 3))
def test_a_damaged_archive_is_an_error_of_one_line(tmp_path: Path, at: int) -> None:
    packed = bytearray(gzip.compress(TABLE.encode(), mtime=0))
    packed[at % len(packed)] ^= 0xFF
    path = tmp_path / "a.csv.gz"
    path.write_bytes(packed)
    found = _text_or_error(path)
    assert found == TABLE or (found.startswith(f"{path}: cannot be read") and "\n" not in found)


def _text_or_error(path: Path) -> str:
    """The time and the name inside an archive do not matter, all else does."""
    try:
        return read_table(path)
    except InputError as error:
        return str(error)


def test_an_archive_of_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b"op,\xff\xfe"))
    with pytest.raises(InputError, match="cannot be read"):
        read_table(path)


def test_a_file_that_changed_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(TABLE, encoding="utf-8")
    first = read_table(path)
    path.write_text(TABLE.replace("5e-5", "7e-5"), encoding="utf-8")
    os.utime(path, (0, 0))
    assert first == TABLE
    assert "7e-5" in read_table(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (TABLE.splitlines()[0], "no row stands below"),
        (TABLE.replace("link", "lynk"), "column 'link' is missing"),
        (TABLE + "x" * 200_000, "field larger than field limit"),
        (TABLE.replace("5e-5", "nine"), "line 2: time_s 'nine' is no number"),
        (TABLE.replace("5e-5", "-5"), "line 2: time_s must be positive, found -5"),
        (TABLE.replace("8,1,", "inf,1,"), "line 2: devices must be positive, found inf"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=said):
        read_collectives(path)


def test_figures_that_are_not_there(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a,b,c,d\n,N/A,nan,3\n", encoding="utf-8")
    [(where, row)] = read_rows(path, ("a",))
    assert [number(row, column, where) for column in "abcd"] == [0.0, 0.0, 0.0, 3.0]

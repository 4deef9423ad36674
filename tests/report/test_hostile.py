"""Reports of networks with hostile names, and on machines that are full, busy or half set up."""

from __future__ import annotations

import csv
import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from simulator.device.device import load_device
from simulator.errors import InputError
from simulator.pipeline import simulate
from simulator.report.csv_text import literal
from simulator.report.write import write_report
from simulator.workload.reading import load_workload

ROOT = Path(__file__).parents[2]
HOSTILE = """
name: "{name}"
input: [1, 28, 28]
layers:
  - conv: {{name: "=cmd()|' /C calc'!A0", out: 8, kernel: 5}}
  - linear: {{name: "<script>alert(1)</script>", out: 10}}
  - linear: {{name: "@SUM(1+1)", out: 10}}
dataset: mnist
batch: 16
"""


def hostile(folder: Path, name: str) -> Path:
    path = folder / "net.yaml"
    path.write_text(HOSTILE.format(name=name), encoding="utf-8")
    return write_report(simulate(load_workload(str(path)), load_device("v100")), [], folder / "reports")


@pytest.mark.parametrize("name", ["../../x", "<script>", "=1+1", "a|b", "..", "con"])
def test_a_hostile_name_stays_text_inside_the_folder(tmp_path: Path, name: str) -> None:
    folder = hostile(tmp_path, name)
    assert folder.parent == tmp_path / "reports"
    assert {path.name for path in tmp_path.iterdir()} == {"net.yaml", "reports"}
    page = (folder / "report.md").read_text(encoding="utf-8")
    assert "<script" not in page
    with (folder / "layers.csv").open(newline="", encoding="utf-8") as file:
        names = [row["name"] for row in csv.DictReader(file)]
    assert [one for one in names if one.startswith(("=", "@"))] == []
    assert {one.lstrip("'")[0] for one in names} >= {"=", "<", "@"}


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_what_a_spreadsheet_would_compute_is_text(text: str) -> None:
    assert literal(text) == f"'{text}"


@pytest.mark.parametrize("value", ["conv1", "", 3, -3.5, None, "1-1"])
def test_anything_else_stays(value: object) -> None:
    assert literal(value) == value


def test_what_a_killed_run_left_is_removed_by_the_next(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    dead, alive = int(done.stdout), os.getpid()
    for name in (f".senet-v100.{dead}.new", f".other.{dead}.new", f".senet-v100.{alive}.new", ".hidden", ".a.b.new"):
        (tmp_path / name).mkdir()
    (tmp_path / f".lost.{dead}.old").mkdir()
    (tmp_path / f".lost.{dead}.old" / "report.md").write_text("the old report", encoding="utf-8")
    write_report(simulate(load_workload("lenet5"), load_device("v100")), [], tmp_path)
    found = {path.name for path in tmp_path.iterdir()}
    assert found == {"lenet5-v100-pcie-16gb", f".senet-v100.{alive}.new", ".hidden", ".a.b.new", "lost"}
    assert (tmp_path / "lost" / "report.md").read_text(encoding="utf-8") == "the old report"


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("simulator.report.outputs._write", full)
    with pytest.raises(InputError, match="No space left on device"):
        write_report(simulate(load_workload("lenet5"), load_device("v100")), [], tmp_path)
    assert list(tmp_path.iterdir()) == []


def start(folder: Path, **environment: str) -> subprocess.Popen[str]:
    code = "import sys; from simulator.cli import main; main()"
    words = ["--workload", "lenet5", "--device", "v100", "--out", str(folder)]
    where = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", code, *words], cwd=folder, env=where, **pipes)  # type: ignore[call-overload,no-any-return]


def test_two_runs_at_once_leave_one_whole_report(tmp_path: Path) -> None:
    runs = [start(tmp_path) for _ in range(3)]
    ends = [run.communicate(timeout=120) for run in runs]
    assert [run.returncode for run in runs] == [0, 0, 0], ends
    (folder,) = tmp_path.iterdir()
    assert {path.name for path in folder.iterdir()} >= {"report.md", "summary.json", "layers.csv", "roofline.png"}


def test_no_word_of_a_font_cache_or_of_the_locale(tmp_path: Path) -> None:
    nowhere = {"HOME": "/nonexistent", "XDG_CACHE_HOME": "/nonexistent", "MPLCONFIGDIR": "/nonexistent"}
    run = start(tmp_path, **nowhere, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    out, error = run.communicate(timeout=120)
    assert (run.returncode, error) == (0, "")
    assert "lenet5 on v100-pcie-16gb" in out


def test_a_reader_that_leaves_ends_the_run_quietly(tmp_path: Path) -> None:
    run = start(tmp_path)
    assert run.stdout is not None
    run.stdout.close()
    assert run.stderr is not None
    assert "Traceback" not in run.stderr.read()
    run.wait(timeout=120)
    run.stderr.close()

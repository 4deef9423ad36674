"""The report's folder: what it holds, that it is swapped in whole, and that equal runs give equal bytes."""

from __future__ import annotations

import csv
import json
import math
import os
import signal
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import pytest

from simulator.device.device import load_device
from simulator.errors import InputError, SimulatorError, UnsupportedError
from simulator.pipeline import Options, Simulation, simulate
from simulator.report import write
from simulator.report.tables import COLUMNS, markdown_table
from simulator.report.write import write_report
from simulator.workload.reading import load_workload

ROOT = Path(__file__).resolve().parents[2]
FIGURES = ("roofline", "rooflines", "layers", "memory_over_time", "epochs")
FILES = {
    "report.html",
    "report.md",
    "summary.json",
    "layers.csv",
    *(f"{stem}.{kind}" for stem in FIGURES for kind in ("png", "svg")),
}


@lru_cache
def simulation(workload: str = "lenet5", device: str = "v100", options: Options | None = None) -> Simulation:
    return simulate(load_workload(workload), load_device(device), options or Options(epochs=3))


def others() -> list[Simulation | tuple[str, SimulatorError]]:
    return [simulation(device="cpu-16core"), ("tiny", UnsupportedError("no peak | of that name"))]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(simulation(), others(), tmp_path_factory.mktemp("reports"))


def svg_texts(path: Path) -> list[str]:
    tree = ElementTree.parse(path)
    return ["".join(element.itertext()) for element in tree.iter("{http://www.w3.org/2000/svg}text")]


def test_the_folder_holds_the_files_and_nothing_else(report: Path) -> None:
    assert report.name == "lenet5-v100-pcie-16gb"
    assert {path.name for path in report.iterdir()} == FILES
    assert all(path.stat().st_size > 100 for path in report.iterdir())
    assert [path.name for path in report.parent.iterdir()] == [report.name]


def test_the_roofs_numbers_are_text_of_the_svg(report: Path) -> None:
    texts = svg_texts(report / "roofline.svg")
    assert any(text.startswith("900 GB/s") for text in texts)
    assert any(text.startswith("14.0 TFLOP/s fp32") for text in texts)
    assert "ridge 15.6 FLOP/byte" in texts
    assert "conv2" in texts
    assert "whole step" in texts


def test_the_epochs_figure_compares(report: Path) -> None:
    texts = svg_texts(report / "epochs.svg")
    assert "cpu-16core" in texts
    assert "v100-pcie-16gb" in texts
    assert any("tiny" in text for text in texts)


def test_the_columns_of_the_csv_sum_to_the_step(report: Path) -> None:
    step = simulation().step
    with (report / "layers.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert [row["name"] for row in rows] == [layer.name for layer in simulation().workload.layers]
    for column, total in (
        ("flops", step.flops),
        ("traffic_bytes", step.traffic_bytes),
        ("time_s", step.time_s),
        ("forward_s", step.forward_s),
        ("backward_s", step.backward_s),
        ("update_s", step.update_s),
    ):
        assert math.fsum(float(row[column]) for row in rows) == pytest.approx(total, rel=1e-12), column
    assert sum(int(row["macs"]) for row in rows) == simulation().workload.macs
    assert sum(int(row["parameters"]) for row in rows) == simulation().workload.parameters


def test_the_page_answers_first_and_shows_the_pictures(report: Path) -> None:
    page = (report / "report.md").read_text(encoding="utf-8")
    answer = page.split("\n\n")[1]
    assert answer.startswith("**Training lenet5 for 3 epochs of mnist (60,000 samples) on v100-pcie-16gb takes ")
    for stem in ("roofline", "layers", "epochs"):
        assert f"]({stem}.png)" in page
    assert r"tiny cannot run it: no peak \| of that name" in page
    assert "BabelStream" in page, "the bandwidth's source"


def test_summary_is_json(report: Path) -> None:
    assert json.loads((report / "summary.json").read_text(encoding="utf-8"))["workload"]["name"] == "lenet5"


def test_a_tables_cell_cannot_break_the_table() -> None:
    assert markdown_table(["a", "b"], [["x|y", "two\nlines"]]) == "| a | b |\n| --- | ---: |\n| x\\|y | two lines |"


def test_equal_runs_give_equal_bytes(report: Path, tmp_path: Path) -> None:
    again = write_report(simulation(), others(), tmp_path)
    for name in FILES:
        assert report.joinpath(name).read_bytes() == again.joinpath(name).read_bytes(), name


# ---- whole or not at all


def broken(_outputs: object, folder: Path, *_answer: object) -> None:
    folder.joinpath("report.md").write_text("half", encoding="utf-8")
    raise KeyboardInterrupt


def test_an_interrupted_report_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "write_outputs", quickly)
    folder = write_report(simulation(), [], tmp_path)
    monkeypatch.setattr(write, "write_outputs", broken)
    with pytest.raises(KeyboardInterrupt):
        write_report(simulation(), [], tmp_path)
    assert [path.read_text(encoding="utf-8") for path in folder.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize(
    ("error", "lives"), [(None, True), (PermissionError, True), (ProcessLookupError, False), (OverflowError, False)]
)
def test_a_process_lives_unless_there_is_none_of_its_number(
    error: type[Exception] | None, lives: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(number: int, sent: int) -> None:
        assert (number, sent) == (123, 0)  # which asks, and ends nothing
        if error is not None:
            raise error

    monkeypatch.setattr(os, "kill", kill)
    assert write._lives(123) is lives


@pytest.mark.parametrize("step", ["epochs.epochs_figure", "tables.layers_text", "page.report_page"])
def test_a_failure_midway_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("simulator.report.style.save", lambda *_: None)
    monkeypatch.setattr(f"simulator.report.{step}", fail)
    with pytest.raises(InputError, match="No space left on device"):
        write_report(simulation(), [], tmp_path)
    assert list(tmp_path.iterdir()) == []


def quickly(_outputs: object, folder: Path, *_answer: object) -> None:
    folder.joinpath("report.md").write_text("new", encoding="utf-8")


def test_a_failed_swap_puts_the_old_report_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "write_outputs", quickly)
    folder = write_report(simulation(), [], tmp_path)
    folder.joinpath("report.md").write_text("old", encoding="utf-8")
    rename = Path.rename

    def failing(path: Path, target: Path) -> Path:
        if path.name.endswith(".new"):
            raise PermissionError(13, "denied")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(InputError, match="denied"):
        write_report(simulation(), [], tmp_path)
    assert folder.joinpath("report.md").read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [folder]


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C as at a terminal, also where the tests run in the background of a shell that ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_a_signal_during_the_swap_waits_for_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "write_outputs", quickly)
    folder = write_report(simulation(), [], tmp_path)
    rename = Path.rename

    def interrupted(path: Path, target: Path) -> Path:
        signal.raise_signal(signal.SIGINT)
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    folder.joinpath("report.md").write_text("old", encoding="utf-8")
    with pytest.raises(KeyboardInterrupt):
        write_report(simulation(), [], tmp_path)
    assert folder.joinpath("report.md").read_text(encoding="utf-8") == "new"
    assert list(tmp_path.iterdir()) == [folder]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


TERMINATED = """
import os, signal, sys
from pathlib import Path
from simulator import load_device, load_workload, simulate
from simulator.report import write

def stopped(*_):
    os.kill(os.getpid(), signal.SIGTERM)
    print("went on")

write.write_outputs = stopped
write.write_report(simulate(load_workload("lenet5"), load_device("v100")), [], Path(sys.argv[1]))
"""


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_sigterm_leaves_no_litter(tmp_path: Path) -> None:
    command = [sys.executable, "-c", TERMINATED, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 128 + signal.SIGTERM, done.stderr
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_the_user_in_the_folder_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "write_outputs", quickly)
    folder = write_report(simulation(), [], tmp_path)
    folder.joinpath("notes.txt").write_text("mine", encoding="utf-8")
    folder.joinpath("report.md").write_text("stale", encoding="utf-8")
    write_report(simulation(), [], tmp_path)
    assert folder.joinpath("notes.txt").read_text(encoding="utf-8") == "mine"
    assert folder.joinpath("report.md").read_text(encoding="utf-8") == "new"


@pytest.mark.parametrize("where", ["file", "file/below", "taken"])
def test_a_folder_that_cannot_be_written_is_an_error_of_one_line(tmp_path: Path, where: str) -> None:
    tmp_path.joinpath("file").write_text("", encoding="utf-8")
    tmp_path.joinpath("taken").mkdir()
    tmp_path.joinpath("taken", "lenet5-v100-pcie-16gb").write_text("", encoding="utf-8")
    with pytest.raises(SimulatorError) as caught:
        write_report(simulation(), [], tmp_path / where)
    assert isinstance(caught.value, InputError)
    assert "\n" not in str(caught.value)
    assert where in str(caught.value)

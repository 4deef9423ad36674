"""The registry of outputs: a new one is one file and one line, and each that is listed can be made."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from simulator.device.device import load_device
from simulator.errors import InputError
from simulator.pipeline import Options, Simulation, simulate
from simulator.report import outputs
from simulator.report.cases import reason_rows, reason_table
from simulator.report.outputs import Output, write_folder, write_outputs
from simulator.report.write import write_report
from simulator.workload.reading import load_workload

LISTS = {"report": outputs.REPORT, "plan": outputs.PLAN, "serving": outputs.SERVING}


def answer() -> Simulation:
    return simulate(load_workload("lenet5"), load_device("v100"), Options(task="infer"))


def test_a_new_output_is_one_module_and_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = ModuleType("simulator.report.shortest")
    module.shortest_text = lambda simulation, others: f"{simulation.workload.name}, {len(others)} others\n"
    monkeypatch.setitem(sys.modules, "simulator.report.shortest", module)
    monkeypatch.setattr(outputs, "REPORT", [Output("shortest.txt", "shortest:shortest_text")])
    monkeypatch.setattr("simulator.report.write.REPORT", outputs.REPORT)
    folder = write_report(answer(), [], tmp_path)
    assert [path.name for path in folder.iterdir()] == ["shortest.txt"]
    assert (folder / "shortest.txt").read_bytes() == b"lenet5, 0 others\n"


def test_what_an_answer_has_not_is_not_written(tmp_path: Path) -> None:
    table = Output("layers.csv", "tables:layers_text")
    absent = Output("absent.csv", "no_module:no_function", lambda *_: False)
    write_outputs([absent, table], tmp_path, answer(), [])
    assert [path.name for path in tmp_path.iterdir()] == ["layers.csv"]


def test_a_folder_is_made_or_written_into_again(tmp_path: Path) -> None:
    table, folder = Output("layers.csv", "tables:layers_text"), tmp_path / "a" / "b"
    assert write_folder([table], folder, answer(), []) == folder
    (folder / "layers.csv").write_text("old", encoding="utf-8")
    write_folder([table], folder, answer(), [])
    assert (folder / "layers.csv").read_text(encoding="utf-8").startswith("name,op,output_shape")
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match=r"cannot write the report to .*file: "):
        write_folder([table], tmp_path / "file", answer(), [])


@pytest.mark.parametrize("name", LISTS)
def test_each_listed_output_has_a_name_of_its_own_and_a_maker(name: str) -> None:
    names = [output.name for output in LISTS[name]]
    assert len(set(names)) == len(names)
    for output in LISTS[name]:
        module, function = output.maker.split(":")
        text = (Path(outputs.__file__).parent / f"{module}.py").read_text(encoding="utf-8")
        assert re.search(rf"^def {function}\(", text, re.MULTILINE), output.maker


def test_reasons_are_counted_in_one_order() -> None:
    reasons = ["b", "a", "", "c", None, "c", "b", "c"]
    rows = [(row["not predicted because"], row["rows"]) for row in reason_rows(reasons)]
    assert rows == [("c", 3), ("b", 2), ("a", 1)]
    first = [(row["not predicted because"], row["rows"]) for row in reason_rows(reasons, 1)]
    assert first == [("c", 3), ("2 other reasons", 3)]
    assert reason_rows(reasons, 3) == reason_rows(reasons)
    assert reason_rows(["z", "y"])[0]["not predicted because"] == "y"  # as frequent: by the alphabet


def test_a_table_shows_the_first_twelve_reasons_and_counts_the_others() -> None:
    (rows,) = reason_table(f"reason {number:02}" for number in range(14)).values()
    assert len(rows) == 13
    assert rows[11] == {"rows": 1, "not predicted because": "reason 11"}
    assert rows[12] == {"rows": 2, "not predicted because": "2 other reasons"}

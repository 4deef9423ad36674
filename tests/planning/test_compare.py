"""Comparisons: of answers and of files alike, by hand where bounds move."""

from __future__ import annotations

from pathlib import Path

import pytest

from simulator.device.device import load_device
from simulator.errors import InputError
from simulator.pipeline import Options, Simulation, simulate
from simulator.planning.compare import Side, SideLayer, compare, side_of, side_of_file
from simulator.report.compare import why
from simulator.report.summary import json_text, summary
from simulator.workload.reading import load_workload


def run(device: str = "v100", **options: object) -> Simulation:
    return simulate(load_workload("alexnet"), load_device(device), Options(**{"batch": 32, **options}))  # type: ignore[arg-type]


def side(label: str, layers: list[SideLayer], batch: int = 1) -> Side:
    total = sum(layer.time_s for layer in layers)
    by_bound = {bound: sum(x.time_s for x in layers if x.bound == bound) for bound in ("compute", "memory")}
    return Side(label, "net", batch, 1, total, by_bound, 1e9, {layer.name: layer for layer in layers})


def test_by_hand() -> None:
    first = side(
        "slow",
        [
            SideLayer("a", 3.0, "compute", 1, 1),
            SideLayer("b", 1.0, "memory", 1, 1),
            SideLayer("c", 1.0, "memory", 1, 1),
        ],
    )
    other = side(
        "fast",
        [SideLayer("a", 2.0, "memory", 2, 2), SideLayer("b", 2.0, "memory", 2, 2), SideLayer("d", 1.0, "memory", 1, 1)],
        2,
    )
    (found,) = compare([first, other])
    assert found.speedup == pytest.approx(5.0 / 2.5)
    assert [(one.name, one.gained_s) for one in found.moved] == [("a", 2.0), ("b", 0.0)]
    assert found.bounds == {("compute", "memory"): (1, 3.0)}
    assert found.only == (("c",), ("d",))
    frame = found.to_frame()
    assert frame.loc["a"].tolist() == [3.0, 1.0, 2.0, "compute", "memory"]
    assert frame["gained_s"].sum() == sum(one.gained_s for one in found.moved)
    lines = why(found)
    assert lines[0] == "a sample is 2.00 times faster: 5.00 s to 2.50 s"
    assert "1 layers went from compute to memory, which were 60% of the time" in lines
    assert "compute -3.00 s" in lines[1]


def test_a_file_is_the_answer_that_it_was_written_of(tmp_path: Path) -> None:
    answer = run()
    path = tmp_path / "run" / "summary.json"
    path.parent.mkdir()
    path.write_text(json_text(summary(answer)), encoding="utf-8")
    (found,) = compare([side_of(answer, "answer"), side_of_file(path)])
    assert found.speedup == pytest.approx(1)
    assert found.bounds == {}
    assert all(one.gained_s == pytest.approx(0, abs=1e-12) for one in found.moved)
    assert found.other.label == "run (file)"


def test_gains_of_layers_sum_to_the_gain() -> None:
    (found,) = compare([side_of(run(), "v100"), side_of(run("t4"), "t4")])
    total = found.first.per_sample_s - found.other.per_sample_s
    assert sum(one.gained_s for one in found.moved) == pytest.approx(total)
    assert found.speedup < 1


def test_one_side_is_none_to_compare() -> None:
    with pytest.raises(InputError, match="two sides"):
        compare([side_of(run(), "alone")])


@pytest.mark.parametrize("text", ["{", "{}", '{"step": 1, "options": {}, "layers": []}', "[1]"])
def test_what_is_no_summary(tmp_path: Path, text: str) -> None:
    path = tmp_path / "summary.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"summary\.json"):
        side_of_file(path)

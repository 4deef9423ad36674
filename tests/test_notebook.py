"""The tutorial runs from top to bottom, and answers show in a notebook and on axes of one's own."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

from simulator import Options, Simulation, load_device, load_workload, simulate

NOTEBOOK = Path(__file__).parents[1] / "docs" / "tutorial.ipynb"


def cells() -> list[str]:
    content = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in content["cells"] if cell["cell_type"] == "code"]


def run(source: str, names: dict[str, Any]) -> Any:
    """A cell, and the value of its last line."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)
    return eval(compile(ast.Expression(last.value), "cell", "eval"), names) if isinstance(last, ast.Expr) else None


def test_the_tutorial_runs(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    shown = [run(source, names) for source in cells()]
    assert len(shown) >= 6
    assert isinstance(shown[0], Simulation)
    printed = capsys.readouterr().out
    assert "of the step" in printed
    assert "times faster; most gained by" in printed
    assert names["found"].meeting > 0


@pytest.fixture(scope="module")
def answer() -> Simulation:
    return simulate(load_workload("alexnet"), load_device("v100"), Options(batch=32))


def test_a_frame_has_every_layer(answer: Simulation) -> None:
    frame = answer.to_frame()
    assert frame.index.tolist() == [layer.name for layer in answer.workload.layers]
    assert frame["time_s"].sum() == pytest.approx(answer.step.time_s)
    assert set(frame["bound"]) <= {"compute", "memory", "overhead"}


def test_plots_draw_on_given_axes_or_new_ones(answer: Simulation) -> None:
    from matplotlib.figure import Figure

    figure = Figure()
    given = figure.add_subplot()
    assert answer.plot.roofline(ax=given) is given
    assert len(given.collections) >= 2
    assert len(answer.plot.layers().patches) == 15
    heights = [bar.get_height() for bar in answer.plot.phases().patches]
    assert sum(heights) == pytest.approx(answer.step.time_s)


def test_a_notebook_shows_the_answer(answer: Simulation) -> None:
    text = answer._repr_html_()
    assert text.startswith("<strong>alexnet on v100-pcie-16gb")
    assert "<table" in text
    assert "conv2" in text

"""What figures of sweeps draw, of a table made up by hand."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from simulator.errors import InputError
from simulator.report import sweep
from simulator.report.style import decades
from tests.drawn import inside, points_of, written
from tests.looks import Compare

if TYPE_CHECKING:
    from matplotlib.figure import Figure


# ---- sweeps

FRAME = pd.DataFrame(
    {
        "batch": [1, 2, 100, 1, 2, 100],
        "device": ["a"] * 3 + ["b"] * 3,
        "step.time_s": [3.0, 4.0, 5.0, 30.0, 40.0, 50.0],
    }
)


def plotted(monkeypatch: pytest.MonkeyPatch, frame: pd.DataFrame, columns: str, folder: Path) -> Figure:
    drawn: list[Figure] = []
    monkeypatch.setattr(sweep, "save", lambda figure, *_: drawn.append(figure))
    sweep.plot(frame, columns, folder / "deep" / "x.png")
    return drawn[0]


def test_a_line_for_each_other_axis(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, as_drawn: Compare) -> None:
    figure = plotted(monkeypatch, FRAME.iloc[::-1], "batch, step.time_s", tmp_path)
    (axes,) = figure.axes
    assert [points_of(line) for line in axes.lines] == [
        [(1, 30), (2, 40), (100, 50)],
        [(1, 3), (2, 4), (100, 5)],
    ]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["b", "a"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("batch", "step.time_s")
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "linear")  # a hundred times; not quite twenty
    inside(figure)
    as_drawn(figure, "sweep-lines")
    assert plotted(monkeypatch, FRAME.head(3), "batch,step.time_s", tmp_path).axes[0].get_legend() is None


def test_a_heat_map_of_the_least(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, as_drawn: Compare) -> None:
    twice = pd.concat([FRAME, FRAME.assign(**{"step.time_s": 99.0})])
    figure = plotted(monkeypatch, twice, "batch,device,step.time_s", tmp_path)
    axes, bar = figure.axes
    (picture,) = axes.images
    assert picture.get_array().tolist() == [[3, 4, 5], [30, 40, 50]]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "2", "100"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]
    assert (axes.get_xlabel(), axes.get_ylabel(), bar.get_ylabel()) == ("batch", "device", "step.time_s")
    assert axes.get_ylim()[0] < axes.get_ylim()[1]
    turned = plotted(monkeypatch, FRAME.iloc[::-1], "batch,device,step.time_s", tmp_path).axes[0]
    assert [label.get_text() for label in turned.get_xticklabels()] == ["100", "2", "1"]  # as the table has them
    assert [label.get_text() for label in turned.get_yticklabels()] == ["b", "a"]
    inside(figure)
    as_drawn(figure, "sweep-heat")
    wide = pd.DataFrame([{"x": x, "y": 0, "z": x} for x in range(23)])
    labels = plotted(monkeypatch, wide, "x,y,z", tmp_path).axes[0].get_xticklabels()
    assert [int(label.get_text()) for label in labels] == list(range(0, 23, 2))


def test_how_many_configurations_lie_where(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, as_drawn: Compare) -> None:
    figure = plotted(monkeypatch, FRAME, "density:batch,step.time_s", tmp_path)
    axes, bar = figure.axes
    (cells,) = axes.collections
    assert cells.get_array().sum() == 6
    assert "6 configurations: step.time_s over batch" in written(figure)
    assert (axes.get_xlabel(), axes.get_ylabel(), bar.get_ylabel()) == ("batch", "step.time_s", "configurations")
    assert axes.get_xscale() == "log"
    inside(figure)
    as_drawn(figure, "sweep-density")


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ("batch", "two columns for lines or density:X,Y, three for a heat map"),
        ("batch,device,step.time_s,batch", "two columns for lines"),
        ("density:batch,device,step.time_s", "two columns for lines"),
        ("lines:batch,step.time_s", "two columns for lines"),
        ("batch,time", "no column 'time'; there are batch, device, step.time_s"),
        ("density:batch,device", "both columns are numbers"),
        ("batch,none", "no configuration has a value of all of them"),
    ],
)
def test_a_plot_that_cannot_be(columns: str, why: str, tmp_path: Path) -> None:
    frame = FRAME.assign(none=float("nan")) if "none" in columns else FRAME
    with pytest.raises(InputError, match=why):
        sweep.plot(frame, columns, tmp_path / "x.png")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["2x", "0.5x"], [2.0, 0.5]),
        (["5 TFLOP/s", "-1e3"], [5.0, -1000.0]),
        (["fp32", "amp"], ["fp32", "amp"]),
        ([1, 2], [1.0, 2.0]),
    ],
)
def test_values_of_an_axis(values: list[Any], expected: list[Any]) -> None:
    assert sweep._plain(pd.Series(values)) == expected


@pytest.mark.parametrize(("ending", "first"), [("csv", "batch,device"), ("json", "["), ("parquet", "PAR1")])
def test_a_sweep_in_a_file(ending: str, first: str, tmp_path: Path) -> None:
    if ending == "parquet":
        pytest.importorskip("pyarrow")
    path = tmp_path / f"sweep.{ending}"
    sweep.write(FRAME, path)
    assert path.read_bytes().startswith(first.encode())


def test_a_sweep_in_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a name that ends in \.csv, \.json, \.parquet"):
        sweep.write(FRAME, tmp_path / "sweep.txt")
    with pytest.raises(InputError, match=r"sweep\.csv: cannot be written: "):
        sweep.write(FRAME, tmp_path / "none" / "sweep.csv")


def test_numbers_along_logarithms() -> None:
    from matplotlib.figure import Figure

    axes = Figure().add_axes((0.1, 0.1, 0.8, 0.8))
    axes.set_xscale("log")
    decades(axes, "x")
    label = axes.xaxis.get_major_formatter()
    assert [label(value, 0) for value in (1, 10, 1000, 1e14)] == ["1", "10", "1 k", "100 T"]
    decades(axes, "y")
    assert axes.yaxis.get_major_formatter()(1000, 0) == "1 k"

"""What the terminal shows of whole answers, and axes of times and of several devices."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from simulator.device.device import load_device
from simulator.device.system import usual_cluster
from simulator.errors import UnsupportedError
from simulator.op.activation import Relu
from simulator.parallel.plan import Plan
from simulator.pipeline import Options, Simulation, simulate
from simulator.planned import simulate_plan
from simulator.report import epochs, scorecard
from simulator.report.plan import print_plan
from simulator.report.rooflines import rooflines_figure
from simulator.report.scorecard import hint_lines, napkin_line, print_scorecard, puzzle_lines
from simulator.units import duration
from simulator.workload.dataset import custom_dataset
from simulator.workload.reading import load_workload
from simulator.workload.workload import Network, Workload

A100 = load_device("a100-sxm4-80gb")


def words(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().out.split())


def answer(device: str = "v100", **options: Any) -> Simulation:
    return simulate(load_workload("lenet5"), load_device(device), Options(**{"epochs": 2, **options}))


def test_an_answer_on_the_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    found = answer()
    print_scorecard(found, [], None)
    text = words(capsys)
    total = duration(found.run.total_s)
    assert text.startswith(f"lenet5 on v100-pcie-16gb: 2 epochs of mnist (60,000 samples), training in fp32 at batch "
                           f"{found.batch}: {total} ")  # fmt: skip
    assert "asked:" not in text
    assert "report:" not in text
    assert "napkin: " in text
    assert text.index("slowest layers") < text.index("fidelity calibrated")
    print_scorecard(
        answer(framework="jax", epochs=1), [answer("t4"), ("tiny", UnsupportedError("no peak"))], Path("out")
    )
    text = words(capsys)
    assert ": 1 epoch of mnist" in text
    assert "asked: framework jax" in text
    assert "tiny cannot run it: no peak" in text
    assert text.index("devices") < text.index("slowest layers")
    assert text.endswith("report: out/report.md")


def test_a_step_alone_on_the_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    found = answer(task="infer", epochs=None)
    print_scorecard(found, [], None)
    text = words(capsys)
    assert f"inference in fp32 at batch {found.batch}: {duration(found.step.time_s)} a step, " in text
    assert "napkin" not in text


def test_a_classifier_that_is_not_the_datasets() -> None:
    wide = simulate(load_workload("alexnet", dataset="mnist"), load_device("v100"), Options(epochs=1))
    hints = " ".join(hint_lines(wide))
    assert "the network keeps 1,000 outputs where mnist has 10 classes; --classes 10 changes that" in hints
    assert "outputs where" not in " ".join(hint_lines(answer()))
    once = simulate(load_workload("alexnet", dataset="mnist"), load_device("v100"), Options(task="infer"))
    assert "outputs where" not in " ".join(hint_lines(once))


@pytest.mark.parametrize(
    ("puzzle", "start"),
    [
        ({"halved_attention": True}, "causal attention computes half of its scores"),
        ({"short_backward": True}, "the backward pass is shorter than the forward pass"),
        ({"idle_groups": 3}, "3 convolutions in groups compute far below the peak"),
    ],
)
def test_a_line_for_each_puzzle(puzzle: dict[str, Any], start: str, monkeypatch: pytest.MonkeyPatch) -> None:
    none = {"halved_attention": False, "short_backward": False, "idle_groups": 0}
    monkeypatch.setattr(scorecard, "puzzles_of", lambda _: SimpleNamespace(**none))
    assert list(puzzle_lines(cast(Any, None))) == []
    monkeypatch.setattr(scorecard, "puzzles_of", lambda _: SimpleNamespace(**{**none, **puzzle}))
    (line,) = puzzle_lines(cast(Any, None))
    assert line.startswith(start)


def test_a_network_without_macs_has_no_napkin() -> None:
    built = Network(inputs=((8, 4, 4),))
    built.add(Relu())
    workload = Workload("odd", built.inputs, tuple(built.layers), custom_dataset(10), batch=2)
    found = simulate(workload, load_device("v100"), Options(epochs=1))
    assert napkin_line(found) == "napkin: no layer has MACs, so the articles' division says nothing"


def test_a_plan_on_the_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    options = Options(batch=4, precision="amp")
    found = simulate_plan(load_workload("gpt2"), A100, options, usual_cluster(A100, 2), Plan(pipeline=2))
    print_plan(found, None)
    text = words(capsys)
    assert text.startswith("gpt2 on 2 x a100-sxm4-80gb over nvlink3: ")
    assert "where the time goes, on the average over the stages" in text
    assert text.index("where the time goes") < text.index("stages stage from to")
    assert text.endswith("fidelity calibrated; docs/scaling.md has the errors of plans")
    print_plan(found, Path("out"))
    assert words(capsys).endswith("report: out")


def test_round_times_are_called_by_their_length() -> None:
    year, day = 365.25 * 86400, 86400.0
    for seconds, word in {
        **{1e-6: "1 us", 1e-5: "10 us", 1e-4: "100 us", 1e-3: "1 ms", 0.1: "100 ms", 1.0: "1 s", 10.0: "10 s"},
        **{60.0: "1 min", 600.0: "10 min", 3600.0: "1 hour", 36000.0: "10 hours", 3 * day: "3 days"},
        **{100 * day: "100 days", year: "1 year", 3 * year: "3 years", 1000 * year: "1,000 years"},
    }.items():
        assert {word_: pytest.approx(time_s) for time_s, word_ in epochs._ROUND_TIMES.items()}[word] == seconds
    assert list(epochs._ROUND_TIMES) == sorted(epochs._ROUND_TIMES)


@pytest.mark.parametrize(
    ("unit", "seconds"), [("s", 1.0), ("ms", 1e-3), ("ns", 1e-9), ("hours", 3600.0), ("years", 365.25 * 86400)]
)
def test_times_along_an_axis_have_one_unit(unit: str, seconds: float) -> None:
    from matplotlib.figure import Figure

    axes = Figure().add_subplot()
    axes.set_xlim(0, 5 * seconds)
    epochs._label_times(axes, "t")
    ticks = axes.xaxis.get_major_locator().tick_values(0, 5 * seconds)
    assert [axes.xaxis.get_major_formatter()(tick, 0) for tick in ticks] == ["0", "1", "2", "3", "4", "5"]
    assert axes.get_title(loc="left") == f"t [{unit}]"


def test_times_along_logarithms_are_round() -> None:
    from matplotlib.figure import Figure

    axes = Figure().add_subplot()
    axes.set_xscale("log")
    axes.set_xlim(0.5, 5000)
    epochs._label_times(axes, "t")
    ticks = list(axes.xaxis.get_major_locator().tick_values(0.5, 5000))
    assert [axes.xaxis.get_major_formatter()(tick, 0) for tick in ticks] == ["1 s", "10 s", "1 min", "10 min", "1 hour"]
    assert axes.get_title(loc="left") == "t, logarithmic axis"


@pytest.mark.parametrize(("others", "rows"), [(0, [1]), (2, [3]), (3, [3, 1]), (5, [3, 3])])
def test_three_devices_stand_in_a_row(others: int, rows: list[int]) -> None:
    found = answer(fidelity="roofline")
    axes = rooflines_figure(found, [found] * others).axes
    heights = [round(each.get_position().y0, 6) for each in axes]
    assert [heights.count(height) for height in dict.fromkeys(heights)] == rows

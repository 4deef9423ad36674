"""How figures look: every mark, line and text of answers that rest on datasheets, or are made up by hand."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from itertools import chain
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from simulator.device.device import load_device
from simulator.errors import UnsupportedError
from simulator.execution.certainty import Interval
from simulator.parallel.bound import PlanBound
from simulator.parallel.playing import Event
from simulator.parallel.schedule import Task, TaskKind
from simulator.pipeline import Options, Simulation, simulate
from simulator.planned import Planned
from simulator.precision import get_precision
from simulator.report import epochs, plan_figures, serving_figures
from simulator.report.epochs import epochs_figure
from simulator.report.far_below import FarBelow, draw_far_below
from simulator.report.layers import layers_figure
from simulator.report.money import Slice, money_figure
from simulator.report.plotting import Plots
from simulator.report.roofline import roofline_figure
from simulator.report.rooflines import rooflines_figure
from simulator.report.style import new_figure, styled
from simulator.serving.times import ServingBound, StepTimes
from simulator.workload.reading import load_workload
from tests.looks import Compare, alike

GIB = 2.0**30

BOUNDS = {
    "lenet5": ("lenet5", "v100", Options(fidelity="roofline")),
    "engines": ("mobilenet_v2", "v100", Options(fidelity="roofline", precision="amp", epochs=3)),
    "stages": ("resnet50", "v100", Options(fidelity="roofline")),
    "blocks": ("densenet201", "v100", Options(fidelity="roofline", task="infer")),
    "processor": ("lenet5", "cpu-16core", Options(fidelity="roofline")),
    "napkin": ("lenet5", "v100", Options(fidelity="napkin")),
}
"""Answers of datasheets alone, which no fit moves."""


@lru_cache
def bound(name: str) -> Simulation:
    workload, device, options = BOUNDS[name]
    return simulate(load_workload(workload), load_device(device), options)


@pytest.mark.parametrize("name", ["lenet5", "engines", "napkin"])
def test_a_roofline(name: str, as_drawn: Compare) -> None:
    as_drawn(roofline_figure(bound(name)), f"roofline-{name}")


@pytest.mark.parametrize("name", ["lenet5", "stages", "blocks"])
def test_time_by_layer(name: str, as_drawn: Compare) -> None:
    as_drawn(layers_figure(bound(name)), f"layers-{name}")


def test_an_epoch_by_what_it_is_made_of(as_drawn: Compare) -> None:
    as_drawn(epochs_figure(bound("lenet5")), "epochs-alone")


def test_epochs_beside_others(as_drawn: Compare) -> None:
    own = replace(bound("engines"), interval=Interval(0.8, 1.25, 0.8))
    near = simulate(own.workload, load_device("a100-sxm4-40gb"), own.options)
    far = simulate(own.workload, load_device("cpu-16core"), Options(fidelity="roofline", epochs=3))
    as_drawn(epochs_figure(own, [near]), "epochs-linear")
    as_drawn(epochs_figure(own, [near, far, ("none", UnsupportedError("no"))]), "epochs-logarithmic")


def test_rooflines_on_equal_axes(as_drawn: Compare) -> None:
    others = [bound("processor"), simulate(load_workload("lenet5"), load_device("t4"), Options(fidelity="roofline"))]
    as_drawn(rooflines_figure(bound("lenet5"), others[:1]), "rooflines-two")
    as_drawn(rooflines_figure(bound("lenet5"), [*others, *others]), "rooflines-five")


def test_causes_below_the_list(as_drawn: Compare) -> None:
    with styled():
        figure = new_figure("title", ["first note", "second note"])
        draw_far_below(figure, [FarBelow(1, 0.2, "narrow groups"), FarBelow(4, 0.05, "small tiles")], (0.75, 0.5), 0.03)
        draw_far_below(figure, [], (0.1, 0.1), 0.03)
    as_drawn(figure, "far-below")


def test_plots_on_axes_of_ones_own(as_drawn: Compare) -> None:
    from matplotlib.figure import Figure

    figure, plots = Figure(figsize=(12, 4)), Plots(bound("lenet5"))
    first, second, third = figure.subplots(1, 3)
    plots.roofline(first)
    plots.layers(second)
    plots.phases(third)
    as_drawn(figure, "plots")


@pytest.mark.parametrize(
    ("found", "same"),
    [
        ("line #222222 1.5 [2] 0.1 100 '75 %'", True),
        ("line #222222 1.5 [2] 0.103 102 '75 %'", True),  # fonts of another version
        ("line #222222 1.5 [2] 0.11 100 '75 %'", False),
        ("line #222222 1.5 [2] 0.1 104 '75 %'", False),
        ("line #222223 1.5 [2] 0.1 100 '75 %'", False),
        ("line #222222 1.5 [3] 0.1 100 '75 %'", False),
        ("line #222222 1.5 [2] 0.1 100 1 '75 %'", False),
        ("line #222222 1.5 [2] 0.1 100 '76 %'", False),
    ],
)
def test_words_are_compared_exactly_and_numbers_nearly(found: str, same: bool) -> None:
    assert alike(found, "line #222222 1.5 [2] 0.1 100 '75 %'") is same


# ---- money


def bill(**more: Any) -> Any:
    drawn = SimpleNamespace(static_w=60.0, running_w=140.0, computing_w=150.0, memory_w=50.0, power_w=400.0)
    made = {"cost_usd": 12.0, "time_s": 7200.0, "drawn": drawn, "run": SimpleNamespace(energy_j=7.2e6), "wall": None}
    return SimpleNamespace(**{**made, **more})


def test_where_money_and_energy_go(as_drawn: Compare) -> None:
    parts = [Slice("steps: compute", "#E69F00", 5400.0), Slice("warm-up", "#F0E442", 1800.0)]
    as_drawn(money_figure("title", ["note"], parts, bill()), "money")
    as_drawn(money_figure("title", ["note"], parts, bill(cost_usd=None, drawn=None)), "money-unknown")


# ---- plans


def planned() -> Planned:
    """Two stages, two of six micro-batches drawn, one after the other."""
    tasks = [
        [Event(stage, Task(kind, stage, batch), start + stage, start + stage + 0.9) for kind, batch, start in (
            (TaskKind.FORWARD, 0, 0.0), (TaskKind.BACKWARD, 0, 2.0), (TaskKind.FORWARD, 1, 3.0),
            (TaskKind.WEIGHTS, 1, 4.0),
        )]
        for stage in range(2)
    ]  # fmt: skip
    seconds = tuple(0.0 if part is PlanBound.GATHERS else 1.0 + part for part in PlanBound)
    stage = {
        "gradients_bytes": 2 * GIB,
        "optimizer_bytes": 4 * GIB,
        "activations_bytes": 3 * GIB,
        "reserved_bytes": GIB,
    }
    memories = [SimpleNamespace(parameters_bytes=size * GIB, capacity_bytes=16 * GIB, **stage) for size in (2, 1)]
    made = SimpleNamespace(
        workload=SimpleNamespace(name="gpt2"),
        plan=SimpleNamespace(label="pp=2", devices=2, pipeline=2, schedule_label="1F1B"),
        device=SimpleNamespace(name="a100"),
        options=SimpleNamespace(precision="bf16"),
        step=SimpleNamespace(
            time_s=sum(seconds),
            seconds=seconds,
            microbatches=6,
            timeline=SimpleNamespace(by_device=tasks, events=[*chain(*tasks)], end_s=6.0),
        ),
        command="simulate  plan gpt2",
        global_batch=1024,
        microbatch=4,
        memory=memories[0],
        stages=memories,
    )
    return cast(Planned, made)


@pytest.mark.parametrize("what", ["parts", "timeline", "memory"])
def test_a_plan(what: str, as_drawn: Compare) -> None:
    as_drawn(getattr(plan_figures, f"{what}_figure")(planned()), f"plan-{what}")


@pytest.mark.parametrize(("stages", "step", "last"), [(1, 1, 1), (16, 1, 16), (31, 1, 31), (32, 2, 31), (50, 3, 49)])
def test_names_of_many_stages_stand_apart(stages: int, step: int, last: int) -> None:
    from matplotlib.figure import Figure

    axes = Figure().add_subplot()
    plan_figures._stage_axis(axes, stages)
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert axes.get_yticks().tolist() == list(range(0, stages, step))
    assert (names[0], names[-1]) == ("stage 1", f"stage {last}")
    assert axes.yaxis_inverted()


# ---- served models


def test_steps_of_a_served_model_under_the_roofs(monkeypatch: pytest.MonkeyPatch, as_drawn: Compare) -> None:
    def times(_: object, load: Any) -> StepTimes:
        seconds = np.zeros((len(ServingBound), 1))
        seconds[0] = 1e-3 * (1 + load[0])
        return StepTimes(seconds, np.zeros(1), 1e9 * load[1] * np.ones(1), np.full(1, 1e9), np.zeros(1))

    monkeypatch.setattr(serving_figures, "step_times", times)
    monkeypatch.setattr(serving_figures, "decoding", lambda number, context: (number, context))
    monkeypatch.setattr(serving_figures, "reading", lambda number, prompt: (number, 3 * prompt))
    made = SimpleNamespace(
        deployment=SimpleNamespace(
            devices=2,
            device=load_device("h100"),
            workload=SimpleNamespace(name="llama"),
            form=SimpleNamespace(name="bf16", precision=get_precision("bf16")),
            engine=SimpleNamespace(name="vllm"),
        ),
        service=SimpleNamespace(request=SimpleNamespace(prompt=1000, output=100)),
    )
    as_drawn(serving_figures.roofline_figure(cast(Any, made)), "serving-roofline")


# ---- times along an axis

UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "hour": 3600.0, "day": 86400.0, "year": 365.25 * 86400}


def test_round_times_are_what_they_say() -> None:
    found = epochs._ROUND_TIMES
    assert list(found.values()) == [
        *("1 us", "10 us", "100 us", "1 ms", "10 ms", "100 ms", "1 s", "10 s", "1 min", "10 min", "1 hour", "10 hours"),
        *("3 days", "10 days", "30 days", "100 days", "1 year", "3 years", "10 years", "30 years", "100 years"),
        "1,000 years",
    ]
    for time_s, text in found.items():
        number, unit = text.replace(",", "").split()
        assert time_s == pytest.approx(float(number) * (UNITS.get(unit) or UNITS[unit.removesuffix("s")]))


@pytest.mark.parametrize(
    ("end_s", "title", "end"),
    [
        (5e-10, "an epoch [ns]", 0.5),  # shorter than the least unit
        (5e-9, "an epoch [ns]", 5),
        (5.1e-5, "an epoch [us]", 51),
        (7.0, "an epoch [s]", 7),
        (210.0, "an epoch [minutes]", 3.5),
        (5 * 365.25 * 86400, "an epoch [years]", 5),
    ],
)
def test_times_along_a_linear_axis_are_of_one_unit(end_s: float, title: str, end: float) -> None:
    from matplotlib.figure import Figure

    axes = Figure().add_subplot()
    axes.set_xlim(0, end_s)
    epochs._label_times(axes, "an epoch")
    label = axes.xaxis.get_major_formatter()
    assert axes.get_title(loc="left") == title
    ticks = [float(label(value, 0)) for value in axes.xaxis.get_majorticklocs()]
    # From nothing in even steps, of which at most five fit.
    assert ticks == pytest.approx([place * ticks[1] for place in range(len(ticks))])
    assert 3 <= len(ticks) <= 6
    assert ticks[-1] <= end < ticks[-1] + ticks[1]


def test_at_most_about_six_times_stand_along_a_logarithmic_axis() -> None:
    from matplotlib.figure import Figure

    def labelled(first_s: float, last_s: float) -> list[str]:
        axes = Figure().add_subplot()
        axes.set_xscale("log")
        axes.set_xlim(first_s, last_s)
        epochs._label_times(axes, "an epoch")
        label = axes.xaxis.get_major_formatter()
        assert axes.get_title(loc="left") == "an epoch, logarithmic axis"
        assert label(7.0, 0) == ""
        return [label(value, 0) for value in axes.xaxis.get_majorticklocs()]

    assert labelled(1e-3, 1.0) == ["1 ms", "10 ms", "100 ms", "1 s"]
    assert labelled(1e-3, 600.0) == ["1 ms", "100 ms", "10 s", "10 min"]
    # Of all twenty-two every fourth.
    assert labelled(1e-7, 1e12) == ["1 us", "10 ms", "1 min", "3 days", "1 year", "100 years"]

"""The figure of memory over a step: what it draws of what lies there, the fullest moment and what the device has."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from simulator.device.device import load_device
from simulator.device.system import cluster_of_system
from simulator.execution.memory import Footprint
from simulator.execution.over_step import over_step_of
from simulator.parallel.plan import Plan
from simulator.pipeline import Options, simulate
from simulator.planned import simulate_plan
from simulator.report.over_time import COLUMNS, fullest_words, memory_figure, plan_memory_figure, thinned
from simulator.report.style import text_box
from simulator.workload.reading import load_workload
from tests.drawn import GIB, inside, texts, written

VGG = load_workload("vgg16")
V100, A100 = load_device("v100"), load_device("a100-sxm4-80gb")


def test_the_stack_ends_at_the_footprint_and_the_device_is_a_line() -> None:
    answer = simulate(VGG, V100, Options(batch=64))
    figure = memory_figure(answer)
    (axes,) = figure.axes
    tops = [patch.get_data().values.max() for patch in axes.patches]  # type: ignore[attr-defined]
    assert max(tops) == pytest.approx(answer.memory.total_bytes / GIB)
    assert len(tops) == 5
    line = next(line for line in axes.lines if line.get_linestyle() == "--")
    assert line.get_ydata() == [16.0, 16.0]
    assert axes.get_ylim()[1] > 16
    shown = texts(axes)
    assert "the device has 16.0 GiB" in shown
    assert {"forward", "backward"} <= set(shown)
    assert any(text.startswith("peak 6.60 GiB at 1") and text.endswith(" while features.22 runs") for text in shown)
    assert "memory over a step" in written(figure)
    assert axes.get_xlabel() == "time [ms]"


def test_a_device_that_has_far_more_is_written_and_not_drawn() -> None:
    figure = memory_figure(simulate(load_workload("lenet5"), A100, Options()))
    (axes,) = figure.axes
    assert not [line for line in axes.lines if line.get_linestyle() == "--"]
    assert "the device has 80.0 GiB" in texts(axes)
    assert axes.get_ylim()[1] < 1


def test_inference_has_no_gradients_and_no_passes() -> None:
    figure = memory_figure(simulate(VGG, V100, Options(batch=64, task="infer")))
    (axes,) = figure.axes
    assert len(axes.patches) == 3
    assert "gradients" not in written(figure)
    assert "backward" not in texts(axes)


@pytest.mark.parametrize("stages", [1, 4])
def test_of_a_plan_it_is_the_fullest_stage(stages: int) -> None:
    plan, options = Plan(data=8 // stages, pipeline=stages, microbatch=1), Options(precision="bf16", optimizer="adam")
    answer = simulate_plan(load_workload("gpt2"), A100, options, cluster_of_system("dgx-a100-80gb"), plan, 64)
    figure = plan_memory_figure(answer)
    title = written(figure)
    assert (f"memory of stage {answer.fullest + 1}, the fullest, over a step" in title) is (stages > 1)
    tops = [patch.get_data().values.max() for patch in figure.axes[0].patches]  # type: ignore[attr-defined]
    assert max(tops) == pytest.approx(answer.memory.total_bytes / GIB)


def test_no_text_lies_over_another() -> None:
    for batch in (1, 64, 128):
        figure = memory_figure(simulate(VGG, V100, Options(batch=batch)))
        inside(figure)
        boxes = [text_box(figure, text) for text in figure.axes[0].texts]
        assert not any(one.overlaps(two, gap=-2) for one, two in combinations(boxes, 2))


def test_of_many_spans_the_fullest_are_drawn() -> None:
    count = 10 * COLUMNS
    held = np.arange(count, dtype=float) % 97
    held[4321] = 1e6
    memory = Footprint(1.0, 0.0, 0.0, 1e6, 1e6, 1e9)
    over = over_step_of([(0.5, held[place], 0.0, place) for place in range(count)], memory)
    edges, chosen = thinned(over)
    assert len(chosen) == len(edges) - 1 == COLUMNS
    assert 4321 in chosen
    assert (edges[0], edges[-1]) == (0.0, 0.5 * count)
    assert (np.diff(edges) > 0).all()
    assert held[chosen].min() >= 8  # no ten spans in a row are emptier
    few = over_step_of([(0.5, 1.0, 0.0, 0), (1.0, 2.0, 0.0, 1)], memory)
    assert thinned(few)[1].tolist() == [0, 1]


def test_the_words_of_the_fullest_moment() -> None:
    memory = Footprint(2.0**30, 0.0, 0.0, 2.0**30, 2.0**30, 2.0**34)
    over = over_step_of([(0.25, 0.0, 0.0, -1), (0.5, 2.0**30, 0.0, 1)], memory)
    assert fullest_words(over, VGG) == f"2.00 GiB at 250 ms, while {VGG.layers[1].name} runs"
    idle = replace(over, layers=np.array([-1, -1]))
    assert fullest_words(idle, VGG) == "2.00 GiB at 250 ms"

"""The figures: nothing overlaps, nothing is cut, and odd simulations are drawn too."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from simulator.device.device import load_device
from simulator.op.activation import Relu
from simulator.pipeline import Options, Simulation, simulate
from simulator.report.epochs import epochs_figure, labels
from simulator.report.groups import layer_groups, pattern
from simulator.report.layers import layers_figure
from simulator.report.placement import Box, Canvas, Label
from simulator.report.roofline import roofline_figure
from simulator.report.roofs import roofs_of
from simulator.report.style import percent, text_box, text_size
from simulator.workload.dataset import custom_dataset
from simulator.workload.reading import load_workload
from simulator.workload.workload import Network, Workload

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CASES = {
    "deep": ("senet154", "v100", Options()),
    "slow device": ("senet154", "cpu-16core", Options()),
    "small": ("lenet5", "v100", Options()),
    "few layers": ("alexnet", "v100", Options(epochs=90)),
    "memory-bound, two engines": ("mobilenet_v2", "v100", Options(precision="amp")),
    "batch 1": ("senet154", "v100", Options(batch=1)),
    "inference": ("resnet50", "a100", Options(task="infer", precision="amp")),
    "napkin": ("vgg16", "v100", Options(fidelity="napkin")),
    "datasheet": ("vgg16", "v100", Options(fidelity="roofline")),
    "branches": ("googlenet", "v100", Options(traffic="cached")),
}
by_case = pytest.mark.parametrize("case", CASES)


@lru_cache
def simulation(case: str) -> Simulation:
    workload, device, options = CASES[case]
    return simulate(load_workload(workload), load_device(device), options)


@lru_cache
def figure_of(draw: Callable[..., Figure], case: str) -> Figure:
    return draw(simulation(case), [])


def texts_of(figure: Figure) -> list[Any]:
    """Every text that is written, tick labels included."""
    from matplotlib.text import Text

    return [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]


def drawn(figure: Figure) -> list[tuple[str, Box]]:
    """Upright texts and where they stand; tick labels beyond the limits exist but are not drawn."""
    figure.draw_without_rendering()
    beyond = {
        label
        for axes in figure.axes
        for label in axes.get_yticklabels()
        if not min(axes.get_ylim()) <= label.get_position()[1] <= max(axes.get_ylim())
    }
    upright = [text for text in texts_of(figure) if text.get_rotation() in (0, 90) and text not in beyond]
    boxes = [text_box(figure, text) for text in upright]
    return [(text.get_text(), box) for text, box in zip(upright, boxes, strict=True) if in_view(text.axes, box)]


def in_view(axes: Any, box: Box) -> bool:
    if axes is None:
        return True
    frame = axes.get_window_extent()
    x, y = (box.left + box.right) / 2, (box.bottom + box.top) / 2
    return bool(x <= frame.x1 + 2 and frame.y0 - 60 <= y <= frame.y1 + 40)


@by_case
@pytest.mark.parametrize("draw", [roofline_figure, layers_figure, epochs_figure])
def test_no_text_is_cut_or_lies_over_another(case: str, draw: Callable[..., Figure]) -> None:
    figure = figure_of(draw, case)
    found = drawn(figure)
    width, height = figure.get_size_inches() * figure.dpi
    for name, box in found:
        assert box.left >= 0, name
        assert box.bottom >= 0, name
        assert box.right <= width, name
        assert box.top <= height, name
    for (name, box), (other, second) in combinations(found, 2):
        assert not box.overlaps(second, gap=-2), (name, other)


@by_case
def test_no_name_lies_over_the_number_on_the_slope(case: str) -> None:
    figure = figure_of(roofline_figure, case)
    names = [text_box(figure, text) for text in texts_of(figure) if text.get_gid() == "name"]
    (slope,) = (text for text in texts_of(figure) if text.get_gid() == "roof" and text.get_rotation())
    middle, angle = slope.axes.transData.transform(slope.get_position()), np.deg2rad(slope.get_rotation())
    reach = text_size(figure, slope.get_text(), slope.get_fontsize())[0] / 2
    for step in np.linspace(-reach, reach, 60):
        x, y = middle + step * np.array([np.cos(angle), np.sin(angle)])
        assert not any(box.overlaps(Box(x, y, x, y)) for box in names)


@by_case
def test_the_roofline_names_the_step_and_most_of_the_slowest_layers(case: str) -> None:
    figure = figure_of(roofline_figure, case)
    names = [text.get_text() for text in texts_of(figure) if text.get_gid() == "name"]
    possible = sum(group.flops > 0 for group in layer_groups(simulation(case)))
    assert "whole step" in names
    assert len(names) >= min(possible, 8) - 1


def test_a_comparison_marks_its_own_device_and_orders_by_time() -> None:
    own, slow = simulation("deep"), simulation("slow device")
    figure = epochs_figure(own, [slow])
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["v100-pcie-16gb", "cpu-16core"]
    assert axes.get_xscale() == "log"
    assert own.run.epoch_s < slow.run.epoch_s


def test_the_same_device_twice_is_told_apart() -> None:
    fp32 = simulation("few layers")
    amp = simulate(fp32.workload, fp32.device, Options(precision="amp"))
    assert labels([fp32, amp]) == ["v100-pcie-16gb, fp32", "v100-pcie-16gb, amp"]


# ---- odd simulations


def network(*steps: Callable[[Network], object]) -> Workload:
    built = Network(inputs=((8, 4, 4),))
    for step in steps:
        step(built)
    return Workload("odd", built.inputs, tuple(built.layers), custom_dataset(10), batch=2)


@pytest.mark.parametrize("fidelity", ["roofline", "calibrated"])
@pytest.mark.parametrize("layers", [1, 221])
def test_a_network_of_relus_is_drawn(fidelity: str, layers: int) -> None:
    workload = network(*[lambda net: net.add(Relu())] * layers)
    found = simulate(workload, load_device("v100"), Options(fidelity=fidelity, task="infer"))
    for draw in (roofline_figure, layers_figure, epochs_figure):
        draw(found, []).draw_without_rendering()


def test_a_point_above_the_roof_is_explained() -> None:
    figure = figure_of(roofline_figure, "napkin")
    assert any("above a roof is faster than the device can be" in text.get_text() for text in texts_of(figure))


def test_layers_without_flops_are_counted_in_the_footer() -> None:
    found = simulation("branches")
    without = sum(len(group.layers) for group in layer_groups(found) if not group.flops)
    footer = " ".join(text.get_text() for text in texts_of(figure_of(roofline_figure, "branches")))
    assert without > 0
    assert f"{without} layers without FLOPs" in footer


# ---- parts


def test_roofs_of_two_engines_and_their_ridges() -> None:
    roofs = roofs_of(simulation("memory-bound, two engines"))
    assert [rate.datasheet for rate in roofs.compute] == [112e12, 14e12]
    assert [round(x, 1) for x, _ in roofs.ridges] == [124.4, 15.6]  # 112e12 / 900e9, 14e12 / 900e9
    device = simulation("memory-bound, two engines").device
    assert roofs.memory.sustained == 900e9 * device.sustained["bandwidth"]
    assert roofs.attainable(1.0) == 900e9


def test_roofs_of_the_datasheet_sustain_nothing() -> None:
    roofs = roofs_of(simulation("datasheet"))
    assert roofs.memory.sustained is None
    assert len(roofs.compute) == 1


@by_case
def test_groups_hold_every_layer_once_and_all_the_time(case: str) -> None:
    found = simulation(case)
    groups = layer_groups(found)
    members = np.concatenate([group.layers for group in groups])
    assert sorted(members) == np.flatnonzero(found.layers.time_s > 0).tolist()
    assert sum(group.time_s for group in groups) == pytest.approx(found.step.time_s)
    assert sum(group.by_phase.sum() for group in groups) == pytest.approx(found.step.time_s)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["layer3.0.conv2", "layer3.11.conv2"], "layer3.*.conv2"),
        (["a.0.x", "b.1.x"], "*.*.x"),
        (["a.x", "a"], "*"),
    ],
)
def test_pattern(names: list[str], expected: str) -> None:
    assert pattern(names) == expected


@pytest.mark.parametrize(
    ("share", "expected"),
    [(1.0, "100 %"), (0.714, "71 %"), (0.0341, "3.4 %"), (0.0996, "10 %"), (1e-5, "< 0.1 %"), (0, "0 %")],
)
def test_percent(share: float, expected: str) -> None:
    assert percent(share) == expected


def test_placed_labels_never_touch() -> None:
    canvas = Canvas(Box(0, 0, 400, 300), [Box(0, 0, 100, 100)], np.array([[200.0, 150.0, 10.0]]))
    placed = canvas.place([Label(200.0, 150.0, 10.0, 90.0, 14.0)] * 12)
    boxes = [box for box in placed if box is not None]
    assert len(boxes) >= 8
    for one, two in combinations([*boxes, Box(0, 0, 100, 100)], 2):
        assert not one.overlaps(two)


def test_a_label_without_room_is_left_out() -> None:
    assert Canvas(Box(0, 0, 50, 50)).place([Label(25.0, 25.0, 5.0, 90.0, 14.0)]) == [None]

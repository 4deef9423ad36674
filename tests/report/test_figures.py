"""The figures: nothing overlaps, nothing is cut, and odd simulations are drawn too."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from functools import lru_cache
from itertools import combinations, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from simulator.device.device import load_device
from simulator.errors import UnsupportedError
from simulator.op.activation import Relu
from simulator.pipeline import Options, Simulation, simulate
from simulator.report.discs import visible_discs
from simulator.report.epochs import epochs_figure, labels
from simulator.report.groups import layer_groups, pattern
from simulator.report.layers import layers_figure
from simulator.report.placement import Box, Canvas, Label, anchor
from simulator.report.roofline import roofline_figure
from simulator.report.rooflines import rooflines_figure
from simulator.report.roofs import roofs_of
from simulator.report.style import fitted, percent, save, text_box, text_size
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


MOST_DIFFERENT = (
    ("llama3_8b", "h100", Options(precision="bf16", batch=1, ignore_memory=True)),
    ("resnet50", "v100", Options()),
    ("gpt2", "a100", Options(precision="amp", batch=8)),
    ("mobilenet_v2", "v100", Options(precision="amp")),
    ("alexnet", "cpu-16core", Options()),
    ("vgg16", "t4", Options(precision="amp", batch=16)),
    ("densenet121", "v100", Options(task="infer", batch=1)),
    ("googlenet", "gtx-1080-ti", Options()),
    ("bert_large", "v100", Options(batch=4)),
    ("t5_small", "a100", Options(precision="tf32", batch=8)),
    ("vit_b_16", "rtx-3090", Options(precision="amp")),
    ("swin_t", "a100", Options(precision="amp")),
    ("efficientnet_b0", "v100", Options(framework="tensorflow")),
    ("unet", "v100", Options(batch=1, ignore_memory=True)),
    ("senet154", "b200", Options(precision="bf16")),
    ("lenet5", "h100", Options()),
    ("squeezenet1_1", "p100-pcie-16gb", Options(precision="fp16")),
    ("inception_v4", "mi250", Options(batch=16)),
    ("mixtral_8x7b", "mi300x", Options(precision="bf16", batch=1, ignore_memory=True)),
    ("convnext_tiny", "tpu-v3", Options(precision="bf16")),
)


@pytest.mark.parametrize(("workload", "device", "options"), MOST_DIFFERENT, ids=[case[0] for case in MOST_DIFFERENT])
def test_no_text_in_the_roofline_lies_over_a_text_a_mark_or_a_line(
    workload: str, device: str, options: Options
) -> None:
    figure = roofline_figure(simulate(load_workload(workload), load_device(device), options))
    figure.draw_without_rendering()
    axes = figure.axes[0]
    spots = [spot for text in axes.texts if text.get_gid() in {"number", "ridge", "roof"} for spot in cover(text)]
    assert spots
    obstacles = np.array([*marks_of(axes), *line_dots(axes)])
    for name, box in spots:
        x, y = np.clip(obstacles[:, 0], box.left, box.right), np.clip(obstacles[:, 1], box.bottom, box.top)
        near = np.hypot(obstacles[:, 0] - x, obstacles[:, 1] - y) < obstacles[:, 2]
        assert not near.any(), (name, obstacles[near][:3])
        for other, second in spots:
            assert other == name or not box.overlaps(second), (name, other)


def cover(text: Any) -> list[tuple[str, Box]]:
    """A text, and boxes that cover it, many small ones where it is slanted. [px]"""
    if not text.get_rotation():
        box = text_box(text.figure, text)
        return [(text.get_text(), Box(box.left, box.bottom + 2, box.right, box.top - 2))]
    width, height = text_size(text.figure, text.get_text(), text.get_fontsize())
    middle, angle = text.axes.transData.transform(text.get_position()), np.deg2rad(text.get_rotation())
    centres = [middle + step * width * np.array([np.cos(angle), np.sin(angle)]) for step in np.linspace(-0.5, 0.5, 40)]
    half = height / 4
    return [(text.get_text(), Box(x - half, y - half, x + half, y + half)) for x, y in centres]


def marks_of(axes: Any) -> list[tuple[float, float, float]]:
    """Middle and half the width of each mark. [px]"""
    found = []
    for marks in axes.collections:
        if (marks.get_gid() or "").startswith("marks-"):
            places = axes.transData.transform(marks.get_offsets())
            found += [(x, y, area**0.5 / 2 * 120 / 72) for (x, y), area in zip(places, marks.get_sizes(), strict=True)]
    return found


def line_dots(axes: Any) -> list[tuple[float, float, float]]:
    """The roofs and the ridges' lines as dots, half their width wide. [px]"""
    dots = []
    for line in axes.lines:
        corners = axes.transData.transform(np.column_stack(line.get_data()))
        for start, end in pairwise(corners):
            dots += [(*(start + (end - start) * step), 0.8) for step in np.linspace(0, 1, 400)]
    return dots


@pytest.mark.parametrize("case", ["small", "few layers", "datasheet"])
def test_a_number_stands_beside_its_mark(case: str) -> None:
    figure, points = figure_of(roofline_figure, case), visible_discs(simulation(case))[0]
    figure.draw_without_rendering()
    axes = figure.axes[0]
    radius = {(round(x), round(y)): half for x, y, half in marks_of(axes)}
    numbers = {text.get_text(): text_box(figure, text) for text in axes.texts if text.get_gid() == "number"}
    away = []
    for number, box in numbers.items():
        point = points[int(number) - 1]
        x, y = axes.transData.transform((point.x, point.y))
        end = anchor(box, x, y)
        away.append(float(np.hypot(end[0] - x, end[1] - y)) - radius[round(x), round(y)])
    assert min(away) > 0
    # The first steps of a label's distance are 5, 12 and 22 pixels; a crowd pushes a few farther.
    assert sorted(away)[len(away) // 2] < 25


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
def test_the_roofline_numbers_and_names_the_slowest_layers(case: str) -> None:
    figure = figure_of(roofline_figure, case)
    names = [text.get_text() for text in texts_of(figure) if text.get_gid() == "name"]
    numbers = [text.get_text() for text in texts_of(figure) if text.get_gid() == "number"]
    possible = sum(group.flops > 0 for group in layer_groups(simulation(case)))
    assert len(names) == min(possible, 8)
    assert len(numbers) >= len(names) - 1
    assert set(numbers) <= set(map(str, range(1, 9)))


def test_a_comparison_marks_its_own_device_and_orders_by_time() -> None:
    own, slow = simulation("deep"), simulation("slow device")
    figure = epochs_figure(own, [slow])
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["v100-pcie-16gb", "cpu-16core"]
    assert axes.get_xscale() == "log"
    assert own.run.epoch_s < slow.run.epoch_s
    # Bars begin at a fifth of the shortest time; half as many decades again as they take are left for their texts.
    start = own.run.epoch_s / 5
    assert axes.get_xlim() == pytest.approx((start, start * (slow.run.epoch_s / start) ** 1.5))


def test_devices_side_by_side_have_equal_axes() -> None:
    figure = rooflines_figure(simulation("deep"), [simulation("slow device"), ("none", UnsupportedError("no"))])
    first, second = figure.axes
    assert first.get_xlim() == second.get_xlim()
    assert first.get_ylim() == second.get_ylim()
    for (name, box), (other, near) in combinations(drawn(figure), 2):
        assert not box.overlaps(near, gap=-2), (name, other)


def test_bars_carry_their_interval() -> None:
    own, slow = simulation("deep"), simulation("slow device")
    axes = epochs_figure(own, [slow]).axes[0]
    assert own.interval is not None
    whiskers = [line.get_xdata().tolist() for line in axes.lines]
    assert [own.run.epoch_s * own.interval.low, own.run.epoch_s * own.interval.high] in whiskers


def test_marks_of_an_svg_say_what_they_are(tmp_path: Path) -> None:
    save(figure_of(roofline_figure, "deep"), tmp_path, "roofline")
    text = (tmp_path / "roofline.svg").read_text(encoding="utf-8")
    ElementTree.fromstring(text)
    assert "<title>layer2.*.conv3 (7x): " in text or text.count("<title>") > 10


def test_a_long_name_keeps_its_start_and_its_end() -> None:
    figure = figure_of(roofline_figure, "small")
    cut = fitted(figure, "features.stage3.block11.expansion.convolution", 120.0)
    assert text_size(figure, cut)[0] <= 120
    assert cut.startswith("feat")
    assert cut.endswith("tion")


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

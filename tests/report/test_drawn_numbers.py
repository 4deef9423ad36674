"""What figures draw: limits, places, heights, shades and words of answers made up by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from simulator.calibration.measurements import Measurement
from simulator.calibration.validation import Case
from simulator.device.device import load_device
from simulator.errors import InputError
from simulator.pipeline import Options, simulate
from simulator.planning.compare import Difference, Moved, Side, SideLayer, side_of
from simulator.planning.scaling import ScalingPoint
from simulator.report import parity
from simulator.report.compare import arrows_figure
from simulator.report.curve import curve_figure
from simulator.report.scaling import scaling_figure, write_scaling
from simulator.serving.curve import Curve, CurvePoint
from simulator.workload.reading import load_workload
from tests.drawn import GIB, bars_of, inside, near, points_of, span, texts, written
from tests.looks import Compare

if TYPE_CHECKING:
    from matplotlib.figure import Figure


# ---- sides


def layer(name: str, time_s: float, flops: float = 2e12, traffic: float = 1e9) -> SideLayer:
    return SideLayer(name, time_s, "memory", flops, traffic)


def moved(name: str, before_s: float, after_s: float, **work: float) -> Moved:
    return Moved(name, layer(name, before_s, **work), layer(name, after_s, **work), before_s - after_s)


def difference(*layers: Moved, first: Side | None = None) -> Difference:
    plain = Side("first", "net", 1, 1, 1.0, {"memory": 1.0}, 1.0, {})
    return Difference(first or plain, replace(plain, label="other"), 2.0, layers, {}, ((), ()))


def test_layers_at_one_place_are_drawn_once_and_counted(as_drawn: Compare) -> None:
    figure = arrows_figure(
        difference(
            moved("conv1", 1.0, 0.5),
            moved("conv2", 1.0, 0.5),
            moved("conv3", 1.0001, 0.5),  # the same to three digits
            moved("fc", 1.0, 0.25),
            moved("copy", 9.0, 1.0, flops=0.0),  # which has no place
        )
    )
    assert "1  conv1 and 2 alike\n2  fc" in written(figure)
    assert "other against first: 2.00 times faster a sample" in written(figure)
    axes = figure.axes[0]
    # 2e12 FLOP of 1e9 bytes: 2,000 FLOP/byte; in 1, 0.5 and 0.25 s 2, 4 and 8 TFLOP/s.
    assert [points_of(line)[0] for line in axes.lines] == [(2000, 2e12), (2000, 4e12), (2000, 2e12), (2000, 8e12)]
    assert texts(axes) == ["1", "2"]
    # A third of the lowest to three times the farthest; twice the highest.
    assert axes.get_xlim() == pytest.approx((2000 / 3, 6000))
    assert axes.get_ylim() == pytest.approx((2e12 / 3, 16e12))
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    inside(figure)
    as_drawn(figure, "arrows")


def test_ten_arrows_at_most() -> None:
    figure = arrows_figure(difference(*(moved(f"layer{number}", number + 1.0, 0.5) for number in range(12))))
    assert texts(figure.axes[0]) == [str(number) for number in range(1, 11)]
    assert "10  layer9" in written(figure)
    assert "layer10" not in written(figure)


def test_the_roof_of_a_simulated_side() -> None:
    answer = simulate(load_workload("lenet5"), load_device("v100"), Options(fidelity="roofline"))
    axes = arrows_figure(difference(moved("fc", 1.0, 0.5), first=side_of(answer, "first"))).axes[0]
    left, right = axes.get_xlim()
    # 14 TFLOP/s over 900 GB/s: the ridge lies at 15.6 FLOP/byte.
    assert points_of(axes.lines[0]) == near([(left, 900e9 * left), (140 / 9, 14e12), (right, 14e12)])
    assert left == pytest.approx(140 / 9 / 3)
    assert axes.get_ylim()[1] == pytest.approx(28e12)
    assert "14.0 TFLOP/s " in texts(axes)


def test_a_comparison_without_places_is_drawn_too() -> None:
    axes = arrows_figure(difference()).axes[0]
    assert axes.get_xlim() == pytest.approx((1 / 3, 3))
    assert axes.get_ylim() == pytest.approx((1e12 / 3, 2e12))


# ---- measured against predicted


def case(device: str, measured: float, predicted: float, interval: tuple[float, float] | None = (0.9, 1.3)) -> Case:
    row = Measurement(device, "resnet50", device, "train", "fp32", 16, 1, measured, True, "pytorch", "")
    low, high = (factor * predicted for factor in interval) if interval else (None, None)
    return Case(row, predicted, low, high)


def axes_of(draw: Any, *given: Any) -> Any:
    from matplotlib.figure import Figure

    axes = Figure().add_axes((0.1, 0.1, 0.8, 0.8))
    draw(axes, *given)
    return axes


def test_a_row_a_group_the_largest_on_top() -> None:
    groups = {"v100": [case("v100", 1.1, 1.0), case("v100", 2.0, 1.0)], "t4": [case("t4", 0.5, 1.0)]}
    axes = axes_of(parity._rows, groups)
    assert axes.get_xlim() == pytest.approx((1 / 3, 3))
    assert axes.get_ylim() == pytest.approx((-1.4, 0.6))  # two rows, 0.6 above and below them
    assert axes.get_yticks().tolist() == [0, -1]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["v100 (2)", "t4 (1)"]
    assert axes.get_xticks().tolist() == [0.5, 0.8, 1, 1.25, 2]
    first, second = (marks.get_offsets() for marks in axes.collections)
    assert first[:, 0].tolist() == pytest.approx([1.1, 2.0])
    assert second[:, 0].tolist() == pytest.approx([0.5])
    assert np.abs(first[:, 1]).max() <= 0.25
    assert np.abs(second[:, 1] + 1).max() <= 0.25
    assert first[0, 1] != first[1, 1]
    # The median interval, from 0.9 to 1.3 of the prediction, as a bar; half of the first group lies in it.
    bars = [(bar.get_x(), bar.get_width(), bar.get_y() + bar.get_height() / 2) for bar in axes.patches]
    assert bars == [pytest.approx((0.9, 0.4, 0)), pytest.approx((0.9, 0.4, -1))]
    assert texts(axes) == ["50 %", "0 %"]
    assert axes.get_xscale() == "log"
    assert axes_of(parity._rows, {}).get_ylim() == pytest.approx((-0.4, 0.6))


def test_the_median_interval_is_the_bar_and_none_where_nothing_is_stated() -> None:
    three = [case("v100", 1.0, 1.0, (low, 1.5)) for low in (0.7, 0.8, 0.95)]
    (bar,) = axes_of(parity._row, 0, three, ("#000000", "o")).patches
    assert (bar.get_x(), bar.get_width()) == pytest.approx((0.8, 0.7))
    bare = axes_of(parity._row, 0, [case("v100", 1.0, 1.0, None)], ("#000000", "o"))
    assert (list(bare.patches), texts(bare)) == ([], [])


def test_equal_axes_around_all_times_and_a_band_of_a_fifth() -> None:
    axes = axes_of(parity._scale, [case("v100", 0.3, 0.6), case("v100", 6.0, 2.0)])
    # 0.3 s and 6 s by a factor of 1.5.
    assert axes.get_xlim() == axes.get_ylim() == pytest.approx((0.2, 9.0))
    assert points_of(axes.lines[0]) == near([(0.2, 0.2), (9.0, 9.0)])
    band = axes.collections[0].get_paths()[0].vertices
    ratios = band[:, 1] / band[:, 0]
    assert (ratios.min(), ratios.max()) == pytest.approx((0.8, 1.2))
    label = axes.xaxis.get_major_formatter()
    assert [label(value, 0) for value in (0.001, 1.0, 90.0)] == ["1 ms", "1 s", "1.50 min"]
    assert axes_of(parity._scale, []).get_xlim() == pytest.approx((1e-3 / 1.5, 1.5))


def test_marks_of_a_group_stand_at_measured_and_predicted() -> None:
    axes = axes_of(parity._points, [case("v100", 0.3, 0.6), case("v100", 6.0, 2.0)], ("#0072B2", "o"))
    assert axes.collections[0].get_offsets().tolist() == [[0.3, 0.6], [6.0, 2.0]]


def test_seven_groups_stand_alone_and_the_rest_together() -> None:
    cases = [case(f"d{group}", 1.0, 1.0) for group in range(9) for _ in range(9 - group)]
    found = parity._largest(cases, "device")
    assert {name: len(group) for name, group in found.items()} == {
        **{f"d{group}": 9 - group for group in range(7)},
        "2 others": 3,
    }
    assert list(parity._largest(cases[:42], "device")) == [f"d{group}" for group in range(7)]
    assert list(parity._largest(cases[:1], "year")) == ["not said"]


def test_a_parity_plot_lies_on_its_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_drawn: Compare) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(parity, "save", lambda figure, *_: drawn.append(figure))
    unpredicted = Case(case("v100", 1.0, 1.0).measured, reason="none")
    parity.write_parity([case("v100", 1.1, 1.0), case("t4", 1.0, 0.8), unpredicted], "device", tmp_path)
    (figure,) = drawn
    assert "Predicted against 2 measured step times, by device" in written(figure)
    inside(figure)
    as_drawn(figure, "parity")
    left, right = (axes.get_position() for axes in figure.axes)
    assert left.x1 < right.x0
    assert (left.y0, left.y1) == pytest.approx((right.y0, right.y1))
    width, height = figure.get_size_inches()
    assert left.width * width == pytest.approx(left.height * height)  # as wide as high


# ---- inference over batches


def test_a_curve_marks_its_batches_the_knee_and_the_limit(as_drawn: Compare) -> None:
    points = (
        CurvePoint(1, 0.002, 500.0, GIB, fits=True, bound="overhead"),
        CurvePoint(8, 0.004, 2000.0, GIB, fits=True, bound="memory"),
        CurvePoint(64, 0.02, 3200.0, GIB, fits=False, bound="compute"),
    )
    found = Curve(load_workload("lenet5"), load_device("v100"), Options(task="infer"), points, points[1], 64, 0.005)
    figure = curve_figure(found)
    axes = figure.axes[0]
    assert points_of(axes.lines[0]) == near([(2, 500), (4, 2000), (20, 3200)])
    assert texts(axes) == ["1", "8, the knee", "64"]
    assert [text.get_fontweight() for text in axes.texts] == ["normal", "bold", "normal"]
    assert [text.xy for text in axes.texts] == near([(2, 500), (4, 2000), (20, 3200)])
    assert span(axes) == pytest.approx((0, 5))
    assert axes.get_xlim() == pytest.approx((0, 21.6))
    assert axes.get_yscale() == "log"
    assert axes.yaxis.get_major_formatter()(2000, 0) == "2,000"
    assert "lenet5, inference in fp32 on v100-pcie-16gb" in written(figure)
    assert list(curve_figure(replace(found, limit_s=None)).axes[0].patches) == []
    inside(figure)
    as_drawn(figure, "curve")


# ---- many devices


def test_speed_up_and_where_the_rest_goes(tmp_path: Path, as_drawn: Compare) -> None:
    ran = [
        ScalingPoint(1, 32, 0.4, 80.0, 1.0, 1.0, (0.0, 0.0, 0.0)),
        ScalingPoint(4, 32, 0.5, 256.0, 3.2, 0.8, (0.0, 0.15, 0.05)),
    ]
    figure = scaling_figure("speed-up", [*ran, ScalingPoint(8, 32, reason="none")])
    left, right = figure.axes
    ideal, predicted = left.lines
    assert points_of(ideal) == [(1, 1), (4, 4)]
    assert points_of(predicted) == [(1, 1.0), (4, 3.2)]
    assert (left.get_xscale(), left.get_yscale()) == ("log", "log")
    # Kept, then smaller batches, exchange and the slowest device: each on top of those before, in per cent.
    heights = bars_of(right)
    assert heights[1::2] == near([(0, 80), (80, 0), (80, 15), (95, 5)])
    assert heights[::2] == near([(0, 100), (100, 0), (100, 0), (100, 0)])
    names = [text.get_text() for text in right.get_legend().get_texts()]
    assert names == ["kept", "smaller batches", "exchange", "slowest device"]
    assert right.get_ylim() == pytest.approx((0, 102))
    inside(figure)
    as_drawn(figure, "scaling")
    assert left.get_position().x1 < right.get_position().x0
    write_scaling("speed-up", ran, tmp_path / "deep" / "scaling.png")
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == ["scaling.png", "scaling.svg"]
    with pytest.raises(InputError, match=r"^none$"):
        write_scaling("speed-up", [ScalingPoint(8, 32, reason="none")], tmp_path / "x.png")
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match="cannot write the figure to"):
        write_scaling("speed-up", ran, tmp_path / "file" / "x.png")

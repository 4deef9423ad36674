"""Marks far below their roof name the cause that explains them, and only those."""

from __future__ import annotations

from simulator.device.device import load_device
from simulator.pipeline import Options, simulate
from simulator.planning.explain import explain
from simulator.report.discs import visible_discs
from simulator.report.far_below import FAR, far_below
from simulator.report.roofline import LABELLED, roofline_figure
from simulator.report.roofs import roofs_of
from simulator.workload.reading import load_workload


def test_grouped_convolutions_are_explained() -> None:
    answer = simulate(load_workload("senet"), load_device("v100"))
    points, roofs = visible_discs(answer)[0][:LABELLED], roofs_of(answer)
    found = {one.number: one for one in far_below(answer, points, roofs)}
    low = [place for place, point in enumerate(points, start=1) if point.y < FAR * roofs.attainable(point.x)]
    assert list(found) == low
    assert {points[place - 1].label.split()[0]: one.cause for place, one in found.items()} == dict.fromkeys(
        ("layer3.*.conv2", "layer1.*.conv2", "layer2.*.conv2"), "narrow groups"
    )
    layer = max(explain(answer, "layer1.0.conv2").shares, key=lambda share: share.seconds)
    assert found[4].cause == layer.cause
    texts = [text.get_text() for text in roofline_figure(answer).texts if text.get_gid() == "cause"]
    assert texts == [one.cause for one in found.values()]


def test_a_bound_has_no_causes() -> None:
    answer = simulate(load_workload("senet"), load_device("v100"), Options(fidelity="roofline"))
    assert far_below(answer, visible_discs(answer)[0], roofs_of(answer)) == []

"""Scaling: shares of efficiency sum to one, weak and strong, with reasons where a number of devices cannot run."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from simulator.device.device import load_device
from simulator.device.system import usual_cluster
from simulator.errors import InputError
from simulator.pipeline import Options, simulate
from simulator.planning.scaling import scaling
from simulator.report.scaling import scaling_summary, write_scaling
from simulator.workload.reading import load_workload

V100 = load_device("v100-sxm2-16gb")
RESNET = load_workload("resnet50")


def test_weak_scaling_loses_to_exchange_and_the_slowest_alone() -> None:
    points = scaling(RESNET, V100, Options(batch=32), [1, 2, 8])
    assert points[0].efficiency == pytest.approx(1)
    for point in points:
        assert point.efficiency + sum(point.lost) == pytest.approx(1)
        assert point.lost[0] == pytest.approx(0, abs=1e-12)
        assert point.speed_up == pytest.approx(point.devices * point.efficiency)
    answer = simulate(RESNET, V100, Options(batch=32), usual_cluster(V100, 8))
    assert points[2].samples_per_s == pytest.approx(answer.step.samples_per_s)
    assert points[2].lost[1] + points[2].lost[2] == pytest.approx(answer.step.communication_s / answer.step.time_s)


def test_strong_scaling_loses_to_smaller_batches() -> None:
    points = {point.devices: point for point in scaling(RESNET, V100, Options(), [1, 3, 4, 16], global_batch=512)}
    assert "needs" in points[1].reason
    assert points[3].reason == "512 samples do not divide over 3 devices"
    assert (points[4].batch, points[16].batch) == (128, 32)
    assert points[16].lost[0] > points[4].lost[0] > 0
    assert points[16].efficiency + sum(points[16].lost) == pytest.approx(1)


def test_the_document_and_the_figure(tmp_path: Path) -> None:
    points = scaling(RESNET, V100, Options(), [1, 2, 3], global_batch=64)
    found = scaling_summary("resnet50", "v100", points)["points"]
    assert found[1]["reason"] is None
    assert set(found[1]["lost"]) == {"smaller batches", "exchange", "slowest device"}
    assert found[2]["reason"].startswith("64 samples")
    assert math.isnan(found[2]["time_s"])
    write_scaling("resnet50", points, tmp_path / "a" / "scaling.png")
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"scaling.png", "scaling.svg"}
    with pytest.raises(InputError, match="do not divide"):
        write_scaling("resnet50", points[2:], tmp_path / "b.png")


def test_inference_does_not_scale_this_way() -> None:
    with pytest.raises(InputError, match="training"):
        scaling(RESNET, V100, Options(task="infer"), [1])

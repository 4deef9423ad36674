"""Inference over batches: latency, throughput, the knee, the largest batch within a limit."""

from __future__ import annotations

import pytest

from simulator import Options, load_device, load_workload
from simulator.errors import InputError
from simulator.serving.curve import batches_of, curve

RESNET, DEVICE = load_workload("resnet50"), load_device("h100")
OPTIONS = Options(task="infer", precision="fp16")


def test_batches_are_written_in_four_ways() -> None:
    assert batches_of("32") == (32,)
    assert batches_of("1,8") == (1, 8)
    assert batches_of("1:20:x2") == (1, 2, 4, 8, 16, 20)
    assert batches_of("8:24:8") == (8, 16, 24)


@pytest.mark.parametrize("text", ["0", "1:8", "1:8:x1", "8:1:x2", "1:8:x", "a,b", "1:1000000:1", ":::", "1:8:-2"])
def test_batches_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="--batch"):
        batches_of(text)


def test_a_curve_rises_to_its_knee_and_beyond() -> None:
    found = curve(RESNET, DEVICE, OPTIONS, batches_of("1:256:x2"))
    latency = [point.latency_s for point in found.points]
    assert latency == sorted(latency)
    power = [point.samples_per_s / point.latency_s for point in found.points]
    assert found.knee == found.points[power.index(max(power))]
    assert 1 < found.knee.batch < 256
    assert found.largest_batch > 256
    assert all(point.samples_per_s == pytest.approx(point.batch / point.latency_s) for point in found.points)


def test_the_largest_batch_within_a_limit_is_the_last_that_keeps_it() -> None:
    found = curve(RESNET, DEVICE, OPTIONS, (1,), limit_s=0.05)
    assert found.within is not None
    assert found.within.latency_s <= 0.05
    beyond = curve(RESNET, DEVICE, OPTIONS, (found.within.batch + 1,)).points[0]
    assert beyond.latency_s > 0.05
    assert curve(RESNET, DEVICE, OPTIONS, (1,), limit_s=1e-6).within is None


def test_a_limit_ends_at_what_fits() -> None:
    found = curve(RESNET, load_device("rtx-3070"), OPTIONS, (1,), limit_s=1e3)
    assert found.within is not None
    assert found.within.batch == found.largest_batch


def test_training_has_no_curve() -> None:
    with pytest.raises(InputError, match="add --task infer"):
        curve(RESNET, DEVICE, Options(precision="fp16"), (1,))

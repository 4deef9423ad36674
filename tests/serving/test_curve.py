"""Inference over batches: latency, throughput, the knee, the largest batch within a limit."""

from __future__ import annotations

import pytest

from simulator import Options, load_device, load_workload
from simulator.device.framework import Reserve
from simulator.errors import InputError
from simulator.execution.memory import Footprint
from simulator.serving.copies import Instances
from simulator.serving.curve import batches_of, curve
from simulator.serving.fastest import Choice, _better

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


def test_copies_wait_for_their_hosts_at_the_same_time_and_for_the_device_one_by_one() -> None:
    # A step of 10 s, 3 s of it on the device: three fit in the same 10 s, five take 15 s.
    assert Instances(3).round_s(10.0, 3.0) == 10.0
    assert Instances(5).round_s(10.0, 3.0) == 15.0


def test_streams_share_weights_and_replicas_do_not() -> None:
    # 100 of weights, 20 of context, 4 samples of 10 in a device of 1000; three streams or three replicas.
    memory = Footprint(100.0, 0.0, 0.0, 40.0, 10.0, 1000.0, Reserve(context_bytes=20.0))
    assert Instances(3).memory_bytes(memory) == 120 + 3 * 40
    assert Instances(3, shared=False).memory_bytes(memory) == 3 * 160
    # (1000 - 120) / 3 = 293.3; (1000 / 3) - 120 = 213.3.
    assert Instances(3).largest_batch(memory) == 29
    assert Instances(3, shared=False).largest_batch(memory) == 21
    assert Instances().largest_batch(memory) == memory.largest_batch == 88
    with pytest.raises(InputError, match="at least 1"):
        Instances(0)


def test_more_streams_never_give_less_nor_sooner() -> None:
    curves = [curve(RESNET, DEVICE, OPTIONS, (16,), copies=Instances(number)).points[0] for number in (1, 2, 4, 16)]
    assert [point.samples_per_s for point in curves] == sorted(point.samples_per_s for point in curves)
    assert [point.latency_s for point in curves] == sorted(point.latency_s for point in curves)
    # Of sixteen, the device is busy all the time: twice as many give no more.
    assert curve(RESNET, DEVICE, OPTIONS, (16,), copies=Instances(32)).points[0].samples_per_s == pytest.approx(
        curves[-1].samples_per_s
    )


def test_the_largest_rate_within_a_limit_is_the_best_of_all_batches_and_streams() -> None:
    """LeNet on a V100 within 1.3 ms: each of the batches with each number of streams, one by one."""
    lenet, device, limit_s = load_workload("lenet5"), load_device("v100"), 1.3e-3
    options = Options(task="infer")
    for asked, tried in ((None, range(1, 9)), (Instances(3), (3,)), (Instances(2, shared=False), (2,))):
        found = curve(lenet, device, options, (1,), limit_s, asked).fastest
        assert found is not None
        assert found.latency_s <= limit_s
        shared = asked is None or asked.shared
        best = 0.0
        for number in tried:
            copies = Instances(number, shared=shared)
            points = curve(lenet, device, options, tuple(range(1, 1200, 37)), copies=copies).points
            best = max([best, *(point.samples_per_s for point in points if point.latency_s <= limit_s)])
            if number == found.copies.number:
                own = curve(lenet, device, options, (found.batch,), copies=copies).points[0]
                assert own.samples_per_s == pytest.approx(found.samples_per_s)
                assert own.latency_s == pytest.approx(found.latency_s)
        assert found.samples_per_s >= best * (1 - 1e-9)
    assert curve(lenet, device, options, (1,), 1e-7).fastest is None


def test_the_largest_rate_is_never_below_that_of_the_largest_batch() -> None:
    for limit_s in (0.01, 0.05):
        found = curve(RESNET, DEVICE, OPTIONS, (1,), limit_s)
        assert found.within is not None
        assert found.fastest is not None
        assert found.fastest.samples_per_s >= found.within.samples_per_s
        assert found.fastest.batch <= found.within.batch


def test_of_equal_rates_the_sooner_answer_is_taken() -> None:
    soon, late = Choice(8, Instances(1), 0.01, 800.0), Choice(16, Instances(1), 0.02, 800.0)
    both = Choice(8, Instances(2), 0.01, 800.0)
    assert _better(soon, late) is _better(late, soon) is soon
    assert _better(both, soon) is soon
    assert _better(None, late) is _better(late, None) is late
    assert _better(soon, Choice(9, Instances(1), 0.03, 801.0)).batch == 9  # type: ignore[union-attr]

"""Data parallelism: buckets by hand, laws, and the errors that a user can make."""

from __future__ import annotations

from itertools import pairwise
from math import inf, log, sqrt

import numpy as np
import pytest

from simulator.device.device import load_device
from simulator.device.link import load_link
from simulator.device.system import cluster, cluster_of_system, load_system, usual_cluster
from simulator.errors import InputError, UnsupportedError
from simulator.parallel.data import (
    SPREAD,
    _buckets,
    late_seconds,
    memory_share,
    one_after_another,
    sent_byte_per_s,
    slowed_seconds,
    taken_share,
    taken_units,
)
from simulator.pipeline import Options, Simulation, simulate
from simulator.roofline.times import Bound
from simulator.workload.reading import load_workload

V100 = load_device("v100-sxm2-16gb")


def run(devices: int, link: str = "nvlink2", workload: str = "vgg16", **options: object) -> Simulation:
    asked = Options(batch=32, ignore_memory=True, **options)  # type: ignore[arg-type]
    return simulate(load_workload(workload), V100, asked, cluster(devices, load_link(link)))


def test_buckets_fill_in_the_order_of_the_gradients() -> None:
    # Ready at 3, 1 and 2: 20 and 30 bytes make a bucket that is ready at 2; 10 bytes are left for the end.
    size, ready = np.array([10.0, 20.0, 30.0]), np.array([3.0, 1.0, 2.0])
    assert list(_buckets(size, ready, 25)) == [(50.0, 2.0), (10.0, 3.0)]
    assert list(_buckets(size, ready, inf)) == [(60.0, 3.0)]


def test_a_bucket_waits_for_its_gradients_and_for_the_one_before() -> None:
    # 1 to 3; then 3 to 4 though ready at 2; then 10 to 12.
    ends = one_after_another(np.array([1.0, 2.0, 10.0]), np.array([2.0, 1.0, 2.0]))
    assert ends.tolist() == [3.0, 4.0, 12.0]


def test_one_device_is_todays_answer() -> None:
    alone = simulate(load_workload("vgg16"), V100, Options(batch=32, ignore_memory=True))
    assert run(1).step == alone.step
    assert run(1).run == alone.run


def test_what_is_exposed_binds_and_adds_up() -> None:
    slow = run(8, "pcie3", precision="amp")
    step, exchange = slow.step, slow.exchange
    assert exchange is not None
    assert step.communication_s == exchange.exposed_s > 0
    assert step.time_s == pytest.approx(step.forward_s + step.backward_s + step.update_s + step.communication_s)
    assert sum(step.bound_shares) == pytest.approx(1)
    assert step.bound is Bound.COMMUNICATION
    assert step.samples_per_s == pytest.approx(8 * 32 / step.time_s)


def test_gradients_of_every_parameter_are_summed_once() -> None:
    found = run(8).exchange
    assert found is not None
    assert found.message_bytes.sum() == 4 * load_workload("vgg16").parameters
    assert all(after >= before for before, after in pairwise(found.end_s))
    assert (found.start_s >= found.ready_s - 1e-12).all()


def test_a_framework_that_waits_exposes_all() -> None:
    found = run(8, framework="tensorflow-xla").exchange
    assert found is not None
    late = SPREAD * sqrt(2 * log(8)) * found.ready_s[0]
    assert found.exposed_s == pytest.approx(found.busy_s + late)


def test_towers_of_half_width_networks_with_normalisation_wait_for_each_other() -> None:
    def waits(workload: str, devices: int = 8, **options: str) -> float:
        found = run(devices, workload=workload, framework="tensorflow", **options).exchange
        assert found is not None
        return found.exposed_s

    towers = waits("resnet50", precision="fp16") - waits("resnet50", precision="amp")
    assert towers == pytest.approx(7 * 30e-3, rel=0.05)
    assert waits("resnet50", 2, precision="fp16") == pytest.approx(30e-3, rel=0.2)
    assert max(waits("resnet50"), waits("vgg16", precision="fp16")) < 20e-3


def test_inference_exchanges_nothing() -> None:
    both = run(8, task="infer")
    assert both.exchange is None
    assert both.step.samples_per_s == pytest.approx(8 * 32 / both.step.time_s)


def test_efficiency_on_eight_is_as_measured() -> None:
    # Published: ResNet-50 in fp32 on eight V100 over NVLink keeps 0.95 to 0.98, VGG-16 on eight P100 0.71 to 0.88.
    step = run(8, workload="resnet50").step
    assert 0.95 <= 1 - step.communication_s / step.time_s <= 0.98
    board, eight = load_device("p100-sxm2-16gb"), cluster_of_system("dgx-1-p100")
    for batch in (32, 64):
        pascal = simulate(load_workload("vgg16"), board, Options(batch=batch, framework="tensorflow-2017"), eight)
        assert 0.71 <= 1 - pascal.step.communication_s / pascal.step.time_s <= 0.88


def test_an_epoch_is_dealt_to_all_devices() -> None:
    one, eight = run(1).run, run(8).run
    assert eight.steps_per_epoch == -(-one.samples // (8 * 32))
    assert one.epoch_s / 8 < eight.epoch_s < one.epoch_s / 7


def test_systems_and_counts() -> None:
    assert usual_cluster(V100, 4).label == "4 over nvlink2"
    four = cluster_of_system("dgx-a100-80gb", 4)
    assert (four.devices, four.per_node, four.nodes) == (32, 8, 4)
    assert load_system("p5").device == "h100-sxm5-80gb"
    for nodes, devices in ((1, 9), (0, None), (2, 15)):
        with pytest.raises(InputError):
            cluster_of_system("dgx-1-v100", nodes, devices)
    with pytest.raises(InputError, match="network"):
        cluster(16, load_link("nvlink2"), per_node=8)
    with pytest.raises(InputError, match="not a network"):
        cluster(16, load_link("nvlink2"), load_link("nvlink3"), per_node=8)
    with pytest.raises(UnsupportedError, match="--link"):
        usual_cluster(load_device("m1"), 2)


def test_an_exchange_takes_units_from_the_kernels_beside_it() -> None:
    # Worked example: 10 ms of exchange, 2 exposed, on 20 of an H100's 132 units.
    taken = taken_units(load_device("h100-sxm5-80gb"), load_link("nvlink4"))
    assert taken == pytest.approx(20 / 132)
    assert slowed_seconds(10e-3, 2e-3, taken) == pytest.approx(8e-3 * 20 / 132)
    assert slowed_seconds(1e-3, 2e-3, taken) == 0.0


def test_a_slow_link_takes_few_units_and_engines_none() -> None:
    # 15.75 GB/s of PCIe 3 at 22 GB/s a unit, of 80.
    assert taken_units(V100, load_link("pcie3")) == pytest.approx(15.75 / 22 / 80, rel=0.01)
    assert taken_units(load_device("tpu-v4"), load_link("ici-v4")) == 0.0


def test_an_exchange_takes_bandwidth_from_kernels_that_stream() -> None:
    joined = cluster(8, load_link("nvlink2"))
    rate = sent_byte_per_s(joined)
    # Half of the kernels' time bound by memory: half of 7 units of 80, half of three bytes of 900 GB/s for each sent.
    units = 150 / 22 / 80
    assert taken_share(V100, joined, 0.5) == pytest.approx((units + 3 * rate / 900e9) / 2, rel=0.01)
    assert taken_share(V100, joined, 0.0) == pytest.approx(units, rel=0.01)
    assert taken_share(V100, cluster(1, load_link("nvlink2")), 0.5) == 0.0
    slow = cluster(16, load_link("nvlink2"), load_link("ethernet-10"), per_node=8)
    assert sent_byte_per_s(slow) < rate / 10
    assert taken_share(V100, slow, 1.0) < taken_share(V100, joined, 1.0) / 10


def test_a_device_with_more_bandwidth_loses_a_smaller_share() -> None:
    joined = cluster(8, load_link("nvlink4"))
    shares = [
        float(taken_share(load_device(name), joined, 1.0)) for name in ("a100-sxm4-40gb", "h100-sxm5-80gb", "h200")
    ]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] <= 0.5


def test_a_hidden_exchange_still_slows_the_step() -> None:
    alone, together = run(1), run(8)
    exchange = together.exchange
    assert exchange is not None
    late = late_seconds(8, np.asarray(alone.step.forward_s + alone.step.backward_s))
    after = max(float(exchange.end_s[-1]) - (together.step.forward_s + together.step.backward_s), 0.0)
    taken = taken_share(V100, cluster(8, load_link("nvlink2")), memory_share(together.times))
    slowed = slowed_seconds(exchange.busy_s, after, taken)
    assert slowed > 0
    assert exchange.exposed_s == pytest.approx(float(late) + after + float(slowed))

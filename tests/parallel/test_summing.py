"""Where gradients are summed: the pace of a ring that leaves a mesh, and processors that sum instead, by hand."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest
from msgspec import structs

from simulator.device.device import load_device
from simulator.device.system import Cluster, cluster_of_system
from simulator.parallel.summing import ONE_FLOW, Summing, summing_of
from simulator.pipeline import Options, simulate
from simulator.pipeline.simulation import Simulation
from simulator.roofline.collectives import Collective, Group, collective_seconds, cost_of
from simulator.workload.reading import load_workload

P100 = load_device("p100-sxm2-16gb")
OLD = Options(batch=32, framework="tensorflow-2017")
MESH = "dgx-1-p100"


def joined(devices: int, system: str = MESH) -> Cluster:
    found = cluster_of_system(system, 1, devices)
    assert found is not None
    return found


@pytest.mark.parametrize(("devices", "rate"), [(2, 26e9), (4, 26e9), (8, ONE_FLOW * 15.75e9)])
def test_a_ring_over_more_than_a_mesh_of_four_passes_the_host(devices: int, rate: float) -> None:
    summing = summing_of(OLD.on(P100), joined(devices))
    assert cost_of(summing.cluster.link, Collective.ALL_REDUCE).rate_byte_per_s == pytest.approx(rate)
    assert summing.bucket_bytes == inf


def test_libraries_since_find_rings_of_eight_and_processors_do_not_sum() -> None:
    eight = joined(8)
    summing = summing_of(Options(batch=32).on(P100), eight)
    assert summing.cluster is eight
    assert summing.host_seconds(1e9) == (inf, 0.0)


def test_links_that_pass_the_host_anyway_stay_as_they_are() -> None:
    board = load_device("rtx-2080-ti")
    eight = joined(8, "8x-rtx-2080-ti")
    assert summing_of(OLD.on(board), eight).cluster is eight


def test_what_processors_take_by_hand() -> None:
    # 553 MB come back at 0.83 x 15.75 = 13.07 GB/s in 42.3 ms; 8 x 553 MB are added at 10 GB/s in 442 ms.
    back_s, adding_s = summing_of(OLD.on(P100), joined(8)).host_seconds(553e6)
    assert back_s == pytest.approx(553e6 / 13.0725e9)
    assert adding_s == pytest.approx(0.4424)


def step(network: str, devices: int) -> Simulation:
    return simulate(load_workload(network), P100, OLD, joined(devices))


def test_each_network_is_summed_the_faster_way() -> None:
    for network, on_host in (("vgg16", False), ("resnet50", True)):
        answer = step(network, 8)
        exchange, summing = answer.exchange, summing_of(OLD.on(P100), joined(8))
        assert exchange is not None
        message = float(exchange.message_bytes.sum())
        ring_s = float(collective_seconds(Collective.ALL_REDUCE, message, Group(8, 8), summing.cluster))
        back_s, adding_s = summing.host_seconds(message)
        host_s = back_s + max(adding_s - answer.step.backward_s, 0.0)
        assert (host_s < ring_s) is on_host
        taken_s = float(exchange.end_s[-1] - exchange.ready_s[-1])
        assert taken_s == pytest.approx(min(host_s, ring_s))


def test_several_machines_and_devices_without_a_link_to_the_host_sum_around_their_links() -> None:
    two = cluster_of_system(MESH, 2)
    assert two is not None
    alone = replace(P100, profile=structs.replace(P100.profile, links=None))
    for device, cluster in ((P100, two), (alone, joined(8))):
        summing = summing_of(OLD.on(device), cluster)
        assert summing.cluster is cluster
        assert summing.host_seconds(1e9) == (inf, 0.0)


def test_without_processors_the_way_over_them_is_never_the_shorter() -> None:
    assert Summing(joined(8), inf).host_seconds(1.0) == (inf, 0.0)

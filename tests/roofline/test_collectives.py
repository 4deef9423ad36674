"""Times of collectives: by hand, laws, and measured ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator import catalog
from simulator.calibration.collectives import (
    LARGEST,
    SMALLEST,
    MeasuredCollective,
    held_out,
    link_name,
    mean_cost,
    predict_collective,
    read_collectives,
)
from simulator.device.link import FOLDER, Cost, Link, load_link
from simulator.device.system import Cluster, cluster
from simulator.errors import InputError
from simulator.report.collectives import errors
from simulator.roofline.collectives import (
    FAMILIES,
    VOLUME,
    Collective,
    Group,
    collective_seconds,
    cost_of,
    dispatch_seconds,
    reached,
)

MEASURED = Path(__file__).parents[3] / "shared" / "measured" / "collectives.csv.gz"
COST = Cost(4e-6, 6e-6, 200e9)
LINK = Link("l", "", 300e9, False, {Collective.ALL_REDUCE: COST})
NETWORK = load_link("infiniband-hdr")


def seconds(kind: Collective, size: float, group: Group, joined: Cluster) -> float:
    return float(collective_seconds(kind, size, group, joined))


def test_the_worked_example() -> None:
    # L = 3 x 6 us; V = 2 x 7/8 x 64 MiB = 117.4 MB, 587.2 us; (sqrt(18) + sqrt(587.2))^2 + 4 us.
    found = seconds(Collective.ALL_REDUCE, 64 * 2.0**20, Group(8, 8), cluster(8, LINK))
    assert found == pytest.approx(4e-6 + (18**0.5 + 587.2**0.5) ** 2 * 1e-6, rel=1e-4)


@pytest.mark.parametrize("devices", [2, 4, 8, 72])
def test_a_ring_moves_twice_n_minus_one_nths(devices: int) -> None:
    assert VOLUME[Collective.ALL_REDUCE](devices) == pytest.approx(2 * (devices - 1) / devices)
    parts = VOLUME[Collective.ALL_GATHER](devices) + VOLUME[Collective.REDUCE_SCATTER](devices)
    assert parts == pytest.approx(VOLUME[Collective.ALL_REDUCE](devices))


def test_over_machines_an_all_reduce_is_scattered_reduced_and_gathered() -> None:
    size, joined, inside = 2.0**28, Cluster(16, 8, LINK, NETWORK, 8), cluster(8, LINK)
    within = seconds(Collective.REDUCE_SCATTER, size, Group(8, 8), inside)
    gathered = seconds(Collective.ALL_GATHER, size, Group(8, 8), inside)
    # Each device sums an eighth over two machines through a port of its own: 0.72 of 25 GB/s, 1.9 ms. The 2.3 ms of
    # the link set the pace, and the starts add up.
    start = 25e-6 + 6e-6
    found = seconds(Collective.ALL_REDUCE, size, Group(16, 8), joined)
    assert found == pytest.approx(within + gathered + start)
    # A tenth of the network: its 18.7 ms set the pace.
    slow = Cluster(16, 8, LINK, Link("n", "", NETWORK.bandwidth_byte_per_s / 10, True, {}), 8)
    across = 25e-6 + (6e-6**0.5 + (size / 8 / 1.8e9) ** 0.5) ** 2
    starts = sum(seconds(kind, 0.0, Group(8, 8), inside) for kind in (Collective.REDUCE_SCATTER, Collective.ALL_GATHER))
    assert seconds(Collective.ALL_REDUCE, size, Group(16, 8), slow) == pytest.approx(starts + across)


@given(
    kind=st.sampled_from(list(Collective)),
    size=st.floats(1, 1e12),
    devices=st.sampled_from([2, 4, 8, 16]),
    link=st.sampled_from(catalog.names(FOLDER)),
)
def test_more_data_and_a_slower_link_never_take_less(kind: Collective, size: float, devices: int, link: str) -> None:
    known, group = load_link(link), Group(devices, devices)
    fast, slow = (Link("l", "", known.bandwidth_byte_per_s / part, known.network, {}) for part in (1, 2))
    times = collective_seconds(kind, np.array([size, 2 * size]), group, cluster(devices, known))
    assert 0 < times[0] < times[1] < np.inf
    assert seconds(kind, size, group, cluster(devices, fast)) <= seconds(kind, size, group, cluster(devices, slow))


def test_machines_without_a_network_and_ranks_that_do_not_divide_are_errors() -> None:
    for joined, group in ((Cluster(16, 8, LINK), Group(16, 8)), (Cluster(12, 8, LINK, NETWORK), Group(12, 8))):
        with pytest.raises(InputError):
            collective_seconds(Collective.ALL_GATHER, 1e6, group, joined)


def test_one_device_exchanges_nothing() -> None:
    assert seconds(Collective.ALL_REDUCE, 1e9, Group(1, 1), cluster(1, LINK)) == 0


@pytest.mark.skipif(not MEASURED.is_file(), reason="the table of measured collectives is not here")
def test_measured_bus_bandwidth() -> None:
    rows = [predict_collective(row) for row in read_collectives(MEASURED)]
    judged = [row for row in rows if row.predicted_s is not None and SMALLEST <= row.size_bytes <= LARGEST]
    fitted = [row for row in judged if row.nodes == 1 and "bridge" not in row.link]
    assert len(fitted) > 4900
    assert np.abs(errors(fitted)).mean() < 0.14
    assert len(judged) > 5150
    assert np.abs(errors(judged)).mean() < 0.15
    assert all((row.predicted_s is None) == (row.reason is not None) for row in rows)


def test_a_position_travels_once_to_each_rank() -> None:
    assert reached(1, 8) == pytest.approx(1)
    assert reached(8, 8) == pytest.approx(8 * (1 - (7 / 8) ** 8))
    assert reached(8, 10**6) == pytest.approx(8, rel=1e-4)


@given(st.integers(1, 64), st.integers(1, 64))
def test_a_position_reaches_no_more_than_there_are(active: int, places: int) -> None:
    assert 1 - 1e-9 <= reached(active, places) <= min(active, places) + 1e-9


def test_positions_cross_the_network_once_a_machine() -> None:
    # 8 experts a position over 4 machines of 8: 32 (1 - (31/32)^8) = 7.18 ranks of 4 (1 - (3/4)^8) = 3.60 machines. Of
    # 100 MB to ranks 50.1 MB go to machines, three quarters of them over the network: at 44 GB/s 854 us, with
    # 2 x 6 us of latency (sqrt(854) + sqrt(12))^2 + 25 = 1,093 us. The links in the machines take less.
    joined = cluster(32, load_link("nvlink5"), load_link("infiniband-ndr"), per_node=8, ports=8)
    found = float(dispatch_seconds(100e6, 8, Group(32, 8), joined))
    assert found == pytest.approx(1093e-6, rel=2e-3)
    inside = float(dispatch_seconds(100e6, 8, Group(8, 8), cluster(8, load_link("nvlink5"))))
    assert inside == pytest.approx(seconds(Collective.DISPATCH, 100e6, Group(8, 8), cluster(8, load_link("nvlink5"))))


@given(st.floats(1e3, 1e9), st.sampled_from([2, 4, 8]))
def test_more_machines_never_bring_positions_sooner(message: float, nodes: int) -> None:
    joined = cluster(8 * nodes, load_link("nvlink5"), load_link("infiniband-ndr"), per_node=8, ports=8)
    alone = float(dispatch_seconds(message, 8, Group(8, 8), cluster(8, load_link("nvlink5"))))
    assert float(dispatch_seconds(message, 8, Group(8 * nodes, 8), joined)) >= alone


def test_a_link_without_a_measured_dispatch_exchanges_as_all_to_all() -> None:
    joined = cluster(4, load_link("nvlink3"))
    both = [seconds(kind, 1e8, Group(4, 4), joined) for kind in (Collective.DISPATCH, Collective.ALL_TO_ALL)]
    assert both[0] == both[1]


def test_a_link_without_measurements_takes_its_familys() -> None:
    start_s, hop_s, share = FAMILIES["nvlink"][Collective.ALL_REDUCE]
    assert cost_of(load_link("nvlink2"), Collective.ALL_REDUCE) == Cost(start_s, hop_s, share * 150e9)
    assert cost_of(load_link("pcie6"), Collective.ALL_GATHER).rate_byte_per_s == pytest.approx(0.488 * 121e9)


def test_the_generation_of_a_link_is_its_systems() -> None:
    names = {system: link_name("NVLink NVSwitch", system) for system in ("a100 ND", "h200-sxm ND", "b200", "of others")}
    assert names == {"a100 ND": "nvlink3", "h200-sxm ND": "nvlink4", "b200": "nvlink5", "of others": "nvlink-nvswitch"}
    assert link_name("NVLink4 NVSwitch", "a100") == "nvlink4-nvswitch"


def rows_of(cost: Cost, system: str) -> list[MeasuredCollective]:
    """Times of a cost on 4 devices, by the formula."""
    joined = cluster(4, Link("l", "", 1.0, False, {Collective.ALL_REDUCE: cost}))
    sizes = 2.0 ** np.arange(10, 33)
    times = [seconds(Collective.ALL_REDUCE, size, Group(4, 4), joined) for size in sizes]
    return [
        MeasuredCollective("", "all_reduce", "l", system, 4, 1, size, time)
        for size, time in zip(sizes.tolist(), times, strict=True)
    ]


def test_a_system_that_is_held_out_has_the_nearest_systems_latency_and_share() -> None:
    # nvlink5 and its rack have equal bandwidths: one predicts the other, and nvlink3, whose link is slower, neither.
    usual, slow = Cost(4e-6, 5e-6, 720e9), Cost(9e-6, 9e-6, 100e9)
    kind = Collective.ALL_REDUCE
    rows = {
        ("gb200", "nvlink5-nvl72", kind): rows_of(usual, "gb200"),
        ("b200", "nvlink5", kind): rows_of(usual, "b200"),
        ("a100", "nvlink3", kind): rows_of(slow, "a100"),
    }
    count, mean, bias = held_out(rows, "b200")
    assert count == 23
    assert mean < 0.02
    assert abs(bias) <= mean
    assert held_out(rows, "a100")[1] > 0.3
    assert held_out({key: rows[key] for key in list(rows)[:1]}, "gb200")[0] == 0


def test_means_of_costs_are_geometric() -> None:
    found = mean_cost([(Cost(1e-6, 4e-6, 50e9), 100e9), (Cost(4e-6, 1e-6, 200e9), 100e9)])
    assert found == pytest.approx((2e-6, 2e-6, 1.0))


def test_what_goes_around_a_ring_passes_each_machine_in_turn() -> None:
    # Small messages over 16 machines of one device: 15 hops of an all-gather, 4 up and down a tree of an all-reduce.
    joined, group = cluster(16, LINK, NETWORK, per_node=1), Group(16, 1)
    cost = cost_of(NETWORK, Collective.ALL_GATHER)
    assert seconds(Collective.ALL_GATHER, 0, group, joined) == pytest.approx(cost.start_s + 15 * cost.hop_s)
    assert seconds(Collective.ALL_REDUCE, 0, group, joined) == pytest.approx(cost.start_s + 4 * cost.hop_s)

"""Times of collectives: by hand, laws, and measured ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator import catalog
from simulator.calibration.collectives import LARGEST, SMALLEST, predict_collective, read_collectives
from simulator.device.link import FOLDER, Cost, Link, load_link
from simulator.device.system import Cluster, cluster
from simulator.errors import InputError
from simulator.report.collectives import errors
from simulator.roofline.collectives import VOLUME, Collective, Group, collective_seconds

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
    # Each device sums an eighth over two machines through a port of its own: 25 GB/s, four fifths of it.
    across = 25e-6 + (6e-6**0.5 + (size / 8 / 20e9) ** 0.5) ** 2
    assert seconds(Collective.ALL_REDUCE, size, Group(16, 8), joined) == pytest.approx(within + gathered + across)


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
    assert len(judged) > 4900
    assert np.abs(errors(judged)).mean() < 0.14
    assert all((row.predicted_s is None) == (row.reason is not None) for row in rows)

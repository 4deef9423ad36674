"""Times of collectives: what devices that work together exchange, over one link or over links and a network.

A collective hands data on in pieces. Small pieces reach the last device soon, large ones waste less time in starting:
with the best size of piece the time is (sqrt(L) + sqrt(V / B))^2, of a latency L that grows with each doubling of the
devices, the bytes V that each device sends and its rate B. The start of the call comes before it.

Worked example: an all-reduce of 64 MiB over 8 devices, 4 us to start, 6 us a doubling, 200 GB/s: L = 3 x 6 = 18 us,
V = 2 x 7/8 x 64 MiB = 117.4 MB, V / B = 587.2 us; (4.24 + 24.23)^2 = 810.8 us, and 4 us to start: 814.8 us.

References
----------
Thakur, Rabenseifner, Gropp, "Optimization of collective communication operations in MPICH", IJHPCA 19(1), 2005
(volumes); Johnsson, Ho, "Optimum broadcasting and personalized communication in hypercubes", IEEE Trans. Comput. 38(9),
1989 (pieces).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from math import log2

import numpy as np

from simulator.device.link import Cost, Link
from simulator.device.system import Cluster
from simulator.errors import InputError
from simulator.op.kernels import FloatArray


class Collective(StrEnum):
    """What devices exchange."""

    ALL_REDUCE = "all_reduce"
    REDUCE_SCATTER = "reduce_scatter"
    ALL_GATHER = "all_gather"
    ALL_TO_ALL = "all_to_all"
    DISPATCH = "dispatch"
    BROADCAST = "broadcast"
    POINT_TO_POINT = "point_to_point"


def _ring(devices: int) -> float:
    return (devices - 1) / devices


VOLUME: dict[Collective, Callable[[int], float]] = {
    Collective.ALL_REDUCE: lambda devices: 2 * _ring(devices),
    Collective.REDUCE_SCATTER: _ring,
    Collective.ALL_GATHER: _ring,
    Collective.ALL_TO_ALL: _ring,
    Collective.DISPATCH: _ring,
    Collective.BROADCAST: lambda _: 1.0,
    Collective.POINT_TO_POINT: lambda _: 1.0,
}
"""Share of the message that each device sends."""

FAMILIES: dict[str, dict[Collective, tuple[float, float, float]]] = {
    "nvlink": {
        Collective.ALL_GATHER: (5.9e-6, 2.23e-6, 0.717),
        Collective.ALL_REDUCE: (3.78e-6, 4.71e-6, 0.884),
        Collective.ALL_TO_ALL: (8.84e-6, 0.954e-6, 0.621),
        Collective.POINT_TO_POINT: (6.18e-6, 0.552e-6, 1.0),
        Collective.REDUCE_SCATTER: (6.02e-6, 2.02e-6, 0.703),
    },
    "pcie": {
        Collective.ALL_GATHER: (2.48e-6, 2.78e-6, 0.488),
        Collective.ALL_REDUCE: (0.0, 5.32e-6, 0.536),
        Collective.ALL_TO_ALL: (4.78e-6, 1.31e-6, 0.405),
        Collective.REDUCE_SCATTER: (1.5e-6, 3.25e-6, 0.505),
    },
}
"""Where a link was not measured: start and doubling of a collective [s], and the share of its bandwidth that each
device sustains, geometric means of its family's measured links (`python -m simulator.calibration.collectives FILE`)."""

USUAL = (8e-6, 2.5e-6, 0.75)
"""The same of other links: about the median of the measured ones."""

NETWORK_START_S, NETWORK_HOP_S, NETWORK_SHARE = 25e-6, 6e-6, 0.72
"""The same between machines, which wait for two network cards. The share is measured: 35.5 of 50 GB/s point to point
between two DGX H100 (Vidur), 36.8 of 50 in an all-reduce of four p6-b200 over EFA."""


@dataclass(frozen=True)
class Group:
    """Ranks of one collective: how many, and how many of them share a machine."""

    size: int
    per_node: int


def collective_seconds(
    kind: Collective, message_bytes: FloatArray | float, group: Group, cluster: Cluster
) -> FloatArray:
    """Time of a collective, the shape of the message. [s]

    Parameters
    ----------
    message_bytes : as nccl-tests states it: the buffer of an all-reduce, the gathered output, the input of a
        reduce-scatter, a rank's whole buffer of an all-to-all. [byte]
    group : over several machines, an all-reduce is reduce-scattered in each, all-reduced across them by every device
        with those of its place, and gathered again; the others cross the network with what leaves a machine.
    """
    message = np.asarray(message_bytes, dtype=float)
    if group.size == 1:
        return np.zeros_like(message)
    inner = min(group.per_node, group.size)
    nodes, rest = divmod(group.size, inner)
    if rest:
        raise InputError(f"{group.size} ranks do not divide into machines of {group.per_node}")
    if nodes == 1:
        return _flat(kind, message, inner, cost_of(cluster.link, kind))
    across = _network_cost(cluster, kind)
    if kind is Collective.ALL_REDUCE:
        return _three_stages(message, (inner, nodes), cluster, across)
    ring = kind in RINGS
    leaving = message / inner if ring else message
    inside = _flat(kind, message, inner, cost_of(cluster.link, kind)) if inner > 1 else np.zeros_like(message)
    return np.maximum(inside, _flat(kind, leaving, nodes, across, ring=ring))


def _three_stages(message: FloatArray, ranks: tuple[int, int], cluster: Cluster, across: Cost) -> FloatArray:
    """An all-reduce that is scattered in each machine, summed across, and gathered: a pipeline of pieces. [s]

    All three start one after another; of what the bytes take, the slower of link and network sets the pace.

    ranks : in a machine, and machines.

    Worked example: 16 GiB over four machines of eight, links of 600 GB/s and cards of 36: each card moves 1.5 eighths,
    89.5 ms; the links move 1.75 times the whole, 50.1 ms beside it. Measured on four p6-b200.48xlarge: 87.2 ms.
    """
    inner, nodes = ranks
    inside = Group(inner, inner)
    scatter, gather = (
        collective_seconds(kind, np.append(message, 0.0), inside, cluster)
        for kind in (Collective.REDUCE_SCATTER, Collective.ALL_GATHER)
    )
    within = scatter + gather
    network = _flat(Collective.ALL_REDUCE, np.append(message, 0.0) / inner, nodes, across)
    starts = within[-1] + network[-1]
    moving = np.maximum(within[:-1] - within[-1], network[:-1] - network[-1])
    result: FloatArray = (starts + moving).reshape(message.shape)
    return result


def dispatch_seconds(message_bytes: FloatArray | float, active: int, group: Group, cluster: Cluster) -> FloatArray:
    """Time of positions on their way to experts or back, the shape of the message. [s]

    A position travels once to each rank that holds one of its `active` experts; over the network once to each machine,
    in which the rank of the same place hands it on over the link.

    message_bytes : copies that leave a rank, its own among them. [byte]

    Source: DeepSeek-AI, "DeepEP", 2025, kernels for training and prefill.
    """
    message = np.asarray(message_bytes, dtype=float)
    inner = min(group.per_node, group.size)
    nodes = group.size // inner
    if nodes == 1:
        return collective_seconds(Collective.DISPATCH, message, group, cluster)
    leaving = message * reached(active, nodes) / reached(active, group.size)
    inside = _flat(Collective.DISPATCH, message, inner, cost_of(cluster.link, Collective.DISPATCH))
    across = _flat(Collective.DISPATCH, leaving, nodes, _network_cost(cluster, Collective.DISPATCH))
    return np.maximum(inside if inner > 1 else 0.0, across)


def reached(active: int, places: int) -> float:
    """Ranks, or machines, that hold the experts of one position, on the average of even routing.

    Worked example: 8 experts a position over 8 ranks: 8 (1 - (7/8)^8) = 5.25.
    """
    return places * (1 - (1 - 1 / places) ** active)


def family_of(link: str) -> str:
    """Links whose collectives are alike, by their name: "nvlink", "pcie"; "" of others."""
    return next((family for family in FAMILIES if link.startswith(family)), "")


def cost_of(link: Link, kind: Collective) -> Cost:
    """What a collective costs over a link: measured, or of its family and its bandwidth."""
    known = link.costs.get(kind)
    if known is not None:
        return known
    if kind is Collective.DISPATCH:
        return cost_of(link, Collective.ALL_TO_ALL)
    if link.network:
        return Cost(NETWORK_START_S, NETWORK_HOP_S, NETWORK_SHARE * link.bandwidth_byte_per_s)
    start_s, hop_s, share = FAMILIES.get(family_of(link.name), {}).get(kind, USUAL)
    return Cost(start_s, hop_s, share * link.bandwidth_byte_per_s)


def _network_cost(cluster: Cluster, kind: Collective) -> Cost:
    """The network's, of the share of a machine's ports that each of its devices has."""
    if cluster.network is None:
        raise InputError("several machines exchange, and no network between them is named")
    cost = cost_of(cluster.network, kind)
    return Cost(cost.start_s, cost.hop_s, cost.rate_byte_per_s * cluster.ports / cluster.per_node)


RINGS = {Collective.ALL_GATHER, Collective.REDUCE_SCATTER}
"""What passes from machine to machine around a ring, so that its latency grows with their number; sums over all go up
and down a tree. Source: NCCL, `src/graph/tuning.cc`, which has trees for all-reduces alone."""


def _flat(kind: Collective, message: FloatArray, devices: int, cost: Cost, *, ring: bool = False) -> FloatArray:
    """Over one kind of link."""
    hops, sent = devices - 1 if ring else log2(devices), VOLUME[kind](devices) * message
    result: FloatArray = cost.start_s + (np.sqrt(cost.hop_s * hops) + np.sqrt(sent / cost.rate_byte_per_s)) ** 2
    return result

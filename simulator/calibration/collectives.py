"""Measured collectives: read, predicted, and the costs of links fitted to them.

`python -m simulator.calibration.collectives FILE` fits the links of a table, nccl-tests' sizes and times, and prints
the section `collectives` of each link's profile, and the means of each family of links. With `--held-out` it prints how
systems err whose costs come from the others'.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from simulator import catalog
from simulator.calibration.command import run
from simulator.calibration.tables import Row, heading, number, read_rows
from simulator.device.link import FOLDER, Cost, Link, load_link
from simulator.device.system import Cluster
from simulator.errors import InputError, SimulatorError, UnsupportedError
from simulator.op.kernels import FloatArray
from simulator.roofline.collectives import Collective, Group, collective_seconds, family_of

COLUMNS = ("op", "link", "devices", "nodes", "size_bytes", "time_s")
OPS = {
    "all_reduce": Collective.ALL_REDUCE,
    "reduce_scatter": Collective.REDUCE_SCATTER,
    "all_gather": Collective.ALL_GATHER,
    "alltoall": Collective.ALL_TO_ALL,
    "all_to_all": Collective.ALL_TO_ALL,
    "broadcast": Collective.BROADCAST,
    "send_recv": Collective.POINT_TO_POINT,
}
SMALLEST, LARGEST = 2**10, 2**33
"""Sizes that are judged. [byte]"""


@dataclass(frozen=True)
class MeasuredCollective:
    """One measured collective and its prediction, or why there is none. [byte], [s]"""

    id: str
    op: str
    link: str
    system: str
    devices: int
    nodes: int
    size_bytes: float
    time_s: float
    predicted_s: float | None = None
    reason: str | None = None


def is_collectives(path: Path) -> bool:
    """Whether a file is a table of collectives, by its first line."""
    return set(COLUMNS) <= set(heading(path))


def read_collectives(path: Path) -> list[MeasuredCollective]:
    """Rows of a table, plain or gzipped; a row without a size or time has a reason.

    Raises
    ------
    InputError
        Naming the line where a count or a number is malformed.
    """
    return [_row(str(line), row, where) for line, (where, row) in enumerate(read_rows(path, COLUMNS), start=2)]


def _row(line: str, row: Row, where: str) -> MeasuredCollective:
    devices, nodes = int(number(row, "devices", where)), int(number(row, "nodes", where)) or 1
    op, link, system = ((row.get(column) or "") for column in ("op", "link", "system"))
    size_bytes, time_s = number(row, "size_bytes", where), number(row, "time_s", where)
    found = MeasuredCollective(line, op, link, system, devices, nodes, size_bytes, time_s)
    if not size_bytes or not time_s:
        return replace(found, reason="no size or no time")
    algorithm = row.get("algorithm") or ""
    if algorithm and not algorithm.startswith(("nccl", "NVLS")):
        return replace(found, reason=f"another library's algorithm: {algorithm}")
    return found


def predict_collective(row: MeasuredCollective) -> MeasuredCollective:
    """The row with its predicted time, or with the reason why there is none."""
    if row.reason is not None:
        return row
    try:
        cluster = _cluster(row)
        group = Group(cluster.devices, cluster.per_node)
        return replace(row, predicted_s=float(collective_seconds(OPS[row.op], row.size_bytes, group, cluster)))
    except KeyError:
        return replace(row, reason=f"no cost for {row.op}")
    except SimulatorError as error:
        return replace(row, reason=str(error))


def _cluster(row: MeasuredCollective) -> Cluster:
    """The row's devices; trays of a rack that NVLink joins are one machine, and a rack has 72 devices."""
    link, _, network = row.link.lower().partition(" + ")
    rack = "nvl72" in link
    nodes = -(-row.devices // RACK) if rack else row.nodes
    if nodes > 1 and not network:
        raise UnsupportedError(f"the row does not name the network between its {nodes} machines")
    if row.devices < 2 or row.devices % nodes:
        raise InputError(f"{row.devices} devices do not divide over {nodes} machines")
    each = row.devices // nodes
    inside = load_link("nvlink5-nvl72" if rack else link_name(_inside(link, row), row.system))
    if nodes == 1:
        return Cluster(row.devices, each, inside)
    return Cluster(row.devices, each, inside, load_link(_network(network)), each)


RACK = 72
"""Devices that NVLink joins in a rack."""


def _inside(link: str, row: MeasuredCollective) -> str:
    """The slowest link of a machine: bridges join two boards, more go over PCIe."""
    if BRIDGED not in link:
        return link
    if "a40" in row.system.lower():
        raise UnsupportedError("a bridge between A40, which moves 4 GB/s in this table, has no profile")
    return BRIDGE if row.devices == PAIR else "pcie4" if "a100" in row.system.lower() else "pcie5"


BRIDGED, BRIDGE, PAIR = "bridge pairs", "nvlink-bridge", 2


def _network(words: str) -> str:
    """The profile of a network, as tables write it; each device has a port of its own."""
    found = next((name for sign, name in NETWORKS if sign in words), None)
    return found or _slug(words)


NETWORKS = (("efa", "efa-400"), ("xdr/ndr", "infiniband-ndr"))
"""Signs of a network in a table -> its profile."""

GENERATIONS = (("a100", "nvlink3"), ("h100|h200", "nvlink4"), ("b200", "nvlink5"))
"""Systems by name -> their link, where a table says NVLink without its generation."""


def link_name(link: str, system: str) -> str:
    """The profile, or alias, of a row's link."""
    name = _slug(link)
    if name != "nvlink-nvswitch":
        return name
    return next((known for pattern, known in GENERATIONS if re.search(pattern, system.lower())), name)


def _slug(text: str) -> str:
    """A link as the aliases write it: "nvlink4-nvswitch" of "NVLink4 NVSwitch"."""
    return "-".join(text.lower().replace("(", "").replace(")", "").split())


def fit_cost(kind: Collective, rows: Sequence[MeasuredCollective]) -> Cost:
    """Start, doubling and rate that err least in the mean of logarithms, by steps along each in turn."""
    size = np.array([row.size_bytes for row in rows])
    devices = np.array([row.devices for row in rows])
    measured = np.array([row.time_s for row in rows])
    largest = size >= np.quantile(size, 0.9)
    values = np.log([8e-6, 1e-6, np.median((size / measured)[largest])])

    def error(logarithms: FloatArray) -> float:
        cost = Cost(*np.exp(logarithms).tolist())
        return float(np.mean(np.abs(np.log(_seconds(kind, size, devices, cost) / measured))))

    best, step = error(values), 0.5
    while step > 0.005:
        trials = [values + sign * step * np.eye(3)[axis] for axis in range(3) for sign in (1, -1)]
        errors = [error(trial) for trial in trials]
        if min(errors) < best - 1e-6:
            best, values = min(errors), trials[int(np.argmin(errors))]
        else:
            step /= 2
    return Cost(*np.exp(values).tolist())


def _seconds(kind: Collective, size: FloatArray, devices: FloatArray, cost: Cost) -> FloatArray:
    link = Link("fitted", "", cost.rate_byte_per_s, False, {kind: cost})
    result = np.empty_like(size)
    for count in np.unique(devices).tolist():
        at = devices == count
        result[at] = collective_seconds(
            kind, size[at], Group(int(count), int(count)), Cluster(int(count), int(count), link)
        )
    return result


SYSTEMS = ("gb200", "b200", "h100", "h200", "a100", "rtx pro 6000")
"""Systems as tables name them, the longer before what it contains."""


def system_of(row: MeasuredCollective) -> str:
    """The system of a row by its device; its own name where that is none of ours."""
    name = row.system.lower()
    return next((system for system in SYSTEMS if system in name), row.system)


Rows = dict[tuple[str, str, Collective], list[MeasuredCollective]]
"""Rows by system, link and collective."""


def fitted_rows(rows: Sequence[MeasuredCollective]) -> Rows:
    """Rows that links are fitted to: of one machine, of judged sizes, over a link that ships."""
    found: Rows = {}
    for row in rows:
        if row.reason is not None or BRIDGED in row.link.lower():
            continue
        name = link_name(row.link, row.system)
        known = catalog.shipped(FOLDER, name) or name in catalog.aliases(FOLDER)
        judged = row.reason is None and row.nodes == 1 and SMALLEST <= row.size_bytes <= LARGEST and row.op in OPS
        if judged and known:
            found.setdefault((system_of(row), load_link(name).name, OPS[row.op]), []).append(row)
    return found


def mean_cost(costs: Sequence[tuple[Cost, float]]) -> tuple[float, float, float]:
    """Geometric means of starts [s] and doublings [s], and of rates over the links' bandwidths."""
    table = np.array([(cost.start_s, cost.hop_s, cost.rate_byte_per_s / bandwidth) for cost, bandwidth in costs])
    start, hop, share = np.exp(np.log(table).mean(axis=0)).tolist()
    return start, hop, share


def held_out(rows: Rows, system: str) -> tuple[int, float, float]:
    """Rows of a system that is held out of the fit: how many, the mean error of their bus bandwidth, and its bias.

    Costs are the means of those systems' whose links are of the family and nearest in bandwidth; the system's own link
    gives its bandwidth alone. A collective that no other system of the family measured is left out.
    """
    found: list[float] = []
    for (where, link, kind), here in rows.items():
        others = [key for key in rows if key[0] != system and key[2] == kind and family_of(key[1]) == family_of(link)]
        if where != system or not others:
            continue
        bandwidth = load_link(link).bandwidth_byte_per_s
        start, hop, share = mean_cost(
            [(fit_cost(kind, rows[key]), _bandwidth(key)) for key in _nearest(others, bandwidth)]
        )
        cost = Cost(start, hop, share * bandwidth)
        size, devices = np.array([row.size_bytes for row in here]), np.array([row.devices for row in here])
        measured = np.array([row.time_s for row in here])
        found += (measured / _seconds(kind, size, devices, cost) - 1).tolist()
    errors = np.array(found or [math.nan])
    return len(found), float(np.abs(errors).mean()), float(errors.mean())


def _bandwidth(key: tuple[str, str, Collective]) -> float:
    return load_link(key[1]).bandwidth_byte_per_s


def _nearest(keys: Sequence[tuple[str, str, Collective]], bandwidth: float) -> list[tuple[str, str, Collective]]:
    """Those whose links' bandwidth is nearest, by ratio."""
    far = [abs(np.log(_bandwidth(key) / bandwidth)) for key in keys]
    return [key for key, distance in zip(keys, far, strict=True) if distance <= min(far) + 1e-9]


def main(file: Path, held_out: bool) -> None:
    """Print what the single-machine rows of a table give for each link, or how systems err that are held out."""
    rows = fitted_rows(read_collectives(file))
    if held_out:
        _print_held_out(rows)
    else:
        _print_costs(rows)


def _print_costs(rows: Rows) -> None:
    by_link: dict[tuple[str, Collective], list[MeasuredCollective]] = {}
    for (_, link, kind), here in rows.items():
        by_link.setdefault((link, kind), []).extend(here)
    by_family: dict[tuple[str, Collective], list[tuple[Cost, float]]] = {}
    for (link, kind), chosen in sorted(by_link.items()):
        cost = fit_cost(kind, chosen)
        by_family.setdefault((family_of(link), kind), []).append((cost, load_link(link).bandwidth_byte_per_s))
        print(f"{link} {kind}: {{{_words(cost.start_s, cost.hop_s)}, rate: {cost.rate_byte_per_s / 1e9:.4g} GB/s}}")
    for (family, kind), costs in sorted(by_family.items()):
        start, hop, share = mean_cost(costs)
        print(f"family {family} {kind}: {_words(start, hop)}, {share:.3g} of the bandwidth")


def _words(start_s: float, hop_s: float) -> str:
    return f"start: {start_s * 1e6:.3g} us, hop: {hop_s * 1e6:.3g} us"


def _print_held_out(rows: Rows) -> None:
    for system in sorted({key[0] for key in rows}):
        count, mean, bias = held_out(rows, system)
        if not count:
            print(f"{system}: no other system of its links' family was measured")
            continue
        print(f"{system}: {count} rows, {mean:.1%} of the bus bandwidth, bias {bias:+.1%}")


if __name__ == "__main__":
    run(main)

"""Measured collectives: read, predicted, and the costs of links fitted to them.

`python -m simulator.calibration.collectives FILE` fits the links of a table, nccl-tests' sizes and times, and prints
the section `collectives` of each link's profile.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from simulator import catalog
from simulator.calibration.tables import Row, heading, number, read_rows
from simulator.device.link import FOLDER, Cost, Link, load_link
from simulator.device.system import Cluster
from simulator.errors import InputError, SimulatorError, UnsupportedError
from simulator.op.kernels import FloatArray
from simulator.roofline.collectives import Collective, Group, collective_seconds

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
    link, _, network = row.link.lower().partition(" + ")
    if row.nodes > 1 and not network:
        raise UnsupportedError(f"the row does not name the network between its {row.nodes} machines")
    if row.devices < 2 or row.devices % row.nodes:
        raise InputError(f"{row.devices} devices do not divide over {row.nodes} machines")
    joined = load_link(_slug(network)) if row.nodes > 1 else None
    return Cluster(row.devices, row.devices // row.nodes, load_link(_slug(link)), joined)


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


def main() -> None:
    """Print what the single-machine rows of a table give for each link."""
    rows = [row for row in read_collectives(Path(sys.argv[1])) if row.reason is None and row.nodes == 1]
    rows = [row for row in rows if SMALLEST <= row.size_bytes <= LARGEST and row.op in OPS]
    by_link: dict[tuple[str, Collective], list[MeasuredCollective]] = {}
    for row in rows:
        if catalog.shipped(FOLDER, _slug(row.link)) or _slug(row.link) in catalog.aliases(FOLDER):
            by_link.setdefault((load_link(_slug(row.link)).name, OPS[row.op]), []).append(row)
    for (link, kind), chosen in sorted(by_link.items()):
        cost = fit_cost(kind, chosen)
        start, hop, rate = cost.start_s * 1e6, cost.hop_s * 1e6, cost.rate_byte_per_s / 1e9
        print(f"{link} {kind}: {{start: {start:.3g} us, hop: {hop:.3g} us, rate: {rate:.4g} GB/s}}")


if __name__ == "__main__":
    main()

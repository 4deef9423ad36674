"""What whole machines draw at the wall: devices, processors, fans, network cards, supplies.

Between rest and full load the power of a machine grows in proportion to what its devices draw: fans, supplies' losses,
switches and memory follow them.

    wall = idle + (0.82 x rated - idle) x (drawn - at rest) / (at the limit - at rest)

Worked: a DGX H100, 10.2 kW rated, 1.53 kW idle; its eight boards draw 0.49 kW at rest and 5.38 kW at their limit. At
4.2 kW they are at (4.2 - 0.49) / (5.38 - 0.49) = 0.76 of the way: 1.53 + (8.36 - 1.53) x 0.76 = 6.7 kW.

References
----------
Fan, Weber, Barroso, "Power provisioning for a warehouse-sized computer", ISCA 2007 (a line between idle and full load);
Latif et al., "Single-node power demand during AI training", IEEE Access 13, 2025.
"""

from __future__ import annotations

from dataclasses import dataclass

from simulator.device.draw import HELD, Draw
from simulator.device.machine import Machine
from simulator.device.system import Cluster

LOADED = 0.82
"""Share of its rated power that a machine draws at most: eight H100 near full utilisation 8.4 of 10.2 kW (Latif)."""


@dataclass(frozen=True)
class Wall:
    """Machines at the wall, without the data centre. [W]

    Attributes
    ----------
    system, machines : of which kind, and how many.
    power_w : of all together.
    low_w, high_w : where it lies, as far as the devices' power is unsure.
    idle_w, rated_w : of all together, while nothing runs and as their maker rates them.
    """

    system: str
    machines: int
    power_w: float
    low_w: float
    high_w: float
    idle_w: float
    rated_w: float


def rated_watts(cluster: Cluster | None) -> float | None:
    """What all machines draw at most; None where nobody says. [W]"""
    machine = cluster.machine if cluster else None
    return cluster.nodes * machine.peak_w if cluster and machine and machine.peak_w is not None else None


def wall_of(cluster: Cluster | None, draw: Draw, drawn_w: tuple[float, float, float]) -> Wall | None:
    """Machines whose devices together draw so much; None where nobody says what they draw beside them.

    draw : of one device.
    drawn_w : of all devices that compute: as predicted, and its bounds. [W]
    """
    machine = cluster.machine if cluster else None
    if cluster is None or machine is None or machine.idle_w is None or machine.peak_w is None:
        return None
    power_w, low_w, high_w = (_wall_watts(machine, cluster, draw, each) for each in drawn_w)
    return Wall(
        system=machine.name,
        machines=cluster.nodes,
        power_w=power_w,
        low_w=low_w,
        high_w=high_w,
        idle_w=cluster.nodes * machine.idle_w,
        rated_w=cluster.nodes * machine.peak_w,
    )


def _wall_watts(machine: Machine, cluster: Cluster, draw: Draw, drawn_w: float) -> float:
    idle_w, rated_w = machine.idle_w or 0.0, machine.peak_w or 0.0
    loaded_w = max(LOADED * rated_w, idle_w)
    span_w = machine.devices * (HELD * draw.limit_w - draw.static_w)
    above_w = drawn_w - cluster.devices * draw.static_w
    return cluster.nodes * idle_w + (loaded_w - idle_w) * max(above_w, 0.0) / span_w

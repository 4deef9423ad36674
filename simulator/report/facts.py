"""Facts of an answer that several reports tell, each in its own words."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simulator.pipeline import Simulation
from simulator.roofline.times import Bound
from simulator.workload.workload import Layer

SLOWEST = 10
"""Layers that a report names."""


@dataclass(frozen=True, slots=True)
class LayerFact:
    """A layer's part of a step. [FLOP], [byte], [s]"""

    layer: Layer
    flops: float
    traffic_bytes: float
    time_s: float
    share: float
    bound: Bound

    @property
    def intensity(self) -> str:
        """FLOP for each byte, to three digits; empty without traffic."""
        return f"{self.flops / self.traffic_bytes:.3g}" if self.traffic_bytes else ""


def slowest(simulation: Simulation, count: int = SLOWEST) -> list[LayerFact]:
    """The layers that take longest, in the network's order where they take as long; none that takes no time."""
    times = simulation.layers
    order = [place for place in np.argsort(-times.time_s, kind="stable")[:count].tolist() if times.time_s[place] > 0]
    return [
        LayerFact(
            simulation.workload.layers[place],
            float(times.flops[place]),
            float(times.traffic_bytes[place]),
            float(times.time_s[place]),
            float(times.time_s[place] / simulation.step.time_s),
            Bound(int(times.bound[place])),
        )
        for place in order
    ]

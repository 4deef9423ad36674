"""Facts of an answer's layers, found once: terminal, page, CSV, JSON and figures each put them in their own words."""

from __future__ import annotations

from dataclasses import dataclass

from simulator.pipeline import Simulation
from simulator.roofline.times import Bound
from simulator.workload.workload import Layer

SLOWEST = 10
"""Layers that a report names."""

PASSES = ("forward", "backward", "update")
"""In the order of `LayerTimes.by_pass`."""


@dataclass(frozen=True, slots=True)
class PassFact:
    """One pass of a layer: its time, and what most of it waits for. [s]"""

    time_s: float
    bound: Bound

    @property
    def bound_name(self) -> str:
        """In a word; empty where it takes no time."""
        return self.bound.word if self.time_s else ""


@dataclass(frozen=True, slots=True)
class LayerFact:
    """A layer's part of a step. [FLOP], [byte], [FLOP/byte], [s]

    Attributes
    ----------
    macs : of the forward pass of one sample, counted as was asked. [MAC]
    intensity_flop_per_byte : None where nothing moves.
    seconds : of each resource, in the order of `OF_KERNELS`.
    share : of the step's time.
    bound : what most of the time waits for.
    passes : in the order of `PASSES`.
    """

    layer: Layer
    macs: float
    flops: float
    traffic_bytes: float
    intensity_flop_per_byte: float | None
    seconds: tuple[float, ...]
    time_s: float
    share: float
    bound: Bound
    passes: tuple[PassFact, ...]

    @property
    def bound_name(self) -> str:
        """In a word; empty where it takes no time."""
        return self.bound.word if self.time_s else ""

    @property
    def intensity(self) -> str:
        """FLOP for each byte, to three digits; empty where nothing moves."""
        return "" if self.intensity_flop_per_byte is None else f"{self.intensity_flop_per_byte:.3g}"


def layer_facts(simulation: Simulation) -> list[LayerFact]:
    """Every layer, in the network's order."""
    times, workload, step_s = simulation.layers, simulation.workload, simulation.step.time_s
    counts = workload.counts if simulation.options.count == "exact" else workload.article_counts
    columns = (times.flops, times.traffic_bytes, times.time_s, *times.seconds)
    numbers = zip(*(column.tolist() for column in columns), strict=True)
    ratios, bounds = times.intensity_flop_per_byte.tolist(), times.bound.tolist()
    passes = _passes(simulation)
    return [
        LayerFact(
            layer=layer,
            macs=count.macs,
            flops=flops,
            traffic_bytes=traffic,
            intensity_flop_per_byte=ratio if traffic else None,
            seconds=tuple(seconds),
            time_s=time_s,
            share=time_s / step_s,
            bound=Bound(bound),
            passes=each,
        )
        for layer, count, (flops, traffic, time_s, *seconds), ratio, bound, each in zip(
            workload.layers, counts, numbers, ratios, bounds, passes, strict=True
        )
    ]


def _passes(simulation: Simulation) -> list[tuple[PassFact, ...]]:
    """The passes of each layer."""
    times = simulation.layers
    seconds, bounds = times.by_pass.T.tolist(), times.bound_by_pass.T.tolist()
    return [
        tuple(PassFact(time_s, Bound(bound)) for time_s, bound in zip(*layer, strict=True))
        for layer in zip(seconds, bounds, strict=True)
    ]


def slowest(simulation: Simulation, count: int = SLOWEST) -> list[LayerFact]:
    """The layers that take longest, in the network's order where they take as long; none that takes no time."""
    ordered = sorted(layer_facts(simulation), key=lambda fact: -fact.time_s)
    return [fact for fact in ordered[:count] if fact.time_s > 0]

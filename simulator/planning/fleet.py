"""Replicas of a served model on some devices: what one carries at best, and what simulated queues show of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from math import ceil, sqrt

import numpy as np

from simulator.device.device import Device
from simulator.device.system import SystemProfile
from simulator.errors import InputError, OutOfMemoryError
from simulator.serving.answer import Service, deploy, most_requests
from simulator.serving.arrivals import mean_length
from simulator.serving.cache import capacity
from simulator.serving.certainty import spans_of
from simulator.serving.conditions import RequestConditions
from simulator.serving.queued import Served
from simulator.serving.static import RequestLengths, decode_steps, prompt_seconds
from simulator.serving.step import Deployment, reading, step_times
from simulator.serving.traffic import Line, Promise, Traffic, at_rate, line_of
from simulator.workload.workload import Workload

SLACK = 1.05
"""A replica carries at most so much more than its mean request says: tables of steps err by so much."""

IDLE = 1e-3
"""Of what a replica carries at best: so few requests that each is alone."""

CLOSE = 1.02
"""A rate is found to one part in fifty."""


@dataclass(frozen=True)
class Demand:
    """What is to be served: requests a second of all replicas together, and the latencies that 95 of 100 must keep."""

    rate_per_s: float
    promise: Promise = Promise(())
    traffic: Traffic = field(default_factory=Traffic)

    def __post_init__(self) -> None:
        """Refuse a rate that is none."""
        if not 0 < self.rate_per_s < float("inf"):
            raise InputError(f"--rate must be above zero, found {self.rate_per_s}")

    @cached_property
    def request(self) -> RequestLengths:
        """The mean request. [tokens]"""
        return RequestLengths(*map(mean_length, self.traffic.lengths))


@dataclass(frozen=True, eq=False)
class FleetSite:
    """One replica, and how replicas are bought.

    Attributes
    ----------
    name : of the machines that are bought whole, or of the device.
    together : devices of such a machine, else 1.
    full_per_s : requests that it carries a second at best, with no latency to keep. [1/s]
    first_s, token_s : of a request alone. [s]
    """

    name: str
    deployment: Deployment
    together: int
    full_per_s: float
    first_s: float
    token_s: float

    @property
    def device(self) -> Device:
        """The device."""
        return self.deployment.device

    def devices(self, replicas: int) -> int:
        """Devices of so many replicas, which do not reach over machines; worked example: 5 of 2 in eights take 16."""
        ways = self.deployment.devices
        return ceil(replicas / (self.together // ways)) * self.together if self.together > 1 else replicas * ways

    def usd_per_hour(self, replicas: int) -> float | None:
        """Price of so many replicas; None where the device's is unknown."""
        price = self.device.profile.price
        return price.usd_per_hour * self.devices(replicas) if price else None

    def alone(self, promise: Promise) -> tuple[str, ...]:
        """Latencies that even a request alone misses."""
        found = {"ttft": self.first_s, "tpot": self.token_s}
        return tuple(name for name, limit in promise.limits if found.get(name, 0.0) > limit)


def site_of(workload: Workload, device: Device, service: Service, system: SystemProfile | None = None) -> FleetSite:
    """One replica of a model, in machines that are bought whole if a system is named.

    Raises
    ------
    OutOfMemoryError
        If the memory does not hold the weights, or not a request's cache.
    SimulatorError
        If the devices cannot run it.
    """
    deployment = deploy(workload, device, service)
    room = capacity(deployment)
    most = most_requests(deployment, service.request, service.shared)
    if most < 1:
        raise OutOfMemoryError(f"a request of {service.request.total} tokens needs more than the cache's {room.tokens}")
    name, together = (system.name, system.devices) if system else (device.name, 1)
    return FleetSite(name, deployment, together, *_at_best(deployment, service, most))


def _at_best(deployment: Deployment, service: Service, most: int) -> tuple[float, float, float]:
    """Requests a second at best [1/s]; first token, and time of a token, of a request alone [s].

    Groups of layers work at the same time, as far as the engine lets prompts overlap in them; requests that decode go
    through them in as many groups. A step that reads takes the decoding requests along. Of n that decode, a request of
    `out` tokens takes (out - 1) / n decoding steps of its own, less the share of reading steps, prompt over tokens of a
    step, in which it advanced; fewer and longer ones where tokens are guessed, and less of a prompt where all share it.
    """
    request, guess = service.request, service.speculation
    past = RequestConditions(service.shared).past(request.prompt)
    numbers = np.unique(np.append(2.0 ** np.arange(most.bit_length()), float(most)))
    new = request.prompt - past
    together = max(deployment.engine.scheduler.tokens, new) / new
    read_s = float(step_times(deployment, reading(together, new, past)).time_s[0])
    read_s *= 1 - deployment.engine.overlap * (1 - 1 / deployment.stages)
    steps_s, _ = decode_steps(deployment, numbers, request, guess)
    pieces, steps = 1 / together, (request.output - 1) / guess.tokens / numbers
    beside = np.minimum(pieces, steps) if deployment.engine.scheduler.chunked else 0.0
    request_s = float((pieces * read_s + (steps - beside) * np.array(steps_s)).min())
    return SLACK / request_s, prompt_seconds(deployment, 1, new, past), steps_s[0] / guess.tokens


@dataclass(eq=False)
class Trials:
    """Queues of a site at some rates, each run once."""

    site: FleetSite
    demand: Demand
    served: dict[float, Served] = field(default_factory=dict)

    @cached_property
    def line(self) -> Line:
        """The replica ready to run queues."""
        return line_of(self.site.deployment, self.demand.traffic)

    def queue(self, rate_per_s: float) -> Served:
        """What becomes of the requests at a rate of one replica."""
        if rate_per_s not in self.served:
            self.served[rate_per_s] = at_rate(self.line, rate_per_s)
        return self.served[rate_per_s]

    def missed(self, rate_per_s: float) -> tuple[str, ...]:
        """Latencies that are not kept."""
        return self.demand.promise.missed(self.queue(rate_per_s))

    def keeps(self, replicas: int) -> bool:
        """Whether so many replicas keep all latencies, each with its share of the requests."""
        each = self.demand.rate_per_s / replicas
        return each <= self.site.full_per_s and not self.missed(each)


@dataclass(frozen=True)
class Carried:
    """Requests a second that one replica carries, and between what it lies with the probability of the spans. [1/s]"""

    low: float
    middle: float
    high: float


def carried(trials: Trials, at_least: float) -> Carried:
    """What a replica carries within its limits.

    With all steps f times as long, latencies at a rate are f times those at f times the rate. So at an end of the spans
    the rate is the one that keeps the limits over their own factors, over the tokens' factor.

    Parameters
    ----------
    at_least : a rate that is known to be kept. [1/s]
    """
    spans, demand = spans_of(trials.site.deployment.engine.name), trials.demand

    def end(factors: dict[str, float], low: float, high: float) -> float:
        limits = tuple((name, limit / factors[name]) for name, limit in demand.promise.limits)
        shifted = Trials(trials.site, replace(demand, promise=Promise(limits)), trials.served)
        return _largest(shifted, low, high) / factors["tpot"]

    full = trials.site.full_per_s
    middle = _largest(trials, at_least, full)
    return Carried(
        end({name: span.high for name, span in spans.items()}, 0.0, middle),
        middle,
        end({name: span.low for name, span in spans.items()}, middle, full),
    )


def _largest(trials: Trials, low: float, high: float) -> float:
    """Largest rate of a replica that keeps the limits; 0 where none does. [1/s]

    low, high : a rate that is known to be kept, or 0, and the most.
    """
    if low >= high or not trials.missed(high):
        return max(low, high)
    if not low:
        low = _below(trials, high)
    while low and high / low > CLOSE:
        middle = sqrt(low * high)
        low, high = (low, middle) if trials.missed(middle) else (middle, high)
    return low


def _below(trials: Trials, rate_per_s: float) -> float:
    """A rate that is kept, the first of quarters of one that is not; 0 where there is none."""
    if trials.missed(IDLE * trials.site.full_per_s):
        return 0.0
    while trials.missed(rate_per_s):
        rate_per_s /= 4
    return rate_per_s

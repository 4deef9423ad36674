"""A served model under traffic: latencies of each request, and the largest rate that keeps what was promised."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil

import numpy as np

from simulator.errors import InputError
from simulator.op.kernels import BoolArray, FloatArray
from simulator.serving.arrivals import Requests, drawn
from simulator.serving.cache import capacity
from simulator.serving.conditions import PLAIN, RequestConditions, transfer_seconds
from simulator.serving.costs import StepCosts, costs_of
from simulator.serving.queued import Rules, Served
from simulator.serving.scheduler import run_queue
from simulator.serving.step import Deployment
from simulator.units import parse

PERCENTILES = (50, 95, 99)
SERVED_PERCENTILE = 95
"""Of the requests, those that a promise must hold for."""

LATENCIES = {"ttft": "first_token_s", "tpot": "token_s", "e2e": "request_s"}
"""What may be promised -> the column of `Served`."""

STEPS = 12
"""Halvings of the interval that the largest rate lies in."""


@dataclass(frozen=True)
class Traffic:
    """How requests come and are run.

    Attributes
    ----------
    lengths : rules of prompts' and outputs' lengths, as `arrivals.drawn` takes them.
    conditions : shared beginnings, tokens guessed ahead, devices that read prompts.
    """

    number: int = 1000
    lengths: tuple[str, str] = ("1024", "256")
    pattern: str = "poisson"
    seed: int = 0
    conditions: RequestConditions = PLAIN


@dataclass(frozen=True)
class Promise:
    """Latencies that all but a few requests must keep. [s]"""

    limits: tuple[tuple[str, float], ...]

    def within(self, served: Served) -> BoolArray:
        """Which requests keep all limits, (requests,)."""
        good = np.ones(len(served.requests), dtype=bool)
        for name, limit in self.limits:
            good &= getattr(served, LATENCIES[name]) <= limit
        return good

    def kept(self, served: Served) -> bool:
        """Whether the percentile of each latency is within its limit."""
        return not self.missed(served)

    def missed(self, served: Served) -> tuple[str, ...]:
        """The latencies whose percentile is beyond its limit."""
        return tuple(
            name
            for name, limit in self.limits
            if float(np.percentile(getattr(served, LATENCIES[name]), SERVED_PERCENTILE)) > limit
        )


def promise(text: str) -> Promise:
    """The promise of "ttft=500ms,tpot=50ms".

    Raises
    ------
    InputError
        For an unknown latency or a time that is not understood.
    """
    limits: list[tuple[str, float]] = []
    for part in text.split(","):
        name, equals, value = part.strip().partition("=")
        if not equals or name not in LATENCIES:
            raise InputError(f"--slo {text!r}: write for example ttft=500ms,tpot=50ms; known: {', '.join(LATENCIES)}")
        if name in dict(limits):
            raise InputError(f"--slo {text!r}: {name} is there twice")
        limits.append((name, parse(value, "s", f"--slo {name}")))
    return Promise(tuple(limits))


@dataclass(frozen=True, eq=False)
class Line:
    """A deployment ready to run queues: its steps as tables, and its rules."""

    deployment: Deployment
    traffic: Traffic
    costs: StepCosts
    rules: Rules
    reader: tuple[StepCosts, Rules] | None

    def run(self, requests: Requests) -> Served:
        """What becomes of these requests.

        Raises
        ------
        InputError
            If one is longer than the model's context, or than the cache.
        """
        limit, longest = self.deployment.generator.limit, int((requests.prompt + requests.output).max())
        if limit is not None and longest > limit:
            name = self.deployment.workload.name
            raise InputError(f"a request of {longest} tokens is longer than {name}'s context of {limit}; shorten it")
        if self.reader is None:
            return run_queue(requests, self.costs, self.rules)
        return self._handed_over(requests, *self.reader)

    def _handed_over(self, requests: Requests, costs: StepCosts, rules: Rules) -> Served:
        """Prompts are read on devices of their own, and each cache is sent on to those that decode."""
        alone = replace(requests, output=np.ones_like(requests.output))
        read = run_queue(alone, costs, rules)
        sent_s = transfer_seconds(self.deployment, requests.prompt.astype(np.float64))
        arrival_s: FloatArray = read.end_s + sent_s
        order = np.argsort(arrival_s, kind="stable")
        later = Requests(arrival_s[order], requests.prompt[order], requests.output[order])
        decoded = run_queue(later, self.costs, replace(self.rules, read=False))
        back = np.argsort(order, kind="stable")
        return replace(decoded, requests=requests, first_s=read.end_s, end_s=decoded.end_s[back])


def line_of(deployment: Deployment, traffic: Traffic) -> Line:
    """A deployment ready for traffic.

    Raises
    ------
    OutOfMemoryError
        If the weights leave no room for the cache.
    """
    reader = traffic.conditions.reader
    return Line(
        deployment,
        traffic,
        costs_of(deployment, traffic.conditions.speculation),
        _rules(deployment, traffic),
        (costs_of(reader), _rules(reader, traffic)) if reader else None,
    )


def _rules(deployment: Deployment, traffic: Traffic) -> Rules:
    room, scheduler = capacity(deployment), deployment.engine.scheduler
    unit = room.unit_bytes
    return Rules(
        blocks=int(room.cache_bytes // unit),
        block=room.block if room.growing_bytes else None,
        state=ceil(room.state_bytes / unit),
        windows=tuple((span, size / unit) for span, size in room.windows),
        interval=scheduler.interval,
        gather=scheduler.gather,
        reserves=scheduler.reserves,
        tokens=scheduler.tokens,
        requests=scheduler.requests,
        chunked=scheduler.chunked,
        shared=traffic.conditions.shared,
    )


def at_rate(line: Line, rate_per_s: float) -> Served:
    """What becomes of requests that come at a mean rate; the same requests, closer or farther, for each rate."""
    traffic = line.traffic
    return line.run(drawn(rate_per_s, traffic.number, traffic.lengths, traffic.seed, traffic.pattern))


def largest_rate(line: Line, kept: Promise) -> float:
    """Largest mean rate of requests that keeps a promise; 0 where a single request now and then breaks it. [1/s]"""
    low, high = 0.0, 1 / 16
    while kept.kept(at_rate(line, high)):
        low, high = high, high * 2
        if high > 1e6:
            return low
    for _ in range(STEPS if low else 0):
        middle = (low + high) / 2
        low, high = (middle, high) if kept.kept(at_rate(line, middle)) else (low, middle)
    return low


def percentiles(served: Served) -> dict[str, dict[str, float]]:
    """p50, p95 and p99 of each latency. [s]"""
    return {
        name: {f"p{share}_s": float(np.percentile(getattr(served, column), share)) for share in PERCENTILES}
        for name, column in LATENCIES.items()
    }


@dataclass(frozen=True, eq=False)
class QueueAnswer:
    """A simulated queue, and the largest rate where one was promised. [1/s]"""

    line: Line
    served: Served
    promise: Promise | None = None
    largest_rate_per_s: float | None = None

    @property
    def good_share(self) -> float | None:
        """Share of the requests that keep all limits; None where none was promised."""
        return float(self.promise.within(self.served).mean()) if self.promise else None

    @property
    def goodput_per_s(self) -> float | None:
        """Requests that keep all limits, over the time from the first arrival to the last token. [1/s]

        Source: Zhong et al., "DistServe", OSDI 2024, arXiv 2401.09670, section 2.2.
        """
        if self.promise is None:
            return None
        served = self.served
        return float(self.promise.within(served).sum() / (served.end_s.max() - served.requests.arrival_s[0]))

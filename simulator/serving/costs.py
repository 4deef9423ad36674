"""Times of steps as tables, so that a queue of thousands of requests is stepped through without evaluating a kernel."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from simulator.errors import InputError
from simulator.op.kernels import FloatArray
from simulator.serving.step import Deployment, Load, both, decoding, reading, step_times
from simulator.serving.times import ServingBound

LONGEST = 2**20
"""Longest context of a table. [tokens]"""

TILE = 64
"""Rows of the products' tiles, between whose multiples a step's time is all but linear."""


MOST_AHEAD = 64
"""Tokens guessed ahead at most: beyond what engines take, and of which the last is right once in 800 times at 0.9."""


@dataclass(frozen=True)
class Speculation:
    """Tokens guessed ahead by a small model and checked together.

    Attributes
    ----------
    ahead : tokens guessed for each step.
    acceptance : probability that a guess is right, each like the others.
    draft : time of a step of the small model, of the large one's.
    """

    ahead: int = 0
    acceptance: float = 0.0
    draft: float = 0.1

    def __post_init__(self) -> None:
        """Refuse what is no probability."""
        if not 0 <= self.ahead <= MOST_AHEAD or not 0 <= self.acceptance < 1 or self.draft < 0:
            raise InputError(
                f"speculation: 0 to {MOST_AHEAD} tokens ahead, acceptance from 0 to below 1, a share of draft from 0"
            )

    @property
    def tokens(self) -> float:
        """Tokens that a step makes on average: (1 - a^(k + 1)) / (1 - a).

        Source: Leviathan, Kalman, Matias, "Fast Inference from Transformers via Speculative Decoding", ICML 2023,
        equation 1.
        """
        return (1 - self.acceptance ** (self.ahead + 1)) / (1 - self.acceptance)


class Surface:
    """A function of two numbers, linear between the points of a grid, and beyond its ends."""

    def __init__(self, rows: Sequence[float], columns: Sequence[float], values: Sequence[Sequence[float]]) -> None:
        self.rows, self.columns, self.values = list(rows), list(columns), values

    def __call__(self, row: float, column: float) -> float:
        """Value at a point."""
        place, share = _place(self.rows, row)
        other, part = _place(self.columns, column)
        low, high = self.values[place], self.values[place + 1]
        first = low[other] + part * (low[other + 1] - low[other])
        second = high[other] + part * (high[other + 1] - high[other])
        return first + share * (second - first)


def _place(axis: list[float], value: float) -> tuple[int, float]:
    """The cell that a value lies in, and where in it."""
    place = bisect_right(axis, value, 1, len(axis) - 1) - 1
    return place, (value - axis[place]) / (axis[place + 1] - axis[place])


NOTHING = Surface([0.0, 1.0], [0.0, 1.0], [[0.0, 0.0], [0.0, 0.0]])
"""Of steps whose kernels the host has always issued."""


@dataclass(frozen=True)
class StepCosts:
    """Times of a deployment's steps. [s]

    Attributes
    ----------
    decode : of (requests, 1) that decode without looking at their cache.
    cache : of attention over the cache of (requests, tokens of each).
    read : of (tokens in the step, 1) that a step with prompts has, without attention.
    prompt : of attention over a prompt's piece, of (new tokens, past ones).
    request_s : host time of each request beside the first.
    tokens : that a decoding step makes for each request.
    stages, overlap : groups of layers in a row, and the share of a step's prompts that overlap in them.
    issued_decode, issued_read : the least that steps take of (requests, 1) that decode, and of (tokens, 1) with
        prompts, while the host issues their kernels; 0 where it never holds up one.
    issued_beside_s : further, of attention of requests that decode beside prompts.
    """

    decode: Surface
    cache: Surface
    read: Surface
    prompt: Surface
    request_s: float
    tokens: float
    stages: int = 1
    overlap: float = 1.0
    issued_decode: Surface = NOTHING
    issued_read: Surface = NOTHING
    issued_beside_s: float = 0.0

    def decoding(self, requests: int, context: float) -> float:
        """A step in which so many requests decode."""
        busy_s = self.decode(requests, 1.0) + self.cache(requests, context)
        return max(busy_s, self.issued_decode(requests, 1.0))

    def mixed(self, requests: int, context: float, pieces: Sequence[tuple[int, int]]) -> float:
        """A step that reads pieces of prompts, (new, past) each, beside requests that decode.

        With several groups of layers, each prompt goes with its share of the requests, one behind the other: n over s
        groups take n + s - 1 times a group's time, as far as the engine lets them overlap.
        """
        beside = requests / self.stages
        tokens = beside + sum(new for new, _ in pieces)
        busy_s = self.read(tokens, 1.0) + sum(self.prompt(new, past) for new, past in pieces)
        issued_s = self.issued_read(tokens, 1.0)
        if requests:
            busy_s, issued_s = busy_s + self.cache(requests, context), issued_s + self.issued_beside_s
        seconds = max(busy_s, issued_s) + self.request_s * beside
        together = (len(pieces) + self.stages - 1) / (max(len(pieces), 1) * self.stages)
        return seconds * (1 - self.overlap * (1 - min(together, 1.0)))


def costs_of(deployment: Deployment, speculation: Speculation | None = None) -> StepCosts:
    """Tables of a deployment's steps; a decoding step's holds guessing and checking, for all tokens that it makes.

    What the device does and what the host issues are tables of their own: in a step, attention hides the issuing of
    other kernels as these do.
    """
    scheduler, guess = deployment.engine.scheduler, speculation or Speculation()
    requests, tokens = _steps(scheduler.requests), _steps(scheduler.tokens + scheduler.requests)
    batches, contexts, pieces = _powers(scheduler.requests), _powers(LONGEST), _powers(scheduler.tokens)
    groups = _group(deployment, np.array(requests))
    alone_s, _ = _parts(deployment, decoding(groups, 1.0))
    decode_s, issued_decode_s = _parts(deployment, decoding(groups * (guess.ahead + 1), 1.0))
    read_s, issued_read_s = _parts(deployment, reading(1.0, np.array(tokens)))
    few = (_parts(deployment, load)[1][0] for load in (both(reading(1.0, 1.0), decoding(1.0, 1.0)), reading(1.0, 2.0)))
    together_s, apart_s = map(float, few)
    drafts_s = guess.ahead * guess.draft * alone_s
    return StepCosts(
        decode=_line(requests, list(decode_s + drafts_s)),
        cache=_surface(
            batches, contexts, lambda r, c: step_times(deployment, decoding(_group(deployment, r), c)).cache_s
        ),
        read=_line(tokens, list(read_s)),
        prompt=_surface(pieces, [0.0, *contexts], lambda n, p: step_times(deployment, reading(1.0, n, p)).cache_s),
        request_s=deployment.engine.request_s,
        tokens=guess.tokens,
        stages=deployment.stages,
        overlap=deployment.engine.overlap,
        issued_decode=_line(requests, list(issued_decode_s + drafts_s)),
        issued_read=_line(tokens, list(issued_read_s)),
        issued_beside_s=max(together_s - apart_s - deployment.engine.request_s, 0.0),
    )


def _parts(deployment: Deployment, load: Load) -> tuple[FloatArray, FloatArray]:
    """Time of steps without attention over what is cached, and the least that they take while the host issues them. [s]

    Where the host does not hold up the emptiest of them, it holds up none.
    """
    never = replace(deployment, engine=replace(deployment.engine, dispatch_s=0.0))
    busy, whole = step_times(never, load), step_times(deployment, load)
    held = whole.time_s > busy.time_s * (1 + 1e-9)
    beside_s = whole.seconds[ServingBound.EXCHANGE] + whole.seconds[ServingBound.SCHEDULER]
    issuing_s = float(np.where(held, whole.time_s - beside_s, 0.0).max())
    issued_s: FloatArray = issuing_s + beside_s if issuing_s else np.zeros_like(beside_s)
    return busy.time_s - busy.cache_s, issued_s


def _group(deployment: Deployment, requests: FloatArray) -> FloatArray:
    """Requests of each of the groups that go through the stages one behind the other."""
    each: FloatArray = np.maximum(requests / deployment.stages, 1.0)
    return each


def _powers(most: int) -> list[float]:
    """Powers of two, and the most."""
    return sorted({float(2**power) for power in range(most.bit_length())} | {float(most), float(most + 1)})


def _steps(most: int) -> list[float]:
    """Each number up to a tile's rows, then both sides of each multiple of it, where products take another tile."""
    edges = range(TILE, most + TILE, TILE)
    return [*map(float, range(1, TILE)), *(float(edge + side) for edge in edges for side in (0, 1))]


def _line(axis: list[float], values: list[float]) -> Surface:
    return Surface(axis, [0.0, 2.0], [[value, value] for value in map(float, values)])


def _surface(rows: list[float], columns: list[float], rule: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Surface:
    first, second = (axis.ravel() for axis in np.meshgrid(rows, columns, indexing="ij"))
    values = rule(first, second).reshape(len(rows), len(columns))
    return Surface(rows, columns, values.tolist())

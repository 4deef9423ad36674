"""Closed loops: so many requests at any time, each followed by another as soon as it ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf

import numpy as np

from simulator.op.kernels import FloatArray
from simulator.serving.apart import Readers, readers_of, shared_out
from simulator.serving.cache import running
from simulator.serving.conditions import PLAIN, RequestConditions, transfer_seconds
from simulator.serving.costs import Speculation
from simulator.serving.static import RequestLengths, decode_steps, prompt_seconds, reads_of
from simulator.serving.step import Deployment, Load, both, decoding, reading, step_times
from simulator.serving.waiting import wait_seconds


@dataclass(frozen=True)
class Steady:
    """So many requests at any time, each followed by another as soon as it ends.

    Attributes
    ----------
    token_s : mean time of a token of a request, with the prompts read in between. [s]
    first_s : to the first token, with the waiting for others' prompts. [s]
    request_s : from taking a request in to its last token. [s]
    output_tokens_per_s : of all requests. [1/s]
    bound : what most of a decoding step waits for.
    """

    token_s: float
    first_s: float
    request_s: float
    output_tokens_per_s: float
    bound: str


def steady(deployment: Deployment, requests: float, request: RequestLengths, slots: float = inf) -> Steady:
    """A closed loop of so many requests; see `steady_at`."""
    return steady_at(deployment, [requests], request, slots)[0]


def steady_at(
    deployment: Deployment,
    requests: Sequence[float],
    request: RequestLengths,
    slots: float = inf,
    conditions: RequestConditions = PLAIN,
) -> list[Steady]:
    """Closed loops of so many requests, one answer a number, all in one evaluation.

    slots : requests that the engine runs at a time at most.
    conditions : shared beginnings, tokens guessed ahead, devices that read prompts.

    While a request makes its output, each of the others is replaced once: as many prompts are read as requests run.
    Steps that read carry the decoding requests along; where prompts fill all steps, they set the pace. Those that no
    slot or no room of the cache is left for, half way through their output on average or, where the engine reserves
    room, at its end, wait for others to end.

    Raises
    ------
    OutOfMemoryError
        If the weights do not fit.
    """
    made = request.output if deployment.engine.scheduler.reserves else request.output / 2
    held = running(deployment, max(requests), request.prompt + made, conditions.shared)
    numbers = np.minimum(np.asarray(requests, dtype=float), min(held, slots))
    readers = readers_of(deployment, request.prompt, conditions)
    if readers is not None:
        return _loops_apart(deployment, requests, request, readers, (min(held, slots), conditions.speculation))
    steps_s, bounds = decode_steps(deployment, numbers, request, conditions.speculation)
    courses = _courses(deployment, numbers, request, conditions, steps_s)
    loops = [
        _loop(number, request, course, bound)
        for number, course, bound in zip(numbers.tolist(), courses, bounds, strict=True)
    ]
    return [
        _behind(loop, asked / number) for loop, asked, number in zip(loops, requests, numbers.tolist(), strict=True)
    ]


def _loops_apart(
    deployment: Deployment,
    requests: Sequence[float],
    request: RequestLengths,
    readers: Readers,
    most: tuple[float, Speculation],
) -> list[Steady]:
    """Loops whose prompts are read elsewhere, several at a time: at most so many decode."""
    slots, guess = most
    grid = np.unique(np.append(2.0 ** np.arange(int(slots).bit_length()), float(slots)))
    grid = grid[grid <= max(slots, 1.0)]
    steps_s, bounds = decode_steps(deployment, grid, request, guess)
    steps = max((request.output - 1) / guess.tokens, 1.0)

    def decode_s(decoding: float) -> float:
        # Beyond what the cache holds, each waits its turn.
        return steps * float(np.interp(decoding, grid, steps_s)) * max(decoding / slots, 1.0)

    found = []
    for number in requests:
        decoding, first_s = shared_out(number, readers, decode_s)
        total_s = decode_s(decoding)
        bound = bounds[min(int(np.searchsorted(grid, decoding)), len(grid) - 1)]
        rate = request.output * decoding / total_s
        each_s = steps * float(np.interp(decoding, grid, steps_s)) / max(request.output - 1, 1)
        found.append(Steady(each_s, first_s, total_s + first_s, rate, bound))
    return found


@dataclass(frozen=True)
class _Course:
    """How a request of a loop is read and decodes.

    Attributes
    ----------
    step_s : of a decoding step. [s]
    tokens : that it makes.
    own_s : the steps that read a prompt, over the prompts that share them. [s]
    pieces : steps that decoding requests spend with it, where the same devices read.
    alone_s : from a prompt's coming to its first token, where no other is read. [s]
    apart : whether other devices read.
    """

    step_s: float
    tokens: float
    own_s: float
    pieces: float
    alone_s: float
    apart: bool = False


def _courses(
    deployment: Deployment,
    numbers: FloatArray,
    request: RequestLengths,
    conditions: RequestConditions,
    steps_s: Sequence[float],
) -> list[_Course]:
    """One for each number of requests."""
    tokens, reader = conditions.speculation.tokens, conditions.reader
    if reader is not None and request.prompt:
        past = conditions.past(request.prompt)
        own_s = prompt_seconds(reader, 1.0, request.prompt - past, past)
        sent_s = float(transfer_seconds(deployment, np.array([float(request.prompt)]))[0])
        alone_s = own_s + sent_s
        return [_Course(step_s, tokens, own_s, 0.0, alone_s, apart=True) for step_s in steps_s]
    reads, together = _together(deployment, numbers, request, conditions)
    own = _reading_seconds(deployment, numbers, request, reads).tolist()
    pieces = sum(count for count, _ in reads)
    rules = deployment.engine.scheduler
    unseen = rules.gather + (rules.interval - 1) / 2
    return [
        _Course(step_s, tokens, own_s / share, pieces / share, own_s + unseen * step_s)
        for step_s, own_s, share in zip(steps_s, own, together.tolist(), strict=True)
    ]


def _behind(loop: Steady, share: float) -> Steady:
    """A loop in which `share` times as many requests take turns as run: each waits for its turn. (Little's law.)"""
    wait_s = (share - 1) * loop.request_s
    return replace(loop, first_s=loop.first_s + wait_s, request_s=loop.request_s + wait_s)


def _together(
    deployment: Deployment, requests: FloatArray, request: RequestLengths, conditions: RequestConditions
) -> tuple[list[tuple[float, Load]], FloatArray]:
    """Steps that read a prompt, and how many prompts share them, (points,).

    Of so many requests, one ends in each step if they are as many as an output's tokens. Those that come until the
    engine looks for new requests are read together, as far as it takes their tokens in a step.
    """
    alone = np.ones_like(requests)
    if not request.prompt:
        return [], alone
    rules, past = deployment.engine.scheduler, conditions.past(request.prompt)
    new = request.prompt - past
    fit = rules.tokens // new
    if fit < 2:
        return reads_of(deployment, 1.0, new, past), alone
    steps = max((request.output - 1) / conditions.speculation.tokens, 1.0)
    came = requests / steps * max(rules.interval, rules.gather)
    share = np.clip(np.minimum(came, requests), 1.0, float(fit))
    return [(1.0, reading(share, new, past))], share


def _loop(requests: float, request: RequestLengths, course: _Course, bound: str) -> Steady:
    """One loop."""
    if not request.prompt:
        total_s = request.output / course.tokens * course.step_s
        each_s = total_s / request.output
        return Steady(each_s, each_s, total_s, requests * request.output / total_s, bound)
    steps = max((request.output - 1) / course.tokens, 1.0)
    others = max(requests - 1, 0.0)
    mixed = min(others * course.pieces, steps)
    total_s = (0.0 if course.apart else course.own_s * others) + (steps - mixed) * course.step_s
    first_s = course.alone_s + wait_seconds(course.own_s, round(requests), total_s)
    rate = requests * request.output / (total_s + first_s)
    return Steady(total_s / max(request.output - 1, 1), first_s, total_s + first_s, rate, bound)


def _reading_seconds(
    deployment: Deployment, requests: FloatArray, request: RequestLengths, reads: Sequence[tuple[float, Load]]
) -> FloatArray:
    """Time of the steps that read a prompt, beside the requests that decode if the engine mixes them. [s]"""
    total_s = np.zeros(len(requests))
    beside = decoding(np.maximum(requests - 1, 0.0), request.prompt + request.output / 2)
    for count, load in reads:
        mixed = both(load, beside) if deployment.engine.scheduler.chunked else load
        total_s = total_s + count * step_times(deployment, mixed).time_s
    return total_s

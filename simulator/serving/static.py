"""Answers without a queue: how long a prompt, a token and a batch take, and how many requests the cache holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf

import numpy as np

from simulator.errors import InputError
from simulator.op.kernels import FloatArray
from simulator.serving.arrivals import MOST_TOKENS
from simulator.serving.cache import running
from simulator.serving.step import Deployment, Load, both, decoding, reading, step_times
from simulator.serving.times import StepTimes

CONTEXTS = 9
"""Points at which a request's growing context is looked at; time between them is all but linear."""


@dataclass(frozen=True)
class RequestLengths:
    """What each request brings and takes. [tokens]"""

    prompt: int
    output: int

    def __post_init__(self) -> None:
        """Refuse lengths that no model takes, before work in proportion to them.

        Raises
        ------
        InputError
            Beyond `MOST_TOKENS`.
        """
        if self.prompt + self.output > MOST_TOKENS:
            raise InputError(
                f"a prompt of {self.prompt} and an answer of {self.output} tokens are more than {MOST_TOKENS} together"
            )

    @property
    def total(self) -> int:
        """Tokens that its cache holds in the end."""
        return self.prompt + self.output


def prompt_seconds(deployment: Deployment, prompts: float, length: int, cached: int = 0) -> float:
    """Time of reading so many prompts of equal length, in steps of as many tokens as the engine takes. [s]

    cached : tokens before each that are in the cache already.

    With several groups of layers, one step's piece is in one group while the next step's is in the one before: of n
    pieces over s groups, n + s - 1 times a group's time, as far as the engine lets them overlap.
    """
    steps = _reads(deployment, prompts, length, cached)
    total_s = float(sum(count * float(step_times(deployment, load).time_s[0]) for count, load in steps))
    pieces, stages = sum(count for count, _ in steps), deployment.stages
    together = (pieces + stages - 1) / (pieces * stages)
    return total_s * (1 - deployment.engine.overlap * (1 - together))


def first_token_times(deployment: Deployment, length: int) -> StepTimes:
    """The step that reads one prompt, or its first piece."""
    return step_times(deployment, _reads(deployment, 1.0, length)[0][1])


def _reads(deployment: Deployment, prompts: float, length: int, cached: int = 0) -> list[tuple[float, Load]]:
    """Steps that read prompts behind so many cached tokens: how many of each kind."""
    budget = deployment.engine.scheduler.tokens
    if length <= budget:
        together = min(prompts, max(budget // length, 1))
        return [(prompts / together, reading(together, length, cached))]
    return [(prompts, reading(1, min(budget, length - past), cached + past)) for past in range(0, length, budget)]


def token_seconds(deployment: Deployment, requests: float, request: RequestLengths) -> float:
    """Mean time of a token while so many requests decode, over the growing context. [s]"""
    return float(np.mean(decode_times(deployment, requests, request).time_s))


def decode_times(deployment: Deployment, requests: float, request: RequestLengths) -> StepTimes:
    """Steps over the growing context, evenly spaced."""
    return _in_groups(deployment, requests, _contexts(request))


def _contexts(request: RequestLengths) -> FloatArray:
    """Tokens that a request has cached, evenly spaced over its output."""
    spaced: FloatArray = request.prompt + (np.arange(CONTEXTS) + 0.5) / CONTEXTS * request.output
    return spaced


def _in_groups(deployment: Deployment, requests: float | FloatArray, context: FloatArray) -> StepTimes:
    """With several stages, the requests go through them in as many groups, one behind the other."""
    return step_times(deployment, decoding(np.maximum(np.asarray(requests) / deployment.stages, 1.0), context))


def batch_seconds(deployment: Deployment, requests: float, request: RequestLengths) -> float:
    """Time of a static batch: all prompts, then all tokens; one batch after the other where the cache is too small. [s]

    Raises
    ------
    OutOfMemoryError
        If the weights do not fit.
    """
    held = running(deployment, requests, request.total)
    read_s = prompt_seconds(deployment, held, request.prompt) if request.prompt else 0.0
    tokens_s = (request.output - bool(request.prompt)) * token_seconds(deployment, held, request)
    return (read_s + tokens_s) * requests / held


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
    deployment: Deployment, requests: Sequence[float], request: RequestLengths, slots: float = inf
) -> list[Steady]:
    """Closed loops of so many requests, one answer a number, all in one evaluation.

    slots : requests that the engine runs at a time at most.

    While a request makes its output, each of the others is replaced once: as many prompts are read as requests run.
    Steps that read carry the decoding requests along; where prompts fill all steps, they set the pace. Those that no
    slot or no room of the cache is left for, half way through their output on average, wait for others to end.

    Raises
    ------
    OutOfMemoryError
        If the weights do not fit.
    """
    held = running(deployment, max(requests), request.prompt + request.output / 2)
    numbers = np.minimum(np.asarray(requests, dtype=float), min(held, slots))
    context = np.tile(_contexts(request), len(numbers))
    times = _in_groups(deployment, np.repeat(numbers, CONTEXTS), context)
    steps_s = times.time_s.reshape(-1, CONTEXTS).mean(axis=1).tolist()
    reads, together = _together(deployment, numbers, request)
    own_s = _reading_seconds(deployment, numbers, request, reads).tolist()
    pieces = sum(count for count, _ in reads)
    unseen = deployment.engine.scheduler.gather + (deployment.engine.scheduler.interval - 1) / 2
    costs = [
        (step_s, own / share, pieces / share, own + unseen * step_s)
        for step_s, own, share in zip(steps_s, own_s, together.tolist(), strict=True)
    ]
    loops = [
        _loop(number, request, cost, times.bound(point * CONTEXTS).word)
        for point, (number, cost) in enumerate(zip(numbers.tolist(), costs, strict=True))
    ]
    return [
        _behind(loop, asked / number) for loop, asked, number in zip(loops, requests, numbers.tolist(), strict=True)
    ]


def _behind(loop: Steady, share: float) -> Steady:
    """A loop in which `share` times as many requests take turns as run: each waits for its turn. (Little's law.)"""
    wait_s = (share - 1) * loop.request_s
    return replace(loop, first_s=loop.first_s + wait_s, request_s=loop.request_s + wait_s)


def _together(
    deployment: Deployment, requests: FloatArray, request: RequestLengths
) -> tuple[list[tuple[float, Load]], FloatArray]:
    """Steps that read a prompt, and how many prompts share them, (points,).

    Of so many requests, one ends in each step if they are as many as an output's tokens. Those that come until the
    engine looks for new requests are read together, as far as it takes their tokens in a step.
    """
    alone = np.ones_like(requests)
    if not request.prompt:
        return [], alone
    rules = deployment.engine.scheduler
    fit = rules.tokens // request.prompt
    if fit < 2:
        return _reads(deployment, 1.0, request.prompt), alone
    came = requests / max(request.output - 1, 1) * max(rules.interval, rules.gather)
    share = np.clip(np.minimum(came, requests), 1.0, float(fit))
    return [(1.0, reading(share, request.prompt))], share


def _loop(requests: float, request: RequestLengths, costs: tuple[float, float, float, float], bound: str) -> Steady:
    """One loop.

    costs : of a decoding step, of reading a prompt [s]; in how many steps it is read; from a prompt's coming to its
        first token, where no other is read. [s]
    """
    step_s, own_s, pieces, alone_s = costs
    if not request.prompt:
        total_s = request.output * step_s
        return Steady(step_s, step_s, total_s, requests * request.output / total_s, bound)
    steps = max(request.output - 1, 1)
    mixed = min(requests * pieces, float(steps))
    total_s = own_s * requests + (steps - mixed) * step_s
    first_s = alone_s + _wait_seconds(own_s, round(requests), total_s)
    rate = requests * request.output / (total_s + first_s)
    return Steady(total_s / steps, first_s, total_s + first_s, rate, bound)


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


def _wait_seconds(own_s: float, requests: int, total_s: float) -> float:
    """Waiting for the prompts of others in a closed loop, whose requests come back after they have decoded.

    Mean value analysis: who comes finds what the loop of one request fewer has waiting, and the rest of the prompt
    that is being read, half of it since equal ones take equal time.
    Source: Reiser, Lavenberg, "Mean-Value Analysis of Closed Multichain Queuing Networks", J. ACM 27(2), 1980.
    """
    queue = busy = wait_s = 0.0
    for number in range(1, requests + 1):
        wait_s = own_s * max(queue - busy, 0.0) + own_s * busy / 2
        rate = number / (wait_s + own_s + total_s)
        queue, busy = rate * (wait_s + own_s), min(rate * own_s, 1.0)
    return wait_s

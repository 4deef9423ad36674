"""Answers without a queue: how long a prompt, a token and a batch take, and how many requests the cache holds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simulator.errors import InputError
from simulator.op.kernels import FloatArray
from simulator.serving.arrivals import MOST_TOKENS
from simulator.serving.cache import running
from simulator.serving.costs import Speculation
from simulator.serving.step import Deployment, Load, decoding, reading, step_times
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
    steps = reads_of(deployment, prompts, length, cached)
    total_s = float(sum(count * float(step_times(deployment, load).time_s[0]) for count, load in steps))
    pieces, stages = sum(count for count, _ in steps), deployment.stages
    together = (pieces + stages - 1) / (pieces * stages)
    return total_s * (1 - deployment.engine.overlap * (1 - together))


def first_token_times(deployment: Deployment, length: int, cached: int = 0) -> StepTimes:
    """The step that reads one prompt behind so many cached tokens, or its first piece."""
    return step_times(deployment, reads_of(deployment, 1.0, length, cached)[0][1])


def reads_of(deployment: Deployment, prompts: float, length: int, cached: int = 0) -> list[tuple[float, Load]]:
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


def decode_steps(
    deployment: Deployment, numbers: FloatArray, request: RequestLengths, guess: Speculation
) -> tuple[list[float], list[str]]:
    """Mean time of a decoding step at each number of requests [s], and what most of it waits for.

    With tokens guessed ahead, a step checks them all, and the small model has guessed them before.
    """
    context = np.tile(_contexts(request), len(numbers))
    times = _in_groups(deployment, np.repeat(numbers, CONTEXTS), context)
    bounds = [times.bound(point * CONTEXTS).word for point in range(len(numbers))]
    steps_s: FloatArray = times.time_s.reshape(-1, CONTEXTS).mean(axis=1)
    if guess.ahead:
        one, checked = (
            _in_groups(deployment, numbers * count, np.ones_like(numbers)) for count in (1, guess.ahead + 1)
        )
        small_s = guess.ahead * guess.draft * (one.time_s - one.cache_s)
        steps_s = steps_s + checked.time_s - checked.cache_s - (one.time_s - one.cache_s) + small_s
    return steps_s.tolist(), bounds

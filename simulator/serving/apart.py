"""A closed loop whose prompts are read on devices of their own, several at a time.

So many requests are at the readers or decode. Those that come while a batch of prompts is read are read together next;
each waits for half of the batch before its own on average, and for its cache to be sent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from simulator.serving.conditions import RequestConditions, transfer_seconds
from simulator.serving.load import reading
from simulator.serving.step import Deployment, step_times

HALVINGS = 40

Rule = Callable[[float], float]


@dataclass(frozen=True)
class Readers:
    """Devices that read prompts.

    Attributes
    ----------
    batches, times_s : so many prompts of one step, and the time of reading them. [s]
    sent_s : from the end of reading to the first step that decodes. [s]
    """

    batches: tuple[float, ...]
    times_s: tuple[float, ...]
    sent_s: float

    @property
    def most_per_s(self) -> float:
        """Prompts a second at best. [1/s]"""
        return self.batches[-1] / self.times_s[-1]

    def batch_seconds(self, batch: float) -> float:
        """Time of reading so many prompts together. [s]"""
        return float(np.interp(batch, self.batches, self.times_s))

    def batch(self, rate_per_s: float) -> float:
        """Prompts that come while as many are read, one at least; worked example: 30 a second in 0.1 s are 3."""
        last = self.batches[-1]
        return bisected(lambda size: rate_per_s * self.batch_seconds(size) - size, (1.0, last))

    def first_seconds(self, rate_per_s: float, others: float) -> float:
        """From a prompt's coming to its first token, at so many prompts a second. [s]

        others : share of the prompts that are not its own, of which one may be read when it comes.
        """
        size = self.batch(rate_per_s)
        own_s = self.batch_seconds(size)
        busy = min(others * rate_per_s * own_s / size, 1.0)
        return own_s * (1 + busy / 2) + self.sent_s


def readers_of(deployment: Deployment, prompt: int, conditions: RequestConditions) -> Readers | None:
    """The devices that read prompts of so many tokens; None where the same ones do both, or a step reads only one."""
    reader = conditions.reader
    if reader is None or not prompt:
        return None
    past = conditions.past(prompt)
    fit = reader.engine.scheduler.tokens // (prompt - past)
    if fit < 2:
        return None
    batches = np.unique(np.append(2.0 ** np.arange(fit.bit_length()), float(fit)))
    batches = batches[batches <= fit]
    times_s = step_times(reader, reading(batches, prompt - past, past)).time_s
    sent_s = float(transfer_seconds(deployment, np.array([float(prompt)]))[0])
    return Readers(tuple(batches.tolist()), tuple(times_s.tolist()), sent_s)


def shared_out(requests: float, readers: Readers, decode_s: Rule) -> tuple[float, float]:
    """Of a loop of so many requests, those that decode, and the time from a prompt's coming to its first token. [s]

    decode_s : from the first token to the last, where so many decode. [s]
    """
    others = (requests - 1) / requests

    def rate(decoding: float) -> float:
        return decoding / decode_s(decoding)

    def left(decoding: float) -> float:
        per_s = rate(decoding)
        return requests - decoding - per_s * readers.first_seconds(per_s, others)

    least = 1e-9 * requests
    most = bisected(lambda decoding: readers.most_per_s - rate(decoding), (least, requests))
    decoding = bisected(left, (least, most))
    return decoding, (requests - decoding) / rate(decoding)


def bisected(rule: Rule, between: tuple[float, float]) -> float:
    """Where a falling rule passes zero, or the nearer end."""
    low, high = between
    if rule(low) <= 0:
        return low
    if rule(high) >= 0:
        return high
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if rule(middle) > 0 else (low, middle)
    return (low + high) / 2

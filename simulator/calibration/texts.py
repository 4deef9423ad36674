"""Language models under MLPerf's rules: how long its data sets' texts are, and what a tuned system makes of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from simulator.device.device import load_device
from simulator.errors import OutOfMemoryError, UnsupportedError
from simulator.serving.answer import usual_cache
from simulator.serving.cache import running
from simulator.serving.engine import load_engine
from simulator.serving.formats import get_format
from simulator.serving.loops import steady_at
from simulator.serving.static import RequestLengths, prompt_seconds, token_seconds
from simulator.serving.step import Deployment
from simulator.workload.reading import load_workload

QUESTION = 177
"""Mean tokens of a question with its paragraph in SQuAD v1.1: 54 % of 384 are padding, which tuned kernels leave out.
Source: openreview 3nzKUh9a4M, on the work that padding costs BERT. [tokens]"""


@dataclass(frozen=True)
class Texts:
    """Mean lengths of a benchmark's texts, how many answers are searched in parallel, and its limits of latency.

    Attributes
    ----------
    first_s, token_s : to the first token, of a token, of 99 of 100 queries that come by chance. [s]
    """

    prompt: int
    answer: int
    beams: int = 1
    first_s: float = float("inf")
    token_s: float = float("inf")


TEXTS = {
    "llama2_70b": Texts(294, 294, first_s=2.0, token_s=0.2),
    "gptj_6b": Texts(930, 69, beams=4, first_s=20.0),
}
"""Answers of Llama 2 70B are 294.45 tokens long in MLPerf's reference, 291 by tokens over samples a second of 114 runs;
that its prompts (OpenOrca) are as long on average is assumed. GPT-J summarises CNN/DailyMail with four beams: 781 words
and a sentence that asks, 56 words: about 1.1 to 1.2 tokens a word, assumed. Limits: MLPerf inference rules v4.1."""

NUMBERS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 384, 512, 768, 1024, 1536, 2048)
"""Requests at a time that are tried."""


def answered_per_s(name: str, device: str, form: str, engine: str, *, limited: bool) -> float:
    """Requests a second of one device of a system that is tuned: at the best number of requests and degree. [1/s]

    limited : queries come by chance, and the benchmark limits their latency.

    Raises
    ------
    UnsupportedError
        If a network's texts are not known, or no degree holds it.
    """
    texts = TEXTS.get(name)
    if texts is None:
        raise UnsupportedError("the lengths of the benchmark's texts are not in the table")
    rates = list(_rates(name, device, form, engine, texts, limited=limited))
    if not rates:
        raise UnsupportedError(f"no degree of {name} keeps the benchmark's limits on {device}")
    return max(rates)


def _rates(name: str, device: str, form: str, engine: str, texts: Texts, *, limited: bool) -> Iterator[float]:
    """Requests a second and device of each degree and number of requests that keeps the limits."""
    for ways in (1, 2, 4, 8):
        deployment = deployed(name, device, form, engine, ways)
        try:
            loops = _searched(deployment, texts) if texts.beams > 1 else _loops(deployment, texts)
        except OutOfMemoryError:
            continue
        for loop in loops:
            if not limited or (loop.token_s < texts.token_s and loop.first_s < texts.first_s):
                yield loop.per_s / ways


@dataclass(frozen=True)
class Loop:
    """Requests a second of a closed loop, and its latencies. [1/s], [s]"""

    per_s: float
    first_s: float
    token_s: float


def _loops(deployment: Deployment, texts: Texts) -> list[Loop]:
    """Closed loops of so many requests, each followed by another."""
    found = steady_at(deployment, NUMBERS, RequestLengths(texts.prompt, texts.answer))
    rates = [number / loop.request_s for number, loop in zip(NUMBERS, found, strict=True)]
    return [Loop(rate, loop.first_s, loop.token_s) for rate, loop in zip(rates, found, strict=True)]


def _searched(deployment: Deployment, texts: Texts) -> list[Loop]:
    """The same with several beams an answer, of which the whole is the first that anyone sees.

    A prompt is read once, each beam decodes, and all beams' queries read the prompt's cache together.
    """
    request = RequestLengths(texts.prompt // texts.beams, texts.answer)
    most = running(deployment, NUMBERS[-1], texts.prompt + texts.beams * texts.answer)
    read_s, loops = prompt_seconds(deployment, 1, texts.prompt), []
    for number in (number for number in NUMBERS if number <= most):
        whole_s = number * read_s + texts.answer * token_seconds(deployment, number * texts.beams, request)
        loops.append(Loop(number / whole_s, whole_s, whole_s / texts.answer))
    return loops


def deployed(name: str, device: str, form: str, engine: str, ways: int) -> Deployment:
    """A network on so many devices that share each layer, as a year's release of an engine runs it."""
    on = _device(device)
    software = load_engine(engine, on.profile.family)
    stored = get_format(form)
    return Deployment(_workload(name), on, software, stored, ways, 1, usual_cache(software, stored))


_device = lru_cache(maxsize=32)(load_device)
_workload = lru_cache(maxsize=8)(load_workload)

"""Requests over time: arrivals by chance or as recorded, lengths given or drawn; the same for the same seed."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from io import StringIO
from itertools import islice
from pathlib import Path

import numpy as np

from simulator import catalog
from simulator.errors import InputError, UnknownNameError
from simulator.op.kernels import FloatArray, IntArray

MAX_BYTES = 64 * 2**20
TRACE_COLUMNS = ("arrival_s", "input", "output")

MOST = 10**6
"""Requests of one queue: a minute's work, and 24 MB."""

MOST_TOKENS = 2**24
"""Beyond the longest contexts that models claim, ten million (Llama 4 Scout)."""

PATTERNS = {"poisson": 1.0, "bursty": 2.0, "regular": 0.0}
"""Pattern of arrivals -> coefficient of variation of the gaps between them."""


@dataclass(frozen=True, eq=False)
class Requests:
    """Requests in the order of their arrival, (requests,) each. [s], [tokens]"""

    arrival_s: FloatArray
    prompt: IntArray
    output: IntArray

    def __len__(self) -> int:
        return len(self.arrival_s)

    @property
    def rate_per_s(self) -> float:
        """Requests a second, over the time that they arrive in."""
        span = float(self.arrival_s[-1] - self.arrival_s[0])
        return (len(self) - 1) / span if span > 0 else float("inf")


def drawn(rate_per_s: float, number: int, lengths: tuple[str, str], seed: int, pattern: str = "poisson") -> Requests:
    """So many requests at a mean rate.

    Parameters
    ----------
    lengths : of prompts and outputs: "2048", "uniform:100-2000", "exponential:500" or "lognormal:500,1.2" (mean,
        coefficient of variation). [tokens]
    pattern : "poisson", "bursty" (gaps vary twice as much) or "regular".

    Raises
    ------
    InputError
        For a rate or number below the least, or a length that is not understood or beyond `MOST_TOKENS`.
    """
    if not 0 < rate_per_s < float("inf") or number < 1:
        raise InputError("the rate must be above zero and there must be a request")
    if number > MOST:
        raise InputError(f"{number:,} requests are more than the {MOST:,} that a queue is played out for")
    if seed < 0:
        raise InputError(f"--seed must be at least 0, found {seed}")
    if pattern not in PATTERNS:
        raise UnknownNameError("pattern of arrivals", pattern, PATTERNS)
    chance = np.random.default_rng(seed)
    variation = PATTERNS[pattern]
    gaps = np.full(number, 1 / rate_per_s)
    if variation:
        shape = 1 / variation**2
        gaps = chance.gamma(shape, 1 / (rate_per_s * shape), number)
    prompt, output = (_lengths(text, number, chance) for text in lengths)
    return Requests(np.cumsum(gaps), prompt, output)


def _lengths(text: str, number: int, chance: np.random.Generator) -> IntArray:
    """Lengths drawn by a rule, at least one token each."""
    rule, _, rest = text.partition(":")
    try:
        if not rest:
            rule, rest = "", rule
        values = RULES[rule](rest, number, chance)
    except (ValueError, KeyError, OverflowError):
        raise InputError(
            f"length {text!r}: write a number, uniform:LOW-HIGH, exponential:MEAN or lognormal:MEAN,VARIATION"
        ) from None
    if values.max() > MOST_TOKENS:
        raise InputError(f"length {text!r}: more than the {MOST_TOKENS:,} tokens that a request may have")
    return np.maximum(np.rint(values), 1).astype(np.int64)


MEAN_OF = 10_000
"""Draws behind the mean length that a static answer takes."""


def mean_length(text: str) -> int:
    """The length, or the mean of the rule. [tokens]"""
    return round(float(_lengths(text, MEAN_OF, np.random.default_rng(0)).mean()))


def _positive(value: int) -> int:
    if value < 1:
        raise ValueError(value)
    return value


def _uniform(text: str, number: int, chance: np.random.Generator) -> FloatArray:
    low, high = (_positive(int(part)) for part in text.split("-"))
    if high < low:
        raise ValueError(text)
    return chance.integers(low, high + 1, number).astype(float)


def _exponential(text: str, number: int, chance: np.random.Generator) -> FloatArray:
    return chance.exponential(_positive(int(text)), number)


def _lognormal(text: str, number: int, chance: np.random.Generator) -> FloatArray:
    mean, variation = (float(part) for part in text.split(","))
    if not (0 < mean < float("inf") and 0 < variation < float("inf")):
        raise ValueError(text)
    width = np.sqrt(np.log(1 + variation**2))
    return chance.lognormal(np.log(mean) - width**2 / 2, width, number)


RULES: dict[str, Callable[[str, int, np.random.Generator], FloatArray]] = {
    "": lambda text, number, _: np.full(number, float(_positive(int(text)))),
    "uniform": _uniform,
    "exponential": _exponential,
    "lognormal": _lognormal,
}


def recorded(path: Path) -> Requests:
    """Requests of a CSV file with the columns arrival_s, input, output.

    Raises
    ------
    InputError
        Naming the file, the line and what is wrong with it.
    """
    reader = csv.DictReader(StringIO(catalog.read_text(path, MAX_BYTES)))
    try:
        missing = [column for column in TRACE_COLUMNS if column not in (reader.fieldnames or ())]
        if missing:
            raise InputError(f"{path}: the column {missing[0]!r} is missing; a trace has {', '.join(TRACE_COLUMNS)}")
        rows = [_row(row, f"{path}: line {reader.line_num}") for row in islice(reader, MOST + 1)]
    except csv.Error as error:
        raise InputError(f"{path}: after line {reader.line_num}: {error}") from None
    if not 0 < len(rows) <= MOST:
        raise InputError(f"{path}: " + (f"more than {MOST:,} requests" if rows else "no request in it"))
    rows.sort(key=lambda entry: entry[0])
    arrival_s, prompts, outputs = zip(*rows, strict=True)
    return Requests(np.array(arrival_s), np.array(prompts, dtype=np.int64), np.array(outputs, dtype=np.int64))


def _row(row: dict[str, str], where: str) -> tuple[float, int, int]:
    """When a request arrives, its tokens in and out."""
    try:
        arrival, prompt, output = float(row["arrival_s"]), int(row["input"]), int(row["output"])
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}: {error}") from None
    if not 0 <= arrival < float("inf") or min(prompt, output) < 1:
        raise InputError(f"{where}: a time of at least 0, tokens of at least 1")
    if max(prompt, output) > MOST_TOKENS:
        raise InputError(f"{where}: more than the {MOST_TOKENS:,} tokens that a request may have")
    return arrival, prompt, output

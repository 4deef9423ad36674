"""How a queue is run, and what becomes of its requests."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simulator.op.kernels import FloatArray, IntArray
from simulator.serving.arrivals import Requests


@dataclass(frozen=True)
class Rules:
    """How a queue is run.

    Attributes
    ----------
    blocks, block : blocks of the cache, and tokens of each; None where tokens take no room.
    state : blocks that each request takes beside those of its tokens.
    windows : span of layers that keep no more tokens than that, and the blocks that each of these takes; a request has
        them from its start to its end, as many as it needs in the end.
    tokens, requests : most in a step, and at a time.
    chunked : whether prompts are read in pieces beside decoding requests; else alone and whole.
    shared : tokens at the start of all prompts that are read and kept once.
    read : whether prompts are read here; else they come with their cache.
    interval : decoding steps from one look for new requests to the next.
    gather : decoding steps that a prompt waits for others to be read with, unless they fill a step.
    reserves : whether a request is taken in only if all that run have room for all of their tokens.
    """

    blocks: int
    block: int | None
    tokens: int
    requests: int
    state: int = 0
    chunked: bool = True
    shared: int = 0
    read: bool = True
    interval: int = 1
    gather: int = 0
    reserves: bool = False
    windows: tuple[tuple[int, float], ...] = ()

    def fixed(self, length: IntArray) -> IntArray:
        """Blocks of requests of so many tokens, beside those that grow, (requests,)."""
        kept = sum((blocks * np.minimum(length, span) for span, blocks in self.windows), np.zeros(len(length)))
        whole: IntArray = self.state + np.ceil(kept - 1e-9).astype(np.int64)
        return whole

    def grown(self, length: IntArray) -> IntArray:
        """Blocks of their tokens in layers that keep all, (requests,)."""
        blocks: IntArray = -(-length // self.block) if self.block else np.zeros_like(length)
        return blocks


@dataclass(frozen=True, eq=False)
class Served:
    """What became of each request, (requests,) each, and of the queue, (moments,) each.

    Attributes
    ----------
    first_s, end_s : when its first and its last token came. [s]
    moment_s, waiting, running, cached : when, requests that wait and that run, blocks of the cache in use.
    preempted : times that a request was put back to wait for want of cache.
    """

    requests: Requests
    first_s: FloatArray
    end_s: FloatArray
    moment_s: FloatArray
    waiting: FloatArray
    running: FloatArray
    cached: FloatArray
    preempted: int
    tokens: int

    @property
    def first_token_s(self) -> FloatArray:
        """Time to the first token."""
        return self.first_s - self.requests.arrival_s

    @property
    def token_s(self) -> FloatArray:
        """Mean time a token after the first; of requests of one token, zero."""
        result: FloatArray = (self.end_s - self.first_s) / np.maximum(self.requests.output - 1, 1)
        return result

    @property
    def request_s(self) -> FloatArray:
        """From arrival to the last token."""
        return self.end_s - self.requests.arrival_s

    @property
    def tokens_per_s(self) -> float:
        """Output of all requests over the time from the first arrival to the last token."""
        return float(self.requests.output.sum() / (self.end_s.max() - self.requests.arrival_s[0]))

"""What is in a step: requests that decode and prompts that are read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simulator.op.kernels import FloatArray


@dataclass(frozen=True)
class Load:
    """What is in a step, at many points at once, (points,) each.

    Attributes
    ----------
    tokens : new tokens of all requests.
    requests : requests whose next token is chosen.
    decoding, context : requests that decode, and the tokens that each has cached, on average.
    prompts, new, past : requests whose prompts are read, new tokens of each, tokens of each that are cached.
    """

    tokens: FloatArray
    requests: FloatArray
    decoding: FloatArray
    context: FloatArray
    prompts: FloatArray
    new: FloatArray
    past: FloatArray

    @property
    def key(self) -> bytes:
        """Equal for loads of equal numbers."""
        columns = (self.tokens, self.requests, self.decoding, self.context, self.prompts, self.new, self.past)
        return b"".join(np.asarray(column, dtype=float).tobytes() for column in columns)


def decoding(requests: FloatArray | float, context: FloatArray | float) -> Load:
    """Each request gets its next token."""
    batch, cached = np.broadcast_arrays(np.atleast_1d(np.asarray(requests, dtype=float)), np.asarray(context, float))
    none = np.zeros_like(batch)
    return Load(batch, batch, batch, cached, none, none, none)


def reading(prompts: FloatArray | float, new: FloatArray | float, past: FloatArray | float = 0.0) -> Load:
    """So many prompts of `new` tokens are read together, each behind `past` cached ones."""
    number, length, cached = np.broadcast_arrays(
        np.atleast_1d(np.asarray(prompts, dtype=float)), np.asarray(new, float), np.asarray(past, float)
    )
    none = np.zeros_like(number)
    return Load(number * length, number, none, none, number, length, cached)


def both(one: Load, other: Load) -> Load:
    """Requests that decode and prompts that are read, in one step."""
    return Load(
        one.tokens + other.tokens,
        one.requests + other.requests,
        one.decoding + other.decoding,
        one.context + other.context,
        one.prompts + other.prompts,
        one.new + other.new,
        one.past + other.past,
    )


__all__ = ["Load", "both", "decoding", "reading"]

"""Blocks of a paged cache that requests hold while they grow together."""

from __future__ import annotations

from math import floor


class Growing:
    """Requests that get a token each at every step, and the blocks that they hold.

    A request with t tokens at step g is kept as t - g, which does not change; of blocks of b tokens, ceil((t - g + g)
    / b) follows from the quotient and the rest of that, so that b counts stand for any number of requests.
    """

    def __init__(self, block: int) -> None:
        self.block, self.number, self.total = block, 0, 0
        self._whole, self._rests = 0, [0] * block

    def add(self, base: int) -> None:
        """A request whose tokens less the steps so far are `base`."""
        self._change(base, 1)

    def remove(self, base: int) -> None:
        """The same request leaves."""
        self._change(base, -1)

    def _change(self, base: int, sign: int) -> None:
        self.number += sign
        self.total += sign * base
        self._whole += sign * (base // self.block)
        self._rests[base % self.block] += sign

    def tokens(self, step: float) -> float:
        """Tokens of all after so many steps."""
        return self.total + self.number * step

    def blocks(self, step: float) -> int:
        """Blocks of all after so many steps; worked example: bases 0 and 15 of 16 at step 1 hold 1 and 1 blocks.

        Of g = q b + r steps, a request whose rest is s has gained q + ceil((s + r) / b) blocks: none, one or two beside
        q.
        """
        gained, rest = divmod(floor(step), self.block)
        still = self._rests[0] if not rest else 0
        twice = sum(self._rests[self.block - rest + 1 :]) if rest else 0
        return self._whole + (gained + 1) * self.number - still + twice

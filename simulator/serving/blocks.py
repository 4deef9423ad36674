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
        """Blocks of all after so many steps; worked example: bases 0 and 15 of 16 at step 1 hold 1 and 1 blocks."""
        done, block = floor(step), self.block
        counted = sum(count * ((rest + done + block - 1) // block) for rest, count in enumerate(self._rests) if count)
        return self._whole + counted

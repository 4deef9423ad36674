"""What the last kernel left in the cache comes faster than from the main memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from simulator.causes.cause import NETWORKS, TIMES, Cause, coefficient, starts

if TYPE_CHECKING:
    from simulator.op.kernels import FloatArray

CACHE_SPEEDUP = 3.0
"""Bandwidth of a last-level cache over that of the main memory; 2.5 to 4 on V100, A100 and H100 (gpu-benches)."""

WHOLE_TENSORS = f"{NETWORKS}; caches of 72 MB and more keep whole tensors"


@dataclass(frozen=True, eq=False, repr=False)
class Cache(Cause):
    """Share of the last-level cache that keeps data between kernels."""

    title: ClassVar[str] = "caches"
    slows: ClassVar[bool] = False

    cache: float = coefficient(
        "share of the last-level cache that keeps data between kernels",
        0,
        TIMES,
        starts(WHOLE_TENSORS, gpu=(0.2, 0.5), cpu=(0.5, 0.5), ada=(0.6, 0.3), blackwell=(0.6, 0.3)),
    )

    def uncached_bytes(self, moved_bytes: FloatArray, cache_bytes: float, speedup: float | None) -> FloatArray:
        """Traffic in units of main memory's, the shape of `moved_bytes`.

            kept = min(moved, cache x capacity)        units = (moved - kept) + kept / speedup

        speedup : of the cache over the main memory; None for the usual one. [1]

        Worked example: of 10 MB and of 1 MB, behind a cache of 6 MB whose share of 0.2 kept 1.2 MB, three times as
        fast: 10 - 1.2 x 2 / 3 = 9.2 MB, and a third of 1 MB.

        >>> import numpy as np
        >>> Cache(cache=0.2).uncached_bytes(np.array([10e6, 1e6]), 6e6, 3.0).round().tolist()
        [9200000.0, 333333.0]

        References
        ----------
        Ilic, Pratas, Sousa, "Cache-aware Roofline model: Upgrading the loft", IEEE Computer Architecture Letters 13(1),
        2014: a roof for each level of the memory. doi:10.1109/L-CA.2013.6
        """
        import numpy as np

        kept = np.minimum(moved_bytes, self.cache * cache_bytes)
        result: FloatArray = moved_bytes - kept * (1 - 1 / (CACHE_SPEEDUP if speedup is None else speedup))
        return result

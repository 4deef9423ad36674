"""Winograd's algorithm runs its products slower than plain ones, and its transforms slower than a copy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from simulator.causes.cause import DEEPBENCH, RATIO, TIMES, Cause, coefficient, starts


@dataclass(frozen=True, eq=False, repr=False)
class Winograd(Cause):
    """Rates of its two forms, in passes over memory and in one kernel; `roofline/winograd.py` has the algorithm."""

    title: ClassVar[str] = "Winograd"
    slows: ClassVar[bool] = False

    winograd: float = coefficient(
        "Winograd's products, of the GEMM rate; 0: none", 0, TIMES, starts(DEEPBENCH, gpu=(1.2, 0.15)), absent=0.0
    )
    fused_winograd: float = coefficient(
        "the same in one kernel with its transforms", 1, RATIO, starts(DEEPBENCH, gpu=(0.93, 0.15)), absent=1.0
    )
    transform: float = coefficient(
        "Winograd's transforms, of the sustained bandwidth", 1, RATIO, starts(DEEPBENCH, gpu=(0.8, 0.15)), absent=1.0
    )

"""A run: steps times dataset times epochs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from simulator.errors import InputError


@dataclass(frozen=True)
class Run:
    """All epochs over a dataset. [s]"""

    samples: int
    steps_per_epoch: int
    epoch_s: float
    epochs: int

    DERIVED: ClassVar = ("total_s",)
    """What documents state beside the fields, from which it follows."""

    @property
    def total_s(self) -> float:
        """Time of all epochs."""
        return self.epoch_s * self.epochs


def run_of(samples: int, batch: int, epochs: int, step_s: Callable[[int], float]) -> Run:
    """Epoch time: full steps at `batch`, and one smaller step for the samples that are left over.

    Parameters
    ----------
    step_s : time of a step of a given number of samples. [s]
    """
    full, rest = divmod(samples, batch)
    epoch_s = full * step_s(batch) if full else 0.0
    if rest:
        epoch_s += step_s(rest)
    return Run(samples, full + (1 if rest else 0), epoch_s, epochs)


def endless(workload: str) -> InputError:
    """The error of a run that no dataset ends."""
    return InputError(f"{workload} names no dataset, so that a run has no end; give --dataset or --samples")

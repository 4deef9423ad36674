"""What a run takes on the calendar beside its steps: warm-up, evaluation, and waiting for the slowest device.

    run = steps x (1 + spread x E[largest of n]) + warm-up + evaluations

Devices differ, for as long as the run lasts; each step waits for the slowest of n. Where a device's computing time is
normal with a relative standard deviation `spread`, the expected excess of the slowest is spread x E, E the mean of the
largest of n standard normal values: 0.564 of two, 1.424 of eight, 3.25 of 1,024.

    E = integral over x > 0 of (1 - F(x)^n) - integral over x < 0 of F(x)^n,    F the normal distribution

Source: David, Nagaraja, "Order Statistics", 2003, section 3.1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, erfc, exp, isfinite, log1p, sqrt
from typing import ClassVar

from simulator.errors import InputError
from simulator.execution.run import Run

LAST_BATCHES = ("keep", "drop")
"""What becomes of the samples that do not fill a step: a smaller one, or none."""

WIDEST_SPREAD = 1.0
"""A standard deviation as large as the time itself would let devices be done before they begin."""

REACH, CELL = 12.0, 1 / 128
"""Bounds and cells of the integral, in standard deviations; beyond 12 a normal value is as good as never."""


@dataclass(frozen=True)
class Habits:
    """How a run goes.

    Attributes
    ----------
    last_batch : "keep" or "drop".
    warm_up_steps : before the first epoch, which count for nothing.
    evaluate_every : epochs between two evaluations; None for none.
    evaluate_samples : of an evaluation; the dataset's own if None.
    straggler_spread : relative standard deviation of a device's computing time, over devices; None for what the model
        has of itself.
    """

    last_batch: str = "keep"
    warm_up_steps: int = 0
    evaluate_every: int | None = None
    evaluate_samples: int | None = None
    straggler_spread: float | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        if self.last_batch not in LAST_BATCHES:
            raise InputError(f"--last-batch must be keep or drop, found {self.last_batch!r}")
        if self.evaluate_samples is not None and self.evaluate_every is None:
            raise InputError("--evaluate-samples is of evaluations: give --evaluate-every, in epochs")
        for name, number in (("--evaluate-every", self.evaluate_every), ("--evaluate-samples", self.evaluate_samples)):
            if number is not None and number < 1:
                raise InputError(f"{name} must be at least 1, found {number}")
        if self.warm_up_steps < 0:
            raise InputError(f"--warm-up-steps cannot be negative, found {self.warm_up_steps}")
        spread = self.straggler_spread
        if spread is not None and not (isfinite(spread) and 0 <= spread < WIDEST_SPREAD):
            raise InputError(f"--straggler-spread is a share of the time, such as 0.02, found {spread:g}")


@dataclass(frozen=True)
class Course:
    """A run on the calendar, without failures. [s]

    Attributes
    ----------
    steps_s : of all epochs' steps, as they are alone.
    late_s : in which steps wait for the slowest device.
    warm_up_s, evaluation_s : of the steps before the first epoch, and of all evaluations.
    evaluations : how many.
    dropped : samples of an epoch that no step reads.
    """

    steps_s: float
    late_s: float
    warm_up_s: float
    evaluation_s: float
    evaluations: int
    dropped: int

    DERIVED: ClassVar = ("total_s",)
    """What documents state beside the fields, from which it follows."""

    @property
    def total_s(self) -> float:
        """All of it."""
        return self.steps_s + self.late_s + self.warm_up_s + self.evaluation_s


@dataclass(frozen=True)
class RunStep:
    """What a step of the run costs. [s]

    Attributes
    ----------
    time_s, computing_s : of a full step, and the part of it in which devices compute.
    samples, devices : of all devices together.
    evaluate : seconds of evaluating so many samples.
    """

    time_s: float
    computing_s: float
    samples: int
    devices: int
    evaluate: Callable[[int], float]


def without_last(run: Run, samples: int, step_s: float) -> Run:
    """The same run whose epochs have full steps alone, of so many samples.

    Raises
    ------
    InputError
        If an epoch has no full step.
    """
    full = run.samples // samples
    if not full:
        raise InputError(f"--last-batch drop leaves nothing of {run.samples} samples in steps of {samples}")
    return Run(full * samples, full, full * step_s, run.epochs)


def course_of(
    run: Run, costs: RunStep, habits: Habits, evaluation_samples: int | None = None, dropped: int = 0
) -> Course:
    """A run on the calendar.

    Parameters
    ----------
    run : of all steps, as `without_last` leaves them where the last are dropped.
    evaluation_samples : of the dataset; None where not known.
    dropped : samples of an epoch that no step reads.

    Raises
    ------
    InputError
        If evaluations are asked for, and nobody says of how many samples.
    """
    evaluations = run.epochs // habits.evaluate_every if habits.evaluate_every else 0
    samples = habits.evaluate_samples or evaluation_samples
    if evaluations and samples is None:
        raise InputError("the dataset does not say how many samples an evaluation has: give --evaluate-samples")
    late = (habits.straggler_spread or 0.0) * largest_of(costs.devices) * costs.computing_s / costs.time_s
    warm_up_s = habits.warm_up_steps * costs.time_s * (1 + late)
    evaluation_s = evaluations * costs.evaluate(samples) if samples and evaluations else 0.0
    return Course(run.total_s, late * run.total_s, warm_up_s, evaluation_s, evaluations, dropped)


def evaluation_seconds(samples: int, together: int, forward_s: Callable[[int], float]) -> float:
    """An evaluation in forward passes of at most `together` samples. [s]

    forward_s : of a pass of so many samples.
    """
    full, rest = divmod(samples, together)
    return (full * forward_s(together) if full else 0.0) + (forward_s(rest) if rest else 0.0)


@lru_cache(maxsize=64)
def largest_of(number: int) -> float:
    """Mean of the largest of so many standard normal values, by the rule of rectangles' middles."""
    cells = ceil(REACH / CELL)
    middles = [(cell + 0.5) * CELL for cell in range(cells)]
    above = sum(1 - _all_below(x, number) for x in middles)
    below = sum(_all_below(-x, number) for x in middles)
    return (above - below) * CELL


def _all_below(x: float, number: int) -> float:
    """Probability that all of so many values lie below."""
    beyond = erfc(x / sqrt(2)) / 2
    return exp(number * log1p(-beyond)) if beyond < 1 else 0.0

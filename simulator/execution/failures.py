"""Failures of a long run: what is lost to them, and how often to write a checkpoint.

Failures come by chance at a rate 1 / M, M the mean time between failures of one device over their number. A run saves
its state every tau seconds of work, which takes C; after a failure it starts again in R and repeats what it had not
saved.

    expected time = M exp(R / M) (exp((tau + C) / M) - 1) work / tau

Worked example: M = 10 h, C = 60 s, R = 300 s, tau = 2,018 s: 1.079 times the work.

References
----------
Young, "A first order approximation to the optimum checkpoint interval", Commun. ACM 17(9), 1974
(sqrt(2 C M)); Daly, "A higher order estimate of the optimum checkpoint interval for restart dumps", FGCS 22(3), 2006,
equations 20 (time) and 37 (interval). doi:10.1016/j.future.2004.11.016
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, expm1, inf, isfinite, sqrt

from simulator.errors import InputError

LONGEST = 500.0
"""Times the mean time between failures beyond which a piece of work is as good as never done."""

MOST_TIMES = 100.0
"""Times its work beyond which a run is not worth beginning."""


@dataclass(frozen=True)
class Failures:
    """What a run meets. [s]

    Attributes
    ----------
    mtbf_s : between failures of one device.
    checkpoint_s : to write the state, while nothing is computed.
    restart_s : from a failure to the next step.
    interval_s : work between two checkpoints; Daly's best if None.
    """

    mtbf_s: float
    checkpoint_s: float = 60.0
    restart_s: float = 300.0
    interval_s: float | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        times = (self.mtbf_s, self.checkpoint_s, self.restart_s, self.interval_s or 0.0)
        if not all(map(isfinite, times)):
            raise InputError("--mtbf, --checkpoint, --restart and --checkpoint-every must be finite")
        if not self.mtbf_s > 0:
            raise InputError("--mtbf must be positive, such as 50000h")
        if self.checkpoint_s < 0 or self.restart_s < 0 or (self.interval_s is not None and self.interval_s <= 0):
            raise InputError("--checkpoint, --restart and --checkpoint-every cannot be negative")


@dataclass(frozen=True)
class Interrupted:
    """A run with failures. [s]

    Attributes
    ----------
    interval_s, young_s, daly_s : work between checkpoints as chosen, and as the two formulas have it.
    time_s : expected, of the whole run.
    failures : expected number.
    checkpoints_s, lost_s : spent writing checkpoints; on work done twice, and restarts.
    """

    work_s: float
    interval_s: float
    young_s: float
    daly_s: float
    time_s: float
    failures: float
    checkpoints_s: float
    lost_s: float


def young_interval(checkpoint_s: float, mtbf_s: float) -> float:
    """Young's best work between two checkpoints. [s]"""
    return sqrt(2 * checkpoint_s * mtbf_s)


def daly_interval(checkpoint_s: float, mtbf_s: float) -> float:
    """Daly's best work between two checkpoints; the mean time between failures where writing takes too long. [s]"""
    ratio = checkpoint_s / (2 * mtbf_s)
    if ratio >= 1:
        return mtbf_s
    return sqrt(2 * checkpoint_s * mtbf_s) * (1 + sqrt(ratio) / 3 + ratio / 9) - checkpoint_s


def expected_seconds(work_s: float, interval_s: float, failures: Failures, mtbf_s: float) -> float:
    """Expected time of some work, with failures of all devices every `mtbf_s` on the average. [s]"""
    if (interval_s + failures.checkpoint_s) / mtbf_s > LONGEST or failures.restart_s / mtbf_s > LONGEST:
        return inf
    piece = expm1((interval_s + failures.checkpoint_s) / mtbf_s)
    return mtbf_s * exp(failures.restart_s / mtbf_s) * piece * work_s / interval_s


def interrupted(work_s: float, devices: int, failures: Failures) -> Interrupted:
    """A run of some work on so many devices, any of which stops all of them.

    Raises
    ------
    InputError
        If failures come so fast that the work is never done.
    """
    mtbf_s = failures.mtbf_s / devices
    best = daly_interval(failures.checkpoint_s, mtbf_s) or mtbf_s
    interval_s = min(failures.interval_s or best, work_s)
    time_s = expected_seconds(work_s, interval_s, failures, mtbf_s)
    if time_s > MOST_TIMES * work_s:
        raise InputError(
            f"a failure every {mtbf_s:.3g} s leaves no time for checkpoints of {failures.checkpoint_s:.3g} s each "
            f"{interval_s:.3g} s: the work would take over {MOST_TIMES:.0f} times its work (--mtbf is of one device)"
        )
    checkpoints_s = failures.checkpoint_s * work_s / interval_s
    return Interrupted(
        work_s=work_s,
        interval_s=interval_s,
        young_s=young_interval(failures.checkpoint_s, mtbf_s),
        daly_s=best,
        time_s=time_s,
        failures=time_s / mtbf_s,
        checkpoints_s=checkpoints_s,
        lost_s=max(time_s - work_s - checkpoints_s, 0.0),
    )

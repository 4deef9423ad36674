"""How long a call takes, on a machine that others use too."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

LEAST = 4
"""A call is repeated so often at least, however slow it is, without being disturbed."""
MOST = 2000
"""And at most."""
PATIENCE = 3
"""A disturbed call is tried again until so many times its budget is spent."""
DISTURBED = 0.04
"""Share of a call's time that its threads waited for a core, from which on it does not count."""
TASKS = Path("/proc/self/task")


def waited_seconds() -> float:
    """How long the threads of this process have been ready to run and had no core; zero where Linux does not say. [s]

    Source: Linux, Documentation/scheduler/sched-stats.rst, /proc/<pid>/schedstat: time run, time waited, in ns.
    """
    total = 0
    try:
        for task in TASKS.iterdir():
            total += int((task / "schedstat").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0.0
    return total * 1e-9


@dataclass(frozen=True)
class Stopwatch:
    """Times calls.

    Attributes
    ----------
    pace : scales every time budget.
    clock, waited : count seconds, and those that the process waited for a core. [s]
    deadline : when, by the clock, to hurry: from then on each call is timed once. [s]
    disturbed : whether each of the measurements made so far had no undisturbed call.
    """

    pace: float = 1.0
    clock: Callable[[], float] = time.perf_counter
    waited: Callable[[], float] = waited_seconds
    deadline: float = float("inf")
    disturbed: list[bool] = field(default_factory=list)

    def best(self, call: Callable[[], object], budget_s: float, before: Callable[[], object] | None = None) -> float:
        """The shortest of repeated calls after one that is not counted, each with `before` untimed before it. [s]

        Whatever disturbs a call, a neighbour or an interrupt, makes it longer; the shortest is the machine's own time.
        Calls whose threads waited for a core count only if there are no others.
        """
        self.seconds(call)
        clear, any_call = float("inf"), float("inf")
        spent, repeats, cleared = 0.0, 0, 0
        while repeats < MOST and self._goes_on(budget_s * self.pace, spent, repeats, cleared):
            if before is not None:
                before()
            waited = self.waited()
            seconds = self.seconds(call)
            any_call, spent, repeats = min(any_call, seconds), spent + seconds, repeats + 1
            if self.waited() - waited <= DISTURBED * seconds:
                clear, cleared = min(clear, seconds), cleared + 1
        self.disturbed.append(cleared == 0)
        return max(min(clear, any_call) if cleared == 0 else clear, 1e-9)

    def _goes_on(self, budget_s: float, spent: float, repeats: int, cleared: int) -> bool:
        if self.clock() > self.deadline:
            return repeats < 1
        if spent < budget_s:
            return True
        return cleared < LEAST and (repeats < LEAST or spent < PATIENCE * budget_s)

    def seconds(self, call: Callable[[], object]) -> float:
        """One call. [s]"""
        start = self.clock()
        call()
        return self.clock() - start

    @property
    def disturbed_share(self) -> float:
        """Share of the measurements that other work disturbed throughout."""
        return sum(self.disturbed) / max(len(self.disturbed), 1)

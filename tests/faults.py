"""A sample of the faults that `make mutate` plants, and the share of them that tests caught.

`python tests/faults.py sample SESSION NUMBER SEED` leaves so many of a session's faults to be planted, the same for a
seed; `python tests/faults.py share SESSION [LEAST]` prints the share that was caught, and fails where it is lower.
Run by the interpreter that has Cosmic Ray.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from math import sqrt
from typing import Any


def left_out(faults: Sequence[str], number: int, seed: int) -> list[str]:
    """What is not planted of some faults, so that so many are, drawn at random."""
    return random.Random(seed).sample(sorted(faults), max(len(faults) - number, 0))


def share_line(caught: int, planted: int) -> str:
    """The share that was caught, and twice the standard error of a sample of that size."""
    share = caught / planted
    return f"{caught} of {planted} faults caught, {share:.1%} (± {2 * sqrt(share * (1 - share) / planted):.1%})"


def _sample(session: Any, number: int, seed: int) -> None:
    from cosmic_ray.work_item import WorkerOutcome, WorkResult

    pending = [item.job_id for item in session.pending_work_items]
    session.set_multiple_results(left_out(pending, number, seed), WorkResult(worker_outcome=WorkerOutcome.SKIPPED))
    print(f"{min(number, len(pending))} of {len(pending)} faults are planted, seed {seed}")


def _share(session: Any, least: float) -> int:
    from cosmic_ray.work_item import WorkerOutcome

    absent = (WorkerOutcome.SKIPPED, WorkerOutcome.NO_TEST)
    planted = [result for _, result in session.results if result.worker_outcome not in absent]
    caught = sum(result.is_killed for result in planted)
    print(share_line(caught, len(planted)) if planted else "no fault was planted")
    return int(bool(planted) and caught < least * len(planted))


def main(what: str, path: str, *numbers: str) -> int:
    """Draw the sample, or say the share; the exit code."""
    from cosmic_ray.work_db import WorkDB, use_db

    with use_db(path, WorkDB.Mode.open) as session:
        if what == "sample":
            _sample(session, *map(int, numbers))
            return 0
        return _share(session, *map(float, numbers or ("0",)))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

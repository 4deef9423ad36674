"""A sample of the faults that `make mutate` plants, and the share of them that tests caught.

`python tests/faults.py sample SESSION NUMBER SEED` leaves so many of a session's faults to be planted, the same for a
seed; `python tests/faults.py share SESSION [LEAST]` prints the share that was caught, and fails where it is lower.
Run by the interpreter that has Cosmic Ray, which takes the stars of signatures and calls for products and powers: what
it makes of them is no fault, and is never planted.
"""

from __future__ import annotations

import io
import random
import sys
import tokenize
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from math import sqrt
from pathlib import Path
from typing import Any

WORDS = {"lambda", "in", "return", "yield", "else", "and", "or", "not", "if"}
"""Names of the language, after which a star is no operator."""

BLANK = {tokenize.NL, tokenize.NEWLINE, tokenize.COMMENT, tokenize.INDENT, tokenize.DEDENT}


def left_out(faults: Sequence[str], number: int, seed: int) -> list[str]:
    """What is not planted of some faults, so that so many are, drawn at random."""
    return random.Random(seed).sample(sorted(faults), max(len(faults) - number, 0))


def share_line(caught: int, planted: int) -> str:
    """The share that was caught, and twice the standard error of a sample of that size."""
    share = caught / planted
    return f"{caught} of {planted} faults caught, {share:.1%} (± {2 * sqrt(share * (1 - share) / planted):.1%})"


def stars(source: str) -> Iterator[tuple[int, int]]:
    """Line and column of each `*` and `**` that has nothing before it to multiply: in signatures, calls and lists."""
    before = None
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.string in ("*", "**") and not (before and _ends_a_value(before)):
            yield token.start
        if token.type not in BLANK:
            before = token


def _ends_a_value(token: tokenize.TokenInfo) -> bool:
    if token.type == tokenize.NAME:
        return token.string not in WORDS
    return token.type in (tokenize.NUMBER, tokenize.STRING) or token.string in (")", "]", "}")


@cache
def _stars_of(path: str) -> frozenset[tuple[int, int]]:
    return frozenset(stars(Path(path).read_text(encoding="utf-8")))


def _is_fault(item: Any) -> bool:
    (change,) = item.mutations
    is_operator = "BinaryOperator" in change.operator_name
    return not (is_operator and tuple(change.start_pos) in _stars_of(str(change.module_path)))


def named(items: Iterable[Any]) -> dict[str, str]:
    """What a fault is -> its number in the session, which is another each time that faults are looked for."""
    found = ((change, item.job_id) for item in items for change in item.mutations)
    return {f"{change.module_path}:{change.operator_name}:{change.occurrence}": job for change, job in found}


def _sample(session: Any, number: int, seed: int) -> None:
    from cosmic_ray.work_item import WorkerOutcome, WorkResult

    items = list(session.pending_work_items)
    pending = named(item for item in items if _is_fault(item))
    absent = [item.job_id for item in items if not _is_fault(item)]
    skipped = WorkResult(worker_outcome=WorkerOutcome.SKIPPED)
    absent += [pending[fault] for fault in left_out(list(pending), number, seed)]
    session.set_multiple_results(absent, skipped)
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

"""What a change moves of the 2,000 fixed answers, and whether an error rises unannounced: `.ci/run` runs it.

`python tests/compare_answers.py [COMMIT]` compares `tests/golden/answers.csv` and `tests/validation/baseline.json` here
with those of a commit, main's by default (of its parent where this is main). Answers that differ by more than 2 % are
printed, counted by device and by question. It fails where an error of the baseline is higher and `CHANGELOG.md` was not
edited: a baseline is rewritten on purpose, and the purpose is told.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
ANSWERS, BASELINE, CHANGELOG = "tests/golden/answers.csv", "tests/validation/baseline.json", "CHANGELOG.md"
MOVED, RISEN, SHOWN = 0.02, 0.001, 30
Answers = Mapping[tuple[str, str, str], str]


def answers(text: str) -> Answers:
    """(workload, device, question) -> seconds, or the name of the error."""
    rows = csv.DictReader(text.splitlines())
    asked = [name for name in rows.fieldnames or () if name not in ("workload", "device")]
    return {(row["workload"], row["device"], question): row[question] for row in rows for question in asked}


def moved(before: Answers, now: Answers) -> Iterator[tuple[tuple[str, str, str], str]]:
    """The questions of both whose answers differ by more than `MOVED`, with what happened."""
    for key in before.keys() & now.keys():
        old, new = before[key], now[key]
        try:
            change = float(new) / float(old) - 1
        except ValueError:
            if old != new:
                yield key, f"{old} -> {new}"
            continue
        if abs(change) > MOVED:
            yield key, f"{change:+.1%}"


def risen(before: Mapping[str, float], now: Mapping[str, float]) -> dict[str, tuple[float, float]]:
    """Group -> its mean error before and now, where it rose."""
    return {key: (before[key], now[key]) for key in before.keys() & now.keys() if now[key] > before[key] + RISEN}


def report(before: Answers, now: Answers) -> Iterator[str]:
    """Lines for a log: how many moved, by device and question, and the first of them."""
    found = sorted(moved(before, now))
    yield f"{len(found)} of {len(before.keys() & now.keys())} fixed answers moved by more than {MOVED:.0%}"
    for place, name in ((1, "device"), (2, "question")):
        counts = Counter(key[place] for key, _ in found).most_common()
        if counts:
            yield f"  by {name}: " + ", ".join(f"{value} {count}" for value, count in counts)
    yield from (f"  {' / '.join(key)}: {what}" for key, what in found[:SHOWN])
    if len(found) > SHOWN:
        yield f"  ... and {len(found) - SHOWN} more"


def _git(*arguments: str) -> str | None:
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else None


def base() -> str | None:
    """Where this branch left main, or this commit's parent where it is main's; None without a history."""
    head = (_git("rev-parse", "HEAD") or "").strip()
    for name in ("origin/main", "main"):
        common = (_git("merge-base", "HEAD", name) or "").strip()
        if common and (common != head or _git("status", "--porcelain")):
            return common
    return (_git("rev-parse", "HEAD^") or "").strip() or None


def main() -> int:
    """Print the comparison; 1 where an error rose and the changelog says nothing."""
    commit = sys.argv[1] if len(sys.argv) > 1 else base()
    texts = [_git("show", f"{commit}:{path}") for path in (ANSWERS, BASELINE, CHANGELOG)] if commit else [None]
    if texts[0] is None:
        print("no earlier commit to compare the fixed answers with")
        return 0
    old_answers, old_baseline, old_changelog = (text or "" for text in texts)
    print(f"against {commit}:", *report(answers(old_answers), answers(_here(ANSWERS))), sep="\n")
    errors = risen(json.loads(old_baseline or "{}"), json.loads(_here(BASELINE)))
    for name, (before, after) in sorted(errors.items()):
        print(f"  error of {name}: {before:.1%} -> {after:.1%}")
    if errors and old_changelog == _here(CHANGELOG):
        print(f"{len(errors)} errors rose; if that is meant, {CHANGELOG} says why")
        return 1
    return 0


def _here(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())

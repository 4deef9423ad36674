"""What moved between two runs of a validation: rows known by their question, errors before and now by hand."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from simulator.calibration.changes import MOVED, SAME, Change, compare
from simulator.calibration.measurements import Measurement
from simulator.calibration.validation import Case
from simulator.errors import InputError

PLAIN = Measurement("1", "lenet5", "v100-pcie-16gb", "train", "fp32", 64, 1, 1.0, True, "pytorch", "")


def case(predicted_s: float | None, **fields: Any) -> Case:
    return Case(replace(PLAIN, **fields), predicted_s=predicted_s)


def written(folder: Path, *rows: Case) -> Path:
    """The rows as an earlier run's JSON."""
    cases = [{key: asdict(row.measured)[key] for key in SAME} | {"predicted_s": row.predicted_s} for row in rows]
    path = folder / "earlier.json"
    path.write_text(json.dumps({"cases": cases}), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("before_s", "now_s", "moved", "error_before", "worse"),
    [
        (1.5, 1.1, -0.4 / 1.5, 0.5, -0.4),  # 50 % too slow, now 10 %
        (0.9, 0.6, -1 / 3, -0.1, 0.3),  # 10 % too fast, now 40 %
        (0.8, 1.1, 0.375, -0.2, -0.1),  # from one side to the other, nearer
        (1.2, 1.2, 0.0, 0.2, 0.0),
    ],
)
def test_a_change_by_hand(before_s: float, now_s: float, moved: float, error_before: float, worse: float) -> None:
    change = Change(case(now_s), before_s)
    assert (change.moved, change.error_before) == pytest.approx((moved, error_before))
    assert change.worse == pytest.approx(worse)


def test_rows_are_known_by_what_they_ask(tmp_path: Path) -> None:
    before = [case(1.0, id="a"), case(2.0, id="b"), case(1.0, id="c", batch=8), case(None, id="d"), case(5.0, id="e")]
    now = [case(3.0, id="a"), case(2.0, id="b"), case(9.0, id="c", batch=16), case(4.0, id="d"), case(None, id="e")]
    found = compare(now, written(tmp_path, *before))
    assert [(change.case.measured.id, change.before_s) for change in found.changes] == [("a", 1.0), ("b", 2.0)]
    # Another batch is another question; a row without a prediction is in no run.
    assert (found.new, found.gone) == (2, 2)
    assert [change.case.measured.id for change in found.moved] == ["a"]


def test_what_moved_most_stands_first(tmp_path: Path) -> None:
    # Half is as far as twice, a third farther; a hundredth is not said to have moved.
    factors = {"half": 0.5, "third": 1 / 3, "twice": 2.1, "still": 1 + MOVED / 2}
    found = compare(
        [case(factor, id=name) for name, factor in factors.items()],
        written(tmp_path, *(case(1.0, id=name) for name in factors)),
    )
    assert [change.case.measured.id for change in found.moved] == ["third", "twice", "half"]


def test_a_run_of_another_table_is_refused(tmp_path: Path) -> None:
    earlier = written(tmp_path, case(1.0, id="a"), case(1.0, id="b"))
    with pytest.raises(InputError, match=r"earlier.json: none of its 2 rows is in the table"):
        compare([case(1.0, id="c")], earlier)
    assert compare([], earlier).gone == 2
    earlier.write_text('{"cases": [{"id": "a"}]}', encoding="utf-8")
    with pytest.raises(InputError, match="not the output of `simulate validate FILE --json`"):
        compare([case(1.0)], earlier)

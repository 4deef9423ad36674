"""The comparison of the fixed answers with an earlier commit's: what moved is counted, what rose is named."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

spec = spec_from_file_location("compare_answers", Path(__file__).with_name("compare_answers.py"))
assert spec is not None
assert spec.loader is not None
compare_answers = module_from_spec(spec)
spec.loader.exec_module(compare_answers)
answers, moved, report, risen = (getattr(compare_answers, name) for name in ("answers", "moved", "report", "risen"))

BEFORE = "workload,device,fp32 train,fp32 infer\nlenet5,v100,0.001,0.0002\nlenet5,p4,0.004,UnsupportedError\n"
NOW = "workload,device,fp32 train,fp32 infer\nlenet5,v100,0.00103,0.000201\nlenet5,p4,0.004,0.001\n"


def test_what_moved_by_more_than_two_percent() -> None:
    found = dict(moved(answers(BEFORE), answers(NOW)))
    assert found == {
        ("lenet5", "v100", "fp32 train"): "+3.0%",  # 0.00103 / 0.001; the other one moved by 0.5 %.
        ("lenet5", "p4", "fp32 infer"): "UnsupportedError -> 0.001",
    }


def test_a_log_counts_by_device_and_question() -> None:
    lines = list(report(answers(BEFORE), answers(NOW)))
    assert lines[0] == "2 of 4 fixed answers moved by more than 2%"
    assert "  by device: p4 1, v100 1" in lines
    assert list(report(answers(BEFORE), answers(BEFORE))) == ["0 of 4 fixed answers moved by more than 2%"]


def test_errors_that_rise_are_named() -> None:
    assert risen({"a": 0.05, "b": 0.05, "gone": 1}, {"a": 0.06, "b": 0.0505, "new": 1}) == {"a": (0.05, 0.06)}


@pytest.mark.parametrize(("changelog", "code"), [("as before", 1), ("why it rose", 0)])
def test_a_rise_fails_unless_the_changelog_tells(
    changelog: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {compare_answers.ANSWERS: BEFORE, compare_answers.BASELINE: '{"a": 0.05}', "CHANGELOG.md": "as before"}
    now = {compare_answers.ANSWERS: NOW, compare_answers.BASELINE: '{"a": 0.06}', "CHANGELOG.md": changelog}
    monkeypatch.setattr(compare_answers, "_git", lambda *arguments: before[arguments[-1].partition(":")[2]])
    monkeypatch.setattr(compare_answers, "_here", lambda path: now[path])
    monkeypatch.setattr("sys.argv", ["compare_answers.py", "main"])
    assert compare_answers.main() == code
    assert "error of a: 5.0% -> 6.0%" in capsys.readouterr().out


def test_without_a_history_nothing_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare_answers, "_git", lambda *_: None)
    monkeypatch.setattr("sys.argv", ["compare_answers.py"])
    assert compare_answers.main() == 0

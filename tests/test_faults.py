"""The sample of planted faults: as many as asked for, the same for a seed, and the share in words."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import SimpleNamespace

import pytest

spec = spec_from_file_location("faults", Path(__file__).with_name("faults.py"))
assert spec is not None
assert spec.loader is not None
faults = module_from_spec(spec)
spec.loader.exec_module(faults)

ALL = [f"{number:03}" for number in range(100)]


@pytest.mark.parametrize(("number", "planted"), [(0, 0), (10, 10), (100, 100), (150, 100)])
def test_so_many_are_planted(number: int, planted: int) -> None:
    absent = faults.left_out(ALL, number, 1)
    assert len(set(ALL) - set(absent)) == planted
    assert len(absent) == len(set(absent))


def test_a_seed_says_which_whatever_their_order() -> None:
    assert faults.left_out(ALL, 10, 1) == faults.left_out(ALL[::-1], 10, 1)
    assert set(faults.left_out(ALL, 10, 1)) != set(faults.left_out(ALL, 10, 2))


def test_a_fault_is_known_by_what_it_is_not_by_its_number_in_a_session() -> None:
    def session(numbers: range) -> list[SimpleNamespace]:
        changes = [
            SimpleNamespace(module_path=Path(f"{module}.py"), operator_name=operator, occurrence=occurrence)
            for module in "ab"
            for operator in ("core/AddNot", "core/NumberReplacer")
            for occurrence in range(3)
        ]
        return [SimpleNamespace(job_id=str(n), mutations=(c,)) for n, c in zip(numbers, changes, strict=True)]

    first, second = faults.named(session(range(12))), faults.named(session(range(30, 18, -1)))
    assert list(first) == list(second)
    assert len(first) == 12
    assert (first["a.py:core/AddNot:0"], second["b.py:core/NumberReplacer:2"]) == ("0", "19")
    assert faults.left_out(list(first), 5, 7) == faults.left_out(list(second), 5, 7)


def test_the_share_and_how_sure_it_is() -> None:
    # 2 x sqrt(0.9 x 0.1 / 100) = 6 %
    assert faults.share_line(90, 100) == "90 of 100 faults caught, 90.0% (± 6.0%)"
    assert faults.share_line(5, 5) == "5 of 5 faults caught, 100.0% (± 0.0%)"


def test_stars_that_multiply_nothing_are_no_operators() -> None:
    source = """def f(a, *b, c=2 * 3, **d): return g(*b, **d), [*b, a ** 2, (a) * b[0]], "x" * 2
lambda *a: a
print(
    1,  # one
    *b,
)
"""
    lines = source.splitlines()
    found = list(faults.stars(source))
    assert [lines[line - 1][column - 1 : column + 2] for line, column in found] == [
        *(" *b", " **", "(*b", " **", "[*b", " *a", " *b"),
    ]
    assert [line for line, _ in found] == [1, 1, 1, 1, 1, 2, 5]

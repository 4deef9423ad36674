"""Every operation has a case worked by hand: a test that names it is called, and computes its kernels."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from functools import cache, partial
from importlib.util import module_from_spec, spec_from_file_location
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from simulator.op import Op, operations

FILES = sorted(set(Path(__file__).parent.glob("test_*.py")) - {Path(__file__)})

Case = Callable[[], object]


@cache
def modules() -> tuple[ModuleType, ...]:
    """The test files beside this one."""
    return tuple(map(_module, FILES))


def _module(path: Path) -> ModuleType:
    spec = spec_from_file_location(f"worked_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules.setdefault(spec.name, module_from_spec(spec))  # where `inspect` looks for texts of classes
    spec.loader.exec_module(module)
    return module


def cases(kind: str, name: str) -> Iterator[Case]:
    """Tests that have an operation by its class or its name, in their text or as a parameter, to be called."""
    for module in modules():
        for text, tests in _tests(module):
            named = f"{name}(" in text or f'"{kind}"' in text
            for test in tests:
                yield from (call for values, call in _calls(test) if named or kind in map(str, values))


def _tests(module: ModuleType) -> Iterator[tuple[str, list[Callable[..., object]]]]:
    """The text of each function and class of tests, and what is to be called of it."""
    for name, test in vars(module).items():
        if inspect.isfunction(test) and name.startswith("test_"):
            yield inspect.getsource(test), [test]
        elif inspect.isclass(test) and name.startswith("Test"):
            made = test()
            yield inspect.getsource(test), [getattr(made, each) for each in vars(test) if each.startswith("test_")]


def _calls(test: Callable[..., object]) -> Iterator[tuple[list[Any], Case]]:
    """A test with each of its parameters, and their values; none of fixtures, or over all operations."""
    marks = [mark for mark in getattr(test, "pytestmark", []) if mark.name == "parametrize"]
    axes = [[_values(mark.args[0], one) for one in mark.args[1]] for mark in marks]
    given = {name for axis in axes for one in axis[:1] for name in one}
    everything = any({str(value) for one in axis for value in one.values()} >= set(operations()) for axis in axes)
    if set(inspect.signature(test).parameters) == given and not everything:
        for chosen in product(*axes):
            arguments = {name: value for one in chosen for name, value in one.items()}
            yield list(arguments.values()), partial(test, **arguments)


def _values(names: str | tuple[str, ...] | list[str], one: Any) -> dict[str, Any]:
    each = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
    values = getattr(one, "values", one) if type(one).__name__ == "ParameterSet" else one
    single = len(each) == 1 and type(one).__name__ != "ParameterSet"
    return dict(zip(each, (values,) if single else values, strict=True))


def computes(kind: type[Op], case: Case, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether a case asks an operation for kernels, forward or backward."""
    asked: list[str] = []
    with monkeypatch.context() as patch:
        for method in ("forward", "backward"):
            patch.setattr(kind, method, _recorded(getattr(kind, method), asked))
        case()
    return bool(asked)


def _recorded(method: Callable[..., Any], asked: list[str]) -> Callable[..., Any]:
    def record(self: Op, *given: Any, **named: Any) -> Any:
        asked.append(type(self).__name__)
        return method(self, *given, **named)

    return record


@pytest.mark.parametrize("kind", sorted(operations()))
def test_every_operation_has_a_case_worked_by_hand(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    op = operations()[kind]
    assert any(computes(op, case, monkeypatch) for case in cases(kind, op.__name__)), (
        f"no test in tests/op that names {kind} asks it for kernels"
    )


def test_naming_an_operation_is_not_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    op = operations()["relu"]
    assert not computes(op, lambda: "Relu(relu)", monkeypatch)
    assert list(cases("no_such_operation", "NoSuchOperation")) == []

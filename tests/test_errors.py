"""One family of errors, one line each, with the nearest valid name."""

from __future__ import annotations

import pytest

from simulator.errors import (
    InputError,
    OutOfMemoryError,
    SimulatorError,
    UnknownNameError,
    UnsupportedError,
    suggestion,
)


@pytest.mark.parametrize("kind", [InputError, UnknownNameError, UnsupportedError, OutOfMemoryError])
def test_every_error_belongs_to_the_family(kind: type[Exception]) -> None:
    assert issubclass(kind, SimulatorError)


def test_the_nearest_name_is_offered() -> None:
    error = UnknownNameError("device", "v10O", ["v100", "t4"])
    assert str(error) == "unknown device 'v10O'; did you mean 'v100'?"
    assert error.known == ["t4", "v100"]


def test_the_place_stands_first() -> None:
    assert str(UnknownNameError("key", "x", ["alpha"], "a.yaml")) == "a.yaml: unknown key 'x'; known: alpha"


def test_case_does_not_hide_the_nearest_name() -> None:
    assert suggestion("SENET", ["senet", "lenet5"]) == "; did you mean 'senet'?"


def test_the_beginning_of_a_few_names_offers_them() -> None:
    known = ["dgx-a100-40gb", "dgx-a100-80gb", "dgx-h100", "dgx-2"]
    assert suggestion("DGX-A100", known) == "; did you mean 'dgx-a100-40gb' or 'dgx-a100-80gb'?"
    assert suggestion("dgx", known) == "; did you mean 'dgx-2'?"  # too short to tell
    assert suggestion("node", [f"node-{number}" for number in range(5)]) == "; did you mean 'node-4'?"


def test_a_long_list_is_cut() -> None:
    names = [f"name{number}" for number in range(20)]
    assert suggestion("zzz", names).endswith("name11, and 8 more")


def test_nothing_is_offered_where_nothing_exists() -> None:
    assert suggestion("zzz", []) == ""

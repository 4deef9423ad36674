"""Figures beside the golden files that hold what they draw."""

from __future__ import annotations

import pytest

from tests.looks import Compare, comparison


@pytest.fixture
def as_drawn(request: pytest.FixtureRequest) -> Compare:
    """Compare a figure with tests/golden/figures/<name>.txt, or write it with `pytest --update-golden`."""
    return comparison(update=bool(request.config.getoption("--update-golden")))

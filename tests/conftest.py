"""What every test shares: no display, and bounded property tests that are the same on every CI run."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

os.environ["MPLBACKEND"] = "Agg"

IN_CI = os.environ.get("CI", "").lower() == "true"

settings.register_profile(
    "bounded",
    max_examples=50,
    deadline=None,
    derandomize=IN_CI,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("bounded")


def pytest_addoption(parser: pytest.Parser) -> None:
    """One flag writes the golden files anew."""
    parser.addoption("--update-golden", action="store_true", help="write tests/golden anew instead of comparing")

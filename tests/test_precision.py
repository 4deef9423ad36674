"""Number formats: what docs/asking.md says of each is what the program computes with."""

from __future__ import annotations

from pathlib import Path

import pytest

from simulator.precision import PRECISIONS, Role

PAGE = (Path(__file__).parents[1] / "docs" / "asking.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", PRECISIONS)
def test_the_page_gives_the_widths(name: str) -> None:
    precision = PRECISIONS[name]
    widths = [f"{precision.widths[role]:g}" for role in (Role.WEIGHT, Role.ACTIVATION, Role.GRADIENT, Role.STATE)]
    if precision.inference_only:
        widths[2:] = ["", ""]
    cells = [f"`{name}`", *widths, precision.description]
    assert f"| {' | '.join(cells)} |" in PAGE


def test_master_weights_are_those_of_mixed_precision() -> None:
    assert {name for name, precision in PRECISIONS.items() if precision.master_weights} == {
        "amp",
        "bf16",
        "fp8",
        "nvfp4",
    }

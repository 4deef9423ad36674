"""What the main commands print, word for word; written anew by `pytest --update-golden` and read like code in review.

Only the roofline and napkin fidelities are pinned: they rest on datasheets, not on fitted coefficients.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import pytest

Golden = Callable[[str, str], None]

TEXTS = {
    "lenet5-v100.txt": "--workload lenet5 --device v100 --fidelity roofline --no-report",
    "alexnet-infer.txt": "--workload alexnet --device v100 --task infer --batch 1 --fidelity roofline --no-report",
    "senet-napkin.txt": (
        "--workload senet --device cpu-16core --device v100 --epochs 100 --dataset imagenet-1.2m "
        "--fidelity napkin --count articles --no-report"
    ),
    "layers-lenet5.txt": "layers lenet5",
    "layers-alexnet-articles.txt": "layers alexnet --count articles",
    "device-hbm2.txt": "devices hbm2",
}

DOCUMENTS = {
    "lenet5-v100.json": "--workload lenet5 --device v100 --fidelity roofline --no-report --json",
    "layers-lenet5.json": "layers lenet5 --json",
}


def rounded(value: Any) -> Any:
    """Numbers to nine digits, so that the order of a sum does not show."""
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [rounded(inner) for inner in value]
    if isinstance(value, float) and value and math.isfinite(value):
        return float(f"{value:.9g}")
    return value


@pytest.mark.parametrize("name", TEXTS)
def test_text(name: str, simulate: Callable[..., Any], golden: Golden) -> None:
    answer = simulate(*TEXTS[name].split())
    assert answer.code == 0, answer.stderr
    assert answer.stderr == ""
    golden(name, answer.stdout)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_json(name: str, simulate: Callable[..., Any], golden: Golden) -> None:
    answer = simulate(*DOCUMENTS[name].split())
    assert answer.code == 0, answer.stderr
    golden(name, json.dumps(rounded(answer.json()), indent=1))

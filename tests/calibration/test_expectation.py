"""The tables of what to expect where nobody measured."""

from __future__ import annotations

from dataclasses import replace

import pytest

from simulator.calibration.certainty import Coverage
from simulator.calibration.expectation import KINDS, TABLES, coverage_page, held_out_page, kind_of, later_page
from simulator.calibration.measurements import Measurement
from simulator.calibration.validation import Case

PLAIN = Measurement("x", "lenet5", "v100-pcie-16gb", "train", "fp32", 64, 1, 1.0, True, "pytorch", "")


def measured(workload: str, **changes: object) -> Measurement:
    return replace(PLAIN, workload=workload, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("workload", "changes", "kind"),
    [
        ("vgg11", {}, KINDS[0]),
        ("vgg11", {"framework": "torch7"}, KINDS[0]),
        ("vgg11", {"framework": "tensorflow-xla"}, KINDS[1]),
        ("bert_large", {"framework": "tensorflow"}, KINDS[2]),
        ("opt_1.3b", {}, KINDS[2]),
        ("vit_b_16", {}, KINDS[0]),
        ("vgg11", {"device": "core-i7-12700h"}, KINDS[3]),
    ],
)
def test_kinds(workload: str, changes: dict[str, object], kind: str) -> None:
    assert kind_of(Case(measured(workload, **changes))) == kind


def test_the_table_keeps_networks_and_batches_apart() -> None:
    # A tenth too slow, and half: each is one setting; the first lies in its interval.
    by_workload = [
        Case(measured("resnet18", batch=64), 1.1, low_s=0.9, high_s=1.3),
        Case(measured("vgg11", batch=8), 1.5, low_s=1.2, high_s=1.8),
    ]
    by_device = [Case(measured("bert_large", batch=8), 0.8)]
    lines = held_out_page({"device": by_device, "workload": by_workload}).splitlines()[7:]
    assert lines == [
        f"| network | {KINDS[0]} | >= 16 | 1 | 10.0% | 10.0% | 10.0% | 10.0% | 100% | 100% |",
        f"| network | {KINDS[0]} | < 16 | 1 | 50.0% | 50.0% | 50.0% | 50.0% | 0% | 0% |",
        "| device | transformers | < 16 | 1 | 20.0% | 20.0% | -20.0% | 20.0% | 100% | 0% |",
    ]


def test_the_page_of_coverage() -> None:
    found = {("measurer+device", "t4"): Coverage(102, 0.7, 0.8), ("device", "t4"): Coverage(102, 0.756, 0.82)}
    page = coverage_page(found, 0.6).splitlines()
    assert page[6] == "1 of the 2 hold 75% to 90%, 50%."
    assert page[8] == "do so as these do, 60% of them would."
    assert page[-2:] == ["| device | t4 | 102 | 76% | 82% |", "| device and measurer | t4 | 102 | 70% | 80% |"]


def test_the_page_of_rows_that_no_fit_reads() -> None:
    later = [Case(measured("vgg11"), 1.1, 0.9, 1.2), Case(measured("vgg11", device="t4", task="infer"), 0.7, 0.6, 0.9)]
    lines = later_page(dict(zip(TABLES, (later, []), strict=True))).splitlines()
    assert lines[8:11] == [
        "| all | 2 | 20.0% | 20.0% | -10.0% | 30.0% | 50% | 50% |",
        "| pytorch, infer | 1 | 30.0% | 30.0% | -30.0% | 30.0% | 0% | 0% |",
        "| pytorch, train | 1 | 10.0% | 10.0% | 10.0% | 10.0% | 100% | 100% |",
    ]
    assert "| t4 | 1 | 30.0% | 30.0% | -30.0% | 30.0% | 0% | 0% |" in lines
    assert lines[2] == "## Step times that came after the fits"


def test_no_page_names_a_group_without_predictions() -> None:
    page = later_page({name: [Case(measured("vgg11"), reason="unknown")] for name in TABLES})
    assert "vgg11" not in page
    assert "| all |" not in page

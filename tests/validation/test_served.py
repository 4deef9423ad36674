"""Errors against a sample of published measurements of served models, held: none may rise. `--update-golden` renews."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from simulator.calibration.doubt import doubt_of
from simulator.calibration.served import ServedCase, is_served, predict_served, read_served
from simulator.errors import InputError
from simulator.report.served import served_summary

HERE = Path(__file__).parent
SAMPLE = HERE / "served.csv"
BASELINE = HERE / "served.json"
WHOLE = HERE.parents[2] / "shared" / "measured" / "llm_inference.csv.gz"
SLACK = 0.005


@pytest.fixture(scope="module")
def cases() -> list[ServedCase]:
    return [predict_served(row) for row in read_served(SAMPLE)]


def found(cases: list[ServedCase]) -> dict[str, float]:
    """Median absolute error by kind of measurement."""
    sizes: dict[str, list[float]] = {}
    for case in cases:
        if not math.isnan(case.predicted):
            sizes.setdefault(case.kind, []).append(abs(case.error))
    return {kind: round(sorted(errors)[len(errors) // 2], 4) for kind, errors in sorted(sizes.items())}


def test_no_error_of_serving_rises(cases: list[ServedCase], request: pytest.FixtureRequest) -> None:
    present = found(cases)
    if request.config.getoption("--update-golden"):
        BASELINE.write_text(json.dumps(present, indent=1) + "\n", encoding="utf-8")
    held = json.loads(BASELINE.read_text(encoding="utf-8"))
    assert held.keys() == present.keys()
    risen = {kind: (held[kind], now) for kind, now in present.items() if now > held[kind] + SLACK}
    assert not risen, f"(was, is): {risen}"


def test_the_guide_shows_the_errors_that_are_held() -> None:
    guide = (HERE.parents[1] / "docs" / "serving.md").read_text(encoding="utf-8")
    for kind, error in json.loads(BASELINE.read_text(encoding="utf-8")).items():
        assert f"| {kind} | {error:.1%}".replace("%", " %") in guide


def test_every_served_row_is_predicted_or_has_a_reason(cases: list[ServedCase]) -> None:
    assert len(cases) > 150
    assert all(math.isnan(case.predicted) == bool(case.reason) for case in cases)
    assert any(case.reason for case in cases)


def test_the_table_as_it_stands_is_read() -> None:
    if not WHOLE.is_file():
        pytest.skip("the whole table is not beside the project")
    assert is_served(WHOLE)
    assert len(read_served(WHOLE)) == 15_030


def test_a_broken_table_is_refused(tmp_path: Path) -> None:
    table = tmp_path / "served.csv"
    lines = SAMPLE.read_text(encoding="utf-8").splitlines()[:2]
    table.write_text("\n".join(lines).replace("metric,value", "metric,figure"), encoding="utf-8")
    with pytest.raises(InputError, match="'value' is missing"):
        read_served(table)
    compressed = tmp_path / "served.csv.gz"
    compressed.write_bytes(b"not compressed")
    with pytest.raises(InputError, match="cannot be read"):
        read_served(compressed)


def test_a_figure_that_no_memory_could_feed_is_in_doubt(cases: list[ServedCase]) -> None:
    """Qwen2 7B has 14.1 GB of products in half width: an H100 reads them in 4.2 ms, so 2,048 tokens take over 8 s."""
    row = replace(
        cases[0].row, workload="qwen2_7b", device="h100-sxm5-80gb", format="fp16", devices=1, ways=1, stages=1,
        engine="tensorrt-llm", batch=1, prompt=2048, output=2048, metric="e2e_latency_s", note="",
    )  # fmt: skip
    assert "faster than the device's memory" in doubt_of(replace(row, value=3.4))
    assert doubt_of(replace(row, value=15.0)) == ""
    assert doubt_of(replace(row, metric="decode_tok_s", value=120.0)) == ""
    assert "faster" in doubt_of(replace(row, metric="tpot_s", value=0.001))
    assert doubt_of(replace(row, devices=8, ways=8, value=3.4)) == ""
    assert "anomaly" in doubt_of(replace(row, note="ANOMALY: 10x below", value=15.0))


def test_rows_in_doubt_count_in_no_error(cases: list[ServedCase]) -> None:
    good = next(case for case in cases if not case.reason)
    bad = ServedCase(replace(good.row, id="odd", note="ANOMALY"), good.kind, 100 * good.row.value)
    summary = served_summary([good, bad])
    assert summary["by"]["kind"][0]["rows"] == 1
    assert summary["doubts"][0]["rows"] == 1
    assert [case["doubt"] for case in summary["cases"]] == [None, "the table calls it an anomaly"]

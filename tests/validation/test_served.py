"""Errors against a sample of published measurements of served models, held: none may rise. `--update-golden` renews."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from simulator.calibration.doubt import doubt_of
from simulator.calibration.offline import BATCHES, SystemRow, samples_per_s, usual
from simulator.calibration.served import ServedCase, predict_served
from simulator.calibration.served_rows import ServedRow, deployment_of, is_served, read_served
from simulator.errors import InputError, UnsupportedError
from simulator.report.served import served_summary
from tests.held import assert_none_rises

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
    assert_none_rises(present, BASELINE, request, SLACK)


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


def llama_row(cases: list[ServedCase], engine: str = "llama.cpp-hip", **fields: object) -> ServedRow:
    """7 billion weights in Q4_0: 3.8 GB."""
    usual = {
        "workload": "llama2_7b", "device": "radeon-8060s", "format": "Q4_0", "devices": 1, "ways": 0, "stages": 0,
        "batch": 1, "prompt": 512, "output": 0, "metric": "prefill_tok_s", "value": 900.0, "year": 2025, "note": "",
    }  # fmt: skip
    return replace(cases[0].row, engine=engine, **{**usual, **fields})  # type: ignore[arg-type]


def test_a_file_of_another_size_is_of_another_model(cases: list[ServedCase]) -> None:
    for note, doubt in (
        ("weights 3825065984 bytes", False),
        ("weights 3.56 GiB", False),
        ("weights 14497730560 bytes", True),
    ):
        assert bool(doubt_of(llama_row(cases, note=f"llama-bench; {note};"))) == doubt


@pytest.mark.parametrize(
    ("engine", "note", "year", "expected"),
    [
        ("llama.cpp", "", 2024, "llama.cpp"),
        ("llama.cpp-hip", "fa= b= hipblaslt=1; power", 2025, "llama.cpp"),
        ("llama.cpp-hip", "fa=-fa 1 b= hipblaslt=1", 2025, "llama.cpp-flash"),
        ("llama.cpp-hip", "fa= b= hipblaslt=; power", 2025, "llama.cpp-rocblas"),
        ("llama.cpp-hip", "fa=-fa 1 b= hipblaslt=", 2025, "llama.cpp-rocblas-flash"),
        ("llama.cpp-rocwmma", "fa= b= hipblaslt=1", 2025, "llama.cpp"),
        ("llama.cpp-rocwmma", "fa=-fa 1 b= hipblaslt=1", 2025, "llama.cpp-rocwmma"),
        ("llama.cpp-rocwmma", "fa=-fa 1 b= hipblaslt=", 2025, "llama.cpp-rocwmma-rocblas"),
        ("llama.cpp(rocm-7_2_3) ROCm", "fa=1; file", 2026, "llama.cpp-rocm-2026"),
        ("llama.cpp-vulkan_amdvlk", "fa= b=", 2025, "llama.cpp-vulkan-amdvlk"),
        ("llama.cpp-vulkan_amdvlk", "fa=-fa 1 b=", 2025, "llama.cpp-vulkan-amdvlk-flash"),
        ("llama.cpp-vulkan_radv", "fa= b=", 2025, "llama.cpp-vulkan"),
        ("llama.cpp(vulkan_radv) Vulkan", "fa=1;", 2026, "llama.cpp-vulkan-2026"),
        ("ollama", "", 2025, "llama.cpp"),
    ],
)
def test_the_kernels_that_ran_are_an_engine(
    cases: list[ServedCase], engine: str, note: str, year: int, expected: str
) -> None:
    assert deployment_of(llama_row(cases, engine, note=note, year=year)).engine.name == expected


def test_a_prompt_behind_a_context_is_slower(cases: list[ServedCase]) -> None:
    alone, behind = (
        predict_served(llama_row(cases, note=f"llama-bench; context depth {depth} before the test")).predicted
        for depth in (0, 32768)
    )
    assert behind < alone / 2


def test_narrow_weights_have_a_narrow_cache_where_a_benchmark_says_so(cases: list[ServedCase]) -> None:
    row = replace(
        cases[0].row, workload="llama3_70b", device="h200", format="fp8", devices=1, ways=1, stages=1, engine="vllm",
        year=2026, source="ai-dynamo/aiconfigurator", note="",
    )  # fmt: skip
    assert deployment_of(row).cache_bytes == 1
    assert deployment_of(replace(row, format="bf16", devices=2, ways=2)).cache_bytes == 2
    assert deployment_of(replace(row, source="another")).cache_bytes == 2


AGGREGATED = "agg; attention_dp=1 moe_tp=8 moe_ep=1 gemm=nvfp4; source_file=2026-04-06.csv"

SILICON = {
    "workload": "deepseek_v3", "device": "b200", "format": "fp4", "devices": 8, "ways": 8, "stages": 1,
    "engine": "trtllm", "batch": 64, "prompt": 922, "output": 922, "metric": "ttft_s", "year": 2026,
    "source": "ai-dynamo/aiconfigurator", "note": AGGREGATED,
}  # fmt: skip


def silicon_row(cases: list[ServedCase], **fields: object) -> ServedRow:
    return replace(cases[0].row, **{**SILICON, **fields})  # type: ignore[arg-type]


def test_devices_that_share_experts_as_well_are_counted_once(cases: list[ServedCase]) -> None:
    note = AGGREGATED.replace("moe_ep=1", "moe_ep=8")
    both = deployment_of(silicon_row(cases, devices=64, ways=64, note=note))
    assert (both.ways, both.by_experts) == (8, True)
    assert deployment_of(silicon_row(cases)).ways == 8
    with pytest.raises(UnsupportedError, match="whether the devices share attention"):
        deployment_of(silicon_row(cases, note=note.replace("attention_dp=1", "attention_dp=")))


def test_engines_run_as_the_benchmark_starts_them(cases: list[ServedCase]) -> None:
    def rules(**fields: object) -> tuple[int, int, int]:
        scheduler = deployment_of(silicon_row(cases, **fields)).engine.scheduler
        return scheduler.tokens, scheduler.interval, scheduler.gather

    assert rules() == (2069, 1, 0)
    assert rules(format="fp8") == (1152, 1, 0)
    assert rules(format="fp8", note=AGGREGATED + "; tensorrt-llm/release:1.2.0rc6.post2") == (8192, 1, 0)
    assert rules(workload="llama3_70b", ways=4, devices=4) == (16384, 1, 20)
    assert rules(workload="llama3_70b") == (16384, 1, 0)
    assert rules(engine="sglang") == (16384, 30, 0)
    assert rules(engine="sglang", batch=8) == (16384, 10, 0)
    assert rules(engine="vllm", workload="llama3_70b") == (8192, 1, 0)


def test_lengths_that_were_drawn_from_a_range_count_at_their_mean(tmp_path: Path) -> None:
    head = (
        "workload,profile,quantisation,devices,tp,pp,engine,batch_or_concurrency,input_len,output_len,metric,value,year"
    )
    row = "llama3_70b,h200,fp8,2,2,1,vllm,4,1024,1024,ttft_s,0.1,,ai-dynamo/aiconfigurator"
    table = tmp_path / "served.csv"
    table.write_text(f"{head},source_repo,note\n{row},agg; db-dump/2026\n{row},agg; source_file=h200_sxm/a.csv\n")
    drawn, fixed = read_served(table)
    assert (drawn.prompt, drawn.output, drawn.year) == (922, 922, 2025)
    assert (fixed.prompt, fixed.output) == (1024, 1024)


def test_guessed_tokens_and_runs_with_fewer_requests_are_in_doubt(cases: list[ServedCase]) -> None:
    guessed = AGGREGATED + "; image=nvcr.io#nvidia/tensorrt-llm/release:1.2.0rc6.post3"
    assert "guessed" in doubt_of(silicon_row(cases, value=1.0, note=guessed))
    assert "fewer" in doubt_of(silicon_row(cases, value=1.0, note="source_file=h200_sxm/vllm/0.12.0/a.csv"))
    assert not doubt_of(silicon_row(cases, value=1.0))


def test_first_tokens_later_than_all_prompts_together_are_in_doubt(cases: list[ServedCase]) -> None:
    asked: dict[str, Any] = {
        "metric": "ttft_s", "workload": "llama3_8b", "device": "h200", "format": "fp8", "devices": 1, "ways": 1,
        "batch": 8, "prompt": 1000, "output": 500, "engine": "sglang", "note": "",
    }  # fmt: skip
    assert "later than all prompts" in doubt_of(silicon_row(cases, value=7.0, **asked))
    assert not doubt_of(silicon_row(cases, value=0.3, **asked))
    # Where the cache may be too small for all, they may have waited for others to end.
    assert not doubt_of(silicon_row(cases, value=7.0, **{**asked, "batch": 5000}))
    assert not doubt_of(silicon_row(cases, value=7.0, **{**asked, "metric": "e2e_latency_s"}))


def test_rows_in_doubt_count_in_no_error(cases: list[ServedCase]) -> None:
    good = next(case for case in cases if not case.reason)
    bad = ServedCase(replace(good.row, id="odd", note="ANOMALY"), good.kind, 100 * good.row.value)
    summary = served_summary([good, bad])
    assert summary["by"]["kind"][0]["rows"] == 1
    assert summary["doubts"][0]["rows"] == 1
    assert [case["doubt"] for case in summary["cases"]] == [None, "the table calls it an anomaly"]


def test_queries_by_chance_leave_room_for_more_than_the_mean() -> None:
    """193 + 2.326 x sqrt(193) = 225: a step of 225 is full in one of 100 cases. Few leave nearly nothing."""
    assert usual(225) + 2.326 * math.sqrt(usual(225)) == pytest.approx(225)
    assert usual(225) == pytest.approx(192.7, abs=0.1)
    assert usual(10_000) / 10_000 == pytest.approx(0.977, abs=0.001)
    assert [usual(most) for most in BATCHES] == sorted(usual(most) for most in BATCHES)


def test_a_server_answers_less_than_it_does_offline() -> None:
    system = SystemRow("resnet50", "h100", "int8", "TensorRT 8.6.0", 8, 0, "scenario Server")
    offline = samples_per_s(replace(system, note="scenario Offline"))
    assert 0.6 < samples_per_s(system) / offline < 0.95

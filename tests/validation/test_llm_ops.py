"""Errors against a sample of an engine's measured kernels, held: none may rise. `--update-golden` renews."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from simulator.calibration.llm_fit import MeasuredCalls, fit_call, held_out, measured_calls, section
from simulator.calibration.llm_ops import OpCase, device_of, predict_ops
from simulator.calibration.llm_parts import work_of
from simulator.calibration.llm_rows import MeasuredOp, is_ops, read_ops
from simulator.cli import main
from simulator.device.device import load_device
from simulator.errors import InputError
from simulator.serving.called import attention_times, decoding_blocks
from simulator.serving.calls import LibraryCall, kernels_of, load_calls
from simulator.serving.load import decoding
from simulator.serving.network import Attending
from tests.held import assert_none_rises

HERE = Path(__file__).parent
SAMPLE = HERE / "llm_ops.csv"
BASELINE = HERE / "llm_ops.json"
WHOLE = HERE.parents[2] / "shared" / "measured" / "llm_ops.csv.gz"
SLACK = 0.005
HEADING = "device,op,dtype,kernel,dims,time_s\n"


@pytest.fixture(scope="module")
def rows() -> list[MeasuredOp]:
    return read_ops(SAMPLE)


@pytest.fixture(scope="module")
def cases(rows: list[MeasuredOp]) -> list[OpCase]:
    return predict_ops(rows)


def found(cases: list[OpCase]) -> dict[str, float]:
    """Median absolute error by operation and format."""
    errors: dict[str, list[float]] = {}
    for case in cases:
        errors.setdefault(f"{case.row.op} {case.row.dtype}", []).append(abs(case.error))
    return {key: round(float(np.median(values)), 4) for key, values in sorted(errors.items())}


def product(m: int, n: int, k: int, dtype: str = "bfloat16", device: str = "h100-sxm") -> MeasuredOp:
    return MeasuredOp("1", device, "gemm", dtype, "torch_flow", {"m": str(m), "n": str(n), "k": str(k)}, 1e-5)


def test_no_error_of_a_kernel_rises(cases: list[OpCase], request: pytest.FixtureRequest) -> None:
    present = found(cases)
    assert_none_rises(present, BASELINE, request, SLACK)


def test_products_of_devices_held_out_err_by_12_percent_at_most() -> None:
    if not WHOLE.is_file():
        pytest.skip("the whole table is not beside the project")
    rows = [row for row in read_ops(WHOLE) if row.op == "gemm"]
    errors = {(call, device): error for _, call, device, error in held_out(rows)}
    assert len(errors) == 14
    assert max(errors.values()) <= 0.12, errors


def test_a_streamed_product_by_hand() -> None:
    """8 x 51200 x 6144 in bf16: 2 (51200 x 6144 + 8 x 6144 + 8 x 51200) bytes = 630 MB, at half of 3.35 TB/s."""
    row, device = product(8, 51200, 6144), load_device("h100-sxm5-80gb")
    parts = work_of([row], device)
    assert parts.moved_bytes[0] == 2 * (51200 * 6144 + 8 * 6144 + 8 * 51200)
    seconds = parts.seconds(LibraryCall(5e-6, 1.0, 0.5, 1e-6), device)[0]
    assert seconds == pytest.approx(5e-6 + 6e-6 + parts.moved_bytes[0] / 1.675e12)


def test_narrow_formats_round_their_activations() -> None:
    device = load_device("h100-sxm5-80gb")
    wide, narrow = (work_of([product(4096, 64, 8192, dtype)], device) for dtype in ("bfloat16", "fp8"))
    sustained = device.memory.bandwidth_byte_per_s * device.sustained["bandwidth"]
    assert wide.rounding_s[0] == 0
    assert narrow.rounding_s[0] == pytest.approx(4096 * 8192 * 3 / sustained)
    assert narrow.moved_bytes[0] == 4096 * 8192 + 64 * 8192 + 2 * 4096 * 64


def test_a_window_bounds_what_a_token_sees() -> None:
    dims = {"batch_size": "2", "isl": "1", "num_heads": "8", "num_key_value_heads": "0", "head_dim": "64",
            "window_size": "128", "kv_cache_dtype": "fp8", "step": "4095"}  # fmt: skip
    row = MeasuredOp("1", "h100-sxm", "generation_attention", "bfloat16", "torch_flow", dims, 1e-5)
    device = device_of("h100-sxm")
    near, far = (work_of([replace(row, dims={**dims, "step": step})], device) for step in ("127", "4095"))
    assert near.depth[0] == far.depth[0] == 128
    assert far.moved_bytes[0] == near.moved_bytes[0]
    whole = work_of([replace(row, dims={**dims, "window_size": "0"})], device)
    assert whole.moved_bytes[0] > 10 * far.moved_bytes[0]


def test_a_fit_finds_the_costs_that_made_the_times() -> None:
    device = device_of("h200-sxm")
    rng = np.random.default_rng(7)
    rows = [product(*(int(size) for size in 2 ** rng.integers(3, 14, 3))) for _ in range(60)]
    parts, made = work_of(rows, device), LibraryCall(6e-6, 0.8, 0.7, 9e-7)
    found = fit_call([MeasuredCalls(device, parts, parts.seconds(made, device))])
    assert found.start_s == pytest.approx(made.start_s, rel=0.03)
    assert (found.compute, found.stream) == pytest.approx((0.8, 0.7), rel=0.03)
    assert section(made) == "{start: 6 us, compute: 0.8, stream: 0.7, depth: 0.9 us}"


def test_boards_of_blackwell_have_kernels_of_their_own() -> None:
    kinds = {name: kernels_of(load_device(name)) for name in ("b200", "gb200", "rtx-pro-6000-server", "h200")}
    assert Counter(kinds.values()) == {"blackwell": 2, "blackwell-board": 1, "hopper": 1}
    assert set(kinds.values()) <= load_calls().keys()


def test_each_call_of_the_sample_is_in_the_profile(rows: list[MeasuredOp]) -> None:
    assert all(call in load_calls()[family] for family, call in measured_calls(rows))


def test_what_has_no_rule_has_a_reason() -> None:
    moe = replace(product(1, 1, 1), op="moe")
    cases = predict_ops([moe, product(1, 1, 1, device="h101"), product(64, 4096, 4096)])
    assert [bool(case.reason) for case in cases] == [True, True, False]
    assert [math.isnan(case.predicted_s) for case in cases] == [True, True, False]
    assert "no rule for the operation moe" in cases[0].reason
    assert "h101" in cases[1].reason


def test_one_row_without_a_size_leaves_the_others_predicted() -> None:
    lacking = replace(product(1, 1, 1), dims={"m": "1", "n": "1"})
    cases = predict_ops([product(64, 4096, 4096), lacking])
    assert [bool(case.reason) for case in cases] == [False, True]
    assert "'k'" in cases[1].reason


def test_a_device_that_was_not_measured_has_its_own_costs() -> None:
    """An RTX 4090 reads 2 x 8192 x 28672 bytes of weights in 0.47 ms of 1,008 GB/s, before what its operands lose."""
    (case,) = predict_ops([product(1, 28672, 8192, device="rtx-4090")])
    assert 0.47e-3 < case.predicted_s < 0.7e-3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("device,op,dims,time_s\nh100,gemm,m=1,1\n", "'dtype' is missing"),
        (HEADING + "h100-sxm,gemm,fp8,x,m=1;n=1;k=1,0\n", "line 2: time_s must be positive"),
        (HEADING + "h100-sxm,gemm,fp8,x,m,1\n", "line 2"),
    ],
)
def test_a_broken_table_is_refused(tmp_path: Path, text: str, message: str) -> None:
    table = tmp_path / "ops.csv"
    table.write_text(text, encoding="utf-8")
    assert is_ops(table)
    with pytest.raises(InputError, match=message):
        read_ops(table)


def test_the_command_prints_errors_and_writes_cases(tmp_path: Path) -> None:
    shown = CliRunner().invoke(main, ["validate", str(SAMPLE), "--out", str(tmp_path), "--json"])
    assert shown.exit_code == 0, shown.output
    summary = json.loads(shown.output)
    assert summary["rows"] == len(summary["cases"]) == 389
    assert summary["not_predicted"] == 0
    assert summary["cases"][0]["predicted"] > 0
    assert (tmp_path / "tables.md").read_text(encoding="utf-8").count("##") == 5
    assert len((tmp_path / "cases.csv").read_text(encoding="utf-8").splitlines()) == 390
    table = CliRunner().invoke(main, ["validate", str(SAMPLE)])
    assert "389 of 389 kernels predicted" in table.output


def test_attention_over_a_cache_has_a_block_for_each_head_of_keys() -> None:
    """16 requests: 32 heads that share 8 are 128 blocks, 64 that share 1 are too many for one block, 1,024."""
    shared, many = (
        Attending(heads, kept, 128, 128, kept, 128, 128, None, None, 256) for heads, kept in ((32, 8), (64, 1))
    )
    assert decoding_blocks(shared, np.array([16.0])).tolist() == [128.0]
    assert decoding_blocks(many, np.array([16.0])).tolist() == [1024.0]


def test_blocks_of_heads_that_share_no_keys_cost_their_own() -> None:
    """16 requests of 8 heads on 132 units are 128 / 132 waves of 10 us, or of 3 where no keys are shared."""
    device, call = load_device("h200"), LibraryCall(1e-6, 1e9, 1e9, 0.0, 10e-6, alone=0.3)
    times = []
    for kept in (4, 8):
        attending = Attending(8, kept, 128, 128, kept, 128, 128, None, None, 256)
        load, none = decoding(16.0, 1.0), (np.zeros(1), np.zeros(1))
        times.append(float(attention_times(attending, load, none, device, call, reading=False).beside_s[0]))
    assert times == pytest.approx([64 / 132 * 10e-6, 128 / 132 * 3e-6])

"""Tables of single operations: launches by hand, and the errors of a small table of our own."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from simulator.calibration.ops import is_ops, launches, predict_ops, seconds
from simulator.device.device import load_device
from simulator.errors import InputError, UnsupportedError
from simulator.op.kernel import OpClass, Role
from simulator.report.ops import ops_summary

HEADING = "device,op,dtype,dims,time_s\n"
GEMM = {"m": 64, "n": 128, "k": 256}
PROMPT = {"batch_size": 4, "isl": 1024, "num_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "step": 0}
H100 = load_device("h100-sxm5-80gb")


def test_a_product_in_half_width_is_one_launch() -> None:
    (product,), batch, precision = launches("gemm", "bfloat16", GEMM)
    assert (batch, precision) == (1, "bf16")
    assert product.flops.per_sample + product.flops.fixed == 2 * 64 * 128 * 256


def test_narrow_products_round_their_input_first() -> None:
    kernels, _, precision = launches("gemm", "fp8", GEMM)
    assert precision == "fp8"
    assert [kernel.op_class for kernel in kernels] == [OpClass.REDUCTION, OpClass.ELEMENTWISE, OpClass.GEMM]
    rounding = kernels[1]
    # 16 bits are read and 8 written: half a value of two bytes.
    assert dict(rounding.read)[Role.ACTIVATION].per_sample == 2 * dict(rounding.write)[Role.ACTIVATION].per_sample
    assert len(launches("gemm", "fp8_block", GEMM)[0]) == 2


def test_narrow_weights_alone_are_fewer_bytes() -> None:
    (plain,), _, _ = launches("gemm", "bfloat16", GEMM)
    (narrow,), _, precision = launches("gemm", "int4_wo", GEMM)
    assert precision == "bf16"
    assert dict(narrow.read)[Role.WEIGHT].fixed == dict(plain.read)[Role.WEIGHT].fixed / 4


def test_attention_over_a_cache_has_one_query_a_sequence() -> None:
    kernels, batch, _ = launches("generation_attention", "bfloat16", PROMPT | {"isl": 1, "step": 1023})
    assert (batch, len(kernels)) == (4, 3)
    attention = kernels[1]
    assert attention.gemm is not None
    assert (attention.gemm.m.per_sample, attention.gemm.n.fixed) == (1, 1024)
    assert len(launches("context_attention", "bfloat16", PROMPT)[0]) == 2


def test_each_launch_has_its_gap() -> None:
    kernels, batch, precision = launches("gemm", "fp8", {"m": 1, "n": 128, "k": 128})
    assert seconds(H100, kernels, batch, precision) > 3 * H100.launch_s


@pytest.mark.parametrize(("op", "dtype"), [("softmax", "bfloat16"), ("gemm", "fp3"), ("context_attention", "int3")])
def test_what_has_no_rule_says_so(op: str, dtype: str) -> None:
    with pytest.raises(UnsupportedError, match="no rule"):
        launches(op, dtype, GEMM | PROMPT)


def test_a_table(tmp_path: Path) -> None:
    path = tmp_path / "ops.csv"
    rows = (
        "h100-sxm,gemm,bfloat16,m=4096;n=4096;k=4096,0.000195\n"
        "h100-sxm,gemm,bfloat16,m=4096;n=4096,0.0002\n"
        "tpu-v9,gemm,bfloat16,m=1;n=1;k=1,0.1\n"
    )
    path.write_text(HEADING + rows, encoding="utf-8")
    assert is_ops(path)
    first, second, third = predict_ops(path)
    assert abs(first.error) < 0.2
    assert math.isnan(second.predicted_s)
    assert "'k'" in second.reason
    assert "unknown device" in third.reason
    summary = ops_summary([first, second, third])
    assert (summary["rows"], summary["not_predicted"]) == (3, 2)


def test_a_malformed_time_names_its_line(tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(HEADING + "h100-sxm,gemm,bfloat16,m=1;n=1;k=1,-1\n", encoding="utf-8")
    with pytest.raises(InputError, match="line 2"):
        predict_ops(path)

"""Measured kernels as columns, and fitting: coefficients that made the measurements are found again."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from math import log
from pathlib import Path

import numpy as np
import pytest

from simulator.calibration.fit import (
    Parameter,
    Problem,
    Values,
    fit,
    predict_kernels,
    predict_rows,
    robust,
)
from simulator.calibration.kernels import MeasuredKernels, read_kernels
from simulator.calibration.measurements import Measurement
from simulator.calibration.rows import Row, rows_of
from simulator.calibration.validation import predict
from simulator.device.device import load_device, with_families
from simulator.device.framework import load_framework, with_files
from simulator.op.kernel import OpClass, Phase, Role
from simulator.op.kernels import at_batch

DEVICE = "v100-pcie-16gb"

KERNELS = """# Two lines of comment,
# before the header.
device,precision,op,phase,m,n,k,batch,channels,height,width,out,kernel_h,kernel_w,stride_h,stride_w,pad_h,pad_w,seconds
v100-pcie-16gb,fp32,gemm,forward,8,16,32,,,,,,,,,,,,1e-05
v100-pcie-16gb,fp32,gemm,forward,1,16,32,,,,,,,,,,,,2e-05
v100-pcie-16gb,fp32,conv,forward,,,,2,3,8,6,4,3,5,1,1,1,2,3e-05
v100-pcie-16gb,fp32,conv,input_gradient,,,,2,3,8,6,4,3,5,1,1,1,2,4e-05
v100-pcie-16gb,fp32,conv,weight_gradient,,,,2,3,8,6,4,3,5,1,1,1,2,5e-05
v100-pcie-16gb,fp32,conv,forward,,,,2,3,8,6,4,3,3,2,2,1,1,6e-05
"""


@pytest.fixture
def groups(tmp_path: Path) -> dict[tuple[str, str], MeasuredKernels]:
    path = tmp_path / "kernels.csv"
    path.write_text(KERNELS, encoding="utf-8")
    return {(group.op, group.phase): group for group in read_kernels(path)}


def counts_of(group: MeasuredKernels, number: int = 0) -> dict[str, object]:
    """Counts of a kernel at its batch."""
    columns, batch = group.columns, float(group.batch)
    moved = {
        word: {Role(role).name: table[role, number] for role in range(len(Role)) if table[role, number]}
        for word, table in (("read", at_batch(columns.read, batch)), ("write", at_batch(columns.write, batch)))
    }
    gemm = at_batch(columns.gemm, batch)[:, number].tolist()
    return {"flops": at_batch(columns.flops, batch)[number], "gemm": gemm, **moved}


def test_rows_are_grouped_with_their_times(groups: dict[tuple[str, str], MeasuredKernels]) -> None:
    assert {key: group.seconds.tolist() for key, group in groups.items()} == {
        ("gemm", "forward"): [1e-5, 2e-5],
        ("conv", "forward"): [3e-5, 6e-5],
        ("conv", "input_gradient"): [4e-5],
        ("conv", "weight_gradient"): [5e-5],
    }
    assert all((group.device, group.precision) == (DEVICE, "fp32") for group in groups.values())


def test_a_product_by_hand(groups: dict[tuple[str, str], MeasuredKernels]) -> None:
    group = groups["gemm", "forward"]
    # 8 x 32 by 32 x 16: 2 x 4096 FLOP; 256 activations and 512 weights in, 128 out.
    assert counts_of(group) == {
        "flops": 8192,
        "gemm": [8, 16, 32],
        "read": {"WEIGHT": 512, "ACTIVATION": 256},
        "write": {"ACTIVATION": 128},
    }
    assert counts_of(group, 1)["gemm"] == [1, 16, 32]
    assert group.columns.op_class.tolist() == [OpClass.GEMM] * 2


def test_the_three_phases_of_a_convolution_by_hand(groups: dict[tuple[str, str], MeasuredKernels]) -> None:
    # Two images of 3 x 8 x 6 padded to the same size; 4 filters of 3 x 3 x 5 = 45: 96 positions, 2 x 96 x 4 x 45 FLOP.
    # Elements: 288 in, 384 out, 180 weights.
    flops = 2 * 96 * 4 * 45
    assert counts_of(groups["conv", "forward"]) == {
        "flops": flops,
        "gemm": [96, 4, 45],
        "read": {"WEIGHT": 180, "ACTIVATION": 288},
        "write": {"ACTIVATION": 384},
    }
    # The gradient of 4 channels, 15 taps each, makes 3 channels.
    assert counts_of(groups["conv", "input_gradient"]) == {
        "flops": flops,
        "gemm": [96, 3, 60],
        "read": {"WEIGHT": 180, "GRADIENT": 384},
        "write": {"GRADIENT": 288},
    }
    # The sum runs over the positions of all images.
    assert counts_of(groups["conv", "weight_gradient"]) == {
        "flops": flops,
        "gemm": [4, 45, 96],
        "read": {"ACTIVATION": 288, "GRADIENT": 384},
        "write": {"WEIGHT_GRADIENT": 180},
    }
    assert groups["conv", "input_gradient"].columns.phase.tolist() == [Phase.INPUT_GRADIENT]


def test_a_strided_window_by_hand(groups: dict[tuple[str, str], MeasuredKernels]) -> None:
    # (8 + 2 - 3) // 2 + 1 = 4 by (6 + 2 - 3) // 2 + 1 = 3, two images: 24 positions.
    group = groups["conv", "forward"]
    assert counts_of(group, 1)["gemm"] == [24, 4, 27]
    assert group.columns.window[:, 0].tolist() == [3, 5, 1, 1, 1, 1]
    assert group.columns.window[:, 1].tolist() == [3, 3, 2, 2, 1, 1]


# Fitting.


def measurement(workload: str, batch: int, task: str = "train", **changes: object) -> Measurement:
    plain = Measurement("x", workload, DEVICE, task, "fp32", batch, 1, 1.0, True, "pytorch", "")
    return replace(plain, **changes)  # type: ignore[arg-type]


SETTINGS = (
    measurement("lenet5", 1),
    measurement("lenet5", 512),
    measurement("alexnet", 64),
    measurement("resnet18", 64),
    measurement("resnet18", 64, "infer"),
    measurement("mobilenet_v2", 64, "forward"),
)

ELEMENTWISE, FORWARD = ("families/gpu", "kernel.elementwise"), ("frameworks/pytorch", "dispatch.forward")
BATCHED = ("families/volta", "kernel.normalization")


@lru_cache
def made_with(truth: tuple[tuple[tuple[str, str], float], ...]) -> list[Row]:
    """Rows whose measured times are the model's own at these coefficients."""
    rows = rows_of(SETTINGS)
    seconds = predict_rows(rows, dict(truth))
    made = (replace(row.measured, step_s=float(s)) for row, s in zip(rows, seconds, strict=True))
    return rows_of(made)


def test_predicted_rows_are_the_programs_own_times() -> None:
    rows = rows_of(SETTINGS)
    assert len(rows) == len(SETTINGS)
    expected = [predict(row.measured).predicted_s for row in rows]
    assert predict_rows(rows, {}).tolist() == pytest.approx(expected)


def test_rows_that_cannot_be_predicted_are_left_out() -> None:
    odd = [measurement("lenet55", 1), measurement("lenet5", 1, device="v1000"), measurement("lenet5", 1, devices=2)]
    assert rows_of(odd) == []


def test_repeated_measurements_count_once_as_their_median() -> None:
    again = [replace(SETTINGS[0], id=str(number), step_s=s) for number, s in enumerate((3.0, 1.0, 2.0))]
    assert [row.measured.step_s for row in rows_of(again)] == [2.0]


def test_values_reach_the_device_and_the_framework() -> None:
    device = load_device(DEVICE)
    values = {ELEMENTWISE: 0.5, ("families/volta", "launch"): 1e-6, ("families/cpu", "launch"): 9}
    changed = with_families(device, values)
    assert (changed.kernel["elementwise"], changed.launch_s) == (0.5, 1e-6)
    # The family stands over the kind, and the device's own file over both.
    both = with_families(device, {BATCHED: 0.3, ("families/gpu", "kernel.normalization"): 0.2})
    assert both.kernel["normalization"] == 0.3
    own = with_families(device, {("families/gpu", "sustained.bandwidth"): 0.1})
    assert own.sustained["bandwidth"] == device.profile.sustained.bandwidth  # type: ignore[union-attr]
    pytorch = load_framework("pytorch")
    scope = "frameworks/pytorch"
    software = with_files(
        pytorch, {(scope, "dispatch.backward"): 7e-6, (scope, "mixed.transposes"): 0.5, ("frameworks/mxnet", "x"): 1}
    )
    assert software.dispatch_s[1:3] == (7e-6, 7e-6)
    assert software.dispatch_s[0] == pytorch.dispatch_s[0]
    assert (software.mixed.transposes, software.plain) == (0.5, pytorch.plain)


def test_a_framework_like_another_shares_what_its_file_leaves_out() -> None:
    last, pytorch = load_framework("pytorch-channels-last"), load_framework("pytorch")
    assert (last.dispatch_s, last.step_s, last.helpers_s) == (pytorch.dispatch_s, pytorch.step_s, pytorch.helpers_s)
    assert (last.mixed.layout, pytorch.mixed.layout) == ("channels last", "channels first")
    assert last.mixed.promotes
    given = {
        ("frameworks/pytorch", "dispatch.forward"): 7e-6,
        ("frameworks/pytorch", "mixed.elementwise"): 0.1,
        ("frameworks/pytorch", "mixed.transposes"): 0.2,
        ("frameworks/pytorch-channels-last", "mixed.elementwise"): 0.5,
    }
    software = with_files(last, given)
    assert (software.dispatch_s[0], software.mixed.elementwise, software.mixed.transposes) == (7e-6, 0.5, 0.2)
    rows = rows_of([measurement("lenet5", 1, framework="pytorch-channels-last", precision="amp")])
    problem = Problem(rows, [], [Parameter(scope, key, value, 1.0) for (scope, key), value in given.items()])
    base = problem.residuals(np.zeros(4))
    step = np.zeros(4)
    step[0] = 3.0
    assert problem.residuals(step, 0, base)[0] != base[0]


def test_releases_of_a_framework_weigh_with_it() -> None:
    rows = rows_of(
        [
            measurement("lenet5", 64),
            measurement("lenet5", 64, framework="pytorch-2022"),
            measurement("lenet5", 64, framework="mxnet"),
        ]
    )
    errors = Problem(rows, [], []).residuals(np.zeros(0)) / robust(np.log(predict_rows(rows, {})))
    assert errors**2 == pytest.approx([0.25, 0.25, 0.5])


def test_values_reach_a_processor_and_what_calls_cost_on_it() -> None:
    processor = with_families(load_device("core-i9-10940x"), {("families/cpu", "start"): 2e-6})
    assert processor.start_s == 2e-6
    compiled, scope = load_framework("pytorch-compiled"), "frameworks/pytorch"
    given = {(scope, "processor.convolution"): 7e-5, (scope, "processor.packing"): 0.25}
    software = with_files(compiled, given)
    assert software.processor == replace(compiled.processor, convolution_s=7e-5, packing=0.25)


TRUTH = ((ELEMENTWISE, 0.5), (FORWARD, 2e-5))


def found_from(starts: dict[tuple[str, str], float], rows: list[Row], **most: float) -> Values:
    parameters = [Parameter(*key, start, spread=100.0, **most) for key, start in starts.items()]
    return fit(Problem(rows, [], parameters), rounds=10)


def test_the_fit_finds_the_coefficients_that_made_the_times() -> None:
    rows = made_with(TRUTH)
    found = found_from({ELEMENTWISE: 0.9, FORWARD: 6e-6}, rows)
    assert found[ELEMENTWISE] == pytest.approx(0.5, rel=0.02)
    assert found[FORWARD] == pytest.approx(2e-5, rel=0.02)
    assert predict_rows(rows, found) == pytest.approx([row.measured.step_s for row in rows], rel=0.01)


def test_a_bound_from_above_is_kept() -> None:
    found = found_from({ELEMENTWISE: 0.3}, made_with(TRUTH), most=0.4)
    assert found[ELEMENTWISE] == pytest.approx(0.4, rel=0.02)
    assert found[ELEMENTWISE] <= 0.4


def test_a_narrow_spread_holds_the_start() -> None:
    tight = Problem(made_with(TRUTH), [], [Parameter(*ELEMENTWISE, 0.9, spread=1e-4)])
    assert fit(tight)[ELEMENTWISE] == pytest.approx(0.9, rel=0.01)


def test_a_coefficient_that_touches_nothing_stays() -> None:
    found = found_from({ELEMENTWISE: 0.9, ("families/cpu", "launch"): 3e-6}, made_with(TRUTH))
    assert found["families/cpu", "launch"] == pytest.approx(3e-6)


def test_residuals_of_the_truth_are_zero() -> None:
    rows = made_with(TRUTH)
    problem = Problem(rows, [], [Parameter(*key, value, spread=1.0) for key, value in TRUTH])
    assert problem.residuals(np.zeros(2)) == pytest.approx(np.zeros(problem.size), abs=1e-9)
    # Only what a coefficient can touch is evaluated anew, and the rest is the base: the same as all anew.
    moved = np.array([0.0, log(1.5)])
    assert problem.residuals(moved, 1, problem.residuals(np.zeros(2))) == pytest.approx(problem.residuals(moved))


def test_kernels_alone_find_their_coefficient(groups: dict[tuple[str, str], MeasuredKernels]) -> None:
    key = ("families/volta", "launch")
    group = groups["gemm", "forward"]
    made = replace(group, seconds=predict_kernels(group, {key: 2.5e-5}))
    found = fit(Problem([], [made], [Parameter(*key, 1e-5, spread=3.0)]), rounds=10)
    assert found[key] == pytest.approx(2.5e-5, rel=0.05)


def test_kernels_run_back_to_back_with_a_gap(groups: dict[tuple[str, str], MeasuredKernels]) -> None:
    group, key = groups["conv", "forward"], ("families/volta", "launch")
    near, far = (predict_kernels(group, {key: gap}) for gap in (1e-6, 5e-6))
    assert far - near == pytest.approx([4e-6, 4e-6])

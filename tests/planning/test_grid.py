"""The roofline's closed form is the kernels' sum to twelve digits at any device's numbers; grids go to disk."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.device.device import load_device
from simulator.errors import InputError
from simulator.pipeline import Options, kernels_of, times_of
from simulator.planning.grid import ClosedForm, _sorted, closed_form, grid, grid_axes, write_grid
from simulator.workload.reading import load_workload

V100 = load_device("v100")
ROOFLINE = Options(fidelity="roofline", batch=16)


@lru_cache
def form(name: str, precision: str) -> ClosedForm:
    return closed_form(load_workload(name), V100, replace(ROOFLINE, precision=precision))


def test_by_hand() -> None:
    # Kernels of (10 FLOP, 10 byte) and (100, 10); 20 FLOP/s and 10 byte/s: 100 / 20 + 10 / 10.
    found = _sorted(np.array([10.0, 100]), np.array([10.0, 10]))
    assert found.seconds(np.array([20.0]), np.array([10.0])).tolist() == [6.0]
    assert found.seconds(np.array([1e9, 1e-3]), np.array([10.0, 10])).tolist() == pytest.approx([2.0, 110e3])


@given(
    name=st.sampled_from(["resnet50", "alexnet", "gpt2"]),
    precision=st.sampled_from(["fp32", "amp"]),
    bandwidth=st.floats(1e9, 1e14),
    peaks=st.tuples(st.floats(1e10, 1e16), st.floats(1e10, 1e16)),
)
def test_it_is_the_sum_of_the_kernels(name: str, precision: str, bandwidth: float, peaks: tuple[float, float]) -> None:
    options = replace(ROOFLINE, precision=precision)
    peaks = (max(peaks), min(peaks))  # a product runs at the fastest peak that serves
    matrix = "fp16_tensor" if precision == "amp" else "fp32"
    peak = {matrix: peaks[0], "fp32": peaks[1]} if precision == "amp" else {"fp32": peaks[0]}
    device = replace(V100, peak=peak, memory=replace(V100.memory, bandwidth_byte_per_s=bandwidth))
    workload = load_workload(name)
    whole = times_of(workload, kernels_of(workload, options), device, options, 16).time_s.sum()
    vector = peak["fp32"]
    (found,) = form(name, precision).seconds(np.array([bandwidth]), np.array([peaks[0]]), np.array([vector]))
    assert found == pytest.approx(whole, rel=1e-12)


def test_chunks_change_nothing() -> None:
    rng = np.random.default_rng(1)
    bandwidth, peak = rng.uniform(1e11, 1e13, 40_000), rng.uniform(1e12, 1e15, 40_000)
    whole = form("resnet50", "fp32").seconds(bandwidth, peak, peak)
    single = [
        form("resnet50", "fp32").seconds(bandwidth[i : i + 1], peak[i : i + 1], peak[i : i + 1])[0]
        for i in (0, 16_384, 39_999)
    ]
    assert whole[[0, 16_384, 39_999]].tolist() == single


def test_axes_of_a_sweep() -> None:
    bandwidth, (matrix, vector) = grid_axes(V100, ROOFLINE, {"memory.bandwidth": ["1x", "2 TB/s"], "peak.fp32": ["2x"]})
    assert bandwidth.tolist() == [V100.memory.bandwidth_byte_per_s, 2e12]
    assert matrix.tolist() == vector.tolist() == [2 * V100.peak["fp32"]]
    amp = grid_axes(V100, replace(ROOFLINE, precision="amp"), {"memory.bandwidth": ["1x"], "peak.fp16_tensor": ["2x"]})
    assert amp[1][0].tolist() == [2 * V100.peak["fp16_tensor"]]
    assert amp[1][1].tolist() == [V100.peak["fp32"]]
    with pytest.raises(InputError, match="closed form"):
        grid_axes(V100, ROOFLINE, {"memory.bandwidth": ["1x"], "launch": ["1 us"]})
    with pytest.raises(InputError, match="fidelity roofline"):
        closed_form(load_workload("lenet5"), V100, Options())


def test_a_grid_on_disk(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    import pandas as pd

    bandwidth, peak = np.linspace(1e11, 1e12, 3), np.linspace(1e12, 1e13, 5)
    made = form("alexnet", "fp32")
    path = tmp_path / "grid.parquet"
    assert write_grid(path, made, bandwidth, (peak, peak), ("memory.bandwidth", "peak.fp32")) == 15
    frame = pd.read_parquet(path)
    assert frame["step.time_s"].tolist() == np.concatenate(list(grid(made, bandwidth, (peak, peak)))).tolist()
    assert frame["memory.bandwidth"].nunique() == 3
    with pytest.raises(InputError, match="are free"):
        write_grid(path, made, np.zeros(10**6), (np.zeros(10**9), np.zeros(1)), ("a", "b"))

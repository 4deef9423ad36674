"""The roofline's laws, on the shipped devices and on invented ones."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator import catalog
from simulator.device.device import FOLDER, Device, load_device
from simulator.device.framework import load_framework
from simulator.errors import UnsupportedError
from simulator.op.kernel import Engine, Gemm, Kernel, OpClass, Phase, Role, each, once
from simulator.op.kernels import Kernels, pack
from simulator.op.optimizer import OPTIMIZERS
from simulator.precision import PRECISIONS, get_precision
from simulator.roofline.rates import Fidelity, peak_name
from simulator.roofline.setting import Setting
from simulator.roofline.times import Bound, Times, kernel_times, napkin_times
from simulator.roofline.traffic import TrafficModel
from simulator.roofline.used import used_numbers, weakest_grade
from simulator.workload.lowering import lower
from simulator.workload.reading import load_workload

FP32 = get_precision("fp32")
SGD = OPTIMIZERS["sgd"]
NAMES = ("lenet5", "alexnet", "resnet50", "senet154", "mobilenet_v2")

names = st.sampled_from(NAMES)
batches = st.integers(1, 4096)
fidelities = st.sampled_from([Fidelity.ROOFLINE, Fidelity.CALIBRATED])
factors = st.floats(1.0, 100.0)


@lru_cache
def lowered(name: str, *, training: bool = True) -> Kernels:
    return lower(load_workload(name), training=training, optimizer=SGD if training else None)


@lru_cache
def devices() -> tuple[Device, ...]:
    return tuple(load_device(name) for name in catalog.names(FOLDER))


def faster(device: Device, *, compute: float = 1.0, bandwidth: float = 1.0) -> Device:
    """The device with its peaks and its memory's bandwidth multiplied."""
    memory = replace(device.memory, bandwidth_byte_per_s=device.memory.bandwidth_byte_per_s * bandwidth)
    return replace(device, memory=memory, peak={name: peak * compute for name, peak in device.peak.items()})


def step_s(times: Times) -> float:
    return float(times.time_s.sum())


V100 = load_device("v100")


def one(flops: float, elements: float, engine: Engine = Engine.VECTOR) -> Kernels:
    """A single launch of so many operations over so many elements a sample."""
    gemm = Gemm(each(64), once(64), once(64)) if engine is Engine.MATRIX else None
    kernel = Kernel(OpClass.ELEMENTWISE, Phase.FORWARD, each(flops), ((Role.ACTIVATION, each(elements)),), (), gemm)
    return Kernels(pack([kernel]), np.array([0]), np.array([0]), np.array([True]))


# ---- one kernel, by hand


def test_a_kernel_takes_the_longer_of_its_two_times() -> None:
    # 14e9 FLOP at 14 TFLOP/s: 1 ms. 9e8 bytes at 900 GB/s: 1 ms.
    compute = kernel_times(one(28e9, 1), Setting(V100, FP32, fidelity=Fidelity.ROOFLINE), 1)
    memory = kernel_times(one(1, 450e6), Setting(V100, FP32, fidelity=Fidelity.ROOFLINE), 1)
    assert compute.time_s[0] == pytest.approx(2e-3, rel=1e-12)
    assert compute.bound[0] == Bound.COMPUTE
    assert memory.time_s[0] == pytest.approx(2e-3, rel=1e-12)
    assert memory.bound[0] == Bound.MEMORY
    assert compute.seconds[Bound.OVERHEAD, 0] == memory.seconds[Bound.OVERHEAD, 0] == 0


def test_at_the_ridge_the_two_times_are_equal() -> None:
    # The V100's ridge in fp32: 14e12 / 9e11 = 15.56 FLOP/byte, 62.2 FLOP an element of 4 bytes.
    ridge = V100.peak["fp32"] / V100.memory.bandwidth_byte_per_s
    times = kernel_times(one(4 * ridge * 1e6, 1e6), Setting(V100, FP32, fidelity=Fidelity.ROOFLINE), 3)
    assert times.seconds[Bound.COMPUTE, 0] == pytest.approx(times.seconds[Bound.MEMORY, 0], rel=1e-12)
    assert times.time_s[0] == pytest.approx(times.seconds[Bound.COMPUTE, 0], rel=1e-12)


@given(st.floats(1e-2, 1e4))
def test_attainable_performance_is_the_lower_roof(intensity: float) -> None:
    times = kernel_times(one(4 * intensity * 1e6, 1e6), Setting(V100, FP32, fidelity=Fidelity.ROOFLINE), 1)
    attained = times.flops[0] / times.time_s[0]
    assert attained == pytest.approx(min(14e12, intensity * 900e9), rel=1e-9)


def test_each_role_has_the_width_that_the_precision_gives_it() -> None:
    reads = tuple((role, each(1000)) for role in Role)
    kernel = Kernel(OpClass.ELEMENTWISE, Phase.FORWARD, each(1), reads, ())
    kernels = Kernels(pack([kernel]), np.array([0]), np.array([0]), np.array([True]))
    # fp32: 6 roles of 4, indices of 8, flags of 1. amp: 4 roles of 2, state and wide activations of 4, 8, 1.
    assert kernel_times(kernels, Setting(V100, FP32, fidelity=Fidelity.ROOFLINE), 1).traffic_bytes[0] == 33_000
    mixed = Setting(V100, get_precision("amp"), fidelity=Fidelity.ROOFLINE)
    assert kernel_times(kernels, mixed, 1).traffic_bytes[0] == 25_000


def test_calibrated_adds_the_gap_between_launches() -> None:
    free = replace(V100, launch_s=0.0)
    with_gap, without = (kernel_times(lowered("lenet5"), Setting(device, FP32), 64) for device in (V100, free))
    assert with_gap.time_s - without.time_s == pytest.approx(V100.launch_s, rel=1e-9)


# ---- laws


@given(names, batches, factors, st.sampled_from(list(TrafficModel)), st.booleans())
def test_time_never_falls_as_the_batch_grows(
    name: str, batch: int, factor: float, traffic: TrafficModel, training: bool
) -> None:
    kernels = lowered(name, training=training)
    small, large = (
        kernel_times(kernels, Setting(V100, FP32, fidelity=Fidelity.ROOFLINE, traffic=traffic), float(size))
        for size in (batch, int(batch * factor))
    )
    assert (large.time_s >= small.time_s).all()


@given(names, batches)
def test_a_calibrated_step_of_twice_the_batch_takes_longer(name: str, batch: int) -> None:
    small, large = (kernel_times(lowered(name), Setting(V100, FP32), float(size)) for size in (batch, 2 * batch))
    assert step_s(large) > step_s(small)


@given(names, batches, factors, fidelities, st.sampled_from(["bandwidth", "compute"]))
def test_time_never_grows_with_the_machine(name: str, batch: int, factor: float, fidelity: Fidelity, what: str) -> None:
    better = faster(V100, **{what: factor})
    before, after = (
        kernel_times(lowered(name), Setting(device, FP32, fidelity=fidelity), float(batch)) for device in (V100, better)
    )
    assert step_s(after) <= step_s(before) * (1 + 1e-12)


@given(names, batches, st.integers(0, 10**6))
def test_calibrated_is_no_faster_than_the_roofline(name: str, batch: int, pick: int) -> None:
    """For kernels of which no algorithm has fewer operations, with nothing kept in a cache between kernels."""
    device = devices()[pick % len(devices())]
    device = replace(device, kernel=dict(device.kernel) | {"cache": 0.0})
    if max(device.sustained.values()) > 1:
        return
    kernels = lowered(name)
    bound = kernel_times(kernels, Setting(device, FP32, fidelity=Fidelity.ROOFLINE), float(batch))
    estimate = kernel_times(kernels, Setting(device, FP32), float(batch))
    direct = kernels.distinct.op_class[kernels.row] != OpClass.CONVOLUTION
    assert (estimate.time_s >= bound.time_s * (1 - 1e-9))[direct].all()


@pytest.mark.parametrize("name", NAMES)
def test_traffic_models_are_ordered(name: str) -> None:
    kernels = lowered(name)
    for device in devices():
        if device.cache_bytes:
            ideal, cached, naive = (
                kernel_times(
                    kernels, Setting(device, FP32, fidelity=Fidelity.ROOFLINE, traffic=model), 32.0
                ).traffic_bytes
                for model in (TrafficModel.IDEAL, TrafficModel.CACHED, TrafficModel.NAIVE)
            )
            assert (ideal <= cached).all()
            assert (cached <= naive).all()


@given(names, batches, batches)
def test_work_and_traffic_are_affine_in_the_batch(name: str, one_batch: int, other: int) -> None:
    results = [
        kernel_times(
            lowered(name), Setting(V100, FP32, fidelity=Fidelity.ROOFLINE, traffic=TrafficModel.IDEAL), float(size)
        )
        for size in (one_batch, other, one_batch + other, 0)
    ]
    for column in ("flops", "traffic_bytes"):
        first, second, both, fixed = (getattr(result, column) for result in results)
        assert np.allclose(both, first + second - fixed, rtol=1e-12, atol=0)


@pytest.mark.parametrize("fidelity", list(Fidelity))
@pytest.mark.parametrize("traffic", list(TrafficModel))
@pytest.mark.parametrize("name", ["lenet5", "mobilenet_v2"])
def test_many_batches_at_once_are_the_same_as_one_by_one(name: str, fidelity: Fidelity, traffic: TrafficModel) -> None:
    sizes = np.array([1.0, 2.0, 7.0, 64.0, 1000.0])
    kernels = lowered(name)

    def times(batch: np.ndarray | float) -> Times:
        if fidelity is Fidelity.NAPKIN:
            return napkin_times(kernels, Setting(V100, FP32), batch)
        return kernel_times(kernels, Setting(V100, FP32, fidelity=fidelity, traffic=traffic), batch)

    together = times(sizes[:, None])
    for row, size in enumerate(sizes):
        alone = times(float(size))
        for column in Times.__struct_fields__:
            assert np.allclose(getattr(together, column)[..., row, :], getattr(alone, column), rtol=1e-12, atol=0), (
                column
            )


@pytest.mark.parametrize("precision", sorted(PRECISIONS))
def test_every_device_answers_or_says_what_is_missing(precision: str) -> None:
    chosen = get_precision(precision)
    kernels = lowered("lenet5", training=False)
    for device in devices():
        served = all(set(peaks) & set(device.peak) for peaks in (chosen.matrix_peaks, chosen.vector_peaks))
        for fidelity in (Fidelity.ROOFLINE, Fidelity.CALIBRATED):
            if served:
                times = kernel_times(kernels, Setting(device, chosen, fidelity=fidelity), 8.0)
                assert np.isfinite(times.time_s).all()
                assert (times.time_s > 0).all()
            else:
                with pytest.raises(UnsupportedError, match=rf"{device.name} lists no .* precision {precision} needs"):
                    kernel_times(kernels, Setting(device, chosen, fidelity=fidelity), 8.0)


def test_a_missing_peak_is_an_error_not_a_zero() -> None:
    with pytest.raises(UnsupportedError, match="v100-pcie-16gb lists no tf32_tensor peak, which precision tf32 needs"):
        kernel_times(lowered("lenet5"), Setting(V100, get_precision("tf32"), fidelity=Fidelity.ROOFLINE), 8.0)


@pytest.mark.parametrize(
    ("device", "precision", "peak"),
    [
        ("v100", "fp32", "fp32"),
        ("v100", "amp", "fp16_tensor"),
        ("a100-sxm4-40gb", "tf32", "tf32_tensor"),
        ("gtx-1080-ti", "amp", "fp32"),  # half-width lanes at 1/64: widened instead
        ("p100-sxm2-16gb", "amp", "fp16"),  # half-width lanes at twice the rate
    ],
)
def test_the_fastest_peak_that_serves_is_taken(device: str, precision: str, peak: str) -> None:
    assert peak_name(load_device(device), get_precision(precision), Engine.MATRIX) == peak


def test_cached_traffic_needs_a_cache() -> None:
    bare = replace(V100, cache_bytes=0.0)
    with pytest.raises(UnsupportedError, match="lists no last-level cache, which --traffic cached needs"):
        kernel_times(
            lowered("lenet5"), Setting(bare, FP32, fidelity=Fidelity.ROOFLINE, traffic=TrafficModel.CACHED), 8.0
        )


@given(st.sampled_from(["alexnet", "resnet50"]), st.floats(1.0, 1e4))
def test_a_larger_cache_moves_no_more(name: str, factor: float) -> None:
    small, large = (
        kernel_times(
            lowered(name), Setting(device, FP32, fidelity=Fidelity.ROOFLINE, traffic=TrafficModel.CACHED), 32.0
        ).traffic_bytes
        for device in (V100, replace(V100, cache_bytes=V100.cache_bytes * factor))
    )
    assert (large <= small * (1 + 1e-12)).all()


def test_a_cache_that_holds_everything_reaches_the_lower_bound() -> None:
    vast = replace(V100, cache_bytes=1e15)
    ideal, cached = (
        kernel_times(
            lowered("resnet50"), Setting(vast, FP32, fidelity=Fidelity.ROOFLINE, traffic=model), 32.0
        ).traffic_bytes
        for model in (TrafficModel.IDEAL, TrafficModel.CACHED)
    )
    assert np.allclose(ideal, cached, rtol=1e-12)


def test_napkin_counts_forward_macs_alone() -> None:
    # 724,406,816 MACs a sample x 10 / (half of 14 TFLOP/s).
    times = napkin_times(lowered("alexnet"), Setting(V100, FP32), 10.0)
    assert step_s(times) == pytest.approx(724_406_816 * 10 / 7e12, rel=1e-12)
    scaled = napkin_times(lowered("alexnet"), Setting(V100, FP32), 10.0, 2.0)
    assert step_s(scaled) == pytest.approx(2 * step_s(times), rel=1e-12)


MINIMAL = """
name: mine
kind: gpu
description: an invented device
peak: {fp32: 10 TFLOP/s}
memory: {technology: hbm2, capacity: 8 GiB, bandwidth: 500 GB/s}
"""


@pytest.mark.parametrize(
    ("fidelity", "expected"),
    [
        (Fidelity.NAPKIN, {"peak.fp16_tensor", "utilisation"}),
        (Fidelity.ROOFLINE, {"peak.fp16_tensor", "peak.fp32", "memory.bandwidth", "cache.last_level"}),
    ],
)
def test_what_a_bound_rests_on(fidelity: Fidelity, expected: set[str]) -> None:
    used = used_numbers(Setting(load_device("v100"), get_precision("amp"), fidelity=fidelity), training=True)
    assert {number.path for number in used} == expected


def test_a_calibrated_time_rests_on_every_number_that_it_reads() -> None:
    device, software = load_device("v100"), load_framework("pytorch")
    found = {
        training: {
            number.path
            for number in used_numbers(Setting(device, FP32, software), training=training)
            if not number.path.startswith("pytorch.plain.")
        }
        for training in (True, False)
    }
    hardware = {"peak.fp32", "memory.bandwidth", "cache.last_level", "units.count", "units.clock"}
    calibrated = {"sustained.vector", "sustained.bandwidth", "launch", *(f"kernel.{name}" for name in device.kernel)}
    host = {f"pytorch.dispatch.{call}" for call in ("forward", "backward", "update", "step", "helpers")}
    assert found[True] == hardware | calibrated | host
    assert found[True] - found[False] == {"pytorch.dispatch.backward", "pytorch.dispatch.update"}
    amp = used_numbers(Setting(device, get_precision("amp"), software), training=True)
    assert {"sustained.matrix", "peak.fp16_tensor"} <= {number.path for number in amp}
    measured = load_device("core-i9-10940x")
    on_processor = used_numbers(Setting(measured, FP32, software), training=True)
    assert {"start", "pytorch.processor.call", "pytorch.processor.convolution"} <= {one.path for one in on_processor}


def test_an_assumed_number_of_the_datasheet_weakens_a_calibrated_time_and_a_sure_one_does_not() -> None:
    device = load_device("v100", overrides=["memory.bandwidth=450 GB/s"])
    bound = used_numbers(Setting(device, FP32, fidelity=Fidelity.ROOFLINE), training=True)
    assert weakest_grade(bound, Fidelity.ROOFLINE) == "assumption"
    calibrated = used_numbers(Setting(device, FP32), training=True)
    assert weakest_grade(calibrated, Fidelity.CALIBRATED) == "assumption"
    stock = used_numbers(Setting(load_device("v100"), FP32), training=True)
    assert weakest_grade(stock, Fidelity.CALIBRATED) != "datasheet", "peaks and bandwidths are what fractions are of"


def test_an_invented_device_needs_five_lines(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(MINIMAL, encoding="utf-8")
    mine = load_device(str(path))
    # 20e9 FLOP at 10 TFLOP/s; what no file says is graded as an assumption.
    assert kernel_times(one(20e9, 1), Setting(mine, FP32, fidelity=Fidelity.ROOFLINE), 1).time_s[0] == pytest.approx(
        2e-3
    )
    used = used_numbers(Setting(mine, FP32), training=True)
    assert weakest_grade(used, Fidelity.CALIBRATED) == "assumption"
    assert step_s(kernel_times(lowered("lenet5"), Setting(mine, FP32), 64.0)) > 0

"""What a processor adds, each cause worked by hand on a machine of round figures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from msgspec import structs

from simulator.device.device import Device, load_device
from simulator.device.framework import ProcessorCalls, load_framework
from simulator.errors import InputError
from simulator.op.activation import Relu
from simulator.op.base import Op, Shape, Site
from simulator.op.convolution import Convolution
from simulator.op.gelu import Gelu
from simulator.op.kernels import Kernels, pack
from simulator.op.linear import Linear
from simulator.op.normalization import BatchNorm
from simulator.op.optimizer import get_optimizer
from simulator.op.pooling import MaxPool
from simulator.precision import get_precision
from simulator.roofline import processor
from simulator.roofline.setting import Setting
from simulator.roofline.times import Bound, busy_seconds, kernel_times
from simulator.workload.lowering import lower
from simulator.workload.reading import load_workload

PROFILE = """
name: round
kind: cpu
description: round figures
units: {count: 1}
peak: {fp32: 100 GFLOP/s}
memory: {capacity: 16 GiB, bandwidth: 10 GB/s}
cache: {last_level: 1 MiB, bandwidth: 20 GB/s}
sustained: {vector: 1, bandwidth: 1}
launch: 1 us
calls: {forward: 10 us, backward: 20 us, update: 30 us, step: 100 us}
kernel: {cache: 0, winograd: 0, elementwise: 1, normalization: 1}
"""
FP32 = get_precision("fp32")


@pytest.fixture
def device(tmp_path: Path) -> Device:
    path = tmp_path / "round.yaml"
    path.write_text(PROFILE, encoding="utf-8")
    return load_device(str(path))


def with_kernel(device: Device, **coefficients: float) -> Device:
    return replace(device, kernel=dict(device.kernel) | coefficients)


def forward(op: Op, shape: Shape, *, training: bool = True) -> list[object]:
    return list(op.forward(Site((shape,), op.output_shape((shape,)), training=training)))


def seconds(op: Op, shape: Shape, device: Device, batch: int = 1) -> list[float]:
    return busy_seconds(pack(forward(op, shape)), Setting(device, FP32), float(batch)).tolist()  # type: ignore[arg-type]


def test_a_call_adds_to_its_kernel_and_never_hides(device: Device) -> None:
    kernels = lower(load_workload("lenet5"), optimizer=get_optimizer("sgd"))
    times = kernel_times(kernels, Setting(device, FP32, load_framework("pytorch")), 64.0)
    # Every kernel starts its threads (1 us); a call adds 10, 20 or 30 us by phase; the step's own 100 us come first.
    calls = np.where(kernels.dispatch, np.array([10, 20, 20, 30])[kernels.phase], 0)
    overhead_s = times.seconds[Bound.OVERHEAD]
    assert overhead_s * 1e6 == pytest.approx(1 + calls + np.eye(1, len(kernels))[0] * 100)
    assert times.time_s.sum() == pytest.approx((times.time_s - overhead_s).sum() + overhead_s.sum())


def test_many_batches_at_once_agree_with_each_alone(device: Device) -> None:
    kernels = lower(load_workload("lenet5"))
    both = kernel_times(kernels, Setting(device, FP32, load_framework("pytorch")), np.array([[4.0], [64.0]]))
    alone = kernel_times(kernels, Setting(device, FP32, load_framework("pytorch")), 64.0)
    assert both.time_s.shape == (2, len(kernels))
    assert both.time_s[1] == pytest.approx(alone.time_s)


def test_a_processor_that_does_not_know_its_calls_keeps_the_queue_and_copies_nothing() -> None:
    kernels: Kernels = lower(load_workload("lenet5"))
    shipped, mxnet = load_device("2x-xeon-platinum-8124m"), load_framework("mxnet")
    assert shipped.calls_s is None
    times = kernel_times(kernels, Setting(shipped, FP32, mxnet), 1.0)
    start_s = shipped.launch_s + 36 * shipped.start_s
    assert times.seconds[Bound.OVERHEAD][0] == pytest.approx(start_s + mxnet.helpers_s + mxnet.dispatch_s[0])


@pytest.fixture
def four_cores(tmp_path: Path) -> Device:
    """A processor that did not measure its calls: 1 us a launch and 0.5 us for each of four threads."""
    text = PROFILE.replace("units: {count: 1}", "units: {count: 4}").replace(
        "launch: 1 us", "launch: 1 us\nstart: 0.5 us"
    )
    path = tmp_path / "four-cores.yaml"
    path.write_text("\n".join(line for line in text.splitlines() if not line.startswith("calls")), encoding="utf-8")
    return load_device(str(path))


CALLS = ProcessorCalls(
    call_s=10e-6, convolution_s=50e-6, relayout=2.0, channels_last=True, packing=0.5, first_touch=0.1
)


def one_by_one(op: Op, shape: Shape, device: Device, calls: ProcessorCalls, batch: int = 1) -> tuple[float, float]:
    """Time before and within the first forward kernel of an operation under a framework. [s]"""
    columns = pack(forward(op, shape))  # type: ignore[arg-type]
    first = Kernels(columns, np.array([0]), np.array([0]), np.array([True]))
    software = replace(load_framework("pytorch-compiled"), processor=calls)
    times = kernel_times(first, Setting(device, FP32, software), float(batch))
    return float(times.seconds[Bound.OVERHEAD][0]), float((times.time_s - times.seconds[Bound.OVERHEAD])[0])


def test_a_call_starts_all_threads_and_the_convolution_library_takes_longer(four_cores: Device) -> None:
    # Launch 1 us, four threads of 0.5 us, the call's 10 us.
    assert one_by_one(Relu(), (64, 56, 56), four_cores, CALLS)[0] == pytest.approx(13e-6)
    wide = Convolution(out=64, kernel=3, padding=1)
    assert one_by_one(wide, (64, 56, 56), four_cores, CALLS)[0] == pytest.approx(63e-6)
    notebook = replace(
        with_kernel(four_cores, desktop_host=0.5), profile=structs.replace(four_cores.profile, host="desktop")
    )
    assert one_by_one(wide, (64, 56, 56), notebook, CALLS)[0] == pytest.approx(3e-6 + 30e-6)


@pytest.mark.parametrize(
    ("kernel", "channels", "groups", "batch", "library"),
    [(1, 20, 1, 1, False), (1, 21, 1, 1, True), (1, 20, 1, 2, True), (3, 20, 2, 1, True), (5, 20, 1, 1, True)],
)
def test_small_convolutions_never_reach_the_library(
    four_cores: Device, kernel: int, channels: int, groups: int, batch: int, library: bool
) -> None:
    # An image of 32 x 32: 20 channels are 20,480 values, 21 are more.
    op = Convolution(out=2, kernel=kernel, padding=kernel // 2, groups=groups)
    before, _ = one_by_one(op, (channels, 32, 32), four_cores, CALLS, batch)
    assert before == pytest.approx(63e-6 if library else 13e-6)


@pytest.mark.parametrize(("kernel", "copies"), [(1, 1), (3, 2)])
def test_channels_last_copies_weights_alone_and_those_of_a_window_twice(
    four_cores: Device, kernel: int, copies: int
) -> None:
    op = Convolution(out=64, kernel=kernel, padding=kernel // 2, bias=False)
    (_, plain), (_, copied) = (one_by_one(op, (64, 56, 56), four_cores, c) for c in (ProcessorCalls(10e-6), CALLS))
    assert copied - plain == pytest.approx(copies * 2 * 4 * 64 * 64 * kernel**2 / 10e9)


def test_weights_of_32_mib_are_copied_into_new_pages(four_cores: Device) -> None:
    op, shape = Convolution(out=1024, kernel=4, bias=False), (512, 4, 4)
    kept = replace(CALLS, first_touch=0.0)
    # 1024 x 512 x 4 x 4 values are 32 MiB: two copies, written at a tenth of 10 GB/s.
    (_, before), (_, after) = (one_by_one(op, shape, four_cores, calls) for calls in (kept, CALLS))
    assert after - before == pytest.approx(2 * 2**25 / 1e9)


@pytest.mark.parametrize(("batch", "packed"), [(1, 0.0), (16, 0.5)])
def test_a_product_of_one_row_is_not_packed(four_cores: Device, batch: int, packed: float) -> None:
    linear, none = Linear(out=1000, bias=False), ProcessorCalls(10e-6)
    (_, plain), (_, copied) = (one_by_one(linear, (512,), four_cores, calls, batch) for calls in (none, CALLS))
    assert copied - plain == pytest.approx(packed * 2 * 4 * (16 * 512 + 512_000 + 16 * 1000) / 10e9)


def test_what_a_machine_measured_overrides_the_framework(device: Device) -> None:
    op = Convolution(out=64, kernel=3, padding=1)
    with_calls, without = (one_by_one(op, (64, 56, 56), device, calls) for calls in (CALLS, ProcessorCalls()))
    assert with_calls == without
    assert with_calls[0] == pytest.approx(111e-6), "its launch, its call and its step"


def test_functions_run_at_their_own_rate(device: Device) -> None:
    # 10^6 values: 8 MB at 10 GB/s = 800 us. GELU: 5 FLOP a value at 1 % of 100 GFLOP/s = 5 ms.
    assert seconds(Gelu(), (10**6,), device) == pytest.approx([800e-6])
    assert seconds(Gelu(), (10**6,), with_kernel(device, arithmetic=0.01)) == pytest.approx([5e-3])


def test_windows_and_statistics_have_rates_of_their_own(device: Device) -> None:
    slow = with_kernel(device, sliding=0.001, statistics=0.002)
    # 64 x 28 x 28 outputs of 4 comparisons at 0.1 GFLOP/s.
    assert seconds(MaxPool(kernel=2), (64, 56, 56), slow) == pytest.approx([64 * 28 * 28 * 4 / 1e8])
    # Statistics: 3 FLOP an element at 0.2 GFLOP/s; the pass that writes is bound by its 8 bytes an element.
    elements = 64 * 56 * 56
    assert seconds(BatchNorm(), (64, 56, 56), slow) == pytest.approx([3 * elements / 2e8, 8 * elements / 1e10])


def test_layout_copies_come_on_top(device: Device) -> None:
    conv, shape = Convolution(out=64, kernel=3, padding=1, bias=False), (64, 56, 56)
    (plain,), (copied,) = (seconds(conv, shape, d) for d in (device, with_kernel(device, relayout=1.5)))
    # Input and output of 200,704 values, 36,864 weights: each read and written 1.5 times beside the kernel.
    moved = 4 * (2 * 200_704 + 36_864)
    assert copied - plain == pytest.approx(1.5 * 2 * moved / 10e9)
    assert seconds(conv, shape, with_kernel(device, packing=1.5)) == [plain], "packing is the matrix library's"


def test_products_are_packed(device: Device) -> None:
    linear = Linear(out=1000, bias=False)
    (plain,), (packed,) = (seconds(linear, (512,), d, 16) for d in (device, with_kernel(device, packing=0.5)))
    moved = 4 * (16 * 512 + 512_000 + 16 * 1000)
    assert packed - plain == pytest.approx(0.5 * 2 * moved / 10e9)


@pytest.mark.parametrize(("batch", "fresh"), [(41, False), (42, True)])
def test_large_outputs_are_new_pages(device: Device, batch: int, fresh: bool) -> None:
    # A sample's output is 64 x 56 x 56 x 4 = 802,816 bytes: 41 are below 32 MiB, 42 above.
    assert (batch * 802_816 > processor.LARGEST_REUSED) == fresh
    touching = with_kernel(device, first_touch=0.1)
    before, after = (seconds(BatchNorm(), (64, 56, 56), d, batch) for d in (device, touching))
    assert after[1] - before[1] == pytest.approx(batch * 802_816 / 1e9 if fresh else 0.0, abs=1e-12)
    assert after[0] == before[0], "statistics write nothing"
    assert seconds(Relu(), (64, 56, 56), touching, batch) == seconds(Relu(), (64, 56, 56), device, batch), "in place"


def test_the_cache_is_as_fast_as_measured(device: Device) -> None:
    # 1 MiB of last level at 20 GB/s, memory at 10: of 8 MB, the kept 2^20 bytes take half as long.
    assert device.cache_speedup == 2
    expected = (8e6 - 2**20 / 2) / 10e9
    assert seconds(Relu(), (10**6,), with_kernel(device, cache=1.0)) == pytest.approx([expected])
    assert load_device("a100-sxm4-80gb").cache_speedup is None, "fitted with one speedup for all"


def test_a_graphics_processor_has_none_of_it() -> None:
    v100 = load_device("v100")
    marked = with_kernel(v100, relayout=1.0, packing=1.0, first_touch=0.01, arithmetic=0.001)
    conv, shape = Convolution(out=64, kernel=3, padding=1), (64, 56, 56)
    assert seconds(conv, shape, marked, 64) == seconds(conv, shape, v100, 64)


def test_a_memory_without_a_name_needs_its_totals(tmp_path: Path) -> None:
    path = tmp_path / "round.yaml"
    path.write_text(PROFILE.replace("capacity: 16 GiB, ", ""), encoding="utf-8")
    with pytest.raises(InputError, match="memory: give `technology`, or both `capacity` and `bandwidth`"):
        load_device(str(path))

"""A setting is found once by its names, and all that follows from it broadcasts over columns of a device."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from simulator.causes.tiles import SmallTiles
from simulator.device.columns import device_columns
from simulator.device.device import load_device
from simulator.device.framework import NEVER_LATE, Framework, load_framework
from simulator.device.framework_profile import ExecutionPath
from simulator.errors import UnsupportedError
from simulator.op.kernel import OpClass
from simulator.pipeline import Options, kernels_of
from simulator.precision import get_precision
from simulator.roofline.rates import Fidelity
from simulator.roofline.setting import Setting
from simulator.roofline.times import Bound, kernel_times
from simulator.roofline.traffic import TrafficModel
from simulator.workload.reading import load_workload

V100 = load_device("v100")


def test_names_are_looked_up_once() -> None:
    asked = Options(precision="amp", framework="tensorflow", fidelity="roofline", traffic="naive")
    found = asked.on(V100)
    assert (found.device, found.precision) == (V100, get_precision("amp"))
    assert (found.framework.name, found.fidelity, found.traffic) == (
        "tensorflow",
        Fidelity.ROOFLINE,
        TrafficModel.NAIVE,
    )
    assert replace(asked, batch=7).on(V100) is found, "a batch is no part of it"
    assert replace(asked, precision="fp32").on(V100) is not found


def test_the_device_stands_in_the_computer_that_is_asked_for() -> None:
    setting = Options(host="35us").on(V100)
    assert setting.device.host == "35us"
    assert setting.device.host_scale != V100.host_scale


def test_rates_of_a_device_that_are_columns_broadcast() -> None:
    (columns,) = device_columns(
        "v100", {"memory.bandwidth": ["450 GB/s", "900 GB/s"], "peak.fp32": ["7 TFLOP/s", "14 TFLOP/s"]}
    )
    kernels = kernels_of(load_workload("lenet5"), Options())
    together = Setting(columns.at(np.arange(4)), get_precision("fp32"))
    assert together.bandwidth_byte_per_s.shape == together.matrix_flop_per_s.shape == (4, 1)  # type: ignore[attr-defined]
    times = kernel_times(kernels, together, np.full((4, 1), 64.0))
    for place, (bandwidth, peak) in enumerate(
        (b, p) for b in ("450 GB/s", "900 GB/s") for p in ("7 TFLOP/s", "14 TFLOP/s")
    ):
        alone = load_device("v100", overrides=[f"memory.bandwidth={bandwidth}", f"peak.fp32={peak}"])
        expected = kernel_times(kernels, Setting(alone, get_precision("fp32")), 64.0)
        np.testing.assert_allclose(times.time_s[place], expected.time_s, rtol=1e-12)


OF_PATHS = ("elementwise", "convolution", "attention", "transposes")
OF_PROCESSORS = ("call_s", "convolution_s", "relayout", "packing", "first_touch")
LEAVES = [
    *("step_s", "helpers_s", *(f"dispatch_s.{phase}" for phase in range(4))),
    *(f"{path}.{key}" for path in ("plain", "mixed") for key in OF_PATHS),
    *(f"processor.{key}" for key in OF_PROCESSORS),
]


def with_leaf(framework: Framework, leaf: str, value: object) -> Framework:
    """A framework with a value in place of one of its numbers."""
    name, _, inner = leaf.partition(".")
    if name in ("plain", "mixed"):
        return replace(framework, **{name: msgspec.structs.replace(getattr(framework, name), **{inner: value})})
    if name == "processor":
        return replace(framework, processor=replace(framework.processor, **{inner: value}))
    if inner:
        phases = [value if str(phase) == inner else each for phase, each in enumerate(framework.dispatch_s)]
        return replace(framework, dispatch_s=tuple(phases))
    return replace(framework, **{name: value})


@pytest.mark.parametrize("leaf", LEAVES)
def test_each_number_of_a_framework_may_be_a_column(leaf: str) -> None:
    on_processor = leaf.startswith("processor")
    device, batch = load_device("cpu-16core" if on_processor else "a100-sxm4-80gb"), 64.0 if on_processor else 8.0
    precision = get_precision("amp" if leaf.startswith("mixed") else "tf32" if leaf.startswith("plain") else "fp32")
    name = "vit_b_16" if leaf.endswith("attention") else "resnet50"
    kernels, framework = kernels_of(load_workload(name), Options()), load_framework("pytorch")
    found = []
    for values in ((0.0, 0.6), (2e-3, 0.9), (np.array([[0.0], [2e-3]]), np.array([[0.6], [0.9]]))):
        one = with_leaf(framework, leaf, values[leaf.partition(".")[0] in ("plain", "mixed")])
        found.append(kernel_times(kernels, Setting(device, precision, one), np.full((2, 1), batch)).seconds)
    first, last, both = found
    np.testing.assert_allclose(both, np.stack([first[:, 0], last[:, 1]], axis=1), rtol=1e-12)
    assert (both[:, 0] != both[:, 1]).any()


def test_the_path_is_the_frameworks_for_the_precision_and_a_processors_own() -> None:
    assert (
        Options(precision="amp", framework="tensorflow").on(V100).path
        == Options(framework="tensorflow").on(V100).framework.mixed
    )
    assert Options(framework="tensorflow").on(V100).path == Options(framework="tensorflow").on(V100).framework.plain
    assert Options(framework="tensorflow").on(load_device("cpu-16core")).path == ExecutionPath()
    assert Setting(V100, get_precision("fp32")).path == ExecutionPath()
    assert Setting(V100, get_precision("fp32")).framework is NEVER_LATE


def test_causes_have_the_devices_coefficients_and_are_found_once() -> None:
    setting = Options().on(V100)
    assert setting.cause(SmallTiles) is setting.cause(SmallTiles)
    assert setting.cause(SmallTiles).vector_tile == V100.kernel["vector_tile"]
    other = Setting(replace(V100, kernel={**V100.kernel, "vector_tile": 1.5}), get_precision("fp32"))
    assert other.cause(SmallTiles).vector_tile == 1.5


def test_attention_keeps_its_own_precision_and_all_else() -> None:
    setting = Options(precision="fp8", traffic="naive").on(load_device("h100"))
    assert setting.of_attention.precision.name == "bf16"
    assert (setting.of_attention.device, setting.of_attention.traffic) == (setting.device, setting.traffic)
    assert setting.of_attention is setting.of_attention
    plain = Options().on(V100)
    assert plain.of_attention is plain


def test_sustained_bandwidth_is_at_most_the_datasheets() -> None:
    fast = replace(V100, sustained={**V100.sustained, "bandwidth": 1.2})
    assert Setting(fast, get_precision("fp32")).bandwidth_byte_per_s == V100.memory.bandwidth_byte_per_s
    half = replace(V100, sustained={**V100.sustained, "bandwidth": 0.5})
    assert Setting(half, get_precision("fp32")).bandwidth_byte_per_s == 0.5 * V100.memory.bandwidth_byte_per_s


def test_products_run_on_matrix_units_where_the_precision_has_them() -> None:
    full, mixed = (Setting(V100, get_precision(name)) for name in ("fp32", "amp"))
    assert (full.matrix_peak, full.on_tensor_cores, full.matrix_flop_per_s) == ("fp32", False, V100.peak["fp32"])
    assert (mixed.matrix_peak, mixed.vector_peak, mixed.on_tensor_cores) == ("fp16_tensor", "fp32", True)
    with pytest.raises(UnsupportedError, match="lists no fp8_tensor peak"):
        _ = Setting(V100, get_precision("fp8")).matrix_peak


def test_products_of_a_step_run_at_the_steady_clock_and_bursts_do_not() -> None:
    device = load_device("a100-sxm4-80gb")
    kernels = kernels_of(load_workload("gpt2"), Options(precision="bf16"))
    products = (kernels.distinct.op_class == OpClass.GEMM)[kernels.row]
    burst = Setting(device, get_precision("bf16"))
    step = Options(precision="bf16").on(device)
    held_s, free_s = (kernel_times(kernels, setting, 8.0).seconds[Bound.COMPUTE] for setting in (step, burst))
    assert held_s[products] == pytest.approx(free_s[products] / device.sustained["steady"])
    assert held_s[~products] == pytest.approx(free_s[~products])
    assert not Options(precision="fp32").on(device).holds, "lanes are held by a limit of their own"

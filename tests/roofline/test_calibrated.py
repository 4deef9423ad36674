"""The calibrated fidelity, cause by cause, on devices whose coefficients each test sets itself."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from simulator.causes.cache import CACHE_SPEEDUP
from simulator.causes.registry import coefficients
from simulator.device.device import Device, load_device
from simulator.device.framework import NEVER_LATE, Framework, load_framework
from simulator.device.framework_profile import ExecutionPath
from simulator.device.memory import Memory
from simulator.errors import UnknownNameError
from simulator.op.base import Op, Shape, Site
from simulator.op.convolution import Convolution
from simulator.op.fused_attention import FusedAttention
from simulator.op.kernel import Gemm, Kernel, OpClass, Phase, Role, each, once
from simulator.op.kernels import Columns, FloatArray, Kernels, pack
from simulator.op.linear import Linear
from simulator.op.normalization import BatchNorm, LocalResponseNorm
from simulator.op.pooling import AveragePool, MaxPool
from simulator.op.views import is_depthwise
from simulator.pipeline import Options, simulate, step_seconds
from simulator.precision import Precision, get_precision
from simulator.roofline.calibrated import calibrated_seconds, class_efficiency
from simulator.roofline.gemm import LARGEST_TILE, LEAST_DEPTH, MatrixRates, Tiling, gemm_seconds
from simulator.roofline.products import MANY_FILTERS, ODD_GROUPS, OF_MANY, POOR_GROUPS, convolution_efficiency
from simulator.roofline.queue import waiting_seconds
from simulator.roofline.rates import Fidelity
from simulator.roofline.setting import Setting
from simulator.roofline.times import Bound, group_launches, kernel_times, parts_seconds
from simulator.roofline.traffic import ideal_bytes
from simulator.workload.lowering import lower
from simulator.workload.reading import load_workload

FP32, AMP = get_precision("fp32"), get_precision("amp")
PLAIN = ExecutionPath()


def device(*, units: int = 4, sustained: float = 1.0, cache_bytes: float = 0.0, **kernel: float) -> Device:
    """1 TFLOP/s in lanes, 8 on tensor cores, 100 GB/s; every coefficient 1 but tiles and depth, which lose nothing."""
    shipped = load_device("v100")
    free = {name: one.neutral for name, one in coefficients().items() if name in shipped.kernel}
    assert set(kernel) <= set(free)
    free = {key: value for key, value in free.items() if not key.startswith("thin")}
    return replace(
        shipped,
        peak={"fp32": 1e12, "fp16_tensor": 8e12},
        memory=Memory("hbm2", 1, "stack", 1e12, 1e11),
        cache_bytes=cache_bytes,
        sustained=dict.fromkeys(shipped.sustained, sustained),
        kernel=free | kernel,
        launch_s=0.0,
        unit_count=units,
        clock_hz=None,
    )


def columns_of(op: Op, shape: Shape, phase: Phase = Phase.FORWARD) -> Columns:
    """The first kernel of a phase, for one sample, as columns."""
    site = Site((shape,), op.output_shape((shape,)))
    kernels = op.forward(site) if phase is Phase.FORWARD else op.backward(site)
    return pack([next(kernel for kernel in kernels if kernel.phase is phase)])


def under(path: ExecutionPath) -> Framework:
    """A framework that runs kernels so and issues them in no time."""
    return Framework("test", (0.0, 0.0, 0.0, 0.0), 0.0, 0.0, path, path)


def seconds(
    columns: Columns, on: Device, precision: str = "fp32", path: ExecutionPath = PLAIN, batch: float = 1.0
) -> tuple[float, float]:
    """(computing, moving) of one kernel, at one sample unless said."""
    setting = Setting(on, get_precision(precision), under(path))
    compute_s, memory_s = calibrated_seconds(columns, setting, batch, ideal_bytes(columns, setting, batch))
    return float(compute_s[0]), float(memory_s[0])


def convolution(groups: int = 1, kernel: int = 3, stride: int = 1, dilation: int = 1, channels: int = 16) -> Op:
    sides = (kernel, kernel), (stride, stride), (dilation, dilation)
    padding = (dilation * (kernel // 2), dilation * (kernel // 2))
    return Convolution(
        out=channels,
        kernel=sides[0],
        stride=sides[1],
        padding=padding,
        dilation=sides[2],
        groups=groups,
        bias=False,
    )


IMAGE = (16, 32, 32)


# Products of matrices.


def rates(units: int = 80, tile: float = 0.0, depth: float = 0.0, bandwidth: float = 1e30) -> MatrixRates:
    return MatrixRates(1e12, units, np.asarray(tile), np.asarray(depth), bandwidth)


def product(m: float, n: float, k: float, groups: float = 1, **given: float) -> float:
    sides = (np.array([float(side)]) for side in (m, n, k, groups))
    return float(gemm_seconds(*sides, rates(**given))[0])  # type: ignore[arg-type]


def test_a_product_that_fills_the_device_runs_at_its_rate() -> None:
    # 1024 x 1024 in tiles of 128 x 128: 64 tiles on 64 units.
    assert product(1024, 1024, 512, units=64) == pytest.approx(2 * 1024 * 1024 * 512 / 1e12)


def test_a_single_unit_loses_nothing_to_waves() -> None:
    # The smallest tile, 32 x 32 or 16 x 64, on one unit: 2 x 32 x 32 x 64.
    assert product(32, 32, 64, units=1) == pytest.approx(2 * 32 * 32 * 64 / 1e12)


def test_the_rest_of_a_tile_is_paid_for() -> None:
    # 33 x 33 takes four tiles of 32 x 32, or 3 x 1 of 16 x 64: 3072 outputs for 1089.
    assert product(33, 33, 64, units=1) == pytest.approx(2 * 3 * 16 * 64 * 64 / 1e12)


def test_the_last_wave_takes_as_long_as_a_full_one() -> None:
    # Depth 64 cannot be cut. Groups of 32 x 32 on 4 units: 5 tiles are two waves, as 8 are; a unit has a quarter of the
    # rate.
    wave = 2 * 32 * 32 * 64 / (1e12 / 4)
    assert product(32, 32, 64, groups=4, units=4) == pytest.approx(wave)
    assert product(32, 32, 64, groups=5, units=4) == pytest.approx(2 * wave)
    assert product(32, 32, 64, groups=8, units=4) == pytest.approx(2 * wave)


def test_a_deep_sum_is_cut_to_fill_the_device() -> None:
    # One tile of 32 x 32 on 4 units, depth 4096: four parts of 1024 run at once.
    cut = 2 * 32 * 32 * 1024 / (1e12 / 4)
    assert product(32, 32, 4096, units=4) == pytest.approx(cut)
    # Each part's 1024 partial sums are written and read, 4 bytes each: 4 x 1024 x 8 bytes at 1 GB/s are 32.8 us more
    # than the 8.4 us; two parts: 16.8 + 16.4 us; one part, no traffic: 33.6 us.
    assert product(32, 32, 4096, units=4, bandwidth=1e9) == pytest.approx(2 * cut + 2 * 1024 * 8 / 1e9)


def test_a_part_of_the_depth_is_not_too_short() -> None:
    # 2 x 64 may be cut in two, one less may not.
    whole = 2 * 32 * 32 / (1e12 / 4)
    assert product(32, 32, 2 * LEAST_DEPTH, units=4) == pytest.approx(whole * LEAST_DEPTH)
    assert product(32, 32, 2 * LEAST_DEPTH - 2, units=4) == pytest.approx(whole * (2 * LEAST_DEPTH - 2))


def test_small_tiles_and_short_sums_lose_more() -> None:
    # 32 x 32 moves 64 / 1024 operands a product, the largest tile, 256 x 128, 384 / 32768; 16 x 64 more, 80 / 1024.
    plain = 2 * 32 * 32 * 64 / 1e12
    assert pytest.approx(384 / 32768) == LARGEST_TILE
    assert product(32, 32, 64, units=1, tile=8.0) == pytest.approx((1 + 8 * (64 / 1024 - 384 / 32768)) * plain)
    largest = 2 * 256 * 128 * 64 / 1e12
    assert product(256, 128, 64, units=1, tile=8.0) == pytest.approx(largest)
    # 64 steps and 16 lost.
    assert product(32, 32, 64, units=1, depth=16.0) == pytest.approx(plain * 80 / 64)


def test_narrow_tiles_serve_only_where_they_exist() -> None:
    # 128 x 8 on one unit: a tile of its own size, or 128 x 32, of which a quarter is used.
    plain = 2 * 128 * 8 * 64 / 1e12
    sides = [np.array([side]) for side in (128.0, 8.0, 64.0, 1.0)]
    both = [replace(rates(units=1), tiling=tiling) for tiling in (Tiling.NARROW, Tiling.PRODUCT)]
    assert [float(gemm_seconds(*sides, given)[0]) for given in both] == pytest.approx([plain, 4 * plain])


def test_each_family_of_kernels_has_tiles_of_its_own() -> None:
    # 64 x 64 on one unit: as it is for a plain product; 128 x 64 or 64 x 128 for most convolutions, 128 x 128 or
    # 256 x 64 for the input gradient on tensor cores.
    sides = [np.array([side]) for side in (64.0, 64.0, 64.0, 1.0)]
    plain = 2 * 64 * 64 * 64 / 1e12
    times = {tiling: float(gemm_seconds(*sides, replace(rates(units=1), tiling=tiling))[0]) for tiling in Tiling}
    twice = (Tiling.LANES, Tiling.LANES_WEIGHTS, Tiling.TENSOR, Tiling.WINOGRAD)
    assert times[Tiling.PRODUCT] == times[Tiling.NARROW] == pytest.approx(plain)
    assert [times[tiling] for tiling in twice] == pytest.approx([2 * plain] * 4)
    assert times[Tiling.TENSOR_INPUT] == pytest.approx(4 * plain)


def test_families_can_be_mixed_in_one_call() -> None:
    sides = [np.array([side, side]) for side in (64.0, 64.0, 64.0, 1.0)]
    mixed = replace(rates(units=1), tiling=np.array([Tiling.PRODUCT, Tiling.LANES]))
    assert gemm_seconds(*sides, mixed).tolist() == pytest.approx([2 * 64**3 / 1e12, 4 * 64**3 / 1e12])


def test_processors_have_every_tile_for_convolutions() -> None:
    # 16 positions of 32 channels: 128 x 32 on a graphics processor, 32 x 32 or 16 x 64 on another.
    narrow = columns_of(convolution(kernel=1, channels=32), (32, 4, 4))
    assert seconds(narrow, device(units=1))[0] == pytest.approx(2 * 128 * 32 * 32 / 1e12)
    assert seconds(narrow, replace(device(units=1), kind="cpu"))[0] == pytest.approx(2 * 32 * 32 * 32 / 1e12)


def test_products_broadcast_over_batches() -> None:
    m = np.array([[32.0, 64.0], [320.0, 640.0]])
    n, k, groups = (np.array([32.0, 48.0]), np.array([100.0, 200.0]), np.array([1.0, 3.0]))
    found = gemm_seconds(m, np.broadcast_to(n, m.shape), np.broadcast_to(k, m.shape), groups, rates())
    assert found.shape == (2, 2)
    for row in range(2):
        assert found[row].tolist() == gemm_seconds(m[row], n, k, groups, rates()).tolist()


# The queue between host and device.


def test_the_queue_of_the_docstring() -> None:
    # Issued at 3, 6, 9; starts at 3, ends 4; waits 2, ends 7; waits 2, ends 14.
    assert waiting_seconds(np.array([1.0, 1, 5]), np.array([3.0, 3, 3])).tolist() == [3, 2, 2]


def test_a_slow_device_waits_for_its_first_kernel_only() -> None:
    assert waiting_seconds(np.array([5.0, 5, 5, 5]), np.array([1.0, 2, 3, 4])).tolist() == [1, 0, 0, 0]


def test_a_slow_host_decides_the_step() -> None:
    busy, dispatch = np.full(50, 1.0), np.full(50, 4.0)
    # The last kernel is issued at 200 and takes 1.
    assert (busy + waiting_seconds(busy, dispatch)).sum() == 201


def test_a_long_kernel_hides_the_dispatch_after_it() -> None:
    # Issued at 1, 3, 5, 7, 9; the first ends at 8; the others are ready until the fifth, issued at 9 and ready at 11.
    assert waiting_seconds(np.array([7.0, 1, 1, 1, 1]), np.array([1.0, 2, 2, 2, 2])).tolist() == [1, 0, 0, 0, 0]
    # With only 3 in the first, it ends at 4 and the third waits for its issue at 5: no wait, then 1, then 1.
    assert waiting_seconds(np.array([3.0, 1, 1, 1]), np.array([1.0, 2, 2, 2])).tolist() == [1, 0, 0, 1]


def test_queues_of_several_batches_are_apart() -> None:
    busy = np.array([[1.0, 1, 5], [9.0, 9, 9]])
    dispatch = np.broadcast_to(np.array([3.0, 3, 3]), busy.shape)
    assert waiting_seconds(busy, dispatch).tolist() == [[3, 2, 2], [3, 0, 0]]


# Convolutions: which are depthwise, where Winograd and transposes come in.


@pytest.mark.parametrize("phase", [Phase.FORWARD, Phase.INPUT_GRADIENT, Phase.WEIGHT_GRADIENT])
@pytest.mark.parametrize(("groups", "kernel", "expected"), [(16, 3, True), (16, 1, True), (8, 3, False), (1, 3, False)])
def test_one_channel_a_group_is_depthwise(phase: Phase, groups: int, kernel: int, expected: bool) -> None:
    assert is_depthwise(columns_of(convolution(groups, kernel), IMAGE, phase)).tolist() == [expected]


def test_a_multiplied_depthwise_convolution_and_a_product_are_not_depthwise() -> None:
    # Two outputs for each input channel: a product with two columns.
    assert not is_depthwise(columns_of(convolution(16, channels=32), IMAGE)).any()
    assert not is_depthwise(columns_of(Linear(out=1, bias=False), (9,))).any()


@pytest.mark.parametrize("phase", [Phase.FORWARD, Phase.INPUT_GRADIENT, Phase.WEIGHT_GRADIENT])
def test_depthwise_work_runs_in_the_lanes(phase: Phase) -> None:
    found, _ = seconds(columns_of(convolution(16), IMAGE, phase), device(depthwise=0.25, depthwise_gradient=0.5))
    # 2 x 9 x 16 x 32 x 32 FLOP at a quarter of 1 TFLOP/s, and half of that for gradients.
    share = 0.25 if phase is Phase.FORWARD else 0.125
    assert found == pytest.approx(2 * 9 * 16 * 32 * 32 / (share * 1e12))


def test_causes_that_slow_convolutions_multiply() -> None:
    slow = device(convolution=0.5, input_gradient=0.25, weight_gradient=0.125, strided_gradient=0.75, grouped=0.375)
    shares = {
        (1, 1, Phase.FORWARD): 0.5,
        (1, 2, Phase.FORWARD): 0.5,
        (1, 1, Phase.INPUT_GRADIENT): 0.5 * 0.25,
        (1, 2, Phase.INPUT_GRADIENT): 0.5 * 0.25 * 0.75,
        (1, 2, Phase.WEIGHT_GRADIENT): 0.5 * 0.125,
        (4, 1, Phase.FORWARD): 0.5 * 0.375,
    }
    for (groups, stride, phase), share in shares.items():
        columns = columns_of(convolution(groups, stride=stride), IMAGE, phase)
        assert convolution_efficiency(columns, Setting(slow, FP32), tensor=False).tolist() == [share], (
            groups,
            stride,
            phase,
        )
    assert convolution_efficiency(columns_of(Linear(out=4), (8,)), Setting(slow, FP32), tensor=False).tolist() == [1]


def test_tensor_cores_have_a_coefficient_of_their_own() -> None:
    columns = columns_of(convolution(), IMAGE)
    both = device(convolution=0.5, tensor_convolution=0.75)
    assert convolution_efficiency(columns, Setting(both, FP32), tensor=True).tolist() == [0.75]


def test_tensor_cores_round_values_of_four_bytes() -> None:
    columns = columns_of(convolution(), IMAGE)
    both = device(tensor_convolution=0.75, tf32_convolution=0.5)
    for precision, rate in (("tf32", 0.375), ("amp", 0.75), ("bf16", 0.75)):
        setting = Setting(both, get_precision(precision))
        assert convolution_efficiency(columns, setting, tensor=True).tolist() == [rate], precision
        assert convolution_efficiency(columns, setting, tensor=False).tolist() == [1.0], precision


DEEP = (512, 14, 14)


def deep(**changes: int) -> Columns:
    """A convolution that is bound by computing."""
    return columns_of(convolution(channels=512, **changes), DEEP)


def test_winograd_in_passes_multiplies_less_and_moves_more() -> None:
    found, _ = seconds(deep(), device(units=1, convolution=0.01, winograd=0.5, fused_winograd=0.01, transform=0.25))
    # 14 x 14 outputs are 4 x 4 tiles of 4 x 4, and 16 images go at a time: at each of 36 points a product
    # 256 x 512 x 512, at half of 1 TFLOP/s.
    products_s = 2 * 36 * 256 * 512 * 512 / 0.5e12
    # Its operands take less: 36 (256 x 512 + 512 x 512 + 256 x 512) values of 4 bytes at 100 GB/s.
    transformed = 36 * (256 * 512 + 512 * 512 + 256 * 512)
    assert products_s > 4 * transformed / 1e11
    # Before and after, they and the 2 x 512 x 14 x 14 inputs and outputs pass at a quarter of the bandwidth.
    passes_s = 4 * (transformed + 2 * 100_352) / 0.25e11
    assert found == pytest.approx(products_s + passes_s)


def test_winograd_in_passes_widens_values_for_lanes_that_have_full_width_alone() -> None:
    # As above, with 2 bytes for the inputs and outputs, and for what is transformed 2 where lanes take it, else 4.
    transformed, plain = 36 * (256 * 512 + 512 * 512 + 256 * 512), 2 * 100_352
    passes = device(units=1, convolution=0.01, winograd=0.5, fused_winograd=0.01, transform=0.25)
    for half, width in ((1e12 / 64, 4), (2e12, 2)):
        found, _ = seconds(deep(), replace(passes, peak={"fp32": 1e12, "fp16": half}), "fp16")
        assert found == pytest.approx(2 * 36 * 256 * 512 * 512 / 0.5e12 + (width * transformed + 2 * plain) / 0.25e11)


def wide(phase: Phase = Phase.FORWARD, kernel: int = 3) -> Columns:
    """A convolution of many positions, whose weights are little beside them."""
    return columns_of(convolution(kernel=kernel, channels=128), (128, 64, 64), phase)


def test_fused_winograd_multiplies_four_ninths() -> None:
    # 64 x 64 outputs are 1024 tiles of 2 x 2, each 16 products where 36 are direct.
    direct, moved = seconds(wide(), device(units=1))
    found, moved_too = seconds(wide(), device(units=1, winograd=0.01, fused_winograd=0.75))
    assert found == pytest.approx(direct * 16 / 36 / 0.75)
    assert moved_too == moved


def test_fused_winograd_makes_whole_blocks_of_outputs() -> None:
    # 14 x 14 outputs are two blocks of 8 x 16, 64 tiles of 2 x 2, where 49 would do: 16 products 64 x 512 x 512, which
    # a tile of 64 x 64 divides.
    found, _ = seconds(deep(), device(units=1, winograd=0.01, fused_winograd=1.0))
    assert found == pytest.approx(2 * 16 * 64 * 512 * 512 / 1e12)


def test_the_gradient_of_the_weights_has_no_fused_winograd() -> None:
    plain, quick = device(units=1), device(units=1, winograd=0.01, fused_winograd=1.0)
    assert seconds(wide(Phase.INPUT_GRADIENT), quick)[0] < seconds(wide(Phase.INPUT_GRADIENT), plain)[0]
    assert seconds(wide(Phase.WEIGHT_GRADIENT), quick) == seconds(wide(Phase.WEIGHT_GRADIENT), plain)
    in_passes = device(units=1, winograd=1.0, fused_winograd=0.01)
    assert seconds(wide(Phase.WEIGHT_GRADIENT), in_passes)[0] < seconds(wide(Phase.WEIGHT_GRADIENT), plain)[0]


@pytest.mark.parametrize(
    "changes", [{"kernel": 9}, {"kernel": 1}, {"stride": 2}, {"dilation": 2}, {"groups": 512}], ids=str
)
def test_winograd_is_for_plain_square_convolutions_of_stride_1(changes: dict[str, int]) -> None:
    assert seconds(deep(**changes), device(winograd=0.9)) == seconds(deep(**changes), device())


def test_wide_groups_have_winograd_too() -> None:
    # Two groups of 256: half of the products, four ninths of those by fused Winograd.
    direct, _ = seconds(deep(groups=2), device(units=1))
    found, _ = seconds(deep(groups=2), device(units=1, winograd=0.01, fused_winograd=0.75))
    assert found < direct
    assert found == pytest.approx(seconds(deep(), device(units=1, winograd=0.01, fused_winograd=0.75))[0] / 2)


def test_winograd_is_not_taken_where_it_is_slower() -> None:
    assert seconds(deep(), device(winograd=0.05, fused_winograd=0.05)) == seconds(deep(), device())


def test_half_width_tensor_cores_leave_winograd_nothing() -> None:
    assert seconds(deep(), device(winograd=0.9), "amp") == seconds(deep(), device(), "amp")
    no_cores = replace(device(), peak={"fp32": 1e12})
    lanes = replace(device(winograd=0.9), peak={"fp32": 1e12})
    assert seconds(deep(), lanes, "amp")[0] < seconds(deep(), no_cores, "amp")[0]


def test_tf32_takes_winograd_in_lanes_where_it_is_faster() -> None:
    # GeForce cards: tensor cores at tf32 are no faster than fp32 lanes, and Winograd multiplies less.
    even, far = ({"fp32": 1e12, "tf32_tensor": rate} for rate in (1e12, 50e12))
    quick, direct = (replace(device(units=1, winograd=share), peak=even) for share in (1.0, 0.0))
    assert seconds(wide(), quick, "tf32")[0] < seconds(wide(), direct, "tf32")[0]
    cores = replace(device(units=1, winograd=1.0), peak=far)
    assert seconds(wide(), cores, "tf32") == seconds(wide(), replace(device(units=1), peak=far), "tf32")


def test_lanes_do_not_cut_the_depth_of_a_convolution_but_for_its_weights_gradient() -> None:
    # 7 x 7 outputs of 32 channels fill few of 64 units; as a plain product its depth is cut.
    few, many = device(units=1), device(units=64)
    assert seconds(columns_of(convolution(kernel=1, channels=32), (4096, 4, 4)), many)[0] == pytest.approx(
        64 * seconds(columns_of(convolution(kernel=1, channels=32), (4096, 4, 4)), few)[0]
    )
    linear = columns_of(Linear(out=32, bias=False), (4096,))
    assert seconds(linear, many)[0] < 16 * seconds(linear, few)[0]
    deep_sum = columns_of(convolution(kernel=1, channels=32), (32, 128, 128), Phase.WEIGHT_GRADIENT)
    assert seconds(deep_sum, many)[0] < 16 * seconds(deep_sum, few)[0]


def test_tensor_cores_do_not_cut_the_depth_of_an_input_gradient() -> None:
    # 16 positions of 32 channels are one tile, for whose 4096 steps 63 of 64 units wait; forward they share them.
    few, many = device(units=1), device(units=64)
    gradient = columns_of(convolution(kernel=1, channels=4096), (32, 4, 4), Phase.INPUT_GRADIENT)
    assert seconds(gradient, many, "amp")[0] == pytest.approx(64 * seconds(gradient, few, "amp")[0])
    forward = columns_of(convolution(kernel=1, channels=32), (4096, 4, 4))
    assert seconds(forward, many, "amp")[0] < 16 * seconds(forward, few, "amp")[0]


def test_an_input_gradient_with_a_stride_is_written_more_than_once_in_lanes() -> None:
    # 16 x 32 x 32 gradients of 4 bytes, 2.5 times more, at 100 GB/s.
    def difference(stride: int, precision: str) -> float:
        columns = columns_of(convolution(stride=stride), IMAGE, Phase.INPUT_GRADIENT)
        once_s, more_s = (seconds(columns, device(scattered_write=times), precision)[0] for times in (0.0, 2.5))
        return more_s - once_s

    assert difference(2, "fp32") == pytest.approx(2.5 * 4 * 16 * 32 * 32 / 1e11)
    assert difference(1, "fp32") == difference(2, "amp") == 0


def test_the_weights_gradient_loses_more_steps_of_its_sum_on_tensor_cores() -> None:
    # 1024 positions, and 256 steps lost in lanes, 512 on tensor cores.
    weights = columns_of(convolution(channels=128), (128, 32, 32), Phase.WEIGHT_GRADIENT)
    lossy = {"weight_depth": 256.0, "tensor_weight_depth": 512.0}
    for precision, factor in (("fp32", 1.25), ("amp", 1.5)):
        plain_s, found = (seconds(weights, device(units=1, **lost), precision)[0] for lost in ({}, lossy))
        assert found == pytest.approx(factor * plain_s), precision
    # A device that does not tell them apart loses as much in both.
    one = device(units=1, weight_depth=256.0)
    one = replace(one, kernel={key: value for key, value in one.kernel.items() if key != "tensor_weight_depth"})
    assert seconds(weights, one, "amp")[0] == pytest.approx(1.25 * seconds(weights, device(units=1), "amp")[0])


def test_the_weights_gradient_takes_whole_tiles_of_channels_where_a_device_says_so() -> None:
    # 64 x 64 channels as 128 x 128 at each of the nine places, four times the products; forward nothing changes.
    plain = device(units=1)
    padded = replace(plain, kernel={**plain.kernel, "weight_channels": 128.0})

    def product_s(on: Device, channels: int, phase: Phase) -> float:
        return seconds(columns_of(convolution(channels=channels), (channels, 32, 32), phase), on, "amp")[0]

    small, large = (product_s(padded, channels, Phase.WEIGHT_GRADIENT) for channels in (64, 128))
    assert small == large == product_s(plain, 128, Phase.WEIGHT_GRADIENT)
    assert product_s(plain, 64, Phase.WEIGHT_GRADIENT) < large
    assert product_s(padded, 64, Phase.FORWARD) == product_s(plain, 64, Phase.FORWARD)


def test_a_convolution_that_tensor_cores_pad_stays_in_lanes() -> None:
    # One channel is padded to eight: tensor cores of four times the lanes' rate take twice as long; of 16 times, half.
    image = columns_of(convolution(channels=64), (1, 64, 64))
    slow, fast = (replace(device(units=1), peak={"fp32": 1e12, "fp16_tensor": rate}) for rate in (4e12, 16e12))
    lanes = seconds(image, device(units=1), "fp32")[0]
    assert seconds(image, slow, "amp")[0] == lanes
    assert seconds(image, fast, "amp")[0] == pytest.approx(lanes / 2)


COPIES = ExecutionPath(transposes=1.5)


def test_half_width_convolutions_on_tensor_cores_are_transposed() -> None:
    _, plain = seconds(deep(), device(), "amp")
    _, copied = seconds(deep(), device(), "amp", COPIES)
    # 1.5 times: read and written, of inputs and outputs, as slowly as values of 4 bytes.
    assert copied - plain == pytest.approx(1.5 * 2 * 4 * 200_704 / 1e11)


def test_nothing_but_convolutions_on_tensor_cores_is_transposed() -> None:
    pointwise, strided = (columns_of(convolution(kernel=1, stride=stride, channels=512), IMAGE) for stride in (1, 2))
    assert seconds(pointwise, device(), "amp", COPIES) == seconds(pointwise, device(), "amp")
    assert seconds(strided, device(), "amp", COPIES) > seconds(strided, device(), "amp")
    assert seconds(deep(), device(), "fp32", COPIES) == seconds(deep(), device(), "fp32")
    lanes = replace(device(), peak={"fp32": 1e12})
    assert seconds(deep(), lanes, "amp", COPIES) == seconds(deep(), lanes, "amp")
    linear = columns_of(Linear(out=512, bias=False), (512,))
    assert seconds(linear, device(), "amp", COPIES) == seconds(linear, device(), "amp")


def test_narrow_groups_have_kernels_for_half_width_values_alone() -> None:
    # Four groups of 16 channels, 1024 positions, a unit of 8 TFLOP/s, lanes too slow to serve: 16 columns, or 64.
    groups = columns_of(convolution(groups=4, channels=64), (64, 32, 32))
    on = replace(device(units=1), peak={"fp32": 1e9, "fp16_tensor": 8e12, "tf32_tensor": 8e12})
    assert seconds(groups, on, "amp")[0] == pytest.approx(4 * 2 * 1024 * 16 * 9 * 16 / 8e12)
    assert seconds(groups, on, "tf32")[0] == pytest.approx(4 * 2 * 1024 * 64 * 9 * 16 / 8e12)


CHANNELS_LAST = ExecutionPath(layout="channels last")


def test_channels_last_groups_of_a_power_of_two_wait_for_memory_alone() -> None:
    narrow = columns_of(convolution(groups=4, channels=64), (64, 32, 32))
    assert seconds(narrow, device(), "amp")[0] > 0
    assert seconds(narrow, device(), "amp", CHANNELS_LAST) == (0.0, seconds(narrow, device(), "amp")[1])
    assert seconds(narrow, device(), "fp32", CHANNELS_LAST) == seconds(narrow, device(), "fp32")


def test_channels_last_convolutions_of_few_filters_have_narrow_tiles_at_half_width() -> None:
    # 1,024 positions x 16 filters, 9 x 16 deep, on a unit of 8 TFLOP/s: 16 columns, where other kernels take 64.
    few, on = (
        columns_of(convolution(), (16, 32, 32)),
        replace(device(units=1), peak={"fp32": 1e9, "fp16_tensor": 8e12}),
    )
    assert seconds(few, on, "amp")[0] == pytest.approx(2 * 1024 * 64 * 9 * 16 / 8e12)
    assert seconds(few, on, "amp", CHANNELS_LAST)[0] == pytest.approx(2 * 1024 * 16 * 9 * 16 / 8e12)
    gradient = columns_of(convolution(), (16, 32, 32), Phase.WEIGHT_GRADIENT)
    assert seconds(gradient, on, "amp") == seconds(gradient, on, "amp", CHANNELS_LAST)


def test_channels_last_groups_that_a_library_issues_one_by_one_run_as_groups_do() -> None:
    on = device()
    one_by_one = msgspec.structs.replace(CHANNELS_LAST, launched_groups=(on.profile.family or "",))
    elsewhere = msgspec.structs.replace(CHANNELS_LAST, launched_groups=("another",))
    for groups, channels in ((4, 64), (2, 48)):
        columns = columns_of(convolution(groups=groups, channels=channels), (channels, 32, 32))
        assert seconds(columns, on, "amp", one_by_one) == seconds(columns, on, "amp")
        assert seconds(columns, on, "amp", elsewhere) == seconds(columns, on, "amp", CHANNELS_LAST)


def test_channels_last_groups_of_other_widths_take_128_columns() -> None:
    # Two groups of 24 channels: 1024 positions x 128 columns x 9 x 24, twice, on one unit of 8 TFLOP/s.
    groups = columns_of(convolution(groups=2, channels=48), (48, 32, 32))
    assert seconds(groups, device(units=1), "amp", CHANNELS_LAST)[0] == pytest.approx(
        2 * 2 * 1024 * 128 * 9 * 24 / 8e12
    )
    # Wider ones, and plain convolutions, as ever.
    wide = columns_of(convolution(groups=2, channels=288), (288, 32, 32))
    for columns in (wide, deep()):
        assert seconds(columns, device(), "amp", CHANNELS_LAST) == seconds(columns, device(), "amp")


def test_channels_last_groups_that_fill_tiles_lose_nothing_to_being_groups() -> None:
    on = device(tensor_grouped=0.5, grouped=0.25)
    for width, factor in ((128, 1.0), (144, 2.0)):
        groups = columns_of(convolution(groups=2, channels=2 * width), (2 * width, 32, 32))
        free, narrow = (seconds(groups, one, "amp", CHANNELS_LAST)[0] for one in (device(), on))
        assert narrow == pytest.approx(factor * free)


def test_channels_last_groups_of_odd_widths_once_ran_at_a_third_of_the_lanes() -> None:
    old = msgspec.structs.replace(CHANNELS_LAST, odd_groups=False)
    for groups, width in ((2, 112), (8, 24)):
        odd = columns_of(convolution(groups=groups, channels=groups * width), (groups * width, 32, 32))
        flops = 2 * 1024 * groups * width * 9 * width
        assert seconds(odd, device(), "amp", old)[0] == pytest.approx(flops / (ODD_GROUPS * 1e12))
        assert seconds(odd, device(), "amp", CHANNELS_LAST)[0] < flops / (ODD_GROUPS * 1e12)
    # Powers of two, depthwise and plain convolutions had their kernels.
    for groups, channels in ((2, 128), (4, 64), (16, 16), (1, 48)):
        other = columns_of(convolution(groups=groups, channels=channels), (channels, 32, 32))
        assert seconds(other, device(), "amp", old) == seconds(other, device(), "amp", CHANNELS_LAST)


def test_depthwise_convolutions_of_more_values_than_32_bits_count_are_copied() -> None:
    # 2^11 channels of 32 x 32 are 2^21 values an image: 1,024 images are 2^31, whose 4 GiB pass ten times.
    wide, narrow = (columns_of(convolution(groups=groups, channels=2048), (2048, 32, 32)) for groups in (2048, 1024))
    path = msgspec.structs.replace(CHANNELS_LAST, large_depthwise=10.0)

    def moving(columns: Columns, batch: float, path: ExecutionPath = path) -> float:
        return seconds(columns, device(), "amp", path, batch)[1]

    assert moving(wide, 1024) - moving(wide, 1024, CHANNELS_LAST) == pytest.approx(10 * 2 * 2**31 / 1e11)
    assert moving(wide, 1023) == moving(wide, 1023, CHANNELS_LAST)
    assert moving(narrow, 1024) == moving(narrow, 1024, CHANNELS_LAST)
    first = msgspec.structs.replace(path, layout="channels first")
    assert moving(wide, 1024, first) == moving(wide, 1024, msgspec.structs.replace(first, large_depthwise=0.0))
    # An image whose channels are innermost anyway is copied too.
    last = replace(wide, last=np.ones(len(wide), dtype=bool))
    assert moving(last, 1024, first) == moving(wide, 1024)


@pytest.mark.parametrize("phase", [Phase.FORWARD, Phase.INPUT_GRADIENT, Phase.WEIGHT_GRADIENT])
def test_wide_depthwise_windows_run_in_pytorchs_own_kernel_where_channels_are_first(phase: Phase) -> None:
    # 16 channels of 32 x 32 by 7 x 7: 1.6 MFLOP at 0.05 of 1 TFLOP/s; 5 x 5, channels last and others as libraries have
    # them, at a quarter of it and, gradients, an eighth.
    on, own = device(depthwise=0.25, depthwise_gradient=0.5), ExecutionPath(own_depthwise=0.05)
    library = 0.25 if phase is Phase.FORWARD else 0.125

    def rate(kernel: int, path: ExecutionPath, *, last: bool = False) -> float:
        columns = columns_of(convolution(16, kernel), IMAGE, phase)
        columns = replace(columns, last=np.full(len(columns), last))
        return 2 * kernel**2 * 16 * 32 * 32 / seconds(columns, on, path=path)[0] / 1e12

    assert [rate(kernel, own) for kernel in (3, 5, 7, 9)] == pytest.approx([library, library, 0.05, 0.05])
    for path, last in ((own, True), (PLAIN, False), (ExecutionPath(own_depthwise=0.05, layout="channels last"), False)):
        assert rate(7, path, last=last) == pytest.approx(library)


def test_strips_are_no_squares_that_are_unrolled() -> None:
    on, own = device(depthwise=0.25), ExecutionPath(own_depthwise=0.05)
    strip = Convolution(out=16, kernel=(1, 5), padding=(0, 2), groups=16, bias=False)
    assert seconds(columns_of(strip, IMAGE), on, path=own)[0] == pytest.approx(2 * 5 * 16 * 32 * 32 / 0.05e12)


def test_images_whose_channels_are_innermost_are_not_copied_for_tensor_cores() -> None:
    first = ExecutionPath(transposes=1.0)
    columns = columns_of(convolution(), IMAGE)
    last = replace(columns, last=np.ones(len(columns), dtype=bool))
    assert seconds(last, device(), "amp", first)[1] == seconds(columns, device(), "amp", PLAIN)[1]
    assert seconds(last, device(), "amp", first)[1] < seconds(columns, device(), "amp", first)[1]


def batched(heads: int, size: int, positions: int = 1024) -> Columns:
    """Queries by keys of some heads, one batch of products."""
    scores, elements = heads * positions**2, heads * positions * size
    read = ((Role.ACTIVATION, each(2 * elements)),)
    sides = Gemm(each(positions), once(positions), once(size), heads)
    kernel = Kernel(
        OpClass.GEMM, Phase.FORWARD, each(2 * scores * size), read, ((Role.ACTIVATION, each(scores)),), sides
    )
    return pack([kernel])


def test_heads_of_odd_sizes_once_ran_in_lanes_of_full_width() -> None:
    old, on = ExecutionPath(odd_batches=False), device(units=1)
    for size in (108, 12, 7):
        flops = 2 * 4 * 1024**2 * size
        assert seconds(batched(4, size), on, "amp", old)[0] == pytest.approx(flops / 1e12)
        assert seconds(batched(4, size), on, "amp")[0] < flops / 1e12
    # Heads of whole 16 bytes, one product alone, and values of full width have their kernels.
    odd = batched(4, 64, positions=1025)
    assert seconds(odd, on, "amp", old)[0] == pytest.approx(2 * 4 * 1025**2 * 64 / 1e12)
    for columns, precision in ((batched(4, 112), "amp"), (batched(1, 108), "amp"), (batched(4, 108), "fp32")):
        assert seconds(columns, on, precision, old) == seconds(columns, on, precision)


def test_groups_at_tf32_once_stayed_in_lanes() -> None:
    on = replace(device(), peak={"fp32": 1e12, "fp16_tensor": 64e12, "tf32_tensor": 32e12})
    old = ExecutionPath(tf32_groups=False)
    groups = columns_of(convolution(groups=4, channels=64), (64, 32, 32))
    assert seconds(groups, on, "tf32", old) == seconds(groups, on, "fp32")
    assert seconds(groups, on, "tf32")[0] < seconds(groups, on, "tf32", old)[0]
    for columns, precision in ((groups, "amp"), (deep(), "tf32"), (columns_of(convolution(groups=16), IMAGE), "tf32")):
        assert seconds(columns, on, precision, old) == seconds(columns, on, precision)


def test_an_image_of_three_channels_is_poor_for_half_width_on_some_devices() -> None:
    stem = Convolution(out=64, kernel=7, stride=2, padding=3, bias=False)
    free, image = device(units=1), (3, 224, 224)
    poor = replace(free, kernel=free.kernel | {"thin": 0.5, "thin_gradient": 0.25})
    for phase, rate in ((Phase.FORWARD, 0.5), (Phase.WEIGHT_GRADIENT, 0.25)):
        columns = columns_of(stem, image, phase)
        assert seconds(columns, poor, "fp16")[0] == pytest.approx(seconds(columns, free, "fp32")[0] / rate)
        assert seconds(columns, poor, "fp32") == seconds(columns, free, "fp32")
        assert seconds(columns, free, "fp16")[0] < seconds(columns, free, "fp32")[0]
    # Eight channels are enough for tensor cores, and the gradient of an image's few channels is as any other.
    for columns in (columns_of(stem, (8, 224, 224)), columns_of(stem, image, Phase.INPUT_GRADIENT)):
        assert seconds(columns, poor, "fp16") == seconds(columns, free, "fp16")


def test_tf32_waits_for_operands_twice_as_wide() -> None:
    on = replace(device(units=1), peak={"fp32": 1e9, "fp16_tensor": 8e12, "tf32_tensor": 8e12}, clock_hz=1e9)
    narrow = columns_of(convolution(channels=64), (64, 32, 32))

    def with_tile(matrix_tile: float, precision: str) -> float:
        return seconds(narrow, replace(on, kernel=on.kernel | {"matrix_tile": matrix_tile}), precision)[0]

    assert with_tile(16.0, "tf32") == pytest.approx(with_tile(32.0, "amp"))
    assert with_tile(16.0, "tf32") > with_tile(16.0, "amp") > with_tile(0.0, "amp") == with_tile(0.0, "tf32")


def _kept_wide(moved: FloatArray) -> FloatArray:
    swapped = moved.copy()
    swapped[[Role.ACTIVATION, Role.WIDE]] = moved[[Role.WIDE, Role.ACTIVATION]]
    return swapped


def test_pooling_takes_as_long_for_narrow_values_as_for_full_ones() -> None:
    pool = columns_of(AveragePool(kernel=3, stride=2), (64, 56, 56))
    full, half = (seconds(pool, device(half_width=0.9), precision)[1] for precision in ("fp32", "fp16"))
    assert half == pytest.approx(full)
    # Values that mixed precision keeps in full width are full ones, not narrow ones of twice the number.
    kept = replace(pool, read=_kept_wide(pool.read), write=_kept_wide(pool.write))
    assert seconds(kept, device(), "amp")[1] == pytest.approx(seconds(pool, device(), "fp32")[1])
    # What a compiler writes reads like any other loop.
    assert seconds(pool, device(), "fp16", ExecutionPath(fuses=True))[1] == pytest.approx(full / 2)


def test_pooling_by_a_thread_an_output_walks_its_window() -> None:
    # At half of the bandwidth for windows of 3 x 3 side by side, 9 values walked for 2 moved: 0.5. With a stride of 2
    # there are 9 for 4 read and 1 written, 1.8 of 4.5: 1 + 0.4 times as long as moving them; of 2 x 2, 4 for 5.
    on, walks = device(pooling=0.5), ExecutionPath(walks_windows=True)
    for kernel, stride, padding, times in ((3, 1, 1, 2.0), (3, 2, 1, 1.4), (2, 2, 0, 1 + 0.8 / 4.5)):
        pool = columns_of(AveragePool(kernel=kernel, stride=stride, padding=padding), (64, 56, 56))
        moved_s = float(ideal_bytes(pool, Setting(on, FP32), 1.0)[0]) / 1e11
        assert seconds(pool, on, path=walks)[1] == pytest.approx(times * moved_s)
        assert seconds(pool, on)[1] == pytest.approx(2 * moved_s)
    gradient = columns_of(AveragePool(kernel=2, stride=2), (64, 56, 56), Phase.INPUT_GRADIENT)
    assert seconds(gradient, on, path=walks) == seconds(gradient, on)


def test_the_softmax_of_fused_attention_stands_between_its_products() -> None:
    # 128 queries, 128 keys, two products of depth 64, in one tile of one unit; then 128 x 128 scores, each 5 operations
    # and a scale, an exponential of four instructions among them: 10 instructions where 2 FLOP each could have been.
    attention = columns_of(FusedAttention(heads=1), (128, 3 * 64))
    on = device(units=1, matrix_depth=1000.0)
    products, softmax = 2 * 128 * 128 * 128 / 8e12, 20 * 128 * 128 / 1e12
    assert seconds(attention, on, "amp")[0] == pytest.approx(products + softmax)


def test_a_tpus_exponentials_run_beside_its_lanes() -> None:
    # The same scores: six operations each, of lanes whose peak counts single operations.
    attention = columns_of(FusedAttention(heads=1), (128, 3 * 64))
    on = replace(device(units=1, matrix_depth=1000.0), kind="tpu")
    products, softmax = 2 * 128 * 128 * 128 / 8e12, 6 * 128 * 128 / 1e12
    assert seconds(attention, on, "amp")[0] == pytest.approx(products + softmax)


def test_lanes_serve_where_copies_cost_more_than_tensor_cores_gain() -> None:
    # GeForce at tf32: the lanes are as fast, and take the layout as it is.
    even = replace(device(units=1), peak={"fp32": 1e12, "tf32_tensor": 1e12})
    assert seconds(deep(), even, "tf32", COPIES) == seconds(deep(), even, "fp32")
    fast = replace(device(units=1), peak={"fp32": 1e12, "tf32_tensor": 8e12})
    assert seconds(deep(), fast, "tf32", COPIES)[0] < seconds(deep(), fast, "fp32")[0]


def test_tensor_cores_take_operands_by_eights() -> None:
    # n = 1025 is as slow as 1032 on tensor cores, and 1032 slower than 1024; k likewise.
    def product_s(out: int, size: int) -> float:
        return seconds(columns_of(Linear(out=out, bias=False), (size,)), device(units=1), "amp")[0]

    assert product_s(1024, 1025) == product_s(1024, 1032) == pytest.approx(product_s(1024, 1024) * 1032 / 1024)
    assert product_s(1025, 1024) == product_s(1032, 1024) > product_s(1024, 1024)


# Moving data.


def copy_of(count: float, op_class: OpClass = OpClass.ELEMENTWISE) -> Columns:
    """A kernel that reads and writes so many elements."""
    moved = ((Role.ACTIVATION, each(count)),)
    return pack([Kernel(op_class, Phase.FORWARD, each(count), moved, moved)])


def test_rows_between_the_windows_are_not_read() -> None:
    def moved_s(kernel: int, phase: Phase) -> float:
        return seconds(columns_of(convolution(kernel=kernel, stride=2), IMAGE, phase), device())[1]

    # 1 x 1 with a stride of 2: half of 16 x 32 x 32 inputs, 16 x 16 weights, 16 x 16 x 16 outputs; 4 bytes, 100 GB/s.
    assert moved_s(1, Phase.FORWARD) == pytest.approx(4 * (8192 + 256 + 4096) / 1e11)
    assert moved_s(1, Phase.WEIGHT_GRADIENT) == pytest.approx(4 * (8192 + 256 + 4096) / 1e11)
    # Windows of 3 x 3 meet every row; a gradient is written in all of them.
    assert moved_s(3, Phase.FORWARD) == pytest.approx(4 * (16_384 + 9 * 256 + 4096) / 1e11)
    assert moved_s(1, Phase.INPUT_GRADIENT) == pytest.approx(4 * (16_384 + 256 + 4096) / 1e11)


def test_what_is_in_the_cache_comes_faster() -> None:
    # 8 MB moved at 100 GB/s; of a cache of 6 MB half is still there: 5 MB + 3 MB at three times the bandwidth.
    assert CACHE_SPEEDUP == 3
    assert seconds(copy_of(1e6), device())[1] == pytest.approx(8e6 / 1e11)
    assert seconds(copy_of(1e6), device(cache=0.5, cache_bytes=6e6))[1] == pytest.approx(6e6 / 1e11)
    # All of it.
    assert seconds(copy_of(1e5), device(cache=0.5, cache_bytes=6e6))[1] == pytest.approx(8e5 / 3e11)


def test_each_class_has_its_share_of_the_bandwidth() -> None:
    shares = {"elementwise": 0.5, "normalization": 0.25, "copy": 0.125, "softmax": 0.75, "reduction": 0.375}
    on = device(sustained=0.8, **shares)
    for name, share in (shares | {"reduction": 0.5}).items():  # plain sums: twice 0.375, but not above element-wise
        assert seconds(copy_of(1e6, OpClass[name.upper()]), on)[1] == pytest.approx(8e6 / (0.8 * share * 1e11)), name


def test_no_class_outruns_the_datasheet() -> None:
    # 0.9 of the bandwidth, times 1.5: the datasheet's 100 GB/s and no more.
    on = device(sustained=0.9, **dict.fromkeys(("elementwise", "operand", "pooling", "update", "copy"), 1.5))
    for op_class in OpClass:
        assert seconds(copy_of(1e6, op_class), on)[1] >= 8e6 / 1e11 * (1 - 1e-12), op_class
    assert seconds(copy_of(1e6), on)[1] == pytest.approx(8e6 / 1e11)


def test_half_width_values_use_the_lanes_bandwidth_less() -> None:
    on = device(elementwise=0.8, operand=0.6, half_width=0.5)
    assert class_efficiency(copy_of(1e6), Setting(on, FP32)).tolist() == [0.8]
    assert class_efficiency(copy_of(1e6), Setting(on, AMP)).tolist() == [0.4]
    assert class_efficiency(columns_of(Linear(out=4), (8,)), Setting(on, AMP)).tolist() == [0.6]


def test_a_librarys_plain_sums_take_half_as_long_as_those_of_functions_or_of_gradients() -> None:
    on, plain = device(elementwise=0.8, reduction=0.2), copy_of(1e6, OpClass.REDUCTION)
    functions = replace(plain, flops=6 * plain.read.sum(axis=0))
    gradients = replace(plain, phase=np.full_like(plain.phase, Phase.WEIGHT_GRADIENT))
    found = [class_efficiency(one, Setting(on, FP32)).tolist() for one in (plain, functions, gradients)]
    assert found == [[0.4], [0.2], [0.2]]


def test_the_loops_that_a_compiler_writes_read_memory_alike_but_for_sums_of_functions() -> None:
    on = device(elementwise=0.8, pooling=0.3, softmax=0.4, normalization=0.5, copy=0.6, reduction=0.2)
    compiled = Setting(on, FP32, under(ExecutionPath(fuses=True)))
    for name in ("ELEMENTWISE", "POOLING", "SOFTMAX", "NORMALIZATION", "COPY", "REDUCTION"):
        assert class_efficiency(copy_of(1e6, OpClass[name]), compiled).tolist() == [0.8], name
    # A sum after a ReLU makes two operations a value that it reads, one after x sigmoid(x) six.
    summed = copy_of(1e6, OpClass.REDUCTION)
    for each_value, expected in ((2, 0.8), (6, 0.2)):
        assert class_efficiency(replace(summed, flops=each_value * summed.read.sum(axis=0)), compiled).tolist() == [
            expected
        ]
    gradients = replace(summed, phase=np.full_like(summed.phase, Phase.WEIGHT_GRADIENT))
    assert class_efficiency(gradients, compiled).tolist() == [0.2]
    # The same function, whose values nobody else reads.
    unwritten = replace(summed, flops=6 * summed.read.sum(axis=0), write=summed.write / 1000)
    assert class_efficiency(unwritten, compiled).tolist() == [0.8]
    pooled = copy_of(1e6, OpClass.POOLING)
    assert seconds(pooled, on, path=ExecutionPath(fuses=True))[1] == pytest.approx(seconds(pooled, on)[1] * 0.3 / 0.8)


def test_a_framework_that_fuses_moves_less_in_lanes_and_nothing_less_in_products() -> None:
    fused, linear = ExecutionPath(elementwise=0.25), columns_of(Linear(out=512, bias=False), (512,))
    assert seconds(copy_of(1e6), device(), path=fused)[1] == pytest.approx(2e6 / 1e11)
    assert seconds(linear, device(), path=fused) == seconds(linear, device())


def test_a_frameworks_convolutions_run_at_its_rate() -> None:
    twice, linear = ExecutionPath(convolution=2.0), columns_of(Linear(out=512, bias=False), (512,))
    assert seconds(deep(), device(), path=twice)[0] == pytest.approx(seconds(deep(), device())[0] / 2)
    assert seconds(linear, device(), path=twice) == seconds(linear, device())


# Times of a step.


def software(forward: float, update: float = 0.0, step: float = 0.0, helpers: float = 0.0) -> Framework:
    return Framework("test", (forward, forward, forward, update), step, helpers, PLAIN, PLAIN)


def test_a_host_bound_step_is_its_dispatch() -> None:
    network = load_workload("lenet5")
    kernels = lower(network, training=True)
    calls = int(kernels.dispatch.sum())
    times = kernel_times(kernels, Setting(device(), FP32, software(1e-3, step=5e-3)), 1.0)
    # A millisecond a call, five before the first; what the device does after the last call is short.
    last = times.time_s[-3:].sum()
    assert times.time_s.sum() == pytest.approx(calls * 1e-3 + 5e-3, abs=last)
    assert times.time_s.sum() >= calls * 1e-3 + 5e-3


def test_helpers_take_device_time_with_each_call() -> None:
    kernels = lower(load_workload("lenet5"), training=True)
    calls = int(kernels.dispatch.sum())
    bare, helped = (kernel_times(kernels, Setting(device(), FP32, software(0.0, helpers=h)), 64.0) for h in (0, 1e-5))
    assert helped.time_s.sum() - bare.time_s.sum() == pytest.approx(calls * 1e-5)


def test_the_launch_gap_comes_with_each_kernel() -> None:
    kernels, slow = lower(load_workload("lenet5"), training=True), replace(device(), launch_s=2e-6)
    for framework in (NEVER_LATE, software(0.0)):
        times = kernel_times(kernels, Setting(slow, FP32, framework), 64.0)
        assert times.seconds[Bound.OVERHEAD].tolist() == pytest.approx([2e-6] * len(kernels))


def test_lenet5_at_batch_1_waits_for_pytorch() -> None:
    v100, network = load_device("v100"), load_workload("lenet5")
    simulation = simulate(network, v100, Options(batch=1, framework="pytorch"))
    kernels, pytorch = simulation.kernels, load_framework("pytorch")
    dispatch_s = np.array(pytorch.dispatch_s)[kernels.phase[kernels.dispatch]].sum() + pytorch.step_s
    alone = kernel_times(kernels, Setting(v100, FP32), 1.0).time_s.sum()
    assert dispatch_s > alone
    assert simulation.step.time_s >= dispatch_s
    assert simulation.step.bound.name == "OVERHEAD"


def test_the_framework_reaches_the_times() -> None:
    v100, network = load_device("v100"), load_workload("lenet5")
    batches = np.array([1.0, 4.0])
    pytorch, tensorflow = (
        step_seconds(network, v100, batches, Options(framework=name)) for name in ("pytorch", "tensorflow")
    )
    assert (pytorch != tensorflow).all()
    assert pytorch[0] == pytest.approx(simulate(network, v100, Options(batch=1, framework="pytorch")).step.time_s)


def test_the_bounds_know_no_framework() -> None:
    v100, network = load_device("v100"), load_workload("lenet5")
    found = {
        simulate(network, v100, Options(batch=1, framework=name, fidelity=Fidelity.ROOFLINE)).step.time_s
        for name in ("pytorch", "tensorflow")
    }
    assert len(found) == 1


def test_an_unknown_framework_is_an_error_that_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="unknown framework 'pytorh'; did you mean 'pytorch'"):
        Options(framework="pytorh")


def test_a_gemm_kernel_of_one_sample_matches_its_product() -> None:
    # The columns' m, n, k reach the product: 256 samples of 512 -> 1024 at batch 256.
    kernel = Kernel(OpClass.GEMM, Phase.FORWARD, each(2 * 512 * 1024), (), (), Gemm(each(1), once(1024), once(512)))
    on = device(units=8)
    found, _ = calibrated_seconds(pack([kernel]), Setting(on, FP32), 256.0, np.zeros(1))
    assert found.tolist() == [product(256, 1024, 512, units=8, bandwidth=1e11)]


def test_desktop_hosts_issue_calls_faster() -> None:
    kernels = lower(load_workload("lenet5"), training=True)
    desktop = replace(device(desktop_host=0.5), profile=msgspec.structs.replace(device().profile, host="desktop"))
    slow, fast = (kernel_times(kernels, Setting(on, FP32, software(1e-3)), 1.0) for on in (device(), desktop))
    last = slow.time_s[-3:].sum()
    assert fast.time_s.sum() == pytest.approx(slow.time_s.sum() / 2, abs=last)


def test_a_processor_takes_nothing_from_libraries_of_graphics_processors() -> None:
    kernels = lower(load_workload("lenet5"), training=False)
    odd = Framework("odd", (0.0,) * 4, 0.0, 0.0, ExecutionPath(elementwise=3.0, convolution=0.1), PLAIN)
    processor = replace(device(), kind="cpu")
    for on, alike in ((processor, True), (device(), False)):
        times = [kernel_times(kernels, Setting(on, FP32, framework), 64.0) for framework in (odd, software(0.0))]
        assert bool(times[0].time_s.sum() == times[1].time_s.sum()) is alike


def test_slower_tensor_cores_wait_less_for_operands() -> None:
    # V100 does 1024 FLOP a clock and unit; a card of half the rate at that clock loses half to small tiles.
    linear = columns_of(Linear(out=64, bias=False), (4096,))
    full, half = (
        replace(device(units=1, matrix_tile=32.0), clock_hz=1e9, peak={"fp32": 1e9, "fp16_tensor": rate})
        for rate in (1024e9, 512e9)
    )
    free = {rate: 2 * 16 * 64 * 4096 / rate for rate in (1024e9, 512e9)}
    operands = 80 / 1024 - LARGEST_TILE
    assert seconds(linear, full, "amp")[0] == pytest.approx(free[1024e9] * (1 + 32 * operands))
    assert seconds(linear, half, "amp")[0] == pytest.approx(free[512e9] * (1 + 16 * operands))


def test_matrix_units_of_full_precision_serve_fp32() -> None:
    # AMD's keep fp32 whole and libraries use them; NVIDIA's do not, and fp32 stays in lanes.
    linear = columns_of(Linear(out=512, bias=False), (512,))
    cores = replace(device(units=1), peak={"fp32": 1e12, "fp32_tensor": 2e12, "fp16_tensor": 8e12})
    assert seconds(linear, cores)[0] == pytest.approx(seconds(linear, device(units=1))[0] / 2)
    mi210 = load_device("mi210")
    assert mi210.peak["fp32_tensor"] == pytest.approx(2 * mi210.peak["fp32"], rel=0.01)
    assert "fp32_tensor" not in load_device("h100").peak


def test_narrow_groups_of_a_family_without_kernels_take_as_long_in_every_format() -> None:
    board = replace(device(), profile=msgspec.structs.replace(device().profile, family="volta"))
    poor = ExecutionPath(poor_groups=("volta",))
    narrow = columns_of(convolution(groups=8, channels=8 * 4), (8 * 4, 32, 32))
    # 1024 positions x 32 columns x 9 x 4, at 0.08 of the lanes' 1 TFLOP/s.
    expected = 2 * 1024 * 32 * 9 * 4 / (POOR_GROUPS * 1e12)
    for precision in ("fp32", "amp"):
        assert seconds(narrow, board, precision, poor)[0] == pytest.approx(expected)
        assert seconds(narrow, board, precision)[0] < expected
    # Other families, wide groups and plain convolutions have their kernels.
    other = replace(board, profile=msgspec.structs.replace(board.profile, family="turing"))
    assert seconds(narrow, other, "amp", poor) == seconds(narrow, other, "amp")
    for groups, channels in ((2, 128), (32, 32), (1, 48)):
        columns = columns_of(convolution(groups=groups, channels=channels), (channels, 32, 32))
        assert seconds(columns, board, "amp", poor) == seconds(columns, board, "amp")


def test_a_compilers_pooling_finds_each_value_of_its_windows() -> None:
    # 16 x 15 x 15 windows of 3 x 3 at 100 operations a value, on 1 TFLOP/s.
    pooled = columns_of(MaxPool(kernel=3, stride=2), IMAGE)
    walked, moved = seconds(pooled, device(), path=ExecutionPath(windows=100, fuses=True))
    assert walked == pytest.approx(100 * 9 * 16 * 15 * 15 / 1e12)
    assert seconds(pooled, device(), path=ExecutionPath(fuses=True)) == (pytest.approx(walked / 100), moved)
    # Kernels of other classes take what they count.
    other = columns_of(convolution(), IMAGE)
    assert seconds(other, device(), path=ExecutionPath(windows=100)) == seconds(other, device())


def test_finding_a_values_channel_takes_normalisation_as_long_in_any_format() -> None:
    # 16 x 32 x 32 values at 200 operations each, on 1 TFLOP/s.
    scale = BatchNorm().forward(Site((IMAGE,), IMAGE, training=False))
    found = ExecutionPath(channel_operations=200)
    plain_s, moved_s = seconds(pack(scale), device())
    assert plain_s < 200 * 16 * 32 * 32 / 1e12
    for precision in ("fp32", "fp16"):
        assert seconds(pack(scale), device(), precision, found)[0] == pytest.approx(200 * 16 * 32 * 32 / 1e12), (
            precision
        )
    assert seconds(pack(scale), device(), path=found)[1] == moved_s
    # In training cuDNN normalises; other kernels find no channels.
    site = Site((IMAGE,), IMAGE)
    training = pack([*BatchNorm().forward(site), *BatchNorm().backward(site)])
    assert first_seconds(training, found) == first_seconds(training, PLAIN)
    for op in (MaxPool(kernel=3, stride=2), LocalResponseNorm(size=5)):
        other = pack(op.forward(Site((IMAGE,), op.output_shape((IMAGE,)), training=False)))
        assert seconds(other, device(), path=found) == seconds(other, device())


def first_seconds(columns: Columns, path: ExecutionPath) -> list[float]:
    setting = Setting(device(), FP32, under(path))
    return calibrated_seconds(columns, setting, 1.0, ideal_bytes(columns, setting, 1.0))[0].tolist()


def test_weights_gradients_of_many_filters_are_slow_where_half_width_is_widened() -> None:
    # 1024 filters of 1 x 1 over 16 channels of 32 x 32: 1024 x 16 x 1024 products, at 0.057 of the lanes' 1 TFLOP/s.
    lanes = replace(device(), peak={"fp32": 1e12, "fp16": 1e12 / 64})
    expected = 2 * 1024 * 16 * 1024 / (OF_MANY * 1e12)

    def found(phase: Phase, precision: str = "fp16", filters: int = MANY_FILTERS, **shape: int) -> float:
        columns = columns_of(convolution(channels=filters, kernel=1, **shape), IMAGE, phase)
        return seconds(columns, lanes, precision)[0]

    gradient = Phase.WEIGHT_GRADIENT
    assert found(gradient) == pytest.approx(expected)
    # At full width, forward, of fewer filters and with a stride they are products as any.
    assert found(gradient, "fp32") < 0.5 * expected
    assert found(Phase.FORWARD) < 0.5 * expected
    assert found(gradient, filters=MANY_FILTERS - 64) < 0.5 * expected
    assert found(gradient, stride=2) < 0.5 * expected
    # A library that has good kernels for them.
    many = columns_of(convolution(channels=MANY_FILTERS, kernel=1), IMAGE, gradient)
    assert seconds(many, lanes, "fp16", ExecutionPath(many_filters=True))[0] < 0.5 * expected
    # Lanes of half width of their own need no widening.
    with_half = replace(lanes, peak={"fp32": 1e12, "fp16": 2e12})
    columns = columns_of(convolution(channels=MANY_FILTERS, kernel=1), IMAGE, gradient)
    assert seconds(columns, with_half, "fp16")[0] < 0.5 * expected


@pytest.mark.parametrize(("precision", "rate"), [("bf16", 0.8), ("fp8", 0.6), ("nvfp4", 0.5)])
def test_narrow_products_sustain_their_own_share(precision: str, rate: float) -> None:
    # 4096 x 4096 x 4096 is 1.374e11 FLOP, of which tensor cores of 8 TFLOP/s do their share: 17.2 ms over it.
    on = replace(
        device(),
        peak={"fp32": 1e12, "bf16_tensor": 8e12, "fp8_tensor": 8e12, "fp4_tensor": 8e12},
        sustained={"matrix": 0.8, "matrix_fp8": 0.6, "matrix_fp4": 0.5, "vector": 1.0, "bandwidth": 1.0},
    )
    compute_s, _ = seconds(columns_of(Linear(out=4096), (4096, 4096)), on, precision)
    assert compute_s == pytest.approx(2 * 4096**3 / (8e12 * rate), rel=0.02)


def test_full_width_on_matrix_units_loses_the_same_time_to_a_tile() -> None:
    # Depth 1,024 with 1,024 steps lost to starting and ending, in half width twice as long as without: 2 x 17.2 ms at
    # 8 TFLOP/s. In full width, at a quarter of that rate, these are 256 steps: 1.25 times 68.7 ms, twice that at half
    # of the peak. Where no rate of half width is known, all steps count.
    units = {"fp32": 1e12, "bf16_tensor": 8e12, "fp32_tensor": 2e12}
    sustained = {"matrix": 1.0, "matrix_fp32": 0.5, "vector": 1.0, "bandwidth": 1.0}
    on = replace(device(), peak=units, sustained=sustained, kernel={**device().kernel, "matrix_depth": 1024.0})
    columns = columns_of(Linear(out=8192), (8192, 1024))
    flops = 2 * 8192**2 * 1024
    assert seconds(columns, on, "bf16")[0] == pytest.approx(2 * flops / 8e12, rel=0.02)
    assert seconds(columns, on, "fp32")[0] == pytest.approx(1.25 * flops / (0.5 * 2e12), rel=0.02)
    alone = replace(on, peak={"fp32": 1e12, "fp32_tensor": 2e12})
    assert seconds(columns, alone, "fp32")[0] == pytest.approx(2 * flops / (0.5 * 2e12), rel=0.02)


def test_a_framework_may_run_products_slower_on_a_family() -> None:
    # On Volta half of the rate, elsewhere all of it; convolutions alike.
    framework = replace(software(0.0), plain=ExecutionPath(on_families={"volta": 0.5}))
    columns = columns_of(Linear(out=4096), (4096, 4096))
    image = columns_of(convolution(channels=64), (64, 32, 32))

    def computing_s(on: Device, given: Columns) -> float:
        return float(parts_seconds(given, Setting(on, FP32, framework), 1.0)[0].sum())

    volta = device()
    other = replace(volta, profile=msgspec.structs.replace(volta.profile, family="turing"))
    assert volta.profile.family == "volta"
    for given in (columns, image):
        assert computing_s(volta, given) == pytest.approx(2 * computing_s(other, given))


def test_tpus_run_compiled_graphs_under_eager_frameworks() -> None:
    eager, graphics = software(0.0), device()
    tpu = replace(graphics, kind="tpu")
    path = Setting(tpu, FP32, eager).path
    assert (path.fuses, path.layout) == (True, "channels last")
    assert not Setting(graphics, FP32, eager).path.fuses


def test_a_library_without_kernels_for_groups_issues_them_one_by_one() -> None:
    # One convolution of 8 groups of 4 channels: 7 further launches of 2 us by a server's host.
    board = replace(device(), launch_s=2e-6)
    apart = replace(software(0.0), mixed=ExecutionPath(launched_groups=("volta",)))
    columns = columns_of(convolution(groups=8, channels=32), (32, 32, 32))
    grouped = Kernels(columns, np.zeros(1, dtype=int), np.zeros(1, dtype=int), np.ones(1, dtype=bool))

    def waits_s(on: Device, precision: Precision, framework: Framework) -> float:
        return float(kernel_times(grouped, Setting(on, precision, framework), 1.0).seconds[Bound.OVERHEAD].sum())

    assert waits_s(board, AMP, apart) - waits_s(board, AMP, software(0.0)) == pytest.approx(7 * 2e-6)
    assert waits_s(board, FP32, apart) == waits_s(board, FP32, software(0.0))
    turing = replace(board, profile=msgspec.structs.replace(board.profile, family="turing"))
    assert waits_s(turing, AMP, apart) == waits_s(turing, AMP, software(0.0))
    # Groups of one channel have kernels of their own.
    depthwise = columns_of(convolution(groups=8, channels=8), (8, 32, 32))
    assert group_launches(msgspec.structs.replace(grouped, distinct=depthwise)).tolist() == [0.0]

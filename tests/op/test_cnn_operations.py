"""Operations of convolutional networks worked by hand, forward and backward: the arithmetic stands in the comments.

A kernel is written (phase, FLOPs, reads, writes); a bare number is counted for each sample, `once(n)` for the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from simulator.errors import InputError
from simulator.op import Op, Shape, Site, operations
from simulator.op.activation import CrossEntropyLoss
from simulator.op.gelu import Gelu, GeluNew, QuickGelu
from simulator.op.kernel import Affine, Gemm, Kernel, OpClass, Phase, Role, Window, each, once
from simulator.op.normalization import ChannelAffine
from simulator.op.pooling import AdaptiveAveragePool
from simulator.op.prelu import Prelu
from simulator.op.rearrange import ChannelShuffle, ChannelSlice, FeatureSlice, ToImage, ToPositions, ZeroPad
from simulator.op.resample import TransposedConvolution, Upsample
from simulator.op.stochastic_depth import DropPath

F, IG, P, _ = Phase  # forward, input gradient, gradient of parameters
W, A, G, WG, _, INDEX, *_ = Role

Expected = tuple[Phase, float | Affine, dict[Role, float | Affine], dict[Role, float | Affine]]


def site(op: Op, *inputs: Shape, training: bool = True, input_gradient: bool = True) -> Site:
    return Site(inputs, op.output_shape(inputs), training, input_gradient)


def affine(count: float | Affine) -> Affine:
    return count if isinstance(count, Affine) else each(count)


def check(kernels: Sequence[Kernel], *expected: Expected) -> None:
    found = [(kernel.phase, kernel.flops, dict(kernel.read), dict(kernel.write)) for kernel in kernels]
    assert found == [
        (
            phase,
            affine(flops),
            {role: affine(count) for role, count in read.items()},
            {role: affine(count) for role, count in write.items()},
        )
        for phase, flops, read, write in expected
    ]


# ---- element-wise activations: FLOPs an element forward, backward, and which tensor is kept

ACTIVATIONS: dict[str, tuple[int, int, str]] = {
    "hard_tanh": (2, 2, "input"),  # two comparisons
    "leaky_relu": (2, 2, "output"),  # compare, times slope
    "elu": (4, 3, "output"),  # compare, exp, -1, times alpha; compare, y + alpha, times g
    "selu": (5, 4, "output"),  # ELU and a product
    "tanh": (5, 3, "output"),  # -2x, exp, 1 - e, 1 + e, divide; y * y, 1 - it, times g
    "hard_sigmoid": (4, 3, "output"),  # + 3, two comparisons, / 6; two comparisons, / 6
    "hard_swish": (5, 5, "input"),  # + 3, two comparisons, * x, / 6; two comparisons, x / 3, + 1/2, times g
    "silu": (5, 9, "input"),  # sigmoid 4 and * x; sigmoid 4, 1 - s, * x, + 1, * s, * g
    "gelu": (5, 11, "input"),  # x / sqrt 2, erf, + 1, * x, / 2; P 4, p 4, x * p, + P, * g
    "gelu_new": (13, 21, "input"),  # as gelu_tanh, in one kernel
    "gelu_tanh": (13, 21, "input"),  # polynomial 5, tanh 5, + 1, * x, / 2; t 10, then 2 + 4 + 2 + 3
    "quick_gelu": (6, 10, "input"),  # SiLU and 1.702 * x
    "softplus": (3, 5, "input"),  # exp, + 1, log; sigmoid 4, times g
    "mish": (9, 18, "input"),  # softplus 3, tanh 5, * x; t 8, sigmoid 4, t * t, 1 -, * x, * s, + t, * g
}


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_activation(kind: str) -> None:
    forward, backward, kept = ACTIVATIONS[kind]
    op = operations()[kind]()
    place = site(op, (2, 3, 5))  # 30 elements
    check(op.forward(place), (F, forward * 30, {A: 30}, {A: 30}))
    check(op.backward(place), (IG, backward * 30, {A: 30, G: 30}, {G: 30}))
    assert op.backward(place._replace(input_gradient=False)) == []
    assert (op.saves_input, op.saves_output) == (kept == "input", kept == "output")


def test_gelu_line_by_line() -> None:
    # u = a * (x + b * x ** 3), t = tanh(u), y = (x / 2) * (1 + t), on 6 values: a kernel for each of the eight
    # operations, the sum and the last product of two tensors; 13 FLOP a value, 18 values moved for each.
    op = GeluNew()
    place = site(op, (2, 3))._replace(whole=False)
    one, two = {A: 6}, {A: 12}
    check(
        op.forward(place),
        *((F, 12, one, one), (F, 6, one, one), (F, 6, two, one), (F, 6, one, one)),  # cube, * b, + x, * a
        *((F, 30, one, one), (F, 6, one, one), (F, 6, one, one), (F, 6, two, one)),  # tanh, + 1, x / 2, product
    )
    # dw = g * h and dh = g * w, dh / 2; g * (1 - t * t), * a, * b; x * x, * 3, times the gradient; two sums.
    kernels = op.backward(place)
    assert [kernel.flops.per_sample / 6 for kernel in kernels] == [1, 1, 1, 3, 1, 1, 1, 1, 1, 1, 1]
    moved = [sum(count.per_sample for _, count in (*kernel.read, *kernel.write)) / 6 for kernel in kernels]
    assert moved == [3, 3, 2, 3, 2, 2, 2, 2, 3, 3, 3]
    assert op.backward(place._replace(input_gradient=False)) == []


def test_gelu_written_out() -> None:
    # y = (x * 0.5) * (1 + erf(x / 1.41421)) on 6 values: half, quotient, error function, sum, product of two tensors.
    op = Gelu()
    place = site(op, (2, 3))._replace(written_out=True)
    one, two = {A: 6}, {A: 12}
    check(op.forward(place), *((F, 6, one, one),) * 4, (F, 6, two, one))
    # Two factors; square, sign, exponential, constant, times the gradient; quotient, half, sum: 24 values for each.
    moved = [sum(count.per_sample for _, count in (*k.read, *k.write)) / 6 for k in op.backward(place)]
    assert moved == [3, 3, 2, 2, 2, 2, 3, 2, 2, 3]
    for joined in (site(op, (2, 3)), site(op, (2, 3))._replace(whole=False)):
        assert len(op.forward(joined)) == len(op.backward(joined)) == 1
    assert op.backward(place._replace(input_gradient=False)) == []


def test_quick_gelu_line_by_line() -> None:
    # y = x * sigmoid(1.702 x): product, sigmoid (4 FLOP), product of two tensors: 7 values; 3 + 3 + 3 + 2 + 3 back.
    op = QuickGelu()
    place = site(op, (2, 3))._replace(whole=False)
    check(op.forward(place), (F, 6, {A: 6}, {A: 6}), (F, 24, {A: 6}, {A: 6}), (F, 6, {A: 12}, {A: 6}))
    moved = [sum(count.per_sample for _, count in (*k.read, *k.write)) / 6 for k in op.backward(place)]
    assert moved == [3, 3, 3, 2, 3]


def test_prelu() -> None:
    # Four channels of 6 pixels, 24 elements, a slope a channel: compare and multiply; compare, multiply and sum.
    op = Prelu()
    place = site(op, (4, 2, 3))
    assert op.parameter_sizes(place.inputs) == (4,)
    check(op.forward(place), (F, 48, {A: 24, W: once(4)}, {A: 24}))
    slopes: Expected = (P, 72, {A: 24, G: 24}, {WG: once(4)})
    check(op.backward(place), (IG, 48, {A: 24, G: 24, W: once(4)}, {G: 24}), slopes)
    check(op.backward(place._replace(input_gradient=False)), slopes)
    assert Prelu(shared=True).parameter_sizes(place.inputs) == (1,)
    assert Prelu().parameter_sizes(((7, 5),)) == (5,)  # the last side of a sequence


def test_loss_of_an_image_has_a_label_a_pixel() -> None:
    # Two classes on 3 x 4 pixels: 24 logits, 12 labels, 5 FLOP a logit.
    op = CrossEntropyLoss()
    check(op.forward(site(op, (2, 3, 4))), (F, 120, {A: 24, INDEX: 12}, {A: 12}))


# ---- scale and shift


def test_channel_affine() -> None:
    # 3 channels of 4 pixels, 12 elements: scale and shift 2 * 12; sums 2 * 12 for the scale, 12 for the shift.
    op = ChannelAffine()
    place = site(op, (3, 2, 2))
    assert op.parameter_sizes(place.inputs) == (3, 3)
    check(op.forward(place), (F, 24, {A: 12, W: once(6)}, {A: 12}))
    check(
        op.backward(place),
        (IG, 12, {G: 12, W: once(3)}, {G: 12}),
        (P, 36, {G: 12, A: 12}, {WG: once(6)}),
    )


def test_channel_affine_by_halves() -> None:
    # A shift alone passes the gradient on and sums it; a scale alone sums gradient times input.
    shift, scale = ChannelAffine(scale=False), ChannelAffine(shift=False)
    place = site(shift, (3, 2, 2))
    check(shift.forward(place), (F, 12, {A: 12, W: once(3)}, {A: 12}))
    check(shift.backward(place), (P, 12, {G: 12}, {WG: once(3)}))
    check(scale.backward(place)[1:], (P, 24, {G: 12, A: 12}, {WG: once(3)}))
    with pytest.raises(InputError, match="both off"):
        ChannelAffine(scale=False, shift=False).output_shape(((3, 2, 2),))


# ---- pooling, stochastic depth


def test_adaptive_pool() -> None:
    # Height 5 in 2 cells: rows 0-2 and 2-4, 3 + 3 = 6 covered; width 4 in 2 cells: 2 + 2 = 4. Two channels: 2 * 6 * 4.
    op = AdaptiveAveragePool(out=2)
    place = site(op, (2, 5, 4))
    assert place.output == (2, 2, 2)
    check(op.forward(place), (F, 48, {A: 40}, {A: 8}))
    check(op.backward(place), (IG, 48, {G: 8}, {G: 40}))
    assert op.window(place.inputs) == Window((3, 2), (2, 2))
    assert op.backward(place._replace(input_gradient=False)) == []


def test_adaptive_pool_to_the_same_or_a_larger_size() -> None:
    same = AdaptiveAveragePool(out=(5, 4))
    assert same.forward(site(same, (2, 5, 4))) == []
    assert same.backward(site(same, (2, 5, 4))) == []
    larger = AdaptiveAveragePool(out=7)  # each of 49 cells copies the one pixel
    check(larger.forward(site(larger, (3, 1, 1))), (F, 147, {A: 3}, {A: 147}))


def test_drop_path() -> None:
    op = DropPath(rate=0.2)
    place = site(op, (3, 2, 2))
    check(op.forward(place), (F, 12, {A: 12}, {A: 12}))
    check(op.backward(place), (IG, 12, {G: 12}, {G: 12}))
    assert op.forward(place._replace(training=False)) == []


# ---- moving and renaming


def test_channel_shuffle_is_a_copy() -> None:
    op = ChannelShuffle(groups=2)
    place = site(op, (4, 3, 3))
    check(op.forward(place), (F, 0, {A: 36}, {A: 36}))
    check(op.backward(place), (IG, 0, {G: 36}, {G: 36}))
    assert op.forward(place)[0].op_class is OpClass.COPY


def test_zero_pad() -> None:
    # 2 x 3 and 1 + 2 rows, 0 + 1 columns: 5 x 4. The gradient of the 6 inputs is read and written, per channel.
    op = ZeroPad(padding=(1, 2, 0, 1))
    place = site(op, (2, 2, 3))
    assert place.output == (2, 5, 4)
    check(op.forward(place), (F, 0, {A: 12}, {A: 40}))
    check(op.backward(place), (IG, 0, {G: 12}, {G: 12}))


def test_views_move_nothing() -> None:
    cases: tuple[tuple[Op, Shape, Shape], ...] = (
        (ChannelSlice(start=2, stop=5), (6, 3, 3), (3, 3, 3)),
        (FeatureSlice(start=2, stop=5), (7, 6), (7, 3)),
        (ToPositions(), (6, 3, 4), (12, 6)),
        (ToImage(size=(3, 4)), (12, 6), (6, 3, 4)),
    )
    for op, before, after in cases:
        place = site(op, before)
        assert (place.output, op.view, op.forward(place), op.backward(place)) == (after, True, [], [])


# ---- enlarging


def test_upsample() -> None:
    # 2 channels of 3 x 4 to 6 x 8: 96 outputs. Bilinear 8 FLOP each; nearest copies, its gradient adds each output.
    nearest, bilinear = Upsample(scale=2), Upsample(scale=2, mode="bilinear")
    place = site(nearest, (2, 3, 4))
    assert place.output == (2, 6, 8)
    check(nearest.forward(place), (F, 0, {A: 24}, {A: 96}))
    check(nearest.backward(place), (IG, 96, {G: 96}, {G: 24}))
    check(bilinear.forward(place), (F, 768, {A: 24}, {A: 96}))
    check(bilinear.backward(place), (IG, 768, {G: 96}, {G: 24}))
    assert Upsample(size=(5, 7)).output_shape(((2, 3, 4),)) == (2, 5, 7)


def test_transposed_convolution() -> None:
    # 4 channels of 3 x 5 to 2 channels, kernel 2, stride 2: sides (3 - 1) * 2 + 2 = 6 and (5 - 1) * 2 + 2 = 10.
    # Weights 4 * 2 * 4 = 32, bias 2. Each of 60 inputs meets 2 * 4 = 8 weights: 480 MACs, 960 FLOP.
    op = TransposedConvolution(out=2, kernel=2, stride=2)
    place = site(op, (4, 3, 5))
    assert place.output == (2, 6, 10)
    assert op.parameter_sizes(place.inputs) == (32, 2)
    assert op.counts(place) == (480, 960)
    check(op.forward(place), (F, 960, {A: 60, W: once(34)}, {A: 120}))
    check(
        op.backward(place),
        (IG, 960, {G: 120, W: once(32)}, {G: 60}),
        (P, 960, {A: 60, G: 120}, {WG: once(32)}),
        (P, 120, {G: 120}, {WG: once(2)}),  # bias: one addition an output
    )


def test_transposed_convolution_as_a_product_of_matrices() -> None:
    # In 2 groups: 15 positions x 1 output x (2 inputs * 4) x 2 groups = 240 MACs = 60 inputs * 1 output * 4.
    op = TransposedConvolution(out=2, kernel=2, stride=2, groups=2, bias=False)
    place = site(op, (4, 3, 5))
    assert op.counts(place).macs == 240
    gemms = [kernel.gemm for kernel in (*op.forward(place), *op.backward(place))]
    assert gemms == [
        Gemm(each(15), once(1), once(8), 2),
        Gemm(each(15), once(2), once(4), 2),
        Gemm(once(2), once(4), each(15), 2),
    ]


@pytest.mark.parametrize(
    ("fields", "output"),
    [
        ({"kernel": 4, "stride": 2, "padding": 1}, (2, 8, 8)),  # 3 * 2 - 2 + 3 + 1
        ({"kernel": 3, "stride": 2, "padding": 1, "output_padding": 1}, (2, 8, 8)),  # 3 * 2 - 2 + 2 + 1 + 1
        ({"kernel": 3, "dilation": 2}, (2, 8, 8)),  # 3 + 2 * 2 + 1
        ({"kernel": (1, 3), "stride": (1, 2)}, (2, 4, 9)),  # 3 + 1; 3 * 2 + 2 + 1
    ],
)
def test_transposed_convolution_geometry(fields: dict[str, Any], output: Shape) -> None:
    assert TransposedConvolution(out=2, **fields).output_shape(((4, 4, 4),)) == output


@pytest.mark.parametrize(
    ("op", "shape", "said"),
    [
        (TransposedConvolution(out=3, kernel=2, groups=2), (4, 3, 3), "do not divide"),
        (ChannelShuffle(groups=3), (4, 3, 3), "do not divide"),
        (ChannelSlice(start=2, stop=2), (4, 3, 3), "no channels 2 to 2"),
        (ChannelSlice(start=0, stop=5), (4, 3, 3), "no channels 0 to 5"),
        (FeatureSlice(start=1, stop=5), (9, 4), "no features 1 to 5"),
        (FeatureSlice(start=2, stop=2), (9, 4), "no features 2 to 2"),
        (ToImage(size=3), (10, 2), "not a sequence of 3 x 3"),
        (Upsample(), (4, 3), "channels, height, width"),
        (ZeroPad(padding=-1), (4, 3, 3), "at least 0"),
        (AdaptiveAveragePool(out=0), (4, 3, 3), "at least 1"),
    ],
)
def test_what_does_not_fit_is_refused(op: Op, shape: Shape, said: str) -> None:
    with pytest.raises(InputError, match=said):
        op.output_shape((shape,))

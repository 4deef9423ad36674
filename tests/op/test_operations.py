"""Each operation worked by hand, forward and backward: the arithmetic stands in the comments.

A kernel is written (phase, FLOPs, reads, writes); a bare number is counted for each sample, `once(n)` for the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

import msgspec
import pytest

from simulator.errors import InputError
from simulator.op import Op, Shape, Site, operations
from simulator.op.activation import CrossEntropyLoss, Dropout, Relu, Relu6, Sigmoid, Softmax
from simulator.op.base import check_shape, operation
from simulator.op.combine import Add, Concat, Flatten, Scale
from simulator.op.convolution import Convolution
from simulator.op.kernel import Affine, Kernel, Phase, Role, Window, each, once
from simulator.op.linear import Linear
from simulator.op.normalization import BatchNorm, LocalResponseNorm
from simulator.op.optimizer import OPTIMIZERS, cast_gradients, cast_weights
from simulator.op.pooling import AveragePool, GlobalPool, MaxPool
from simulator.op.unknown import Unknown

FORWARD, INPUT_GRADIENT, WEIGHT_GRADIENT, UPDATE = Phase
W, A, G, WG, STATE, INDEX, MASK, *_ = Role

Expected = tuple[Phase, float | Affine, dict[Role, float | Affine], dict[Role, float | Affine]]


def site(op: Op, *inputs: Shape, training: bool = True, input_gradient: bool = True) -> Site:
    """Where the operation stands, with the output that its own shape rule gives."""
    return Site(inputs, op.output_shape(inputs), training, input_gradient)


def affine(count: float | Affine) -> Affine:
    return count if isinstance(count, Affine) else each(count)


def tensors(counts: Sequence[tuple[Role, Affine]]) -> dict[Role, Affine]:
    """Counts by role, tensors of one role summed."""
    table: dict[Role, Affine] = {}
    for role, count in counts:
        before = table.get(role, Affine(0, 0))
        table[role] = Affine(before.fixed + count.fixed, before.per_sample + count.per_sample)
    return table


def check(kernels: Sequence[Kernel], *expected: Expected) -> None:
    """Compare every count of every kernel, in order."""
    found = [(kernel.phase, kernel.flops, tensors(kernel.read), tensors(kernel.write)) for kernel in kernels]
    assert found == [
        (
            phase,
            affine(flops),
            {role: affine(count) for role, count in read.items()},
            {role: affine(count) for role, count in write.items()},
        )
        for phase, flops, read, write in expected
    ]


# ---- convolution


def test_convolution() -> None:
    # 2 x 5 x 5, four 3 x 3 kernels: side 5 - 3 + 1 = 3; weights 4 * 2 * 9 = 72, biases 4.
    # MACs: 4 * 3 * 3 outputs of 2 * 9 = 18 products: 36 * 18 = 648; FLOP 1296. Input 2 * 25 = 50, output 36.
    op = Convolution(out=4, kernel=3)
    place = site(op, (2, 5, 5))
    assert place.output == (4, 3, 3)
    assert op.parameter_sizes(place.inputs) == (72, 4)
    assert op.counts(place) == (648, 1296)
    check(op.forward(place), (FORWARD, 1296, {A: 50, W: once(76)}, {A: 36}))
    check(
        op.backward(place),
        (INPUT_GRADIENT, 1296, {G: 36, W: once(72)}, {G: 50}),
        (WEIGHT_GRADIENT, 1296, {A: 50, G: 36}, {WG: once(72)}),
        (WEIGHT_GRADIENT, 36, {G: 36}, {WG: once(4)}),  # each bias sums its 3 x 3 outputs
    )


def test_convolution_as_a_product_of_matrices() -> None:
    # Groups 2: per group 2 outputs of 1 * 9 products at 3 x 3 = 9 places; 9 * 2 * 9 * 2 = 324 MACs, the same
    # volume for each gradient whatever the groups.
    op = Convolution(out=4, kernel=3, groups=2, bias=False)
    place = site(op, (2, 5, 5))
    assert op.counts(place) == (324, 648)
    assert op.parameter_sizes(place.inputs) == (36,)
    for kernel in [*op.forward(place), *op.backward(place)]:
        gemm = kernel.gemm
        assert gemm is not None
        volume = gemm.groups
        for side in (gemm.m, gemm.n, gemm.k):
            volume *= int(side.fixed + side.per_sample)
        assert volume == 324
        assert kernel.flops == each(648)


def test_first_convolution_has_no_input_gradient() -> None:
    op = Convolution(out=4, kernel=3, bias=False)
    place = site(op, (2, 5, 5), input_gradient=False)
    check(op.backward(place), (WEIGHT_GRADIENT, 1296, {A: 50, G: 36}, {WG: once(72)}))


def test_depthwise_convolution() -> None:
    # 3 channels, 3 groups: each output has 9 products: 3 * 16 * 9 = 432 MACs; weights 3 * 9 = 27. Padding 1.
    op = Convolution(out=3, kernel=3, padding=1, groups=3, bias=False)
    place = site(op, (3, 4, 4))
    assert place.output == (3, 4, 4)
    assert op.counts(place).macs == 432
    assert op.parameter_sizes(place.inputs) == (27,)


@pytest.mark.parametrize(
    ("fields", "image", "output", "macs"),
    [
        # Dilation 2 makes a 3 x 3 kernel reach 2 * 2 + 1 = 5: 7 - 5 + 1 = 3; 9 * 9 products.
        ({"out": 1, "kernel": 3, "dilation": 2}, (1, 7, 7), (1, 3, 3), 81),
        # Kernel 1 x 3, stride 2 x 1: height (6 - 1) / 2 + 1 = 3 down, width 6 - 3 + 1 = 4; 2 * 12 * 3 products.
        ({"out": 2, "kernel": (1, 3), "stride": (2, 1)}, (1, 6, 6), (2, 3, 4), 72),
        # Padding (height, width) = (0, 1) on 4 x 4 with 1 x 3: 4 x 4; 16 * 3.
        ({"out": 1, "kernel": (1, 3), "padding": (0, 1)}, (1, 4, 4), (1, 4, 4), 48),
        # (top, bottom, left, right) = (0, 1, 0, 1), stride 2: (4 + 1 - 3) / 2 + 1 = 2 a side; 4 * 9.
        ({"out": 1, "kernel": 3, "stride": 2, "padding": (0, 1, 0, 1)}, (1, 4, 4), (1, 2, 2), 36),
        # Same: ceil(5 / 2) = 3 a side; 9 * 9.
        ({"out": 1, "kernel": 3, "stride": 2, "padding": "same"}, (1, 5, 5), (1, 3, 3), 81),
        # Same with an even kernel pads one more at the end: 4 x 4 stays 4 x 4; 16 * 4.
        ({"out": 1, "kernel": 2, "padding": "same"}, (1, 4, 4), (1, 4, 4), 64),
        # AlexNet's conv1: (227 - 11) / 4 + 1 = 55; 96 * 55 * 55 * 363 = 105,415,200.
        ({"out": 96, "kernel": 11, "stride": 4}, (3, 227, 227), (96, 55, 55), 105_415_200),
        # (224 - 7 + 6) / 2 + 1 = 112.5, rounded down; 64 * 112 * 112 * 147.
        ({"out": 64, "kernel": 7, "stride": 2, "padding": 3}, (3, 224, 224), (64, 112, 112), 118_013_952),
    ],
)
def test_convolution_geometry(fields: dict[str, Any], image: Shape, output: Shape, macs: int) -> None:
    op = Convolution(bias=False, **fields)
    place = site(op, image)
    assert place.output == output
    assert op.counts(place).macs == macs


@pytest.mark.parametrize(
    ("fields", "image", "said"),
    [
        ({"kernel": 5}, (1, 4, 4), "a kernel of 5 (dilation 1) is larger than its padded input of 4"),
        ({"kernel": 3, "dilation": 2}, (1, 4, 4), "larger than its padded input"),
        ({"kernel": 0}, (1, 4, 4), "kernel must be"),
        ({"kernel": (1, 2, 3)}, (1, 4, 4), "kernel must be"),
        ({"kernel": 1, "stride": 0}, (1, 4, 4), "stride must be"),
        ({"kernel": 1, "dilation": -1}, (1, 4, 4), "dilation must be"),
        ({"kernel": 1, "padding": -1}, (1, 4, 4), "padding must be"),
        ({"kernel": 1, "padding": (0, 0, 0, -1)}, (1, 4, 4), "padding must be"),
        ({"kernel": 1, "groups": 2}, (3, 4, 4), "do not divide into 2 groups"),
        ({"kernel": 1, "groups": 0}, (3, 4, 4), "groups"),
        ({"kernel": 1}, (9,), "needs an input of (channels, height, width)"),
    ],
)
def test_an_impossible_convolution_is_refused(fields: dict[str, Any], image: Shape, said: str) -> None:
    with pytest.raises(InputError) as caught:
        Convolution(out=2, **fields).output_shape((image,))
    assert said in str(caught.value)


def test_article_counts_of_a_convolution() -> None:
    # The bias as one more operation of each output: (11 * 11 * 3 + 1) * 96 * 55 * 55 = 105,705,600.
    op = Convolution(out=96, kernel=11, stride=4)
    assert op.article_counts(site(op, (3, 227, 227))) == (105_705_600, 2 * 105_415_200)
    bare = Convolution(out=96, kernel=11, stride=4, bias=False)
    assert bare.article_counts(site(bare, (3, 227, 227))).macs == 105_415_200


def test_window_of_a_convolution() -> None:
    op = Convolution(out=1, kernel=(3, 1), stride=2, dilation=(1, 2))
    assert op.window(((1, 9, 9),)) == Window((3, 1), (2, 2), (1, 2))


# ---- linear


def test_linear() -> None:
    # 2 * 2 * 2 = 8 inputs, 3 outputs: 24 MACs, 48 FLOP, 24 weights, 3 biases.
    op = Linear(out=3)
    place = site(op, (2, 2, 2))
    assert place.output == (3,)
    assert op.parameter_sizes(place.inputs) == (24, 3)
    assert op.counts(place) == (24, 48)
    check(op.forward(place), (FORWARD, 48, {A: 8, W: once(27)}, {A: 3}))
    check(
        op.backward(place),
        (INPUT_GRADIENT, 48, {G: 3, W: once(24)}, {G: 8}),
        (WEIGHT_GRADIENT, 48, {A: 8, G: 3}, {WG: once(24)}),
        (WEIGHT_GRADIENT, 3, {G: 3}, {WG: once(3)}),
    )


def test_linear_on_a_sequence() -> None:
    # 5 positions of 4 features to 6: 5 * 4 * 6 = 120 MACs, 24 weights.
    op = Linear(out=6, bias=False)
    place = site(op, (5, 4))
    assert place.output == (5, 6)
    assert op.parameter_sizes(place.inputs) == (24,)
    assert op.counts(place) == (120, 240)
    check(op.forward(place), (FORWARD, 240, {A: 20, W: once(24)}, {A: 30}))


def test_linear_without_input_gradient() -> None:
    op = Linear(out=3, bias=False)
    check(op.backward(site(op, (8,), input_gradient=False)), (WEIGHT_GRADIENT, 48, {A: 8, G: 3}, {WG: once(24)}))


def test_article_counts_of_linear() -> None:
    # I = 8, J = 3. With bias (I + 1) J = 27 operations, 2 I J = 48 FLOP; without I J = 24, (2 I - 1) J = 45.
    op, bare = Linear(out=3), Linear(out=3, bias=False)
    assert op.article_counts(site(op, (8,))) == (27, 48)
    assert bare.article_counts(site(bare, (8,))) == (24, 45)


def test_linear_needs_an_output() -> None:
    with pytest.raises(InputError, match="at least 1"):
        Linear(out=0).output_shape(((8,),))


# ---- normalisation


def test_batch_norm_in_training() -> None:
    # 2 channels of 9 pixels: 18 elements. Statistics 3 * 18 = 54, normalise 2 * 18 = 36: two reads of the input.
    # Backward: sums 5 * 18 = 90, input gradient 4 * 18 = 72; both read input and gradient. Scale and shift: 2 + 2.
    op = BatchNorm()
    place = site(op, (2, 3, 3))
    assert op.parameter_sizes(place.inputs) == (2, 2)
    check(op.forward(place), (FORWARD, 54, {A: 18}, {}), (FORWARD, 36, {A: 18}, {A: 18}))
    check(
        op.backward(place),
        (WEIGHT_GRADIENT, 90, {A: 18, G: 18}, {}),
        (INPUT_GRADIENT, 72, {A: 18, G: 18}, {G: 18}),
    )


def test_batch_norm_that_keeps_a_channel_on_the_chip() -> None:
    # The same work, of which the input is read once each way: 54 + 36, 90 + 72.
    op = BatchNorm()
    place = site(op, (2, 3, 3))._replace(persistent=True)
    check(op.forward(place), (FORWARD, 90, {A: 18}, {A: 18}))
    check(op.backward(place), (INPUT_GRADIENT, 162, {A: 18, G: 18}, {G: 18}))
    # Nothing follows from the sums of the first layer's gradient; at inference there are none.
    check(op.backward(place._replace(input_gradient=False)), (WEIGHT_GRADIENT, 90, {A: 18, G: 18}, {}))
    check(op.forward(place._replace(training=False)), (FORWARD, 36, {A: 18}, {A: 18}))


def test_batch_norm_first_and_at_inference() -> None:
    op = BatchNorm()
    check(op.backward(site(op, (2, 3, 3), input_gradient=False)), (WEIGHT_GRADIENT, 90, {A: 18, G: 18}, {}))
    check(op.forward(site(op, (2, 3, 3), training=False)), (FORWARD, 36, {A: 18}, {A: 18}))


def test_batch_norm_without_trained_values() -> None:
    assert BatchNorm(affine=False).parameter_sizes(((2, 3, 3),)) == ()
    assert BatchNorm().parameter_sizes(((7,),)) == (7, 7)


def test_local_response_norm() -> None:
    # 5 channels of 4 pixels: 20 elements. An element: square 1, sum 5, scale and shift 2, power 1, product 1: 10 FLOP.
    # Training writes output and denominator (40); backward reads input, output, denominator (60) and gradient.
    op = LocalResponseNorm(size=5)
    place = site(op, (5, 2, 2))
    check(op.forward(place), (FORWARD, 200, {A: 20}, {A: 40}))
    check(op.backward(place), (INPUT_GRADIENT, 400, {A: 60, G: 20}, {G: 20}))
    assert op.saved(place) == ((A, each(20)),)
    check(op.forward(site(op, (5, 2, 2), training=False)), (FORWARD, 200, {A: 20}, {A: 20}))
    assert op.backward(site(op, (5, 2, 2), input_gradient=False)) == []


# ---- element by element


def test_relu() -> None:
    # One comparison an element, 12 elements; its gradient looks at the output's sign.
    op = Relu()
    place = site(op, (3, 2, 2))
    check(op.forward(place), (FORWARD, 12, {A: 12}, {A: 12}))
    check(op.backward(place), (INPUT_GRADIENT, 12, {A: 12, G: 12}, {G: 12}))
    assert op.backward(site(op, (3, 2, 2), input_gradient=False)) == []
    assert op.counts(place) == (0, 12)


def test_relu6() -> None:
    # Two comparisons an element, forward and backward.
    op = Relu6()
    check(op.forward(site(op, (6,))), (FORWARD, 12, {A: 6}, {A: 6}))
    check(op.backward(site(op, (6,))), (INPUT_GRADIENT, 12, {A: 6, G: 6}, {G: 6}))


def test_sigmoid() -> None:
    # Sign, exponential, sum, quotient: 4 an element; gradient g * y * (1 - y): 3.
    op = Sigmoid()
    check(op.forward(site(op, (6,))), (FORWARD, 24, {A: 6}, {A: 6}))
    check(op.backward(site(op, (6,))), (INPUT_GRADIENT, 18, {A: 6, G: 6}, {G: 6}))


def test_softmax() -> None:
    # Maximum, difference, exponential, sum, quotient: 5 an element; gradient y * (g - sum(g * y)): 4.
    op = Softmax()
    check(op.forward(site(op, (10,))), (FORWARD, 50, {A: 10}, {A: 10}))
    check(op.backward(site(op, (10,))), (INPUT_GRADIENT, 40, {A: 10, G: 10}, {G: 10}))


def test_dropout() -> None:
    # Compare and scale: 2 an element, and a mask of one flag an element; nothing at inference.
    op = Dropout()
    place = site(op, (8,))
    check(op.forward(place), (FORWARD, 16, {A: 8}, {A: 8, MASK: 8}))
    check(op.backward(place), (INPUT_GRADIENT, 16, {G: 8, MASK: 8}, {G: 8}))
    assert op.saved(place) == ((MASK, each(8)),)
    assert op.forward(site(op, (8,), training=False)) == []


def test_loss() -> None:
    # Ten logits, one label: softmax 5 * 10, gradient 2 * 10; nothing at inference.
    op = CrossEntropyLoss()
    place = site(op, (10,))
    check(op.forward(place), (FORWARD, 50, {A: 10, INDEX: 1}, {A: 1}))
    check(op.backward(place), (INPUT_GRADIENT, 20, {A: 10}, {G: 10}))
    assert op.forward(site(op, (10,), training=False)) == []


@pytest.mark.parametrize(
    ("shape", "labels"),
    [((10,), 1), ((7, 10), 7), ((10, 3, 4), 12)],  # one a sample; one a position; one a pixel, 3 * 4
)
def test_loss_has_one_label_for_each_classification(shape: Shape, labels: int) -> None:
    op = CrossEntropyLoss()
    (kernel,) = op.forward(site(op, shape))
    assert tensors(kernel.read)[INDEX] == each(labels)


# ---- pooling


def test_max_pool() -> None:
    # 2 x 4 x 4, window 2, stride 2: 2 x 2 x 2 = 8 outputs of 4 comparisons: 32. Training writes 8 positions.
    op = MaxPool(kernel=2)
    place = site(op, (2, 4, 4))
    assert place.output == (2, 2, 2)
    check(op.forward(place), (FORWARD, 32, {A: 32}, {A: 8, INDEX: 8}))
    check(op.backward(place), (INPUT_GRADIENT, 8, {G: 8, INDEX: 8}, {G: 32}))
    assert op.saved(place) == ((INDEX, each(8)),)
    check(op.forward(site(op, (2, 4, 4), training=False)), (FORWARD, 32, {A: 32}, {A: 8}))


def test_max_pool_as_the_articles_count_it() -> None:
    # One comparison for each input value: 112 * 112 * 128 = 1,605,632, whatever the window.
    op = MaxPool(kernel=2)
    assert op.article_counts(site(op, (128, 112, 112))) == (0, 1_605_632)
    wide = MaxPool(kernel=3, stride=2)
    assert wide.article_counts(site(wide, (96, 55, 55))) == (0, 290_400)


def test_average_pool() -> None:
    # 1 x 4 x 4, window 2: 4 outputs of 3 additions and a division: 16, forward and backward.
    op = AveragePool(kernel=2)
    place = site(op, (1, 4, 4))
    check(op.forward(place), (FORWARD, 16, {A: 16}, {A: 4}))
    check(op.backward(place), (INPUT_GRADIENT, 16, {G: 4}, {G: 16}))
    assert op.saved(place) == ()


@pytest.mark.parametrize("kind", [MaxPool, AveragePool])
@pytest.mark.parametrize(
    ("fields", "side", "down", "up"),
    [
        ({"kernel": 3, "stride": 2}, 112, 55, 56),  # (112 - 3) / 2 + 1 = 55.5: Caffe rounds up
        ({"kernel": 3, "stride": 2}, 55, 27, 27),  # 26 + 1, no remainder
        ({"kernel": 3, "stride": 2, "padding": 1}, 112, 56, 57),  # 55.5 + 1; the 57th window starts at 112 - 1
        ({"kernel": 2, "stride": 3}, 6, 2, 2),  # (6 - 2) / 3 + 1 = 2.33; a third window would start at 6, outside
        ({"kernel": 2, "stride": 2, "padding": 1}, 3, 2, 2),  # 2.5; the third would start in the padding
        ({"kernel": 3, "stride": 1, "padding": 1}, 28, 28, 28),
    ],
)
def test_pooling_rounds_down_or_up(
    kind: type[MaxPool | AveragePool], fields: dict[str, Any], side: int, down: int, up: int
) -> None:
    assert kind(**fields).output_shape(((3, side, side),)) == (3, down, down)
    assert kind(**fields, ceil=True).output_shape(((3, side, side),)) == (3, up, up)


def test_pooling_rectangles() -> None:
    op = MaxPool(kernel=(2, 3), stride=(2, 1), padding=(0, 1))
    # Height 4 / 2 = 2; width 4 + 2 - 3 + 1 = 4; 8 outputs of 6 comparisons.
    place = site(op, (1, 4, 4))
    assert place.output == (1, 2, 4)
    assert op.counts(place).flops == 48
    with pytest.raises(InputError, match="larger than its padded input"):
        op.output_shape(((1, 1, 4),))


def test_global_pool() -> None:
    # 2 channels of 9 pixels: 18 additions (the last divides); its gradient is spread over 18 elements.
    op = GlobalPool()
    place = site(op, (2, 3, 3))
    assert place.output == (2, 1, 1)
    assert op.window(place.inputs) == Window((3, 3), (1, 1))
    check(op.forward(place), (FORWARD, 18, {A: 18}, {A: 2}))
    check(op.backward(place), (INPUT_GRADIENT, 18, {G: 2}, {G: 18}))


# ---- joining


def test_add() -> None:
    # Three tensors of 4: 2 * 4 additions, 12 read. Every input's gradient is the output's: backward moves nothing.
    op = Add()
    place = site(op, (4,), (4,), (4,))
    check(op.forward(place), (FORWARD, 8, {A: 12}, {A: 4}))
    assert op.backward(place) == []
    with pytest.raises(InputError, match="one shape"):
        op.output_shape(((4,), (5,)))


def test_concat() -> None:
    # 2 + 3 channels of 4 pixels: 20 elements copied, and copied back.
    op = Concat()
    place = site(op, (2, 2, 2), (3, 2, 2))
    assert place.output == (5, 2, 2)
    check(op.forward(place), (FORWARD, 0, {A: 20}, {A: 20}))
    check(op.backward(place), (INPUT_GRADIENT, 0, {G: 20}, {G: 20}))
    with pytest.raises(InputError, match="channels alone"):
        op.output_shape(((2, 2, 2), (3, 2, 1)))


def test_scale() -> None:
    # 2 channels of 9 pixels times 2 numbers: 18 products, 18 + 2 read. The image's gradient: 18 products; the numbers':
    # 18 products and 18 additions.
    op = Scale()
    place = site(op, (2, 3, 3), (2, 1, 1))
    check(op.forward(place), (FORWARD, 18, {A: 20}, {A: 18}))
    check(
        op.backward(place),
        (INPUT_GRADIENT, 18, {G: 18, A: 2}, {G: 18}),
        (INPUT_GRADIENT, 36, {G: 18, A: 18}, {G: 2}),
    )
    with pytest.raises(InputError, match="one number a channel"):
        op.output_shape(((2, 3, 3), (3, 1, 1)))


def test_flatten_moves_nothing() -> None:
    op = Flatten()
    place = site(op, (2, 3, 3))
    assert place.output == (18,)
    assert op.forward(place) == op.backward(place) == []


def test_unknown_costs_nothing_and_says_so() -> None:
    op = Unknown(name="mystery", shape=(3,))
    assert site(op, (2, 3)).output == (3,)
    assert Unknown(name="mystery").output_shape(((2, 3),)) == (2, 3)
    assert op.forward(site(op, (2, 3))) == []


# ---- optimizers


def test_sgd_with_momentum() -> None:
    # m = mu m + (g + lambda w); w = w - eta m: 3 products, 3 sums. Reads w, m, g; writes w, m.
    kernel = OPTIMIZERS["sgd"].update(10, master_weights=False)
    check([kernel], (UPDATE, once(60), {W: once(10), STATE: once(10), WG: once(10)}, {W: once(10), STATE: once(10)}))


def test_adam() -> None:
    # Two moments: reads w, m, v, g; writes w, m, v; 14 FLOP a parameter.
    kernel = OPTIMIZERS["adam"].update(10, master_weights=False)
    check([kernel], (UPDATE, once(140), {W: once(10), STATE: once(20), WG: once(10)}, {W: once(10), STATE: once(20)}))


def test_master_weights() -> None:
    # All in the state's width: w, m, g read, w, m written; and two casts, down before and up after the kernels.
    kernel = OPTIMIZERS["sgd"].update(10, master_weights=True)
    check([kernel], (UPDATE, once(60), {STATE: once(30)}, {STATE: once(20)}))
    check([cast_weights(10)], (FORWARD, once(0), {STATE: once(10)}, {W: once(10)}))
    check([cast_gradients(10)], (WEIGHT_GRADIENT, once(0), {WG: once(10)}, {STATE: once(10)}))


# ---- what holds for all operations

SHAPES: tuple[tuple[Shape, ...], ...] = (
    ((4, 6, 6),),
    ((8, 4),),
    ((4,),),
    ((4, 6, 6), (4, 6, 6)),
    ((4, 6, 6), (4, 1, 1)),
    ((4, 4), (4, 4)),
    ((4, 4), (4, 4), (4, 4)),
)
COMPOSITE = {"experts"}
"""Operations of several layers, with gradients between them even where their own input needs none."""

FILLERS: tuple[Any, ...] = (4, 2, "x", (4,), ("relu",), ((4, 4),), ())


def filler(field: msgspec.structs.FieldInfo) -> Any:
    """The first of some small values that the field takes; for names in a fixed list, one of them."""
    names = [name for name in get_args(field.type) if isinstance(name, str)]
    for candidate in (*names, *(FILLERS[1:] if field.name == "kernel" else FILLERS)):
        try:
            return msgspec.convert(candidate, field.type)
        except msgspec.ValidationError:
            continue
    return pytest.skip(f"no small value for {field.name}")


def built(kind: type[Op]) -> Op:
    """An operation whose required fields are small values."""
    return kind(**{field.name: filler(field) for field in msgspec.structs.fields(kind) if field.required})


def places(op: Op) -> list[Site]:
    """Every one of the sample shapes that the operation takes."""
    found = []
    for shapes in SHAPES:
        least, most = op.arity
        if least <= len(shapes) and (most is None or len(shapes) <= most):
            try:
                found.append(site(op, *shapes))
            except InputError:
                continue
    return found


@pytest.mark.parametrize("kind", sorted(operations()))
def test_every_operation_keeps_the_rules(kind: str) -> None:
    op = built(operations()[kind])
    assert op.kind == kind
    assert hash(op) == hash(built(operations()[kind]))
    for place in places(op):
        assert all(side >= 1 for side in check_shape(place.output, kind))
        assert all(size >= 1 for size in op.parameter_sizes(place.inputs))
        for training in (True, False):
            forward = op.forward(place._replace(training=training))
            assert all(kernel.phase is Phase.FORWARD for kernel in forward)
        backward = op.backward(place)
        assert {kernel.phase for kernel in backward} <= {Phase.INPUT_GRADIENT, Phase.WEIGHT_GRADIENT}
        without = op.backward(place._replace(input_gradient=False))
        assert len(without) < max(len(backward), 1) or without == backward
        assert kind in COMPOSITE or all(kernel.phase is Phase.WEIGHT_GRADIENT for kernel in without)
        for kernel in [*op.forward(place), *backward]:
            counts = [kernel.flops, *(count for _, count in (*kernel.read, *kernel.write))]
            assert all(number >= 0 for count in counts for number in count)
        counts = op.counts(place)
        assert counts.flops >= 2 * counts.macs >= 0


def test_a_name_is_registered_once() -> None:
    with pytest.raises(ValueError, match="registered twice"):
        operation("conv")(Convolution)


def test_an_absurd_tensor_is_refused() -> None:
    with pytest.raises(InputError, match="larger than any memory"):
        check_shape((2**25, 2**25), "x")

"""General tensor operations and recurrent layers worked by hand; a kernel is (phase, FLOPs, reads, writes)."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from simulator.errors import InputError, UnknownNameError
from simulator.op import Op, Shape, Site
from simulator.op.kernel import Affine, Kernel, Phase, Role, each, once
from simulator.op.matmul import Matmul
from simulator.op.recurrent import Recurrent
from simulator.op.tensor import BINARY, UNARY, Binary, Move, Unary

F, IG, P, _ = Phase
W, A, G, WG, *_ = Role

Expected = tuple[Phase, float, dict[Role, float | Affine], dict[Role, float | Affine]]


def site(op: Op, *inputs: Shape, input_gradient: bool = True) -> Site:
    return Site(inputs, op.output_shape(inputs), True, input_gradient)


def affine(counts: dict[Role, float | Affine]) -> dict[Role, Affine]:
    return {role: count if isinstance(count, Affine) else each(count) for role, count in counts.items()}


def check(kernels: Sequence[Kernel], *expected: Expected) -> None:
    found = [(kernel.phase, kernel.flops, dict(kernel.read), dict(kernel.write)) for kernel in kernels]
    assert found == [(phase, each(flops), affine(read), affine(write)) for phase, flops, read, write in expected]


def test_a_function_that_keeps_its_input() -> None:
    # erf: 1 FLOP; gradient g * c * exp(-x * x): square, exp, c, g.
    place = site(op := Unary(function="erf"), (3, 4))
    check(op.forward(place), (F, 12, {A: 12}, {A: 12}))
    check(op.backward(place), (IG, 48, {G: 12, A: 12}, {G: 12}))
    assert op.saved(place) == ((A, each(12)),)


def test_a_sum_with_a_number_has_its_outputs_gradient() -> None:
    op = Unary(function="add")
    assert op.backward(site(op, (3, 4))) == []
    assert op.saved(site(op, (3, 4))) == ()


def test_a_product_of_unequal_shapes_sums_the_smaller_gradient() -> None:
    # (2, 3) * (1, 3): 6 products. Gradients: 6 products; 6 products and 6 sums into 3.
    place = site(op := Binary(function="multiply"), (2, 3), (1, 3))
    check(op.forward(place), (F, 6, {A: 9}, {A: 6}))
    check(op.backward(place), (IG, 6, {G: 6, A: 6}, {G: 6}), (IG, 12, {G: 6, A: 6}, {G: 3}))
    assert op.saved(place) == ((A, each(9)),)


def test_a_sum_of_equal_shapes_has_no_backward_kernel() -> None:
    op = Binary(function="add")
    assert op.backward(site(op, (2, 3), (2, 3))) == []


def test_a_trained_constant_has_a_gradient() -> None:
    # Position embedding: 6 sums, the table read once; its gradient sums over the batch.
    place = site(op := Binary(function="add", constant=6, trained=True), (2, 3))
    check(op.forward(place), (F, 6, {A: 6, W: once(6)}, {A: 6}))
    check(op.backward(place), (P, 6, {G: 6}, {WG: once(6)}))
    assert op.parameter_sizes(place.inputs) == (6,)


def test_a_comparison_has_no_gradient() -> None:
    op = Binary(function="compare")
    assert op.backward(site(op, (2, 3), (3,))) == []


def test_a_move_copies() -> None:
    place = site(op := Move(shape=(3, 8)), (3, 4))
    check(op.forward(place), (F, 0, {A: 12}, {A: 24}))
    check(op.backward(place), (IG, 0, {G: 12}, {G: 12}))


def test_a_batched_product() -> None:
    # 2 groups of (3 x 4) by (4 x 5): 120 MACs, 240 FLOP, forward and for each gradient.
    place = site(op := Matmul(), (2, 3, 4), (2, 4, 5))
    assert place.output == (2, 3, 5)
    assert op.counts(place) == (120, 240)
    kernel = op.forward(place)[0]
    assert kernel.read == ((A, each(24)), (A, each(40)))
    assert kernel.write == ((A, each(30)),)
    assert kernel.gemm == (each(3), once(5), once(4), 2)
    check(op.backward(place), (IG, 240, {G: 30, A: 40}, {G: 24}), (IG, 240, {A: 24, G: 30}, {G: 40}))


def test_a_trained_product_reads_its_weights_once() -> None:
    # 2 groups of (3 x 4) by a weight (4 x 5): 40 weights.
    place = site(op := Matmul(trained=True, columns=5), (2, 3, 4))
    assert op.parameter_sizes(place.inputs) == (40,)
    check(op.forward(place), (F, 240, {A: 24, W: once(40)}, {A: 30}))
    check(op.backward(place), (IG, 240, {G: 30, W: once(40)}, {G: 24}), (P, 240, {A: 24, G: 30}, {WG: once(40)}))
    assert [kernel.phase for kernel in op.backward(place._replace(input_gradient=False))] == [P]


def test_an_lstm() -> None:
    # 5 positions of 3 features, 2 hidden: 4 gates of 2 rows. MACs 5 * 8 * (3 + 2) = 200; cell 30 FLOP * 2 * 5 = 300.
    place = site(op := Recurrent(cell="lstm", hidden=2), (5, 3))
    assert place.output == (5, 2)
    assert op.parameter_sizes(place.inputs) == (24, 16, 16)
    assert op.counts(place) == (200, 700)
    forward = op.forward(place)
    step: tuple[Expected, Expected] = (F, 32, {A: 2, W: once(16)}, {A: 8}), (F, 60, {A: 18}, {A: 4})
    check(forward, (F, 240, {A: 15, W: once(24)}, {A: 40}), *(step * 5))
    assert sum(kernel.flops.per_sample for kernel in forward) == 700
    backward = op.backward(place)
    products = sum(kernel.flops.per_sample for kernel in backward if kernel.gemm)
    assert products == 2 * 2 * 200  # both gradients, 2 FLOP a MAC
    check(backward[-2:], (P, 240, {A: 15, G: 40}, {WG: once(24)}), (P, 160, {A: 10, G: 40}, {WG: once(16)}))


@pytest.mark.parametrize(("cell", "gates"), [("rnn", 1), ("gru", 3), ("lstm", 4)])
def test_both_directions_double_a_recurrent_layer(cell: str, gates: int) -> None:
    op = Recurrent(cell=cell, hidden=2, directions=2, biases=1)  # type: ignore[arg-type]
    place = site(op, (5, 3))
    assert place.output == (5, 4)
    assert sum(op.parameter_sizes(place.inputs)) == 2 * gates * 2 * (3 + 2 + 1)
    assert op.counts(place).macs == 2 * gates * 2 * 5 * (3 + 2)


@pytest.mark.parametrize("op", [Matmul(), Recurrent(hidden=0), Binary()])
def test_what_does_not_fit_is_refused(op: Op) -> None:
    with pytest.raises(InputError):
        op.output_shape(((2, 3, 4), (2, 5, 4)))


def test_an_unknown_function_is_named() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'sqrt'"):
        Unary(function="sqr").output_shape(((2,),))


@pytest.mark.parametrize("function", UNARY)
def test_every_function_of_one_tensor_has_kernels(function: str) -> None:
    op = Unary(function=function)
    place = site(op, (3, 4))
    assert all(kernel.flops.per_sample >= 0 for kernel in [*op.forward(place), *op.backward(place)])


@pytest.mark.parametrize("function", BINARY)
def test_every_function_of_two_tensors_has_kernels(function: str) -> None:
    op = Binary(function=function)
    place = site(op, (3, 4), (3, 4))
    assert op.forward(place)[0].flops == each(12)
    assert op.backward(place._replace(input_gradient=False)) == []

"""Hand-worked costs of the operations that carry a state along a sequence, forward, backward and step by step."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.errors import InputError
from simulator.op.base import Op, Site, elements
from simulator.op.gated_delta import GatedDelta
from simulator.op.kernel import Engine, Kernel, Phase, Role
from simulator.op.mixer import Mixer, convolution, convolution_back, convolution_step, extent, gated, gated_norm
from simulator.op.selective_scan import CausalConvolution, SelectiveScan
from simulator.op.state_space import StateSpace

A, G, W, WG, WIDE = Role.ACTIVATION, Role.GRADIENT, Role.WEIGHT, Role.WEIGHT_GRADIENT, Role.WIDE

SPACE = StateSpace(heads=4, size=3, state=5, groups=2, conv=4, chunk=4)
"""Inner features 4 x 3 = 12, convolved 12 + 2 x 2 x 5 = 32, projected 12 + 32 + 4 = 48."""
DELTA = GatedDelta(heads=4, key_heads=2, key_size=3, size=5, conv=4, chunk=4)
"""Values 4 x 5 = 20, keys 2 x 3 = 6, convolved 6 + 6 + 20 = 32, projected 32 + 20 = 52, steps 8."""

CONVOLUTION = CausalConvolution(heads=6, conv=3)
SCAN = SelectiveScan(heads=6, state=5, chunk=4)


def site(op: Op, *inputs: tuple[int, ...], training: bool = True, input_gradient: bool = True) -> Site:
    return Site(inputs, op.output_shape(inputs), training, input_gradient)


def inputs_of(op: Mixer, positions: int) -> tuple[tuple[int, int], ...]:
    return tuple((positions, op.columns(place)) for place in range(op.arity[0]))


def moved(kernel: Kernel, role: Role, *, written: bool = False) -> float:
    tensors = kernel.write if written else kernel.read
    return sum(count.fixed + count.per_sample for kind, count in tensors if kind is role)


def macs(kernel: Kernel) -> float:
    """Of the matrix view."""
    view = kernel.gemm
    return view.groups * view.m.per_sample * view.n.fixed * view.k.fixed if view else 0.0


def test_chunks() -> None:
    # 10 positions in chunks of 4: 4, 4 and 2; squares 16 + 16 + 4, cubes 64 + 64 + 8.
    assert extent(10, 4) == (10, 3, 36, 136)
    assert extent(8, 4) == (8, 2, 32, 128)
    assert extent(3, 4) == (3, 1, 9, 27)
    columns = extent(np.array([10.0, 3.0]), 4)
    assert [list(column) for column in columns] == [[10, 3], [3, 1], [36, 9], [136, 27]]


class TestParts:
    def test_convolution(self) -> None:
        # 6 channels at 5 positions: 30 elements of 4 MACs and 5 FLOP of SiLU; weights 6 x (4 + 1).
        piece = convolution(5, 6, 4, bias=True)
        assert piece.all_flops == 30 * (2 * 4 + 5)
        assert (piece.read, piece.write, piece.weights) == ({A: 30}, {A: 30}, 30)
        kernel = piece.kernel(Phase.FORWARD)
        assert kernel.engine is Engine.VECTOR
        assert moved(kernel, W) == 30

    def test_convolution_backward(self) -> None:
        # The sum again and both gradients' sums, 3 x 8; SiLU's gradient 9; the bias's 1. Reads input and gradient.
        piece = convolution_back(5, 6, 4, bias=True)
        assert piece.all_flops == 30 * (24 + 9 + 1)
        assert (piece.read, piece.write) == ({A: 30, G: 30}, {G: 30})
        assert piece.gradients == piece.weights == 30

    def test_convolution_of_one_position_moves_its_window(self) -> None:
        # 6 channels, 3 earlier inputs each: 6 + 18 read, 6 + 18 written.
        piece = convolution_step(6, 4, bias=False)
        assert (piece.all_flops, piece.read, piece.write, piece.weights) == (6 * 13, {A: 24}, {A: 24}, 24)

    def test_gated_norm(self) -> None:
        # 5 positions of 6: value and gate read; training writes a number for each of 2 groups.
        assert gated_norm(5, 6, 6).write == {A: 30}
        piece = gated_norm(5, 6, 6, 2)
        assert (piece.all_flops, piece.read, piece.write) == (300, {A: 60}, {A: 30, WIDE: 10})

    def test_gate_alone(self) -> None:
        # 5 positions of 6: value and gate read, SiLU 5 and a product each.
        assert (gated(5, 6).all_flops, gated(5, 6).read, gated(5, 6).write) == (30 * 6, {A: 60}, {A: 30})


class TestStateSpace:
    def test_shapes_and_parameters(self) -> None:
        assert SPACE.output_shape(((10, 48),)) == (10, 12)
        # Convolution 32 x 4 and 32; bias of the steps, rate and skip 4 each; scale 12.
        assert SPACE.parameter_sizes(((10, 48),)) == (128, 32, 4, 4, 4, 12)
        for shape in ((10, 47), (48,), (2, 10, 48)):
            with pytest.raises(InputError, match="positions, 48"):
                SPACE.output_shape((shape,))
        with pytest.raises(InputError, match="4 heads do not share 3 groups"):
            StateSpace(heads=4, groups=3).output_shape(((10, 48),))
        with pytest.raises(InputError, match="at least 1"):
            StateSpace(heads=4, state=0).output_shape(((10, 48),))

    def test_macs_by_chunk(self) -> None:
        # 10 positions in chunks of 4, 4, 2: squares 36. C B': 2 groups x 36 x 5 = 360; pairs times values: 4 heads x
        # 36 x 3 = 432; chunk states and their reading: 4 x 10 x 3 x 5 = 600 each; convolution 10 x 32 x 4 = 1280.
        assert SPACE.counts(site(SPACE, (10, 48))).macs == 360 + 432 + 2 * 600 + 1280

    def test_forward_kernels(self) -> None:
        conv, steps, states, passing, pairs, outputs, norm = SPACE.forward(site(SPACE, (10, 48)))
        assert [macs(kernel) for kernel in (states, pairs, outputs)] == pytest.approx([600, 360, 432 + 600])
        assert moved(conv, A) == 320
        # 10 x 4 time steps in, steps and running sums out; bias and rate of 4 heads.
        assert (moved(steps, A), moved(steps, WIDE, written=True), moved(steps, W)) == (40, 80, 8)
        # B of 10 x 2 x 5 and values of 10 x 12 in; 3 chunks x 4 x 3 x 5 states out, in full width.
        assert (moved(states, A), moved(states, WIDE), moved(states, WIDE, written=True)) == (220, 80, 180)
        # Each state takes a product and a sum; a decay for each chunk and head.
        assert (passing.flops.per_sample, moved(passing, WIDE), moved(passing, A, written=True)) == (360, 192, 180)
        # B and C in, a square for each group out.
        assert (moved(pairs, A), moved(pairs, WIDE, written=True)) == (200, 72)
        # Values, C and states; steps and squares; 4 FLOP a pair and head beside the products.
        assert (moved(outputs, A), moved(outputs, WIDE), moved(outputs, A, written=True)) == (120 + 100 + 180, 152, 120)
        assert outputs.flops.per_sample == 2 * (432 + 600) + 4 * 4 * 36 + 40 * (2 + 3 * 3)
        assert (moved(norm, A), moved(norm, WIDE, written=True)) == (240, 20)

    def test_backward_has_two_products_for_each_and_computes_states_again(self) -> None:
        place = site(SPACE, (10, 48))
        kernels = SPACE.backward(place)
        again = 600 + 360  # chunk states, C B'
        # Twice 360 + 432 + 600 + 600, and the square times values once more for the decays.
        assert sum(map(macs, kernels)) == pytest.approx(again + 2 * (360 + 432 + 600 + 600) + 432)
        written = sum(moved(kernel, WG, written=True) for kernel in kernels)
        assert written == sum(SPACE.parameter_sizes(place.inputs))

    def test_what_is_kept(self) -> None:
        # The scan's output and a number for each position and group; the input stands apart.
        kept = dict(SPACE.saved(site(SPACE, (10, 48))))
        assert {role: count.per_sample for role, count in kept.items()} == {A: 120, WIDE: 20}

    def test_without_normalisation_the_gate_stands_alone(self) -> None:
        bare = StateSpace(heads=4, size=3, state=5, groups=2, chunk=4, norm=False)
        place = site(bare, (10, 48))
        assert bare.parameter_sizes(place.inputs) == (128, 32, 4, 4, 4)
        assert {role: count.per_sample for role, count in bare.saved(place)} == {A: 120}
        *_, gate = bare.forward(place)
        assert (gate.flops.per_sample, moved(gate, A), moved(gate, W)) == (6 * 120, 240, 0)
        back = next(kernel for kernel in bare.backward(place) if kernel.flops.per_sample == 13 * 120)
        assert (moved(back, A), moved(back, G), moved(back, G, written=True)) == (240, 120, 240)
        assert bare.step()[-1] == gated(1, 12)

    def test_step(self) -> None:
        # State 12 x 5, window 3 x 32. The update reads state, values, B and C (32) and 4 steps.
        assert SPACE.state_values == 60 + 96
        conv, update, norm = SPACE.step()
        assert (update.read, update.write, update.flops) == ({A: 60 + 36}, {A: 60 + 12}, 5 * 60 + 7 * 4)
        assert (conv.read, norm.read) == ({A: 32 + 96}, {A: 24})

    def test_a_share(self) -> None:
        half, quarter = SPACE.shared_out(2), SPACE.shared_out(4)
        assert half == StateSpace(heads=2, size=3, state=5, groups=1, chunk=4)
        assert quarter == StateSpace(heads=1, size=3, state=5, groups=1, chunk=4)
        assert half.columns(0) == 6 + 6 + 2 * 5 + 2


class TestGatedDelta:
    def test_shapes_and_parameters(self) -> None:
        assert DELTA.output_shape(inputs_of(DELTA, 10)) == (10, 20)
        # Convolution 32 x 4; bias and rate of 4 heads; one scale of 5.
        assert DELTA.parameter_sizes(inputs_of(DELTA, 10)) == (128, 4, 4, 5)
        with pytest.raises(InputError, match="positions, 52"):
            DELTA.output_shape(((10, 51), (10, 8)))
        with pytest.raises(InputError, match="10 and 9 positions"):
            DELTA.output_shape(((10, 52), (9, 8)))
        with pytest.raises(InputError, match="4 heads do not share 3 groups"):
            GatedDelta(heads=4, key_heads=3).output_shape(((10, 52), (10, 8)))

    def test_macs_by_chunk(self) -> None:
        # Squares 36, cubes 136. A head: K K' 36 x 3, the inverse (136 - 10) / 6 = 21, times keys and values 36 x 8,
        # state 2 x 10 x 15, outputs 36 x 3 + 36 x 5 + 10 x 15; four heads, and the convolution's 10 x 32 x 4.
        head = 108 + 21 + 288 + 300 + 108 + 180 + 150
        assert DELTA.counts(site(DELTA, *inputs_of(DELTA, 10))).macs == 4 * head + 1280

    def test_an_inverse_of_two_positions_is_one_product(self) -> None:
        # [[1, 0], [a, 1]] inverts to [[1, 0], [-a, 1]]: (8 - 2) / 6 = 1.
        pair = GatedDelta(heads=1, key_heads=1, key_size=1, size=1, chunk=2)
        assert macs(pair.forward(site(pair, *inputs_of(pair, 2)))[5]) == pytest.approx(1)

    def test_forward_kernels(self) -> None:
        copy, conv, gates, lengths, pairs, inverse, weighted, states, outputs, norm = DELTA.forward(
            site(DELTA, *inputs_of(DELTA, 10))
        )
        found = [macs(kernel) for kernel in (pairs, inverse, weighted, states, outputs)]
        assert found == pytest.approx([4 * 108, 4 * 21, 4 * 288, 4 * 300, 4 * (288 + 150)])
        assert moved(copy, A) == moved(conv, A) == moved(copy, A, written=True) == 320
        assert (moved(gates, A), moved(gates, WIDE, written=True), moved(gates, W)) == (80, 80, 8)
        # Queries and keys of 10 x 6 each, and their 10 x 2 lengths each.
        assert (moved(lengths, A), moved(lengths, WIDE, written=True)) == (120, 40)
        assert (moved(pairs, A), moved(pairs, WIDE), moved(pairs, WIDE, written=True)) == (60, 80, 144)
        assert (moved(inverse, WIDE), moved(inverse, A, written=True)) == (144, 144)
        # The inverse, keys and values in; weighted keys of all heads (10 x 4 x 3) and values (10 x 20) out.
        assert (moved(weighted, A), moved(weighted, A, written=True)) == (144 + 60 + 200, 120 + 200)
        # Those and keys in; new values and 3 chunks' states of 4 x 3 x 5 out.
        assert (moved(states, A), moved(states, A, written=True)) == (120 + 200 + 60, 200 + 180)
        assert (moved(outputs, A), moved(outputs, A, written=True)) == (2 * 60 + 200 + 180, 200)
        assert (moved(norm, A), moved(norm, W)) == (400, 5)

    def test_the_state_is_one_product_as_deep_as_the_sequence(self) -> None:
        # Chunks wait for each other: only heads, and the sides of the state, run side by side.
        view = DELTA.forward(site(DELTA, *inputs_of(DELTA, 10)))[7].gemm
        assert view is not None
        assert (view.groups, view.m.per_sample, view.n.fixed, view.k.fixed) == (4, 5, 3, 20)

    def test_backward(self) -> None:
        place = site(DELTA, *inputs_of(DELTA, 10))
        kernels = DELTA.backward(place)
        again = 288 + 300 + 108  # weighted keys and values, states, and Q K' inside the values' gradients
        # Two for each of K K', weighted, states, outputs; through the inverse two products of whole triangles, 136.
        twice = 108 + 288 + 300 + 438
        assert sum(map(macs, kernels)) == pytest.approx(4 * (again + 2 * twice + 2 * 136))
        written = sum(moved(kernel, WG, written=True) for kernel in kernels)
        assert written == sum(DELTA.parameter_sizes(place.inputs))

    def test_what_is_kept(self) -> None:
        # What is convolved and its result (320 each), queries and keys of length one (120), output (200), the inverse
        # (144); steps, decays and output's numbers (40 each), lengths (40).
        kept = dict(DELTA.saved(site(DELTA, *inputs_of(DELTA, 10))))
        assert {role: count.per_sample for role, count in kept.items()} == {A: 640 + 120 + 200 + 144, WIDE: 160}

    def test_step(self) -> None:
        # State 20 x 3, window 3 x 32; the rule reads state and what was convolved, writes state and output.
        assert DELTA.state_values == 60 + 96
        rule = DELTA.step()[3]
        assert (rule.read, rule.write, rule.flops) == ({A: 60 + 32, WIDE: 8}, {A: 60 + 20}, 7 * 60 + 6 * 6)

    def test_a_share(self) -> None:
        half = DELTA.shared_out(2)
        assert half == GatedDelta(heads=2, key_heads=1, key_size=3, size=5, chunk=4)
        assert [half.columns(place) for place in (0, 1)] == [26, 4]


class TestSelectiveScan:
    def test_shapes_and_parameters(self) -> None:
        assert CONVOLUTION.output_shape(((10, 12),)) == (10, 6)
        assert CONVOLUTION.parameter_sizes(((10, 12),)) == (18, 6)
        assert CausalConvolution(heads=6, bias=False).parameter_sizes(((10, 12),)) == (24,)
        assert [SCAN.columns(place) for place in range(5)] == [6, 6, 5, 5, 12]
        assert SCAN.output_shape(inputs_of(SCAN, 10)) == (10, 6)
        # Rates of 6 x 5, skip and bias of 6 each.
        assert SCAN.parameter_sizes(inputs_of(SCAN, 10)) == (30, 6, 6)
        with pytest.raises(InputError, match=r"needs an input of \(positions, 12\), found \[10, 6\]"):
            CONVOLUTION.output_shape(((10, 6),))
        with pytest.raises(InputError, match=r"inputs of \[9, 10\] positions do not match"):
            SCAN.output_shape(((10, 6), (9, 6), (10, 5), (10, 5), (10, 12)))

    def test_convolution(self) -> None:
        # Of 10 x 12 in, half is read; 3 MACs an element.
        (kernel,) = CONVOLUTION.forward(site(CONVOLUTION, (10, 12)))
        assert (moved(kernel, A), moved(kernel, A, written=True), moved(kernel, W)) == (60, 60, 24)
        assert CONVOLUTION.counts(site(CONVOLUTION, (10, 12))).macs == 180
        (back,) = CONVOLUTION.backward(site(CONVOLUTION, (10, 12)))
        assert (moved(back, A), moved(back, G), moved(back, G, written=True)) == (60, 60, 60)
        assert moved(back, WG, written=True) == 24
        assert CONVOLUTION.saved(site(CONVOLUTION, (10, 12))) == ()

    def test_forward(self) -> None:
        # 60 elements of each of values, steps and gate, 50 of B and C; 7 FLOP a number of the state, 13 a channel.
        (kernel,) = SCAN.forward(site(SCAN, *inputs_of(SCAN, 10), training=False))
        assert kernel.flops.per_sample == 60 * (5 * 7 + 13)
        assert (moved(kernel, A), moved(kernel, A, written=True)) == (3 * 60 + 2 * 50, 60)
        assert (moved(kernel, W), moved(kernel, WIDE, written=True)) == (42, 0)
        assert kernel.engine is Engine.VECTOR

    def test_training_keeps_the_output_before_its_gate_and_states_of_chunks(self) -> None:
        # 3 chunks of 4, 4 and 2 positions: a decay and a state of 6 x 5 for each.
        place = site(SCAN, *inputs_of(SCAN, 10))
        assert {role: count.per_sample for role, count in SCAN.saved(place)} == {A: 60, WIDE: 2 * 3 * 30}
        (kernel,) = SCAN.forward(place)
        assert (moved(kernel, A, written=True), moved(kernel, WIDE, written=True)) == (120, 180)

    def test_backward(self) -> None:
        (kernel,) = SCAN.backward(site(SCAN, *inputs_of(SCAN, 10)))
        assert kernel.flops.per_sample == 60 * (5 * 20 + 30)
        # What was kept and the gradient in, a gradient of each input out.
        assert (moved(kernel, A), moved(kernel, WIDE), moved(kernel, G)) == (3 * 60 + 2 * 50 + 60, 180, 60)
        assert (moved(kernel, G, written=True), moved(kernel, WG, written=True)) == (3 * 60 + 2 * 50, 42)

    def test_step(self) -> None:
        # State 6 x 5 in and out, three values of each channel, B and C of 5.
        assert (SCAN.state_values, CONVOLUTION.state_values) == (30, 12)
        (update,) = SCAN.step()
        assert (update.read, update.write, update.flops) == ({A: 30 + 18 + 10}, {A: 36}, 6 * 48)
        assert CONVOLUTION.step() == [convolution_step(6, 3, bias=True)]

    def test_a_share(self) -> None:
        assert SCAN.shared_out(2) == SelectiveScan(heads=3, state=5, chunk=4)
        assert CONVOLUTION.shared_out(3) == CausalConvolution(heads=2, conv=3)


@pytest.mark.parametrize("op", [SPACE, DELTA, CONVOLUTION, SCAN])
@given(positions=st.integers(1, 40))
def test_rules_of_all(op: Mixer, positions: int) -> None:
    place = site(op, *inputs_of(op, positions))
    kernels = [*op.forward(place), *op.backward(place)]
    for kernel in kernels:
        counts = [kernel.flops, *(count for _, count in (*kernel.read, *kernel.write))]
        assert all(number >= 0 for count in counts for number in count)
        assert kernel.flops.per_sample >= 2 * macs(kernel) * (1 - 1e-9)
    counts = op.counts(place)
    whole = sum(macs(kernel) for kernel in op.forward(place)) + positions * op.conv * op.convolved
    assert counts.macs == pytest.approx(whole)
    assert counts.flops >= 2 * counts.macs
    alone = op.backward(place._replace(input_gradient=False))
    assert {kernel.phase for kernel in alone} == {Phase.WEIGHT_GRADIENT}
    inferred = op.forward(place._replace(training=False))
    assert moved(inferred[-1], A, written=True) == elements(place.output)


@pytest.mark.parametrize("op", [SPACE, DELTA, CONVOLUTION, SCAN])
@given(chunks=st.integers(1, 30))
def test_work_grows_with_whole_chunks_alone(op: Mixer, chunks: int) -> None:
    """No pair of positions in different chunks is computed: n chunks cost n times one."""
    one, many = (op.counts(site(op, *inputs_of(op, op.chunk * number))) for number in (1, chunks))
    assert many.macs == chunks * one.macs


def test_the_worked_examples_of_docstrings() -> None:
    scan = site(SCAN, *inputs_of(SCAN, 10))
    assert SCAN.counts(scan).flops == 2880
    assert sum(kernel.flops.per_sample for kernel in SCAN.backward(scan)) == 7800
    assert SCAN.counts(scan).macs == 0
    assert SPACE.counts(site(SPACE, *inputs_of(SPACE, 10))).macs == 1992 + 1280

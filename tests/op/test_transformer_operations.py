"""Hand-worked costs of the transformer operations, forward and backward."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from simulator.errors import InputError
from simulator.op import operations
from simulator.op.attention import Attention
from simulator.op.base import Op, Shapes, Site
from simulator.op.eager_attention import EagerAttention
from simulator.op.elementwise import JoinHeads, Multiply, ReluSquared, Rotary, Softcap
from simulator.op.experts import Experts, Route
from simulator.op.fused_attention import FusedAttention
from simulator.op.kernel import Affine, Kernel, OpClass, Phase, Role, each, once
from simulator.op.key_selection import KeySelection
from simulator.op.layer_norm import ROW_LIMIT, GroupNorm, LayerNorm, RmsNorm
from simulator.op.linear import Linear
from simulator.op.sequence import (
    Embedding,
    First,
    FixedPositions,
    MeanPositions,
    PositionEmbedding,
    Reorder,
    TiedLinear,
    Tokens,
)


def site(op: Op, *inputs: tuple[int, ...], training: bool = True, input_gradient: bool = True) -> Site:
    return Site(inputs, op.output_shape(inputs), training, input_gradient)


def moved(tensors: Iterable[tuple[Role, Affine]], role: Role) -> tuple[float, float]:
    """(fixed, per sample) elements of a role."""
    counts = [count for kind, count in tensors if kind is role]
    return sum(count.fixed for count in counts), sum(count.per_sample for count in counts)


def flops(kernels: Iterable[Kernel]) -> list[float]:
    return [kernel.flops.per_sample for kernel in kernels]


def parameters(op: Op, *inputs: tuple[int, ...]) -> int:
    return sum(op.parameter_sizes(inputs))


class TestRowNorms:
    def test_layer_norm_of_a_sequence(self) -> None:
        # 5 rows of 8: forward 7 FLOP an element, 280; one pass, 2 statistics a row.
        op = LayerNorm()
        (kernel,) = op.forward(site(op, (5, 8)))
        assert kernel.flops == each(7 * 40)
        assert moved(kernel.read, Role.ACTIVATION) == (0, 40)
        assert moved(kernel.read, Role.WEIGHT) == (16, 0)
        assert moved(kernel.write, Role.ACTIVATION) == (0, 40 + 2 * 5)
        assert parameters(op, (5, 8)) == 16
        assert op.saved(site(op, (5, 8))) == ((Role.ACTIVATION, each(10)),)

    def test_layer_norm_backward(self) -> None:
        op = LayerNorm()
        of_input, of_weights = op.backward(site(op, (5, 8)))
        assert (of_input.phase, of_input.flops) == (Phase.INPUT_GRADIENT, each(10 * 40))
        assert moved(of_input.read, Role.ACTIVATION) == (0, 50)
        assert moved(of_input.read, Role.GRADIENT) == moved(of_input.write, Role.GRADIENT) == (0, 40)
        assert (of_weights.phase, of_weights.flops) == (Phase.WEIGHT_GRADIENT, each(5 * 40))
        assert of_weights.write == ((Role.WEIGHT_GRADIENT, once(16)),)
        assert op.backward(site(op, (5, 8), input_gradient=False)) == [of_weights]

    def test_layer_norm_of_an_image_normalises_the_channels_of_each_pixel(self) -> None:
        op = LayerNorm()
        assert parameters(op, (8, 3, 2)) == 16
        assert op.saved(site(op, (8, 3, 2))) == ((Role.ACTIVATION, each(2 * 6)),)

    def test_inference_writes_no_statistics(self) -> None:
        op = LayerNorm()
        (kernel,) = op.forward(site(op, (5, 8), training=False))
        assert moved(kernel.write, Role.ACTIVATION) == (0, 40)

    def test_rms_norm_of_each_head(self) -> None:
        # 5 positions of 2 heads of 4: 10 rows, 4 weights; 4 FLOP an element.
        op = RmsNorm(features=4)
        (kernel,) = op.forward(site(op, (5, 8)))
        assert kernel.flops == each(4 * 40)
        assert parameters(op, (5, 8)) == 4
        assert moved(kernel.write, Role.ACTIVATION) == (0, 40 + 10)
        assert flops(op.backward(site(op, (5, 8)))) == [7 * 40, 3 * 40]

    def test_without_weights(self) -> None:
        op = RmsNorm(affine=False)
        assert parameters(op, (5, 8)) == 0
        assert flops(op.forward(site(op, (5, 8)))) == [3 * 40]
        assert flops(op.backward(site(op, (5, 8)))) == [6 * 40]

    def test_group_norm(self) -> None:
        # 8 channels in 2 groups of 4 x 6 pixels: 2 rows of 24, a scale and a shift a channel.
        op = GroupNorm(groups=2)
        (kernel,) = op.forward(site(op, (8, 3, 2)))
        assert parameters(op, (8, 3, 2)) == 16
        assert kernel.flops == each(7 * 48)
        assert moved(kernel.write, Role.ACTIVATION) == (0, 48 + 2 * 2)

    @pytest.mark.parametrize(("row", "passes"), [(ROW_LIMIT, 1), (ROW_LIMIT + 1, 2)])
    def test_a_row_that_does_not_stay_on_chip_is_read_twice(self, row: int, passes: int) -> None:
        op = LayerNorm()
        (kernel,) = op.forward(site(op, (3, row)))
        assert moved(kernel.read, Role.ACTIVATION) == (0, passes * 3 * row)

    @pytest.mark.parametrize(
        ("op", "shape"),
        [(GroupNorm(groups=3), (8, 2, 2)), (RmsNorm(features=3), (5, 8)), (LayerNorm(features=0), (8,))],
    )
    def test_rows_that_do_not_divide(self, op: Op, shape: tuple[int, ...]) -> None:
        with pytest.raises(InputError):
            op.output_shape((shape,))


# Queries, keys, values of 4 positions, 2 heads of 3: scores 2 x 4 x 4 = 32; each product 32 x 3 = 96 MACs, 192 FLOP.
QKV = ((4, 6), (4, 6), (4, 6))
CLIPPED = {"scale": "queries", "causal": True, "clipped": True}


class TestEagerAttention:
    def test_forward(self) -> None:
        op = EagerAttention(heads=2)
        first, shift, softmax, second = op.forward(site(op, *QKV))
        assert (first.flops, shift.flops, softmax.flops, second.flops) == (each(192), each(32), each(160), each(192))
        assert moved(first.read, Role.ACTIVATION) == (0, 24 + 24)
        assert moved(first.write, Role.ACTIVATION) == moved(shift.read, Role.ACTIVATION) == (0, 32)
        assert moved(second.read, Role.ACTIVATION) == (0, 32 + 24)
        assert moved(second.write, Role.ACTIVATION) == (0, 24)
        assert first.gemm == (each(4), once(4), once(3), 2)
        assert second.gemm == (each(4), once(3), once(4), 2)

    def test_backward(self) -> None:
        op = EagerAttention(heads=2)
        kernels = op.backward(site(op, *QKV))
        assert [k.op_class for k in kernels].count(OpClass.GEMM) == 4
        assert flops(k for k in kernels if k.gemm) == [192] * 4
        assert flops(k for k in kernels if not k.gemm) == [4 * 32, 32]
        values, probabilities, _, _, queries, keys = kernels
        assert moved(values.read, Role.ACTIVATION) == (0, 32)
        assert moved(values.write, Role.GRADIENT) == moved(queries.write, Role.GRADIENT) == (0, 24)
        assert moved(probabilities.write, Role.GRADIENT) == moved(keys.read, Role.GRADIENT) == (0, 32)
        assert {k.phase for k in kernels} == {Phase.INPUT_GRADIENT}

    def test_counts_are_the_kernels(self) -> None:
        op = EagerAttention(heads=2, causal=True, dropout=0.1, softcap=True)
        counts = op.counts(site(op, *QKV))
        assert counts.macs == 192
        assert counts.flops == sum(flops(op.forward(site(op, *QKV))))

    def test_dropout_is_for_training(self) -> None:
        op = EagerAttention(heads=2, dropout=0.1)
        assert len(op.forward(site(op, *QKV))) == 5
        assert len(op.forward(site(op, *QKV, training=False))) == 4
        assert op.saved(site(op, *QKV)) == ((Role.ACTIVATION, each(64)), (Role.MASK, each(32)))

    def test_causal_masks_the_whole_square(self) -> None:
        plain, causal = EagerAttention(heads=2), EagerAttention(heads=2, causal=True)
        assert flops(causal.forward(site(causal, *QKV))) == [192, 64, 160, 192]
        assert plain.counts(site(plain, *QKV)).macs == causal.counts(site(causal, *QKV)).macs

    def test_grouped_queries_move_less_and_compute_the_same(self) -> None:
        # 4 heads of 2 over 4 positions share 1 head of keys and values: 4 x 2 elements each instead of 4 x 8.
        op = EagerAttention(heads=4, kv_heads=1)
        first, *_, second = op.forward(site(op, (4, 8), (4, 2), (4, 2)))
        assert op.counts(site(op, (4, 8), (4, 2), (4, 2))).macs == 2 * 4 * 4 * 4 * 2
        assert moved(first.read, Role.ACTIVATION) == (0, 32 + 8)
        assert moved(second.read, Role.ACTIVATION) == (0, 64 + 8)

    def test_line_by_line(self) -> None:
        # Scores scaled and masked in passes of their own, backward too: 2 x 32 moved by each, the mask of 16 beside.
        # The softmax's gradient multiplies 32 probabilities and gradients before it sums them.
        op = EagerAttention(heads=2, causal=True)
        place = site(op, *QKV)._replace(whole=False)
        kernels = op.forward(place)
        assert flops(kernels) == [192, 32, 32, 160, 192, 0]
        copies = [0, 0, 0]  # of queries', keys' and values' gradients
        assert [moved(k.read, Role.ACTIVATION)[1] for k in kernels[1:4]] == [32, 32, 32]
        assert [moved(k.read, Role.MASK)[0] for k in kernels[1:4]] == [0, 16, 0]
        assert flops(k for k in op.backward(place) if not k.gemm) == [32, 4 * 32, 32, 32, *copies]

    @pytest.mark.parametrize(
        ("fields", "forward", "backward"),
        [
            ({}, [192, 32, 160, 192], [32, 128, 32]),
            ({"padded": True}, [192, 32, 32, 160, 192], [32, 128, 32]),
            ({"scale": "queries"}, [24, 192, 160, 192], [32, 128, 24]),
            (
                {"scale": "queries", "causal": True, "clipped": True},
                [24, 192, 32, 32, 160, 192],
                [32, 128, *[32] * 5, 24],
            ),
            ({"scale": "none"}, [192, 160, 192], [32, 128]),
            ({"scale": "none", "relative_positions": 0}, [192, 32, 160, 192], [32, 128]),
            ({"scale": "none", "sinks": True}, [192, 0, 160, 192], [32, 128]),
        ],
    )
    def test_what_is_scaled(self, fields: dict[str, Any], forward: list[int], backward: list[int]) -> None:
        # 24 queries' values, or 32 scores; a bias, a mask of padding or sinks take a pass over the scores.
        op = EagerAttention(heads=2, **fields)
        place = site(op, *QKV)._replace(whole=False)
        assert flops(k for k in op.forward(place) if k.op_class is not OpClass.COPY) == forward
        others = (OpClass.REDUCTION, OpClass.COPY)
        own = [k for k in op.backward(place) if not k.gemm and k.op_class not in others]
        assert flops(own) == backward

    def test_the_gradient_of_a_maximum_moves_nine_values(self) -> None:
        # Less than 1, half 2, equal 1, choice 3, fill 2 of each of the 32 scores; what the maximum took is kept too.
        op = EagerAttention(heads=2, causal=True, clipped=True)
        place = site(op, *QKV)._replace(whole=False)
        own = [k for k in op.backward(place) if k.op_class is OpClass.ELEMENTWISE][1:6]
        assert sum(count.per_sample for k in own for _, count in (*k.read, *k.write)) == 9 * 32
        assert op.saved(place) == ((Role.ACTIVATION, each(64)),)
        assert op.saved(site(op, *QKV)) == ((Role.ACTIVATION, each(32)),)

    def test_heads_are_copied_apart(self) -> None:
        # Grouped: 4 heads of 2, 1 of keys and values: 32, 8 and 8 values before the products, 32 after; backward back.
        op = EagerAttention(heads=4, kv_heads=1)
        inputs = ((4, 8), (4, 2), (4, 2))
        place = site(op, *inputs)._replace(in_place=False)
        forward = [k for k in op.forward(place) if k.op_class is OpClass.COPY]
        backward = [k for k in op.backward(place) if k.op_class is OpClass.COPY]
        assert [moved(k.read, Role.ACTIVATION)[1] for k in forward] == [32, 8, 8, 32]
        assert [moved(k.write, Role.GRADIENT)[1] for k in backward] == [32, 32, 8, 8]
        assert len(op.forward(place)) == len(op.forward(site(op, *inputs))) + 4

    def test_some_heads_are_copied_where_they_lie_in_place(self) -> None:
        # The result goes from (heads, positions) to (positions, heads), three gradients back; compilers write them so.
        op = EagerAttention(heads=2)
        place = site(op, *QKV)._replace(whole=False)
        assert [k.op_class for k in op.forward(place)].count(OpClass.COPY) == 1
        assert [k.op_class for k in op.backward(place)].count(OpClass.COPY) == 3
        for compiled in (place._replace(whole=True), site(op, *QKV)):
            assert not [k for k in (*op.forward(compiled), *op.backward(compiled)) if k.op_class is OpClass.COPY]

    def test_one_joined_input(self) -> None:
        # (4 + 2 * 1) heads of 2 side by side.
        joined, apart = EagerAttention(heads=4, kv_heads=1), EagerAttention(heads=4, kv_heads=1)
        assert joined.output_shape(((4, 12),)) == (4, 8)
        assert joined.forward(site(joined, (4, 12))) == apart.forward(site(apart, (4, 8), (4, 2), (4, 2)))

    def test_blocks(self) -> None:
        # 12 positions in 3 blocks of 4: scores 3 x 2 x 16 = 96, a shared bias of 2 x 16.
        op = EagerAttention(heads=2, block=4, relative_positions=7)
        inputs = ((12, 6), (12, 6), (12, 6))
        lookup, first, shift, *_ = op.forward(site(op, *inputs))
        assert first.gemm == (each(4), once(4), once(3), 6)
        assert op.counts(site(op, *inputs)).macs == 2 * 96 * 3
        assert parameters(op, *inputs) == 14
        assert lookup.write == ((Role.ACTIVATION, once(32)),)
        assert moved(shift.read, Role.ACTIVATION) == (32, 96)
        assert op.backward(site(op, *inputs))[-1].write == ((Role.WEIGHT_GRADIENT, once(14)),)

    def test_sinks_are_parameters(self) -> None:
        op = EagerAttention(heads=2, sinks=True)
        assert parameters(op, *QKV) == 2
        assert op.backward(site(op, *QKV))[-1].write == ((Role.WEIGHT_GRADIENT, once(2)),)

    @pytest.mark.parametrize(
        ("fields", "inputs"),
        [
            ({"heads": 4}, QKV),
            ({"heads": 2, "kv_heads": 4}, QKV),
            ({"heads": 2}, ((4, 6), (4, 6))),
            ({"heads": 2}, ((4, 6), (5, 6), (4, 6))),
            ({"heads": 2, "block": 3}, QKV),
            ({"heads": 2, "causal": True}, ((5, 6), (4, 6), (4, 6))),
            ({"heads": 2, "span": 0}, QKV),
            ({"heads": 2, "dropout": 1.5}, QKV),
            ({"heads": 0}, QKV),
        ],
    )
    def test_inputs_that_do_not_fit(self, fields: dict[str, int], inputs: Shapes) -> None:
        for kind in (EagerAttention, FusedAttention):
            op = kind(**fields)  # type: ignore[arg-type]
            with pytest.raises(InputError):
                op.output_shape(inputs)


class TestFusedAttention:
    def test_forward_moves_no_scores(self) -> None:
        # Products 2 x 192 FLOP; scale 1 and softmax 5 for each of 32 scores; 8 rows' sums are kept.
        op = FusedAttention(heads=2)
        (kernel,) = op.forward(site(op, *QKV))
        assert kernel.flops == each(384 + 6 * 32)
        assert moved(kernel.read, Role.ACTIVATION) == (0, 72)
        assert moved(kernel.write, Role.ACTIVATION) == (0, 24 + 8)
        assert kernel.gemm == (each(4), once(4), once(6), 2)
        assert op.saved(site(op, *QKV)) == ((Role.ACTIVATION, each(8)),)

    def test_backward_is_five_products(self) -> None:
        # 5 x 192 FLOP; scale 1 and 5 more for each score.
        op = FusedAttention(heads=2)
        (kernel,) = op.backward(site(op, *QKV))
        assert kernel.flops == each(960 + 6 * 32)
        assert moved(kernel.read, Role.ACTIVATION) == (0, 72 + 24 + 8)
        assert moved(kernel.read, Role.GRADIENT) == (0, 24)
        assert moved(kernel.write, Role.GRADIENT) == (0, 72)

    @pytest.mark.parametrize(
        ("fields", "visible"),
        [
            ({}, 4),
            ({"causal": True}, (1 + 2 + 3 + 4) / 4),
            ({"causal": True, "span": 2}, (1 + 2 + 2 + 2) / 4),
            ({"causal": True, "span": 9}, (1 + 2 + 3 + 4) / 4),
            ({"span": 2}, 3),
        ],
    )
    def test_skips_what_is_masked(self, fields: dict[str, int], visible: float) -> None:
        op = FusedAttention(heads=2, **fields)  # type: ignore[arg-type]
        assert op.visible(op.geometry(QKV)) == visible
        masked = 1 if fields else 0
        assert op.forward(site(op, *QKV))[0].flops == each((2 * 6 + 6 + masked) * 8 * visible)

    def test_causal_queries_are_the_last_positions(self) -> None:
        # 2 queries at positions 3 and 4 of 4 keys see 3 and 4 of them.
        op = FusedAttention(heads=2, causal=True)
        assert op.visible(op.geometry(((2, 6), (4, 6), (4, 6)))) == 3.5

    def test_counts_keep_the_whole_square(self) -> None:
        for kind in (EagerAttention, FusedAttention):
            op: Attention = kind(heads=2, causal=True)
            assert op.counts(site(op, *QKV)).macs == 192

    def test_a_trained_bias_writes_the_scores_gradient(self) -> None:
        op = FusedAttention(heads=2, relative_positions=7)
        kernel, total = op.backward(site(op, *QKV))
        assert moved(kernel.write, Role.GRADIENT) == (0, 72 + 32)
        assert total.write == ((Role.WEIGHT_GRADIENT, once(14)),)


class TestSequence:
    def test_embedding(self) -> None:
        # 4 tokens of 6 features from a table of 10: 24 elements looked up.
        op = Embedding(vocabulary=10, features=6)
        (lookup,) = op.forward(site(op, (4,)))
        assert parameters(op, (4,)) == 60
        assert lookup.flops == each(0)
        assert moved(lookup.read, Role.INDEX) == (0, 4)
        assert moved(lookup.read, Role.WEIGHT) == moved(lookup.write, Role.ACTIVATION) == (0, 24)
        clear, scatter = op.backward(site(op, (4,)))
        assert clear.write == ((Role.WEIGHT_GRADIENT, once(60)),)
        assert scatter.flops == each(24)

    def test_a_tied_embedding_has_no_parameters(self) -> None:
        op = Embedding(vocabulary=10, features=6, tied=True)
        assert parameters(op, (4,)) == 0
        assert len(op.backward(site(op, (4,)))) == 1

    def test_a_tied_head_reads_the_weight(self) -> None:
        op, own = TiedLinear(out=10), Linear(out=10, bias=False)
        assert parameters(op, (4, 6)) == 0
        assert op.counts(site(op, (4, 6))).macs == 240
        assert op.forward(site(op, (4, 6))) == own.forward(site(own, (4, 6)))
        *products, addition = op.backward(site(op, (4, 6)))
        assert products == own.backward(site(own, (4, 6)))
        assert (addition.flops, addition.read) == (once(60), ((Role.WEIGHT_GRADIENT, once(120)),))
        assert parameters(TiedLinear(out=10, bias=True), (4, 6)) == 10

    def test_positions_are_read_once_for_all_samples(self) -> None:
        op = PositionEmbedding(positions=9)
        (kernel,) = op.forward(site(op, (4, 6)))
        assert parameters(op, (4, 6)) == 54
        assert moved(kernel.read, Role.WEIGHT) == (24, 0)
        assert flops(op.backward(site(op, (4, 6)))) == [24]
        with pytest.raises(InputError):
            op.output_shape(((10, 6),))

    def test_fixed_positions_are_read_and_have_no_gradient(self) -> None:
        op = FixedPositions(positions=9)
        assert op.forward(site(op, (4, 6))) == PositionEmbedding(positions=9).forward(site(op, (4, 6)))
        assert (parameters(op, (4, 6)), parameters(FixedPositions(positions=9, stored=False), (4, 6))) == (54, 0)
        assert op.untrained
        assert not op.backward(site(op, (4, 6)))

    def test_tokens(self) -> None:
        op = Tokens(prefix=1)
        assert op.output_shape(((6, 2, 3),)) == (7, 6)
        assert parameters(op, (6, 2, 3)) == 6
        copy, trained = op.backward(site(op, (6, 2, 3)))
        assert moved(copy.write, Role.GRADIENT) == (0, 36)
        assert trained.write == ((Role.WEIGHT_GRADIENT, once(6)),)

    def test_first_and_mean(self) -> None:
        first, mean = First(), MeanPositions()
        assert first.output_shape(((4, 6),)) == mean.output_shape(((4, 6),)) == (6,)
        assert first.forward(site(first, (4, 6))) == []
        assert moved(first.backward(site(first, (4, 6)))[0].write, Role.GRADIENT) == (0, 24)
        assert flops(mean.forward(site(mean, (4, 6)))) == flops(mean.backward(site(mean, (4, 6)))) == [24]

    def test_reorder(self) -> None:
        op = Reorder(positions=9, features=6, copies=2)
        kernels = op.forward(site(op, (4, 6)))
        assert len(kernels) == len(op.backward(site(op, (4, 6)))) == 2
        assert moved(kernels[0].write, Role.ACTIVATION) == (0, 54)


class TestElementwise:
    def test_multiply(self) -> None:
        op = Multiply()
        assert flops(op.forward(site(op, (4, 6), (4, 6)))) == [24]
        (kernel,) = op.backward(site(op, (4, 6), (4, 6)))
        assert kernel.flops == each(48)
        assert moved(kernel.write, Role.GRADIENT) == (0, 48)

    def test_multiply_by_one_number_a_position(self) -> None:
        op = Multiply()
        (kernel,) = op.backward(site(op, (4, 6), (4, 1)))
        assert kernel.flops == each(72)
        assert moved(kernel.write, Role.GRADIENT) == (0, 28)
        with pytest.raises(InputError):
            op.output_shape(((4, 6), (4, 3)))

    def test_rotary_turns_a_part_in_place(self) -> None:
        op = Rotary(rotated=2)
        (kernel,) = op.forward(site(op, (4, 6)))
        assert kernel.flops == op.backward(site(op, (4, 6)))[0].flops == each(3 * 8)
        assert moved(kernel.write, Role.ACTIVATION) == (0, 8)
        with pytest.raises(InputError):
            Rotary(rotated=7).output_shape(((4, 6),))

    def test_softcap(self) -> None:
        op = Softcap()
        assert flops(op.forward(site(op, (4, 6)))) == [7 * 24]
        assert flops(op.backward(site(op, (4, 6)))) == [3 * 24]

    def test_relu_squared(self) -> None:
        # A comparison and a square; back the comparison, twice the input, times the gradient.
        op = ReluSquared()
        assert flops(op.forward(site(op, (4, 6)))) == [2 * 24]
        assert flops(op.backward(site(op, (4, 6)))) == [3 * 24]

    def test_join_heads(self) -> None:
        # 2 heads of 3, and 1 feature that both share: 2 x (3 + 1).
        op = JoinHeads(heads=2)
        assert op.output_shape(((4, 6), (4, 1))) == (4, 8)
        (kernel,) = op.backward(site(op, (4, 6), (4, 1)))
        assert kernel.flops == each(8)
        assert moved(kernel.write, Role.GRADIENT) == (0, 28)


class TestExperts:
    # 4 positions of 6 features, 2 of 8 experts each, width 5, gated: 8 rows.
    OP = Experts(count=8, active=2, width=5)
    INPUTS = ((4, 6), (4, 2))

    def test_counts(self) -> None:
        assert parameters(self.OP, *self.INPUTS) == 8 * 3 * 6 * 5
        assert self.OP.counts(site(self.OP, *self.INPUTS)).macs == 4 * 2 * 3 * 6 * 5

    def test_forward(self) -> None:
        gather, first, activation, second, combine = self.OP.forward(site(self.OP, *self.INPUTS))
        assert first.gemm == (each(1), once(10), once(6), 8)
        assert moved(first.read, Role.WEIGHT) == (8 * 60, 0)
        assert moved(second.read, Role.WEIGHT) == (8 * 30, 0)
        assert (first.flops, second.flops) == (each(2 * 8 * 60), each(2 * 8 * 30))
        assert moved(gather.write, Role.ACTIVATION) == (0, 48)
        assert activation.flops == each((5 + 1) * 40)
        assert combine.flops == each(96)

    def test_backward_is_twice_the_products(self) -> None:
        kernels = self.OP.backward(site(self.OP, *self.INPUTS))
        products = [kernel for kernel in kernels if kernel.gemm]
        assert sum(flops(products)) == 2 * 2 * 8 * 90
        weights = sum(moved(kernel.write, Role.WEIGHT_GRADIENT)[0] for kernel in kernels)
        assert weights == 8 * 90
        fewer = self.OP.backward(site(self.OP, *self.INPUTS, input_gradient=False))
        assert sum(flops(k for k in fewer if k.gemm)) == 2 * 8 * 90 + 2 * 8 * 30

    def test_biases(self) -> None:
        op = Experts(count=8, active=2, width=5, bias=True)
        assert parameters(op, *self.INPUTS) == 8 * (90 + 10 + 6)
        kernels = op.backward(site(op, *self.INPUTS))
        assert sum(moved(kernel.write, Role.WEIGHT_GRADIENT)[0] for kernel in kernels) == 8 * (90 + 10 + 6)

    def test_route(self) -> None:
        op = Route(active=2)
        assert op.output_shape(((4, 8),)) == (4, 2)
        assert flops(op.forward(site(op, (4, 8)))) == [6 * 32]
        assert flops(op.backward(site(op, (4, 8)))) == [4 * 32]
        scaled = Route(active=2, scaled=True)
        assert parameters(scaled, (4, 8)) == 8
        assert scaled.backward(site(scaled, (4, 8)))[-1].write == ((Role.WEIGHT_GRADIENT, once(8)),)
        with pytest.raises(InputError):
            Route(active=9).output_shape(((4, 8),))

    def test_key_selection(self) -> None:
        # 2 small heads of 3 over 4 positions: 2 x 16 x 3 MACs; 3 FLOP a head's score and a comparison a score.
        op = KeySelection(heads=2, top=3)
        inputs = ((4, 6), (4, 3), (4, 2))
        assert op.output_shape(inputs) == (4, 3)
        assert op.counts(site(op, *inputs)) == (96, 192 + 96 + 16)
        assert flops(op.forward(site(op, *inputs))) == [192 + 96, 16]
        assert flops(op.backward(site(op, *inputs))) == [3 * 192 + 160]


def test_names_in_workload_files() -> None:
    names = {"attention", "fused_attention", "embedding", "layer_norm", "rms_norm", "group_norm", "rotary", "experts"}
    assert names <= set(operations())


@pytest.mark.parametrize("kind", ["attention", "fused_attention"])
def test_the_worked_example_of_attention(kind: str) -> None:
    op = operations()[kind](heads=12)  # type: ignore[call-arg]
    counts = op.counts(site(op, (1024, 3 * 768)))
    assert counts.macs == 12 * 1024 * 1024 * (64 + 64) == 1_610_612_736
    assert counts.flops == 2 * counts.macs + 6 * 12 * 1024 * 1024

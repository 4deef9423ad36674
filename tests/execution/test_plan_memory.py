"""Memory of a plan's stages: a small stack of blocks by hand, under each schedule, ZeRO stage and recomputation."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from msgspec import structs

from simulator.device.framework import Reserve
from simulator.execution.memory import Footprint
from simulator.execution.plan_memory import least_bytes, stage_bytes, stage_contents, stage_footprint
from simulator.execution.plan_states import Holding
from simulator.op.optimizer import OPTIMIZERS
from simulator.parallel.plan import Plan
from simulator.precision import get_precision
from simulator.workload.reading import load_workload, read_workload
from simulator.workload.workload import Workload

STACK = read_workload(
    {
        "name": "stack",
        "input": [8],
        "layers": [
            {
                "repeat": {
                    "name": "block",
                    "times": 4,
                    "layers": [{"linear": {"name": "fc", "out": 8}}, {"relu": {"name": "act"}}],
                }
            },
            {"linear": {"name": "head", "out": 2}},
            "loss",
        ],
    },
    "stack.yaml",
)
# A block has 8 x 8 + 8 = 72 parameters, the head 8 x 2 + 2 = 18. Kept of a sample, in elements: the input of the first
# block (8), each block's output (8, its ReLU's, which the next product reads too), the logits for the loss (2). The
# widest pair of gradients is 8 + 8, of each ReLU and of each product but the first.
BLOCK, HEAD = 72, 18
SAMPLES = 3
"""Of a micro-batch; four of them a step."""


def held(
    plan: Plan,
    edges: Sequence[int] = (),
    workload: Workload = STACK,
    precision: str = "fp32",
    optimizer: str = "sgd",
    microbatches: int = 4,
    accumulation: str = "fused",
    reserve: Reserve = Reserve(context_bytes=100.0),  # noqa: B008 - frozen
) -> tuple[Footprint, ...]:
    """Footprints of pieces that begin at the first layer and at these."""
    ends = [*edges, len(workload.layers)]
    split = [range(start, end) for start, end in zip([0, *edges], ends, strict=True)]
    holding = Holding(get_precision(precision), OPTIMIZERS[optimizer], 1e9, reserve, accumulation=accumulation)
    return tuple(stage_footprint(x, SAMPLES, holding) for x in stage_contents(workload, split, plan, microbatches))


def test_two_stages_of_two_blocks_each() -> None:
    first, last = held(Plan(pipeline=2), [4])
    # 1F1B: the first stage keeps two micro-batches, the last one. 4 bytes each, SGD's momentum as much as the weights.
    assert first.parameters_bytes == first.gradients_bytes == first.optimizer_bytes == 4 * 2 * BLOCK
    assert last.parameters_bytes == last.gradients_bytes == last.optimizer_bytes == 4 * (2 * BLOCK + HEAD)
    assert first.activations_per_sample_bytes == 4 * (2 * (8 + 8 + 8) + 16)
    assert last.activations_per_sample_bytes == 4 * (8 + 8 + 16)  # at the last ReLU, which has no logits left
    assert first.activations_bytes == SAMPLES * first.activations_per_sample_bytes
    assert first.total_bytes == 3 * 4 * 2 * BLOCK + SAMPLES * 256 + 100
    assert (first.capacity_bytes, first.reserved_bytes) == (1e9, 100)


@pytest.mark.parametrize(
    ("plan", "kept"),
    [
        (Plan(pipeline=2, schedule="gpipe"), (4, 4)),  # all micro-batches, forward first
        (Plan(pipeline=2), (2, 1)),
    ],
)
def test_a_schedule_keeps_so_many_micro_batches(plan: Plan, kept: tuple[int, int]) -> None:
    first, last = held(plan, [4])
    assert first.activations_per_sample_bytes == 4 * (kept[0] * 24 + 16)
    assert last.activations_per_sample_bytes == 4 * (kept[1] * 18 - 2 + 16)


def test_interleaved_stages_hold_two_pieces() -> None:
    # Pieces of a block each: stage 0 has the first and the third, held three and two times; stage 1 the others, two and
    # one times, the last with head and loss.
    first, last = held(Plan(pipeline=2, schedule="interleaved", virtual=2), [2, 4, 6])
    assert first.parameters_bytes == 4 * 2 * BLOCK
    assert last.parameters_bytes == 4 * (2 * BLOCK + HEAD)
    assert first.activations_per_sample_bytes == 4 * (3 * 16 + 2 * 8 + 16)
    assert last.activations_per_sample_bytes == 4 * (2 * 8 + 1 * 10 + 16)


def test_fewer_micro_batches_than_stages_are_all_that_is_held() -> None:
    # While the second block's ReLU runs, before any gradient of a weight; at the first product all of them are there,
    # and of activations its input and its result's gradient.
    first, _ = held(Plan(pipeline=2), [4], microbatches=1)
    assert first.moments == ((4 * (24 + 16), 0), (4 * (16 + 16), 4 * BLOCK), (4 * (8 + 8), 4 * 2 * BLOCK))
    assert first.gradients_bytes == 4 * 2 * BLOCK


def test_a_gradient_is_made_beside_the_sums_unless_its_product_adds_it() -> None:
    # At the second product of the first stage: 2 x 24 less the 8 of its own ReLU, 16, and 72 gradients beside 144.
    first, _ = held(Plan(pipeline=2), [4], accumulation="added")
    assert first.moments == ((4 * (48 + 16), 4 * 2 * BLOCK), (4 * (40 + 16), 4 * 3 * BLOCK))


def test_gradients_added_up_in_half_width_are_widened_for_a_share() -> None:
    values = 4 * BLOCK + HEAD
    (rank,) = held(Plan(data=2, zero=1), precision="amp", optimizer="adam", accumulation="narrow")
    assert rank.moments[-1][1] == 2 * (values + BLOCK)
    assert rank.optimizer_bytes == pytest.approx((8 + 4) * values / 2)


def test_what_stages_sent_stays_until_its_gradient_comes() -> None:
    # Of 8 values that pass: the first stage has the results of two micro-batches, the last sends nothing.
    kept = Reserve(context_bytes=100.0, keeps=("sent",))
    first, last = held(Plan(pipeline=2), [4], reserve=kept)
    alone = held(Plan(pipeline=2), [4])
    assert first.activations_per_sample_bytes - alone[0].activations_per_sample_bytes == 4 * 8 * 2
    assert last == structs.replace(alone[1], reserve=kept)


def test_fsdp_has_whole_gradients_of_two_blocks() -> None:
    # One micro-batch over two ranks in amp: while the first product runs, its own in half width, and the second block's
    # in full width on their way; all shares besides.
    (rank,) = held(Plan(data=2, zero=3), precision="amp", microbatches=1)
    values = 4 * BLOCK + HEAD
    assert rank.moments[-1][1] == pytest.approx(4 * values / 2 + 2 * BLOCK + 4 * BLOCK)


def test_ranks_of_a_sequence_share_weights_like_replicas() -> None:
    # Two replicas of two context ranks: four share each weight.
    (rank,) = held(Plan(data=2, context=2, zero=3), precision="amp", microbatches=1)
    values = 4 * BLOCK + HEAD
    assert rank.moments[-1][1] == pytest.approx(4 * values / 4 + 2 * BLOCK + 4 * BLOCK)


@pytest.mark.parametrize(
    ("plan", "edges"),
    [(Plan(), []), (Plan(data=2, zero=1), []), (Plan(pipeline=2), [4]), (Plan(pipeline=2, recompute="full"), [4])],
)
def test_a_total_alone_and_the_least_that_any_cut_holds(plan: Plan, edges: list[int]) -> None:
    reserve = Reserve(context_bytes=100.0, workspace_bytes=30.0, fragmentation=0.5)
    holding = Holding(get_precision("amp"), OPTIMIZERS["adam"], 1e9, reserve)
    ends = [*edges, len(STACK.layers)]
    split = [range(start, end) for start, end in zip([0, *edges], ends, strict=True)]
    stages = [*stage_contents(STACK, split, plan, 4)]
    totals = [stage_bytes(stage, SAMPLES, holding) for stage in stages]
    assert totals == pytest.approx([stage_footprint(stage, SAMPLES, holding).total_bytes for stage in stages])
    # Half width for the products and four bytes of each gradient, with four of master weights and eight of moments that
    # ZeRO shares out.
    values, share = 4 * BLOCK + HEAD, 2 if plan.zero else 1
    least = least_bytes(STACK, plan, holding)
    assert least == pytest.approx((2 * values + 4 * values + (4 + 8) * values / share) / plan.pipeline + 130)
    assert least <= max(totals)


def test_half_width_keeps_master_weights() -> None:
    (whole,) = held(Plan(), precision="amp", optimizer="adam")
    values = 4 * BLOCK + HEAD
    # 2 bytes and a master copy of 4; gradients in 4; two states of 4.
    assert whole.parameters_bytes == (2 + 4) * values
    assert whole.gradients_bytes == 4 * values
    assert whole.optimizer_bytes == 8 * values


@pytest.mark.parametrize("zero", [0, 1, 2, 3])
def test_what_each_stage_of_zero_shares_out(zero: int) -> None:
    # Of 306 parameters over 2 x 2 ranks, the optimizer's states and master weights from stage 1 on, gradients from 2,
    # weights from 3, where the two largest blocks are gathered, 72 and 72 + 18, and nothing else is narrow.
    (rank,) = held(Plan(data=2, context=2, zero=zero), precision="amp", optimizer="adam")
    values = 4 * BLOCK + HEAD
    part = {stage: values / 4 if zero >= stage else values for stage in (1, 2, 3)}
    gathered = 2 * (2 * BLOCK + HEAD) if zero == 3 else 0
    assert rank.parameters_bytes == pytest.approx((gathered or 2 * part[3]) + 4 * part[1])
    assert rank.gradients_bytes == pytest.approx(4 * part[2])
    assert rank.optimizer_bytes == pytest.approx(8 * part[1])


def test_one_rank_gathers_nothing() -> None:
    alone, plain = held(Plan(zero=3), microbatches=1)[0], held(Plan(), microbatches=1)[0]
    assert structs.asdict(alone) == structs.asdict(plain)


def test_two_blocks_are_gathered_at_one_time() -> None:
    (whole,) = held(Plan(data=2, zero=3))
    assert whole.parameters_bytes == pytest.approx(4 * ((4 * BLOCK + HEAD) / 2 + 2 * BLOCK + HEAD))


def test_a_stage_of_a_pipeline_keeps_what_it_gathered_and_shares_out_the_state() -> None:
    first, last = held(Plan(data=2, pipeline=2, zero=3), [4])
    assert (first.parameters_bytes, last.parameters_bytes) == (4 * 2 * BLOCK, 4 * (2 * BLOCK + HEAD))
    assert first.gradients_bytes == 4 * 2 * BLOCK
    assert first.optimizer_bytes == 4 * 2 * BLOCK / 2


def test_full_recomputation_keeps_what_enters_a_block() -> None:
    (whole,) = held(Plan(recompute="full"))
    # What enters the second to fourth block, 8 each, the last one's result, which is there again, and 16 of gradients.
    assert whole.activations_per_sample_bytes == 4 * (3 * 8 + 8 + 16)


FUNNEL = read_workload(
    {
        "name": "funnel",
        "input": [4],
        "layers": [
            layer
            for place, (hidden, out) in enumerate([(16, 8), (32, 12), (64, 6)])
            for layer in (
                {"linear": {"name": f"block.{place}.up", "out": hidden}},
                {"relu": {"name": f"block.{place}.act"}},
                {"linear": {"name": f"block.{place}.down", "out": out}},
            )
        ]
        + [{"linear": {"name": "head", "out": 2}}, "loss"],
    },
    "funnel.yaml",
)
# Blocks that are entered by 4, 8 and 12 values; their first products make 16, 32 and 64, their second 8, 12 and 6. All
# that a block keeps is what its products read: 4 + 16, 8 + 32 and 12 + 64. The fullest moment is the last ReLU's, whose
# gradients are 64 + 64; what the head and the loss kept is given up by then.


@pytest.mark.parametrize(
    ("recompute", "kept"),
    [
        ("none", (4 + 16) + (8 + 32) + (12 + 64)),
        # What enters the second and third block; the ReLU's result is computed again.
        ("full", 8 + 12 + 64),
        # The results of first products too.
        ("products", (16 + 32 + 64) + 8 + 12 + 64),
    ],
)
def test_blocks_of_several_widths_by_hand(recompute: str, kept: int) -> None:
    (whole,) = held(Plan(recompute=recompute), workload=FUNNEL)
    assert whole.activations_per_sample_bytes == 4 * (kept + 128)


@pytest.mark.parametrize(("edge", "sent"), [(3, 8), (6, 12)])
def test_what_is_sent_is_what_the_last_layer_of_a_stage_makes(edge: int, sent: int) -> None:
    # Two micro-batches of the results of the first stage, whose last block makes 8 or 12 values.
    kept = Reserve(context_bytes=100.0, keeps=("sent",))
    plan = Plan(pipeline=2)
    first, alone = (held(plan, [edge], FUNNEL, reserve=each)[0] for each in (kept, Reserve(context_bytes=100.0)))
    assert first.activations_per_sample_bytes - alone.activations_per_sample_bytes == 4 * sent * 2


def test_a_copy_of_the_gradients_and_the_loss_in_place() -> None:
    def footprint(*, in_place: bool = False, accumulation: str = "fused") -> Footprint:
        reserve = Reserve(loss_in_place=in_place)
        holding = Holding(get_precision("amp"), OPTIMIZERS["adam"], 1e9, reserve, accumulation=accumulation)
        (whole,) = stage_contents(STACK, [range(len(STACK.layers))], Plan(data=2, zero=2), 4)
        return stage_footprint(whole, SAMPLES, holding)

    values = 4 * BLOCK + HEAD
    # A micro-batch's gradients in 2 bytes lie whole beside their sums in 4, which the ranks share.
    assert footprint(accumulation="copied").moments[0][1] == 4 * values / 2 + 2 * values
    assert footprint().gradients_bytes == 4 * values / 2
    # The widest pair is a block's 8 + 8, not the loss's 1 and 2, in place or not.
    assert footprint(in_place=True).activations_bytes == footprint().activations_bytes


def test_selective_recomputation_keeps_no_scores() -> None:
    gpt2 = load_workload("gpt2")
    (every,) = held(Plan(), workload=gpt2, precision="amp")
    (fewer,) = held(Plan(recompute="selective"), workload=gpt2, precision="amp")
    # 12 layers keep 12 heads x 1024 x 1024 scores twice in 2 bytes and dropout's mask in 1.
    scores = 12 * 1024 * 1024
    assert every.activations_per_sample_bytes - fewer.activations_per_sample_bytes == 12 * scores * (2 * 2 + 1)


def test_the_last_of_several_stages_has_a_copy_of_a_tied_embedding() -> None:
    gpt2 = load_workload("gpt2")
    middle = next(place for place, layer in enumerate(gpt2.layers) if layer.name.startswith("layers.6."))
    first, last = held(Plan(pipeline=2), [middle], workload=gpt2)
    both = (first.parameters_bytes + last.parameters_bytes) / 4
    assert both == gpt2.parameters + 50257 * 768
    assert held(Plan(), workload=gpt2)[0].parameters_bytes == 4 * gpt2.parameters


def test_experts_are_shared_out_over_fewer_ranks() -> None:
    network = read_workload(
        {
            "name": "routed",
            "input": [4, 8],
            "layers": [
                {"linear": {"name": "enter", "out": 8}},
                {"linear": {"name": "router", "from": "enter", "out": 2}},
                {"experts": {"from": ["enter", "router"], "count": 4, "active": 2, "width": 6}},
                {"linear": {"out": 2}},
                "loss",
            ],
        },
        "routed.yaml",
    )
    experts = 4 * 3 * 8 * 6
    dense = network.parameters - experts
    # ZeRO 1 over four ranks, two of which have the same experts.
    (rank,) = held(Plan(data=4, expert=2, zero=1), workload=network)
    assert rank.optimizer_bytes == pytest.approx(4 * (dense / 4 + experts / 2))

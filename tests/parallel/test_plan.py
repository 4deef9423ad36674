"""Plans: what they say, and every mistake in one line."""

from __future__ import annotations

import numpy as np
import pytest

from simulator.device.system import cluster_of_system
from simulator.errors import InputError, SimulatorError
from simulator.parallel.groups import groups_of
from simulator.parallel.pieces import Piece, hop_seconds
from simulator.parallel.plan import Plan, parse_schedule, plan_of
from simulator.parallel.stages import chunks_of
from simulator.precision import get_precision
from simulator.roofline.collectives import Collective, Group, collective_seconds
from simulator.workload.reading import load_workload


def test_data_parallelism_takes_what_is_left() -> None:
    plan = plan_of("tp=4,pp=2", 64, zero=1)
    assert (plan.data, plan.tensor, plan.pipeline, plan.zero) == (8, 4, 2, 1)
    assert plan.label == "dp=8,tp=4,pp=2"
    assert plan_of("", 8).data == 8
    assert Plan().label == "dp=1"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tp=3", "does not divide 8 devices; 6 would, and a product of 2 does"),
        ("tp=8,pp=97", "= 776 does not divide 8 devices; 776 would, and a product of 8 does"),
        ("dp=4,tp=4", "there are 8 devices; dp=2 would fit"),
        ("xp=2", "unknown degree"),
        ("tp=2,tp=4", "named twice"),
        ("tp=0", "at least 1"),
        ("tp=two", "whole number"),
    ],
)
def test_a_wrong_degree_is_one_line(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        plan_of(text, 8)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"zero": 4},
        {"schedule": "2f2b"},
        {"recompute": "some"},
        {"microbatch": 0},
        {"virtual": 2},
        {"schedule": "interleaved", "virtual": 2},
        {"expert": 3, "data": 4},
    ],
)
def test_what_cannot_be_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(SimulatorError):
        Plan(**fields)  # type: ignore[arg-type]


def test_schedules() -> None:
    assert parse_schedule("interleaved:4") == ("interleaved", 4)
    assert parse_schedule("interleaved") == ("interleaved", 2)
    assert parse_schedule("1f1b") == ("1f1b", 1)
    with pytest.raises(InputError):
        parse_schedule("gpipe:2")


@pytest.mark.parametrize(("expert", "fit"), [(3, 2), (16, 8)])
def test_expert_ranks_divide_the_others(expert: int, fit: int) -> None:
    with pytest.raises(InputError, match=f"ep={expert} does not divide the 8 ranks of dp x cp x tp; {fit} would"):
        Plan(data=4, tensor=2, expert=expert)


def test_a_tensor_goes_to_the_next_stage_in_shares_and_is_gathered_there() -> None:
    # Pieces of gpt2 hand on 1,024 positions of 768 features of four samples, two bytes each; four tensor ranks send a
    # quarter each, unless they share out the positions already.
    cluster, workload = cluster_of_system("dgx-a100-80gb", 1), load_workload("gpt2")
    plan = Plan(tensor=4, pipeline=2)
    groups, (first, second) = groups_of(plan, cluster), chunks_of(workload, 2, np.ones(len(workload.layers)))
    pieces = tuple(Piece(span, *[0.0] * 7) for span in (first, second))
    whole = 1024 * 768 * 2 * 4

    def seconds(*, sequence: bool) -> float:
        return hop_seconds(workload, pieces, (groups, cluster), (get_precision("bf16"), 4), sequence=sequence)

    sent = collective_seconds(Collective.POINT_TO_POINT, whole / 4, groups.hop, cluster)
    gathered = collective_seconds(Collective.ALL_GATHER, whole, groups.tensor, cluster)
    assert seconds(sequence=False) == pytest.approx(float(sent + gathered))
    own = collective_seconds(Collective.POINT_TO_POINT, whole, groups.hop, cluster)
    assert seconds(sequence=True) == pytest.approx(float(own))
    assert hop_seconds(workload, pieces[:1], (groups, cluster), (get_precision("bf16"), 4), sequence=False) == 0


def test_ranks_that_exchange_most_share_a_machine() -> None:
    # 4 machines of 8: tensor ranks are neighbours, so that 2 of the 4 replicas of each weight share a machine.
    found = groups_of(Plan(data=4, tensor=4, pipeline=2), cluster_of_system("dgx-a100-80gb", 4))
    assert found.tensor == Group(4, 4)
    assert found.replicas == Group(4, 2)
    assert found.hop == Group(2, 1)
    inside = groups_of(Plan(tensor=2, pipeline=4), cluster_of_system("dgx-a100-80gb", 1))
    assert inside.hop == Group(2, 2)
    with pytest.raises(InputError, match="32 devices, and there are 8"):
        groups_of(Plan(data=32), cluster_of_system("dgx-a100-80gb", 1))

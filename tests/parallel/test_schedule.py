"""Orders of a pipeline's tasks, and what stages keep meanwhile."""

from __future__ import annotations

from simulator.parallel.plan import Plan
from simulator.parallel.schedule import TaskKind, grouped, held_by_stage, orders


def test_micro_batches_in_flight() -> None:
    assert [sum(held.values()) for held in held_by_stage(Plan(pipeline=4), 16)] == [4, 3, 2, 1]
    assert [sum(held.values()) for held in held_by_stage(Plan(pipeline=4, schedule="gpipe"), 16)] == [16] * 4
    # Korthikanti et al., 2022, section 4.2.3: L (1 + (p - 1) / (p v)) blocks, of which a piece has L / (p v): 8 + 3.
    interleaved = held_by_stage(Plan(pipeline=4, schedule="interleaved", virtual=2), 16)
    assert sum(interleaved[0].values()) == 8 + 3


def test_the_order_of_the_first_stage_by_hand() -> None:
    first = orders(Plan(pipeline=2), 3)[0]
    assert [(task.kind, task.microbatch) for task in first] == [
        (TaskKind.FORWARD, 0),
        (TaskKind.FORWARD, 1),
        (TaskKind.BACKWARD, 0),
        (TaskKind.FORWARD, 2),
        (TaskKind.BACKWARD, 1),
        (TaskKind.BACKWARD, 2),
    ]


def test_micro_batches_go_in_groups_of_as_many_as_stages_or_a_little_more() -> None:
    assert grouped(24, 16) == [range(24)]
    assert grouped(13, 4) == [range(5), range(5, 9), range(9, 13)]
    assert grouped(8, 4) == [range(4), range(4, 8)]
    assert grouped(3, 4) == [range(3)]

"""Memory of a plan's fullest stage over its step."""

from __future__ import annotations

from simulator.execution.over_step import MemoryOverStep
from simulator.execution.plan_memory import stage_contents
from simulator.execution.plan_over_step import stage_over_step
from simulator.planned.answer import Planned
from simulator.planned.shares import holding_of


def memory_over_step(answer: Planned) -> MemoryOverStep:
    """What a device of the fullest stage holds over the micro-batches that were played."""
    step, stage = answer.step, answer.fullest
    split = [piece.layers for piece in step.pieces]
    contents = list(stage_contents(answer.share.workload, split, answer.plan, step.microbatches))
    events, holding = step.timeline.by_device[stage], holding_of(answer.device, answer.options)
    played = max(event.task.microbatch for event in events) + 1
    update_s = sum(piece.update_s for piece in step.of_stage(stage))
    rest_s = step.time_s - events[-1].end_s if played == step.microbatches else update_s
    samples, play = (answer.microbatch, holding), (events, answer.share.seconds)
    return stage_over_step(contents[stage], samples, answer.memory, play, rest_s)

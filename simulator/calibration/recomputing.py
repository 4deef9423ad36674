"""The least recomputation that fits: Megatron's "block" method computes so many blocks again as memory asks for.

Between keeping everything and computing all blocks again, time and memory are affine in the number of blocks computed
again. Source: Megatron-LM, `--recompute-method block --recompute-num-layers N`; NeMo's recipes choose modules likewise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from simulator.execution.memory import Footprint
from simulator.parallel.plan import RECOMPUTE, Plan
from simulator.planned import Planned, Shares


@dataclass(frozen=True, eq=False)
class Stepped:
    """A step of a plan.

    Attributes
    ----------
    planned : the answer for the plan, with all of its recomputation.
    time_s, memory_bytes : with the part of the recomputation that is done. [s], [byte]
    """

    planned: Planned
    time_s: float
    memory_bytes: float

    @property
    def tokens_per_s_per_device(self) -> float:
        """[1/s]"""
        return self.planned.tokens_per_s_per_device * self.planned.step.time_s / self.time_s


def whole(shares: Shares, plan: Plan, batch: int) -> Stepped:
    """A step with all of the plan's recomputation."""
    planned = shares.evaluate(plan, batch)
    return Stepped(planned, planned.step.time_s, max(x.total_bytes + x.cached_bytes for x in planned.stages))


def least_recomputed(shares: Shares, plan: Plan, batch: int) -> Stepped:
    """A step with the least recomputation that fits; with all of it where nothing does."""
    lighter: list[tuple[Plan, tuple[Footprint, ...]]] = []
    for recompute in RECOMPUTE:
        chosen = replace(plan, recompute=recompute)
        stages = shares.footprints(chosen, batch)
        if all(stage.fits for stage in stages):
            break
        lighter.append((chosen, stages))
    heavy = whole(shares, chosen, batch)
    if len(lighter) in (0, len(RECOMPUTE)):
        return heavy
    mixed = (_between(whole(shares, light, batch), heavy, part_of(before, stages)) for light, before in lighter)
    return min(mixed, key=lambda step: step.time_s)


def part_of(light: Sequence[Footprint], heavy: Sequence[Footprint]) -> float:
    """Part of the way from a recomputation to a heavier one at which every stage fits, 0 to 1.

    Worked example: 100 GB without and 40 GB with all of it on 80 GB: (100 - 80) / (100 - 40) = a third of the blocks.
    """
    return max(
        (without.total_bytes - without.capacity_bytes) / (without.total_bytes - everything.total_bytes)
        for without, everything in zip(light, heavy, strict=True)
        if without.total_bytes > everything.total_bytes
    )


def _between(light: Stepped, heavy: Stepped, part: float) -> Stepped:
    return Stepped(
        heavy.planned,
        light.time_s + part * (heavy.time_s - light.time_s),
        light.memory_bytes + part * (heavy.memory_bytes - light.memory_bytes),
    )

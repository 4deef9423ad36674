"""The fastest plans of a search, on a terminal and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from simulator.parallel.bound import PlanBound
from simulator.planned import Planned
from simulator.planning.plans import Found, why_slower
from simulator.report.listing import Row, print_table
from simulator.report.plan import headline, plan_summary
from simulator.units import binary_bytes, duration

DROPPED = ("exchange", "bubble", "schedule", "ZeRO")
"""Columns that give way on a narrow terminal."""


def print_search(found: Found) -> None:
    """The best plan, why the next one loses, a table of the fastest."""
    if not found.best:
        print(nothing_fits(found))
        return
    first = found.best[0]
    print(headline(first))
    for line in why_lines(found):
        print(f"  {line}")
    print()
    print_table("plans", rows(found.best), DROPPED)
    print(f"{found.tried} plans evaluated: {found.fit} fit, {found.too_large} are too large")


def why_lines(found: Found) -> list[str]:
    """Why the runner-up loses, and what to type for the best."""
    first, second = found.best[0], found.second
    result = [f"simulate {arguments(first)}"]
    if second is not None:
        result.append(f"runner-up {second.plan.label}: {why_slower(first, second)}")
    return result


def nothing_fits(found: Found) -> str:
    """One line: the plan that comes nearest, and by how much it fails."""
    nearest = found.nearest
    assert nearest is not None  # noqa: S101 - some plan was too large, or the search raised
    lacking = binary_bytes(-nearest.memory.headroom_bytes)
    return (
        f"none of {found.tried} plans fits; {nearest.plan.label} with recomputation {nearest.plan.recompute} comes "
        f"nearest and lacks {lacking} a device: more devices or machines with more memory would help"
    )


def arguments(answer: Planned) -> str:
    """The options of a plan, to be typed again."""
    plan = answer.plan
    words = [f"--parallel {plan.label}", f"--global-batch {answer.global_batch}", f"--microbatch {answer.microbatch}"]
    words += [f"--schedule {plan.schedule_label}"] if plan.pipeline > 1 else []
    words += [f"--zero {plan.zero}"] if plan.zero else []
    words += [f"--recompute {plan.recompute}"] if plan.recompute != "none" else []
    words += ["--sequence-parallel"] if plan.sequence else []
    return " ".join(words)


def rows(answers: Sequence[Planned]) -> list[Row]:
    """A row a plan."""
    fastest = answers[0].step.time_s
    return [
        {
            "plan": answer.plan.label,
            "micro-batch": answer.microbatch,
            "schedule": answer.plan.schedule_label if answer.plan.pipeline > 1 else "",
            "ZeRO": answer.plan.zero,
            "recompute": answer.plan.recompute,
            "step": duration(answer.step.time_s),
            "slower": f"{answer.step.time_s / fastest - 1:.1%}",
            "MFU": f"{answer.mfu:.1%}",
            "exchange": f"{answer.step.seconds[PlanBound.EXCHANGE] / answer.step.time_s:.1%}",
            "bubble": f"{answer.step.seconds[PlanBound.BUBBLE] / answer.step.time_s:.1%}",
            "memory": binary_bytes(answer.memory.total_bytes),
        }
        for answer in answers
    ]


def search_summary(found: Found) -> dict[str, Any]:
    """Stable keys; `plans` are as `simulate --parallel --json` gives each."""
    return {
        "evaluated": found.tried,
        "fit": found.fit,
        "too_large": found.too_large,
        "refused": found.refused,
        "best": arguments(found.best[0]) if found.best else None,
        "runner_up": why_slower(found.best[0], found.second) if found.second else None,
        "plans": [plan_summary(answer) for answer in found.best],
        "nearest": plan_summary(found.nearest) if found.nearest else None,
    }

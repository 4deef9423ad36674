"""A capacity plan on the terminal and as JSON."""

from __future__ import annotations

from math import inf
from typing import Any

from simulator.planning.capacity import CapacityPlan, Needs, SetUp
from simulator.report.listing import Row, print_table
from simulator.units import duration, si
from simulator.workload.workload import Workload

CHOICES = ("cheapest", "fastest", "smallest")


def print_capacity(found: CapacityPlan, workload: Workload, epochs: int) -> None:
    """What meets the needs, or what comes nearest and what stands in its way."""
    print(headline(found, workload, epochs))
    chosen = {name: one for name in CHOICES if (one := getattr(found, name)) is not None}
    if not chosen and found.nearest is not None:
        print(f"  nothing meets it; {describe(found.nearest)} comes nearest: {found.obstacle()}")
        chosen = {"nearest": found.nearest}
    elif not chosen:
        print("  nothing runs it")
    elif found.cheapest is None:
        print("  the price of none of them is known: no cheapest")
    print()
    print_table("set-ups", [row(name, one, found.needs) for name, one in chosen.items()], ("low", "high"))
    dates = sorted({one.device.profile.price.date for one in chosen.values() if one.device.profile.price})
    if dates:
        print(f"prices of {' and '.join(dates)}, a device an hour; give --price NAME=USD for yours")
    for device, reason in list(found.refused.items())[:5]:
        print(f"not {device}: {reason}")
    if len(found.refused) > 5:
        print(f"and {len(found.refused) - 5} more devices that cannot run it")


def headline(found: CapacityPlan, workload: Workload, epochs: int) -> str:
    """What is asked, and how much meets it."""
    needs = ", ".join(_needs(found.needs)) or "no limits"
    runs = "1 epoch" if epochs == 1 else f"{epochs} epochs"
    count = f"{found.meeting} of {len(found.considered)} set-ups meet it"
    return f"{workload.name}, {runs} of {workload.dataset.name}: {needs}: {count}"


def _needs(needs: Needs) -> list[str]:
    found = []
    if needs.deadline_s < inf:
        found.append(f"within {duration(needs.deadline_s)}")
    if needs.budget_usd < inf:
        found.append(f"for {needs.budget_usd:,.0f} USD")
    if needs.power_w < inf:
        found.append(f"with {si(needs.power_w, 'W')}")
    return found


def describe(one: SetUp) -> str:
    """How many of what, in which precision, at which batch: 8 x v100-sxm2-16gb in amp at batch 128."""
    return f"{one.devices} x {one.device.name} in {one.precision} at batch {one.batch}"


def row(name: str, one: SetUp, needs: Needs) -> Row:
    """One set-up with its margins."""
    strain = one.strain(needs)
    deadline = f"{one.probability(needs.deadline_s):.0%}" if needs.deadline_s < inf else ""
    return {
        "": name,
        "set-up": describe(one),
        "time": duration(one.time_s),
        "low": duration(one.low_s),
        "high": duration(one.high_s),
        "in time": deadline,
        "cost": "unknown" if one.cost_usd is None else f"{one.cost_usd:,.0f} USD",
        "power": "unknown" if one.power_w is None else si(one.power_w, "W"),
        "margin": ", ".join(f"{limit} {1 - share:+.0%}" for limit, share in strain.items() if share < inf),
    }


def capacity_summary(found: CapacityPlan, workload: Workload, epochs: int) -> dict[str, Any]:
    """Stable keys, SI units."""
    return {
        "workload": workload.name,
        "epochs": epochs,
        "needs": {
            key: None if value == inf else value
            for key, value in (
                ("deadline_s", found.needs.deadline_s),
                ("budget_usd", found.needs.budget_usd),
                ("power_w", found.needs.power_w),
            )
        },
        "considered": len(found.considered),
        "meeting": found.meeting,
        **{name: _set_up(getattr(found, name), found.needs) for name in (*CHOICES, "nearest")},
        "obstacle": None if found.meeting else found.obstacle(),
        "refused": found.refused,
    }


def _set_up(one: SetUp | None, needs: Needs) -> dict[str, Any] | None:
    if one is None:
        return None
    return {
        "device": one.device.name,
        "devices": one.devices,
        "precision": one.precision,
        "batch": one.batch,
        "time_s": one.time_s,
        "low_s": one.low_s,
        "high_s": one.high_s,
        "probability_in_time": one.probability(needs.deadline_s),
        "cost_usd": one.cost_usd,
        "power_w": one.power_w,
        "margins": {limit: None if share == inf else 1 - share for limit, share in one.strain(needs).items()},
    }

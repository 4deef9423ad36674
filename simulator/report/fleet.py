"""Fleets that serve a rate of requests, on the terminal and as JSON."""

from __future__ import annotations

from typing import Any

from simulator.planning.fleet_search import KEYS
from simulator.planning.provision import Fleet, Lost, Provision
from simulator.report.listing import Row, print_table
from simulator.report.serving import saved_words
from simulator.serving.certainty import serving_certainty
from simulator.serving.step import Deployment
from simulator.units import duration
from simulator.workload.workload import Workload

SHOWN = 12
"""Devices that are not chosen, of which the reason is shown."""


def print_provision(found: Provision, workload: Workload) -> None:
    """The choices first, how sure they are, then why other devices are not chosen."""
    print(headline(found, workload))
    if found.fewest is None:
        print("  nothing that is offered keeps it")
    for goal in KEYS:
        fleet = getattr(found, goal)
        if fleet is not None:
            print(f"  {goal}: {describe(fleet)}; {certainty(fleet)}")
        elif found.fewest is not None:
            print(f"  {goal}: the price of none that keeps it is known; give --price NAME=USD")
    print()
    rows = [
        row(name, fleet, found)
        for goal in KEYS
        for name, fleet in ((goal, getattr(found, goal)), ("runner-up", found.runners_up.get(goal)))
        if fleet is not None
    ]
    print_table("choices", rows)
    reasons = [_reason(one) for one in found.lost]
    print_table("why not the others", reasons[:SHOWN])
    if len(reasons) > SHOWN:
        print(f"and {len(reasons) - SHOWN} more, farther off: --json has them")
    print(_basis(found))


def headline(found: Provision, workload: Workload) -> str:
    """What is asked, and how much was looked at."""
    demand, (prompt, output) = found.demand, found.demand.traffic.lengths
    limits = ", ".join(f"{name} {duration(limit)}" for name, limit in demand.promise.limits)
    given = demand.traffic.conditions
    kept = saved_words(given.shared, given.speculation) + (f", 95 of 100 within {limits}" if limits else "")
    return (
        f"{workload.name}, {demand.rate_per_s:,.3g} requests/s of {prompt} tokens in, {output} out{kept}: "
        f"{found.considered} set-ups of a replica, queues of {found.simulated} simulated"
    )


def describe(fleet: Fleet) -> str:
    """How many of what, and how they are put together: 4 x h200, 2 replicas of 2 in fp8 under vllm."""
    site, each = fleet.site, fleet.site.deployment
    machines = f" in {fleet.devices // site.together} {site.name}" if site.together > 1 else ""
    replicas = "1 replica" if fleet.replicas == 1 else f"{fleet.replicas} replicas"
    return (
        f"{fleet.devices:,} x {each.device.name}{machines}, {replicas} of {each.devices}{_degrees(each)} "
        f"in {each.form.name} under {each.engine.name}"
    )


def _degrees(each: Deployment) -> str:
    """How the devices of a replica share the model, where that is not all of them each layer."""
    experts = ", whole experts to each," if each.by_experts else ""
    return f" ({each.stages} groups of layers, {each.ways} share each)" + experts if each.stages > 1 else experts


def certainty(fleet: Fleet) -> str:
    """Whether so many are enough at the slow end too, and how many would be."""
    share = f"{serving_certainty().coverage:.0%}"
    if fleet.sure:
        return f"sure: enough at the slow end of the {share} interval too"
    if fleet.surest_devices is None:
        return f"not sure: at the slow end of the {share} interval no number keeps it"
    return f"not sure: at the slow end of the {share} interval it takes {fleet.surest_devices:,}"


def row(name: str, fleet: Fleet, found: Provision) -> Row:
    """One choice with what a replica carries and what its queue shows."""
    carries, million = fleet.carries, found.usd_per_million(fleet)
    ends = (fleet.fewest_devices, fleet.surest_devices)
    return {
        "": name,
        "devices": f"{fleet.devices:,} x {fleet.site.deployment.device.name}",
        "replicas": f"{fleet.replicas} x {fleet.site.deployment.devices}",
        "tp, pp": _split(fleet.site.deployment),
        "precision": fleet.site.deployment.form.name,
        "a replica carries": f"{carries.middle:.3g}/s ({carries.low:.3g} to {carries.high:.3g})",
        "devices (fast to slow end)": " to ".join("none" if end is None else f"{end:,}" for end in ends),
        "p95 ttft": duration(fleet.latency["ttft"]["p95_s"]),
        "p95 tpot": duration(fleet.latency["tpot"]["p95_s"]),
        "USD/h": "unknown" if fleet.usd_per_hour is None else f"{fleet.usd_per_hour:,.2f}",
        "USD/M tokens": "unknown" if million is None else f"{million:,.2f}",
    }


def _split(each: Deployment) -> str:
    """Devices that share a layer, groups of layers, and whether experts are whole: 4, 2 ep."""
    return f"{each.ways}, {each.stages}{' ep' if each.by_experts else ''}"


def _reason(one: Lost) -> Row:
    if one.cheapest == one.fewest:
        return {"device": one.device, "not the cheapest": one.cheapest, "not the fewest": "the same"}
    return {
        "device": one.device,
        "not the cheapest": one.cheapest or "(it is)",
        "not the fewest": one.fewest or "(it is)",
    }


def _basis(found: Provision) -> str:
    """What the numbers rest on."""
    fleets = [fleet for fleet in (found.cheapest, *found.runners_up.values()) if fleet is not None]
    dates = sorted({price.date for fleet in fleets if (price := fleet.site.device.profile.price)})
    prices = f"prices of {' and '.join(dates)}, a device an hour; " if dates else ""
    return f"{prices}each replica gets an equal share of the requests; fidelity: calibrated"


def provision_summary(found: Provision, workload: Workload) -> dict[str, Any]:
    """Stable keys, SI units."""
    demand = found.demand
    return {
        "workload": workload.name,
        "demand": {
            "rate_per_s": demand.rate_per_s,
            "input": demand.traffic.lengths[0],
            "output": demand.traffic.lengths[1],
            "arrivals": demand.traffic.pattern,
            "requests": demand.traffic.number,
            "seed": demand.traffic.seed,
            "prefix": demand.traffic.conditions.shared,
            "guessed": demand.traffic.conditions.speculation.ahead,
            "acceptance": demand.traffic.conditions.speculation.acceptance,
            "slo": {f"{name}_s": limit for name, limit in demand.promise.limits},
        },
        "coverage": serving_certainty().coverage,
        "considered": found.considered,
        "simulated": found.simulated,
        **{goal: _fleet(getattr(found, goal), found) for goal in KEYS},
        "runners_up": {goal: _fleet(found.runners_up.get(goal), found) for goal in KEYS},
        "lost": [
            {"device": one.device, "cheapest": one.cheapest or None, "fewest": one.fewest or None} for one in found.lost
        ],
    }


def _fleet(fleet: Fleet | None, found: Provision) -> dict[str, Any] | None:
    if fleet is None:
        return None
    site, each = fleet.site, fleet.site.deployment
    return {
        "device": each.device.name,
        "system": site.name if site.together > 1 else None,
        "devices": fleet.devices,
        "replicas": fleet.replicas,
        "tp": each.ways,
        "pp": each.stages,
        "expert_parallel": each.by_experts,
        "precision": each.form.name,
        "engine": each.engine.name,
        "replica_per_s": {name: getattr(fleet.carries, name) for name in ("low", "middle", "high")},
        "devices_fast": fleet.fewest_devices,
        "devices_slow": fleet.surest_devices,
        "sure": fleet.sure,
        "latency": fleet.latency,
        "usd_per_hour": fleet.usd_per_hour,
        "usd_per_million_tokens": found.usd_per_million(fleet),
    }

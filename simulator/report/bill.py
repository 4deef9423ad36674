"""A run's input, its calendar and its bill, in words."""

from __future__ import annotations

from collections.abc import Iterator

from simulator.execution.bill import JOULES_PER_KWH, Amount, Bill
from simulator.execution.course import Course
from simulator.execution.input import Input
from simulator.execution.wall import Wall
from simulator.units import duration, si


def course_lines(course: Course | None) -> Iterator[str]:
    """What a run takes beside its steps, where that is asked for."""
    if course is None:
        return
    parts = [f"{duration(course.steps_s)} of steps"]
    if course.late_s:
        parts.append(f"{duration(course.late_s)} waiting for the slowest device")
    if course.warm_up_s:
        parts.append(f"{duration(course.warm_up_s)} of warm-up")
    if course.evaluations:
        many = "1 evaluation" if course.evaluations == 1 else f"{course.evaluations} evaluations"
        parts.append(f"{duration(course.evaluation_s)} for {many}")
    dropped = f"; {course.dropped:,} samples of an epoch are dropped" if course.dropped else ""
    yield f"on the calendar {duration(course.total_s)}: {', '.join(parts)}{dropped}"


def bill_lines(bill: Bill | None) -> Iterator[str]:
    """What the run costs, and what failures add to it, where that is asked for."""
    if bill is None:
        return
    broken = bill.interrupted
    if broken is not None:
        more = broken.time_s / broken.work_s - 1
        yield (
            f"with {broken.failures:,.2g} failures expected: {duration(broken.time_s)}, {more:.1%} more: "
            f"{duration(broken.checkpoints_s)} for checkpoints every {duration(broken.interval_s)} (best by Daly "
            f"{duration(broken.daly_s)}, by Young {duration(broken.young_s)}), {duration(broken.lost_s)} lost"
        )
    yield f"the run costs {_cost(bill)}; energy {_energy(bill)}"
    if bill.step is not None and bill.epoch is not None:
        epoch = f"an epoch costs {_amount(bill.epoch)}; " if bill.epoch.time_s < bill.run.time_s else ""
        yield f"{epoch}a step{'' if epoch else ' costs'} {_amount(bill.step)}"


def _cost(bill: Bill) -> str:
    """What is expected, within which interval, and whose price it is."""
    if bill.cost_usd is None:
        return "unknown, for want of a price"
    low, high = (bound.cost_usd if bound else None for bound in (bill.low, bill.high))
    likely = "" if low is None or high is None else f"{low:,.2f} to {high:,.2f} USD with 80% probability"
    note = f", {bill.price_note}" if bill.price_note else ""
    of = f"price of {bill.price_date}{note}" if bill.price_date else ""
    more = "; ".join(part for part in (likely, of) if part)
    return f"{bill.cost_usd:,.2f} USD" + (f" ({more})" if more else "")


def _energy(bill: Bill) -> str:
    """What is expected, within which interval, and the bound."""
    most = "unknown" if bill.energy_j is None else f"at most {_kwh(bill.energy_j)}, with {_limit(bill)}"
    if bill.drawn is None or bill.run.energy_j is None:
        return most + ("" if bill.carbon_g is None else f", {bill.carbon_g / 1000:,.4g} kg of carbon dioxide")
    low, high = (bound.energy_j if bound else None for bound in (bill.low, bill.high))
    range_ = "" if low is None or high is None else f" (with 80% probability {_kwh(low)} to {_kwh(high)})"
    carbon = "" if bill.run.carbon_g is None else f", {bill.run.carbon_g / 1000:,.4g} kg of carbon dioxide"
    return f"{_kwh(bill.run.energy_j)}{range_}{carbon}, {_power(bill.drawn.power_w / bill.devices, bill.wall)}; {most}"


def _limit(bill: Bill) -> str:
    """What the most that a run draws is with."""
    return "every machine at its rated power" if bill.power_of == "machines" else "every board at its limit"


def _power(each_w: float, wall: Wall | None) -> str:
    """Of a device, and at the wall where a machine is named."""
    if wall is None:
        return f"{each_w:,.0f} W a device, without what its computer draws beside"
    return (
        f"{wall.power_w / wall.machines / 1000:,.3g} kW a {wall.system} at the wall, {each_w:,.0f} W of them a device"
    )


def _kwh(energy_j: float) -> str:
    kwh = energy_j / JOULES_PER_KWH
    return f"{kwh:,.3g} kWh" if kwh >= SMALLEST_KWH else si(energy_j, "J")


SMALLEST_KWH = 0.01
"""Energy below this is said in joules."""


def _plain(number: float) -> str:
    """Three digits, never as a power of ten."""
    from decimal import Decimal

    return f"{Decimal(f'{number:.3g}'):,f}"


def _amount(amount: Amount) -> str:
    cost = "an unknown price" if amount.cost_usd is None else f"{_plain(amount.cost_usd)} USD"
    return cost if amount.energy_j is None else f"{cost} and {_kwh(amount.energy_j)}"


def input_lines(found: Input | None, each: str = "device") -> Iterator[str]:
    """The stages of the input beside the device's own time, and what would keep up with it.

    each : what has a loader and workers of its own.
    """
    if found is None:
        return
    source = f"{found.storage} ({found.cached:.0%} from the page cache)" if found.storage else "the page cache"
    workers = f", {found.workers} workers a {each}" if found.workers and found.prepare_s else ""
    stages = ", ".join(f"{stage} {duration(time_s)}" for stage, time_s in found.stages.items() if time_s)
    device = f"{duration(found.device_s)} of the device"
    verdict = f"it keeps up with {device}, {found.slowest} at {found.of_device:.1%}"
    if found.exposed_s:
        verdict = f"{found.slowest} binds, {found.of_device:.2f} times {device}"
        if found.slowest == "preparing":
            verdict += f"; {found.enough_workers:,} workers would keep up"
    yield f"input by {found.loader}{workers}, from {source}: {stages or 'nothing'} a step: {verdict}"

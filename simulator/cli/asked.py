"""What the main job is asked beside the step: how its input comes, how the run goes, where, at what price."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from simulator.cli.options import BILL, BILL_TIMES, COURSE, INPUT
from simulator.errors import InputError

if TYPE_CHECKING:
    from simulator.device.device import Device
    from simulator.execution.bill import Circumstances
    from simulator.execution.course import Habits
    from simulator.execution.input import Feeding


def circumstances(options: dict[str, Any]) -> Circumstances | None:
    """Where and how the run takes place; None where nothing of it is said.

    Raises
    ------
    InputError
        If checkpoints are spoken of, and no failures.
    """
    if all(options[name] is None for name in BILL):
        return None
    from simulator.execution.bill import Circumstances
    from simulator.execution.failures import Failures
    from simulator.planning.ranges import duration_s

    times = {name: duration_s(options[name], f"--{name.replace('_', '-')}") for name in BILL_TIMES if options[name]}
    if (times or options["checkpoint_to"]) and "mtbf" not in times:
        raise InputError("--checkpoint, its options and --restart matter with failures: give --mtbf")
    if "checkpoint" in times and options["checkpoint_to"]:
        raise InputError("--checkpoint is the time that --checkpoint-to works out; give one of them")
    names = {"mtbf": "mtbf_s", "checkpoint": "checkpoint_s", "checkpoint_every": "interval_s", "restart": "restart_s"}
    failures = Failures(**{names[name]: value for name, value in times.items()}) if times else None
    pue = 1.0 if options["pue"] is None else options["pue"]
    return Circumstances(options["price"], pue, options["carbon"], failures, options["checkpoint_to"])


def with_prices(device: Device, options: dict[str, Any]) -> Device:
    """The device as the price list has it that the options name.

    Raises
    ------
    InputError
        If a price is given beside it.
    """
    if options["prices"] is None:
        return device
    if options["price"] is not None:
        raise InputError("--price is one device's price, --prices a list of them; give one of the two")
    from simulator.device.prices import priced

    return priced(device, options["prices"])


def habits_of(options: dict[str, Any]) -> Habits | None:
    """How the run goes; None where nothing of it is said."""
    said = {name: options[name] for name in COURSE if options[name] is not None}
    if not said:
        return None
    from simulator.execution.course import Habits

    return Habits(**said)


def feeding_of(options: dict[str, Any]) -> Feeding | None:
    """How samples reach the device; None where nothing of it is said.

    Raises
    ------
    InputError
        If something of it is said, and no loader.
    """
    said = [name for name in INPUT if options[name] is not None]
    if not said:
        return None
    if options["loader"] is None:
        raise InputError(f"--{said[0].replace('_', '-')} is of a loader: give --loader, such as pillow or none")
    from simulator.execution.input import Feeding
    from simulator.units import parse

    cache = parse(options["page_cache"], "byte", "--page-cache") if options["page_cache"] else 0.0
    return Feeding(options["loader"], options["workers"], options["worker_rate"], options["storage"], cache)

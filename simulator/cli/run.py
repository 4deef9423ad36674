"""`simulate --workload ... --device ...`: the main job."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from simulator.cli.asked import circumstances, feeding_of, habits_of, with_prices
from simulator.cli.completion import LARGEST_BATCH
from simulator.cli.joined import is_given
from simulator.cli.options import PLAN, chosen_workload
from simulator.errors import InputError, SimulatorError

if TYPE_CHECKING:
    from simulator.device.system import Cluster
    from simulator.execution.course import Habits
    from simulator.execution.input import Feeding
    from simulator.pipeline import Options, Simulation
    from simulator.workload.workload import Workload


def run(options: dict[str, Any]) -> None:
    """Simulate, print the answer, write the report."""
    options = options | {"device": devices_of(options)}
    several = isinstance(options["batch"], str) and options["batch"] != LARGEST_BATCH
    if several or any(options[name] for name in CURVE):
        _without_input(options, "a curve over batches")
        run_curve(options)
        return
    if any(options[name] for name in PLAN) or options["zero"] == 0:
        from simulator.cli.planned import run_plan

        run_plan(options)
        return
    simulation, others = _completed(options)
    folder = None
    if not options["no_report"]:
        from pathlib import Path

        from simulator.report.write import write_report

        folder = write_report(simulation, others, Path(options["out"]))
    if options["as_json"]:
        from simulator.report.summary import json_text, summary

        click.echo(json_text(summary(simulation, others)))
    else:
        from simulator.report.scorecard import print_scorecard

        print_scorecard(simulation, others, folder)


def _completed(options: dict[str, Any]) -> tuple[Simulation, list[Simulation | tuple[str, SimulatorError]]]:
    """The answers, with input, calendar and bill where these are asked for."""
    feeding, habits, given = feeding_of(options), habits_of(options), circumstances(options)
    simulation, others = _answers(options)
    if feeding is not None:
        from simulator.pipeline import fed

        simulation, others = fed(simulation, feeding), [_fed(other, feeding) for other in others]
    if habits is not None:
        from simulator.courses import coursed

        simulation, others = coursed(simulation, habits), [_coursed(other, habits) for other in others]
    if given is not None:
        from simulator.billing import billed

        simulation = billed(simulation, given)
    return simulation, others


CURVE = ("slo", "streams", "replicas")
"""Options that ask for a curve, even of one batch."""


def run_curve(options: dict[str, Any]) -> None:
    """Inference over batches: latency, throughput, the knee, the largest batch within a limit."""
    from simulator.device.device import load_device
    from simulator.report.curve import curve_summary, print_curve, write_curve
    from simulator.serving.copies import Instances
    from simulator.serving.curve import batches_of, curve
    from simulator.units import parse

    if len(options["workload"]) != 1 or len(options["device"]) != 1:
        raise InputError("a curve over batches is of one --workload on one --device")
    text = options["batch"] if isinstance(options["batch"], str) else str(options["batch"] or "1:256:x2")
    limit_s = parse(options["slo"], "s", "--slo") if options["slo"] else None
    asked = options_of({**options, "batch": None})
    device = load_device(options["device"][0], memory=options["memory"], overrides=options["overrides"])
    if options["streams"] and options["replicas"]:
        raise InputError("--streams or --replicas, not both")
    number = options["streams"] or options["replicas"]
    copies = Instances(number, shared=not options["replicas"]) if number else None
    workload = chosen_workload(options["workload"][0], options)
    found = curve(workload, device, asked, batches_of(text), limit_s, copies)
    if not options["no_report"]:
        write_curve(found, options["out"])
    if options["as_json"]:
        from simulator.report.summary import json_text

        click.echo(json_text(curve_summary(found)))
    else:
        print_curve(found)


def _answers(options: dict[str, Any]) -> tuple[Simulation, list[Simulation | tuple[str, SimulatorError]]]:
    """The first device that can run the workload, and the others in order, with the reason where one cannot.

    Raises
    ------
    SimulatorError
        If none can: the reason of the first.
    """
    if not options["workload"]:
        raise InputError("--workload is missing; `simulate workloads` lists them")
    if len(options["workload"]) > 1:
        raise InputError("--workload is given twice; ask for one at a time")
    if not options["device"]:
        raise InputError("--device is missing; `simulate devices` lists them")
    fixed = options | {"batch": None if options["batch"] == LARGEST_BATCH else options["batch"]}
    asked, workload = options_of(fixed), chosen_workload(options["workload"][0], options)
    answers = [_answer(workload, name, options, asked) for name in options["device"]]
    ran = [answer for answer in answers if not isinstance(answer, tuple)]
    if not ran:
        raise next(answer[1] for answer in answers if isinstance(answer, tuple))
    return ran[0], [answer for answer in answers if answer is not ran[0]]


def _without_input(options: dict[str, Any], what: str) -> None:
    if feeding_of(options) is not None:
        raise InputError(f"--loader is of a step on one device, or on several with data parallelism, not of {what}")


def _fed(other: Simulation | tuple[str, SimulatorError], feeding: Feeding) -> Simulation | tuple[str, SimulatorError]:
    """Another device with the same input, or why it cannot have it."""
    from simulator.pipeline import fed

    if isinstance(other, tuple):
        return other
    try:
        return fed(other, feeding)
    except SimulatorError as error:
        return other.device.label, error


def _coursed(other: Simulation | tuple[str, SimulatorError], habits: Habits) -> Simulation | tuple[str, SimulatorError]:
    from simulator.courses import coursed

    return other if isinstance(other, tuple) else coursed(other, habits)


def options_of(options: dict[str, Any]) -> Options:
    from simulator.pipeline import Options

    names = (
        "batch",
        "precision",
        "task",
        "epochs",
        "optimizer",
        "fidelity",
        "traffic",
        "count",
        "framework",
        "host",
        "ignore_memory",
    )
    return Options(**{name: options[name] for name in names})


def devices_of(options: dict[str, Any]) -> tuple[str, ...]:
    """The devices that are asked for, each that a pattern such as 'a100*' matches, or that of the system."""
    given: tuple[str, ...] = options["device"] or device_of_system(options["system"])
    if not any(sign in name for name in given for sign in "*?"):
        return given
    from simulator.device.device import FOLDER
    from simulator.planning.ranges import names

    return tuple(names(given, FOLDER))


def device_of_system(system: str | None) -> tuple[str, ...]:
    if system is None:
        return ()
    from simulator.device.system import load_system

    return (load_system(system).device,)


def cluster_of(options: dict[str, Any]) -> Cluster | None:
    """The devices that step together; None for one.

    Raises
    ------
    InputError
        If several have no link, or counts do not divide.
    """
    from simulator.device.link import load_link
    from simulator.device.system import cluster, cluster_of_system

    devices, nodes = options["devices"], options["nodes"]
    network = load_link(options["network"]) if options["network"] else None
    if options["system"] is not None:
        if options["link"] is not None:
            raise InputError(f"--system {options['system']} has a link of its own; leave --link out")
        return cluster_of_system(options["system"], nodes, devices if is_given("devices") else None, network)
    if devices < 1 or nodes < 1:
        raise InputError(f"--devices and --nodes must be at least 1, found {devices} and {nodes}")
    if nodes > devices:
        raise InputError(
            f"--nodes {nodes} with --devices {devices}: a machine has at least one; --devices {nodes} would fit"
        )
    if devices == 1:
        return None
    if options["link"] is None:
        raise InputError(f"--devices {devices}: give the --link between them, such as nvlink3, or a --system")
    if devices % nodes:
        raise InputError(f"--devices {devices} do not divide over --nodes {nodes}; {devices // nodes * nodes} would")
    return cluster(devices, load_link(options["link"]), network, per_node=devices // nodes, ports=devices // nodes)


def _answer(
    workload: Workload, name: str, options: dict[str, Any], asked: Options
) -> Simulation | tuple[str, SimulatorError]:
    """The answer for a device, or its name and why it cannot run the workload; an unknown name is an error."""
    from simulator.device.device import load_device
    from simulator.errors import OutOfMemoryError, UnsupportedError
    from simulator.pipeline import largest_batch, simulate

    device = with_prices(load_device(name, memory=options["memory"], overrides=options["overrides"]), options)
    joined = cluster_of(options)
    if options["batch"] == LARGEST_BATCH:
        asked = replace(asked, batch=largest_batch(workload, device, asked))
    try:
        return replace(simulate(workload, device, asked, joined), command=click.get_current_context().obj or "")
    except (OutOfMemoryError, UnsupportedError) as error:
        return device.label, error

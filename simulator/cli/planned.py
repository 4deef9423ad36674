"""`simulate --parallel ...`: a training step that many devices share."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from simulator.cli.completion import LARGEST_BATCH
from simulator.errors import InputError

if TYPE_CHECKING:
    from simulator.parallel.plan import Plan
    from simulator.pipeline import Options
    from simulator.planned import Planned, Shares


def run_plan(options: dict[str, Any]) -> None:
    """Simulate the step, print the answer, write the report and the trace."""
    from pathlib import Path

    from simulator.report import plan as report

    answer = planned(options)
    folder = None
    if not options["no_report"]:
        from simulator.report.plan_files import write_plan

        folder = write_plan(answer, Path(options["out"]))
    if options["timeline"]:
        from simulator.report.plan_trace import write_trace

        write_trace(answer, Path(options["timeline"]))
    if options["as_json"]:
        from simulator.report.summary import json_text

        click.echo(json_text(report.plan_summary(answer)))
    else:
        report.print_plan(answer, folder)


def planned(options: dict[str, Any]) -> Planned:
    """The answer that the options ask for.

    Raises
    ------
    InputError
        If more than one workload or device is named, or none.
    """
    from simulator.billing import billed_plan
    from simulator.cli.asked import circumstances, feeding_of, habits_of, with_prices
    from simulator.cli.options import chosen_workload
    from simulator.cli.run import cluster_of, device_of_system, options_of
    from simulator.courses import coursed_plan
    from simulator.device.device import load_device
    from simulator.device.link import load_link
    from simulator.device.system import cluster
    from simulator.feeding import fed_plan
    from simulator.planned import Shares, simulate_plan

    devices = options["device"] or device_of_system(options["system"])
    if len(options["workload"]) != 1 or len(devices) != 1:
        raise InputError("a plan is for one --workload on one --device, or a --system")
    device = load_device(devices[0], memory=options["memory"], overrides=options["overrides"])
    device = with_prices(device, options)
    joined = cluster_of(options) or cluster(1, load_link("pcie4"))
    workload = chosen_workload(options["workload"][0], options)
    plan = plan_from(options, joined.devices)
    numbered = _numbered(options)
    shares = Shares(workload, device, options_of(numbered), joined)
    plan = _with_accumulation(plan, numbered, workload.batch)
    plan, asked = _filled(plan, options, shares)
    answer = simulate_plan(workload, device, asked, joined, plan, options["global_batch"])
    feeding, habits = feeding_of(options), habits_of(options)
    if feeding is not None:
        answer = fed_plan(answer, feeding)
    if habits is not None:
        answer = coursed_plan(answer, habits)
    given = circumstances(options)
    if given is not None:
        answer = billed_plan(answer, given)
    return replace(answer, command=click.get_current_context().obj or "")


def _numbered(options: dict[str, Any]) -> dict[str, Any]:
    """The options with the workload's own batch where the largest is asked for, until it is found."""
    batch = options["batch"]
    if isinstance(batch, str) and batch != LARGEST_BATCH:
        raise InputError(
            f"--batch {batch} is a curve of inference on one device; give a plan a number, or {LARGEST_BATCH}"
        )
    return options | {"batch": None if batch == LARGEST_BATCH else batch}


def _filled(plan: Plan, options: dict[str, Any], shares: Shares) -> tuple[Plan, Options]:
    """The plan and its options with as many samples as fit, where that is asked for."""
    from simulator.planning.largest import largest_microbatch, largest_plan_batch

    asked = shares.options
    if options["batch"] == options["microbatch"] == LARGEST_BATCH:
        raise InputError("--batch max and --microbatch max: give one of them a number")
    if options["batch"] == LARGEST_BATCH and options["global_batch"] is None:
        asked = replace(asked, batch=largest_plan_batch(shares, plan))
    if options["microbatch"] == LARGEST_BATCH:
        plan = replace(plan, microbatch=largest_microbatch(shares, plan, options["global_batch"]))
    return plan, asked


def plan_from(options: dict[str, Any], devices: int) -> Plan:
    """The plan of the options."""
    from simulator.parallel.plan import parse_schedule, plan_of

    if options["fsdp"] and options["zero"] not in (None, 3):
        raise InputError(f"--fsdp is --zero 3, and --zero {options['zero']} stands beside it")
    schedule, pieces = parse_schedule(options["schedule"] or "1f1b")
    return plan_of(
        options["degrees"] or "",
        devices,
        zero=3 if options["fsdp"] else options["zero"] or 0,
        microbatch=None if options["microbatch"] == LARGEST_BATCH else options["microbatch"],
        schedule=schedule,
        virtual=pieces,
        recompute=options["recompute"] or "none",
        sequence=options["sequence_parallel"],
        overlap=options["overlap"] != "off",
        pipelined=options["overlap"] == "all",
    )


def _with_accumulation(plan: Plan, options: dict[str, Any], usual: int) -> Plan:
    """`--accumulate` as the micro-batch that it means."""
    from simulator.parallel.plan import divisor

    steps = options["accumulate"]
    if steps is None:
        return plan
    if options["microbatch"] is not None:
        raise InputError("--accumulate and --microbatch say the same; give one of them")
    batch = (options["global_batch"] or (options["batch"] or usual) * plan.data) // plan.data
    if batch % steps:
        fit = divisor(batch, steps)
        raise InputError(f"--accumulate {steps} does not divide the {batch} samples of a replica; {fit} would")
    return replace(plan, microbatch=batch // steps)

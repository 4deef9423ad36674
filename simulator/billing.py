"""Answers with their runs' money, energy and failures: of a step on like devices, and of a plan."""

from __future__ import annotations

from dataclasses import replace

from simulator.errors import InputError
from simulator.execution.bill import Circumstances, Spans, bill_of
from simulator.execution.energy import Activity, activity_of
from simulator.pipeline import Simulation
from simulator.planned import Planned
from simulator.precision import Engine, get_precision
from simulator.roofline.rates import Fidelity, peak_name


def billed(simulation: Simulation, given: Circumstances) -> Simulation:
    """The same answer with its run's bill."""
    step, run, interval = simulation.step, simulation.run, simulation.interval
    activity = None
    if simulation.options.fidelity == Fidelity.CALIBRATED:
        activity = activity_of(simulation.kernels, simulation.times, simulation.matrix_peak, step.time_s)
    bounds = (interval.low, interval.high) if interval else (None, None)
    steps = Spans(step.time_s, run.epoch_s, activity, *bounds)
    return replace(simulation, bill=bill_of(run.total_s, simulation.device, step.devices, given, steps))


def billed_plan(answer: Planned, given: Circumstances) -> Planned:
    """The same answer with its run's bill.

    Raises
    ------
    InputError
        If no dataset is known, so that the run has no end.
    """
    run, interval = answer.run, answer.interval
    if run is None:
        raise InputError(
            f"{answer.workload.name} names no dataset, so that a run has no end; give --dataset or --samples"
        )
    steps = Spans(answer.step.time_s, run.epoch_s, _mean_device(answer), interval.low, interval.high)
    return replace(answer, bill=bill_of(run.total_s, answer.device, answer.plan.devices, given, steps))


def _mean_device(answer: Planned) -> Activity | None:
    """The activity of a device of the mean stage; what is computed again is its share of the passes once more."""
    if answer.options.fidelity != Fidelity.CALIBRATED:
        return None
    parts, plan, share = answer.step.parts, answer.plan, answer.share
    again = 1 + (parts["recompute"] / parts["compute"] if parts["compute"] else 0.0)
    repeats = answer.step.microbatches * again / plan.pipeline, 1 / plan.pipeline
    matrix_peak = peak_name(answer.device, get_precision(answer.options.precision), Engine.MATRIX)
    return activity_of(share.kernels, share.times, matrix_peak, answer.step.time_s, repeats)

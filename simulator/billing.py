"""Answers with their runs' money, energy and failures: of a step on like devices, and of a plan."""

from __future__ import annotations

from dataclasses import replace

from simulator.device.machine import disks_of
from simulator.device.storage import load_storage
from simulator.errors import InputError
from simulator.execution.bill import Circumstances, Spans, bill_of
from simulator.execution.course import Course
from simulator.execution.energy import Activity, activity_of
from simulator.execution.run import Run, endless
from simulator.parallel.bound import PlanBound
from simulator.pipeline import Simulation, footprint_of
from simulator.planned import Planned


def billed(simulation: Simulation, given: Circumstances) -> Simulation:
    """The same answer with its run's bill."""
    step, run, interval = simulation.step, simulation.run, simulation.interval
    activity = None
    if simulation.calibrated:
        activity = activity_of(simulation.kernels, simulation.times, simulation.setting.matrix_peak, step.time_s)
    bounds = (interval.low, interval.high) if interval else (None, None)
    run_s, late = _on_the_calendar(run, simulation.course)
    spans = Spans(step.time_s * late, run.epoch_s * late, activity, *bounds)
    given = _written(given, simulation, 1)
    return replace(simulation, bill=bill_of(run_s, simulation.device, step.devices, given, spans, simulation.cluster))


def billed_plan(answer: Planned, given: Circumstances) -> Planned:
    """The same answer with its run's bill.

    Raises
    ------
    InputError
        If no dataset is known, so that the run has no end.
    """
    run, interval = answer.run, answer.interval
    if run is None:
        raise endless(answer.workload.name)
    run_s, late = _on_the_calendar(run, answer.course)
    spans = Spans(answer.step.time_s * late, run.epoch_s * late, _mean_device(answer), interval.low, interval.high)
    given = _written(given, answer, _writers(answer))
    return replace(answer, bill=bill_of(run_s, answer.device, answer.plan.devices, given, spans, answer.cluster))


def _on_the_calendar(run: Run, course: Course | None) -> tuple[float, float]:
    """Seconds of a run, and how many times as long a step takes as without waiting for the slowest device."""
    return (course.total_s, 1 + course.late_s / course.steps_s) if course else (run.total_s, 1.0)


def _writers(answer: Planned) -> int:
    """Machines that hold one copy of the state: of a replica, or of all where data-parallel ranks share it out."""
    plan, cluster = answer.plan, answer.cluster
    holders = plan.devices if plan.zero else min(plan.tensor * plan.pipeline * plan.expert, plan.devices)
    return min(-(-holders // cluster.per_node), cluster.nodes)


def _written(given: Circumstances, answer: Simulation | Planned, writers: int) -> Circumstances:
    """The same with the time of writing the state: weights, master weights and moments, each machine its own part.

    Raises
    ------
    InputError
        If nobody knows how fast the storage writes.
    """
    if given.checkpoint_to is None or given.failures is None:
        return given
    cluster = answer.cluster
    where = disks_of(given.checkpoint_to, cluster.machine if cluster else None)
    storage = load_storage(where or given.checkpoint_to)
    if storage.write_byte_per_s is None:
        raise InputError(f"--checkpoint-to {storage.name}: nobody knows how fast it writes; give --checkpoint TIME")
    state = footprint_of(answer.workload, answer.device, answer.options)
    write_s = (state.parameters_bytes + state.optimizer_bytes) / (storage.write_byte_per_s * writers)
    return replace(given, failures=replace(given.failures, checkpoint_s=write_s))


def _mean_device(answer: Planned) -> Activity | None:
    """The activity of a device of the mean stage; what is computed again is its share of the passes once more."""
    if not answer.options.calibrated:
        return None
    seconds, plan, share = answer.step.seconds, answer.plan, answer.share
    once_s, again_s = seconds[PlanBound.COMPUTE], seconds[PlanBound.RECOMPUTE]
    again = 1 + (again_s / once_s if once_s else 0.0)
    repeats = answer.step.microbatches * again / plan.pipeline, 1 / plan.pipeline
    matrix_peak = answer.setting.matrix_peak
    return activity_of(share.kernels, share.times, matrix_peak, answer.step.time_s, repeats)

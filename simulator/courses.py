"""Answers with their runs on the calendar: of a step on like devices, and of a plan."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from simulator.errors import InputError
from simulator.execution.course import Habits, RunStep, course_of, evaluation_seconds, without_last
from simulator.execution.run import endless
from simulator.parallel.bound import PlanBound
from simulator.pipeline import Simulation, step_seconds
from simulator.planned import Planned
from simulator.workload.dataset import NO_DATASET
from simulator.workload.workload import Workload

COMPUTING = (PlanBound.COMPUTE, PlanBound.RECOMPUTE, PlanBound.UPDATE)
"""What of a plan's step devices compute in."""


def coursed(simulation: Simulation, habits: Habits) -> Simulation:
    """The same answer with its run on the calendar.

    Raises
    ------
    InputError
        If no dataset is known, or evaluations are asked of inference or of nobody knows how many samples.
    """
    _known(simulation.workload, habits, simulation.options.task)
    step, run = simulation.step, simulation.run
    together = step.batch * step.devices
    if habits.last_batch == "drop":
        run = without_last(run, together, step.time_s)
    forward = replace(simulation.options, task="infer")

    def forward_s(samples: int) -> float:
        each = np.array([-(-samples // step.devices)])
        return float(step_seconds(simulation.workload, simulation.device, each, forward)[0])

    costs = RunStep(
        time_s=step.time_s,
        computing_s=step.kernels_s,
        samples=together,
        devices=step.devices,
        evaluate=lambda samples: evaluation_seconds(samples, together, forward_s),
    )
    dropped = simulation.run.samples - run.samples
    course = course_of(run, costs, habits, simulation.workload.dataset.evaluation, dropped)
    return replace(simulation, run=run, course=course)


def coursed_plan(answer: Planned, habits: Habits) -> Planned:
    """The same answer with its run on the calendar; an evaluation takes the forward passes' share of the steps.

    Raises
    ------
    InputError
        As of a step.
    """
    _known(answer.workload, habits, answer.options.task)
    run, step = answer.run, answer.step
    if run is None:
        raise TypeError("a known dataset has a run")
    samples = run.samples
    if habits.last_batch == "drop":
        run = without_last(run, answer.global_batch, step.time_s)
    costs = RunStep(
        time_s=step.time_s,
        computing_s=sum(step.seconds[bound] for bound in COMPUTING),
        samples=answer.global_batch,
        devices=answer.plan.devices,
        evaluate=lambda number: number / answer.global_batch * _forward_seconds(answer),
    )
    course = course_of(run, costs, habits, answer.workload.dataset.evaluation, samples - run.samples)
    return replace(answer, course=course)


def _forward_seconds(answer: Planned) -> float:
    """What the forward passes have of a step, with their share of bubbles and exchange. [s]"""
    pieces, seconds = answer.step.pieces, answer.step.seconds
    forward = sum(piece.forward_s + piece.sent_s for piece in pieces)
    backward = sum(piece.again_s + piece.backward_s + piece.weights_s + piece.returned_s for piece in pieces)
    passes_s = answer.step.time_s - seconds[PlanBound.GRADIENTS] - seconds[PlanBound.UPDATE]
    return passes_s * forward / (forward + backward)


def _known(workload: Workload, habits: Habits, task: str) -> None:
    if workload.dataset == NO_DATASET:
        raise endless(workload.name)
    if habits.evaluate_every is not None and task != "train":
        raise InputError("--evaluate-every is of training; an inference is one")

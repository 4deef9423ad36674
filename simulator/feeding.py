"""The input of a plan's step: samples of each replica come from one loader, beside the computing of all its devices."""

from __future__ import annotations

from dataclasses import replace

from simulator.execution.input import Feeding, input_of
from simulator.parallel.step import with_late_samples
from simulator.planned import Planned


def fed_plan(answer: Planned, feeding: Feeding) -> Planned:
    """The same answer where samples come from loaders that prefetch: a step waits for its slowest stage.

    Ranks that share a network read the same samples: one loader a replica, on the machine of its first device.

    Raises
    ------
    InputError, UnsupportedError
        Where something of the input is not known.
    """
    plan, per_node = answer.plan, answer.cluster.per_node
    loaders = max(min(per_node // plan.replica, plan.data), 1)
    feeding = feeding.on(answer.cluster.machine, loaders, per_node)
    batch, step = answer.global_batch // plan.data, answer.step
    found = input_of(answer.workload, answer.device, feeding, (batch, step.time_s), (loaders, plan.data // loaders))
    return replace(answer, step=with_late_samples(step, found.exposed_s), input=found)

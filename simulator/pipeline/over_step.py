"""Memory of one device over its step."""

from __future__ import annotations

from simulator.execution.over_step import MemoryOverStep, inference_over_step, training_over_step
from simulator.execution.step import FORWARD
from simulator.pipeline.simulation import Simulation


def memory_over_step(simulation: Simulation) -> MemoryOverStep:
    """What a device holds over a step."""
    workload, memory, step = simulation.workload, simulation.memory, simulation.step
    samples, by_pass = (simulation.setting.precision, simulation.batch), simulation.layers.by_pass
    if not simulation.options.training:
        return inference_over_step(workload, memory, samples, by_pass[FORWARD])
    return training_over_step(workload, memory, samples, by_pass, (step.input_s, step.communication_s))

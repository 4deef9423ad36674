"""The whole program: a workload, a device and options become a step, a run and a footprint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np  # noqa: F401  before msgspec, which brings what slows the definition of NumPy's generic types

from simulator.device.device import Device
from simulator.errors import InputError
from simulator.execution.memory import Footprint, check_fits
from simulator.execution.run import Run, run_of
from simulator.execution.step import Step, layer_times, step_of, with_waiting
from simulator.op.kernels import Kernels
from simulator.pipeline.options import COUNTS, LARGEST, Options
from simulator.pipeline.simulation import Simulation
from simulator.pipeline.stages import (
    footprint_of,
    gradient_bytes_of,
    interval_at,
    interval_factors,
    kernels_of,
    largest_batch,
    operations_per_sample,
    overhead_shares,
    reserve_of,
    step_seconds,
    times_of,
)
from simulator.roofline.rates import Fidelity
from simulator.roofline.times import Bound, Times
from simulator.roofline.used import used_numbers, weakest_grade
from simulator.workload.dataset import NO_DATASET
from simulator.workload.workload import Workload

if TYPE_CHECKING:
    from simulator.device.system import Cluster
    from simulator.execution.input import Feeding
    from simulator.parallel.data import Exchange

__all__ = [
    "COUNTS",
    "LARGEST",
    "Options",
    "Simulation",
    "fed",
    "footprint_of",
    "gradient_bytes_of",
    "interval_factors",
    "kernels_of",
    "largest_batch",
    "operations_per_sample",
    "overhead_shares",
    "reserve_of",
    "simulate",
    "step_seconds",
    "times_of",
]


def simulate(
    workload: Workload, device: Device, options: Options | None = None, cluster: Cluster | None = None
) -> Simulation:
    """How long a workload takes on a device, and why.

    cluster : several such devices, each of which steps on `batch` samples of its own (data parallelism); one if None.

    Raises
    ------
    UnsupportedError
        If the device lists no peak for the precision.
    OutOfMemoryError
        If the step does not fit the device's memory and `ignore_memory` is not set.
    """
    chosen = options or Options()
    setting, batch = chosen.on(device), chosen.batch or workload.batch
    device, peak_flop_per_s = setting.device, setting.matrix_flop_per_s
    if workload.dataset == NO_DATASET and chosen.epochs is not None:
        raise InputError(f"{workload.name} names no dataset, so that it has no epochs; give --dataset or --samples")
    memory = _memory(workload, device, chosen)
    kernels = kernels_of(workload, chosen, device)
    timed = partial(times_of, workload, kernels, device, chosen)
    times = timed(batch)
    if not times.time_s.any():
        raise InputError(f"{workload.name}: nothing in it takes time, task {chosen.task}, fidelity {chosen.fidelity}")
    exchange = _exchange(workload, kernels, times, (device, chosen), cluster)
    devices = cluster.devices if cluster else 1
    step = step_of(kernels, times, batch, peak_flop_per_s)
    step = replace(step, devices=devices)
    if exchange:
        step = with_waiting(step, Bound.COMMUNICATION, exchange.exposed_s)
    if setting.fidelity is Fidelity.NAPKIN:
        step = replace(step, mfu=device.utilisation)
    used = used_numbers(setting, training=chosen.training)
    return Simulation(
        workload=workload,
        setting=setting,
        options=chosen,
        kernels=kernels,
        times=times,
        layers=layer_times(kernels, times, len(workload.layers)),
        step=step,
        run=_run(workload, step, chosen, timed),
        memory=memory,
        used=used,
        grade=weakest_grade(used, setting.fidelity),
        cluster=cluster,
        exchange=exchange,
        interval=interval_at(workload, device, chosen, step.batch, step.bound_shares[Bound.OVERHEAD]),
    )


def fed(simulation: Simulation, feeding: Feeding) -> Simulation:
    """The same answer where samples come from a loader that prefetches: a step waits for its slowest stage.

    Raises
    ------
    InputError, UnsupportedError
        Where something of the input is not known.
    """
    from simulator.execution.input import input_of

    workload, device, step, options = simulation.workload, simulation.device, simulation.step, simulation.options
    cluster = simulation.cluster
    machine = (cluster.per_node, cluster.nodes) if cluster else (1, 1)
    feeding = feeding.on(cluster.machine if cluster else None, machine[0], machine[0])
    found = input_of(workload, device, feeding, (step.batch, step.time_s), machine)
    timed = partial(times_of, workload, simulation.kernels, device, options)
    run = _run(workload, step, options, timed, found.time_s / step.batch)
    interval = None if found.exposed_s > 0 else simulation.interval
    return replace(
        simulation, step=with_waiting(step, Bound.INPUT, found.exposed_s), run=run, input=found, interval=interval
    )


def _memory(workload: Workload, device: Device, options: Options) -> Footprint:
    """What a step holds; an `OutOfMemoryError` where it does not fit, unless that is to be ignored."""
    memory = footprint_of(workload, device, options)
    if not options.ignore_memory:
        check_fits(memory, workload, device.name, options.batch or workload.batch)
    return memory


def _run(workload: Workload, step: Step, options: Options, timed: Callable[[int], Times], sample_s: float = 0.0) -> Run:
    """All epochs, of whole steps on all devices and of one smaller step; a single step where no dataset is known.

    sample_s : what the input of each device takes of a step, for each of its samples. [s]
    """
    together = step.batch * step.devices
    samples = workload.dataset.samples if workload.dataset != NO_DATASET else together

    def step_s(size: int) -> float:
        each = -(-size // step.devices)
        return max(step.time_s - _saved(step, timed, each), sample_s * each)

    return run_of(samples, together, options.epochs or 1, step_s)


def _saved(step: Step, timed: Callable[[int], Times], batch: int) -> float:
    """What a step of fewer samples saves of a full one. [s]"""
    if batch == step.batch:
        return 0.0
    return step.kernels_s - float(timed(batch).time_s.sum())


def _exchange(
    workload: Workload, kernels: Kernels, times: Times, asked: tuple[Device, Options], cluster: Cluster | None
) -> Exchange | None:
    """The sums of gradients over several devices; None on one, and at inference."""
    device, options = asked
    if cluster is None or cluster.devices == 1 or not options.training:
        return None
    from simulator.parallel.data import exchange_gradients, memory_share, taken_share, tower_seconds
    from simulator.parallel.summing import summing_of

    setting = options.on(device)
    gradients, taken = gradient_bytes_of(workload, options), taken_share(device, cluster, memory_share(times))
    exchange = exchange_gradients(kernels, times, gradients, summing_of(setting, cluster), taken)
    return replace(exchange, exposed_s=exchange.exposed_s + tower_seconds(kernels, setting, cluster))

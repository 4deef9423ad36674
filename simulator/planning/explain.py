"""Why a step takes as long as it does, cause by cause, and what would help most, each computed by running it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import msgspec
import numpy as np

from simulator.device.device import Device
from simulator.device.framework import load_framework
from simulator.errors import InputError, SimulatorError, UnknownNameError
from simulator.execution.step import layer_times
from simulator.op.kernels import FloatArray
from simulator.pipeline import Options, Simulation, simulate
from simulator.roofline.peeled import REST, peeled
from simulator.roofline.rates import Fidelity
from simulator.roofline.setting import Setting
from simulator.roofline.times import Bound, kernel_times


@dataclass(frozen=True)
class CauseShare:
    """One cause's part of a time. [s]"""

    cause: str
    words: str
    seconds: float


@dataclass(frozen=True)
class Help:
    """One thing changed.

    Attributes
    ----------
    option : how to ask for it; "" where no option does.
    time_s : of the step's samples with it, at their own number of samples where the batch changes. [s]
    fits : whether it fits the device's memory.
    """

    what: str
    option: str
    time_s: float
    fits: bool


@dataclass(frozen=True, eq=False)
class Explanation:
    """Of a whole step, or of one layer.

    Attributes
    ----------
    time_s, roofline_s : the calibrated time, and the roofline of the same kernels. [s]
    shares : what lies between them, by cause, in the order in which they were taken away.
    helps : what would help, the most first; of a whole step alone.
    worst : layers with most time above their roof: (name, seconds above, cause with the largest share).
    """

    simulation: Simulation
    layer: str | None
    time_s: float
    roofline_s: float
    bound: str
    shares: tuple[CauseShare, ...]
    helps: tuple[Help, ...]
    worst: tuple[tuple[str, float, str], ...]


WORST = 10


def explain(simulation: Simulation, layer: str | None = None) -> Explanation:
    """Explain a calibrated simulation of one device.

    Raises
    ------
    InputError
        If the simulation is of another fidelity, which has no causes.
    UnknownNameError
        If the network has no such layer.
    """
    if not simulation.calibrated:
        raise InputError("only a calibrated time has causes; leave --fidelity out")
    names = [one.name for one in simulation.workload.layers]
    if layer is not None and layer not in names:
        raise UnknownNameError("layer", layer, names)
    causes, by_layer = _by_layer(simulation)
    place = slice(None) if layer is None else slice(names.index(layer), names.index(layer) + 1)
    seconds = by_layer[:, place].sum(axis=1)
    shares = tuple(
        CauseShare(name, words, float(before - after))
        for (name, words), before, after in zip(causes, seconds, seconds[1:], strict=False)
    )
    bound = simulation.layers.bound[names.index(layer)] if layer else simulation.step.bound
    return Explanation(
        simulation,
        layer,
        float(seconds[0]),
        float(seconds[-1]),
        Bound(int(bound)).word,
        shares,
        () if layer else tuple(sorted(_helps(simulation), key=lambda one: one.time_s)),
        _worst(names, causes, by_layer),
    )


def _by_layer(simulation: Simulation) -> tuple[list[tuple[str, str]], FloatArray]:
    """Causes, and each layer's time with none, one, two ... taken away, and at the roofline; shape (n, layers)."""
    rows, causes = [simulation.layers.time_s], []
    for cause, setting in peeled(simulation.setting):
        causes.append((cause.name, cause.words))
        rows.append(_layers(simulation, setting))
    rows.append(_layers(simulation, msgspec.structs.replace(simulation.setting, fidelity=Fidelity.ROOFLINE)))
    return [*causes, (REST, "against direct algorithms over the main memory")], np.array(rows)


def _layers(simulation: Simulation, setting: Setting) -> FloatArray:
    times = kernel_times(simulation.kernels, setting, simulation.batch)
    return layer_times(simulation.kernels, times, len(simulation.workload.layers)).time_s


def _worst(names: list[str], causes: list[tuple[str, str]], by_layer: FloatArray) -> tuple[tuple[str, float, str], ...]:
    above = by_layer[0] - by_layer[-1]
    largest = np.argmax(by_layer[:-1] - by_layer[1:], axis=0)
    order = np.argsort(-above, kind="stable")[:WORST]
    return tuple((names[place], float(above[place]), causes[largest[place]][0]) for place in order if above[place] > 0)


def dominant_causes(simulation: Simulation) -> list[str]:
    """The cause with the largest share of each layer's time above its roof; "" where it has none."""
    causes, by_layer = _by_layer(simulation)
    largest = np.argmax(by_layer[:-1] - by_layer[1:], axis=0)
    above = by_layer[0] > by_layer[-1]
    return [causes[place][0] if higher else "" for place, higher in zip(largest, above, strict=True)]


def _helps(simulation: Simulation) -> Iterator[Help]:
    """Each change, run; those that cannot run are left out."""
    for what, option, changed in _changes(simulation):
        device, options = changed
        try:
            answer = simulate(simulation.workload, device, replace(options, ignore_memory=True))
        except SimulatorError:
            continue
        per_sample = answer.step.time_s / answer.batch
        if per_sample * simulation.batch < simulation.step.time_s * (1 - 1e-6):
            yield Help(what, option, per_sample * simulation.batch, answer.memory.fits)


def _changes(simulation: Simulation) -> Iterator[tuple[str, str, tuple[Device, Options]]]:
    device, options = simulation.device, simulation.options
    memory = replace(device.memory, bandwidth_byte_per_s=2 * device.memory.bandwidth_byte_per_s)
    yield "twice the memory bandwidth", "--set memory.bandwidth=2x", (replace(device, memory=memory), options)
    peak = {name: 2 * value for name, value in device.peak.items()}
    yield "twice the peaks", "--set peak.NAME=2x", (replace(device, peak=peak), options)
    batch = 2 * simulation.batch
    yield "twice the batch", f"--batch {batch}", (device, replace(options, batch=batch))
    call_us = 0.5e6 * load_framework("pytorch").dispatch_s[0] * device.host_scale
    yield "a host twice as fast", f"--host {call_us:.3g}us", (device, replace(options, host=f"{call_us:.3g}us"))
    for precision in ("tf32", "amp", "bf16", "fp8"):
        if precision != options.precision:
            yield f"precision {precision}", f"--precision {precision}", (device, replace(options, precision=precision))
    for framework in ("pytorch-compiled", "pytorch-channels-last", "tensorrt"):
        if framework != options.framework and (framework != "tensorrt" or options.task == "infer"):
            yield f"as {framework}", f"--framework {framework}", (device, replace(options, framework=framework))

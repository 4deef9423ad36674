"""Inference of any network at many batches: latency, throughput, memory, the knee, and what keeps a limit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from simulator.device.device import Device
from simulator.errors import InputError
from simulator.pipeline import LARGEST, Options, Simulation, simulate
from simulator.roofline.times import Bound
from simulator.serving.copies import ALONE, Instances
from simulator.serving.fastest import Choice, fastest_within
from simulator.workload.workload import Workload

MOST_POINTS = 200


@dataclass(frozen=True)
class CurvePoint:
    """One batch, of each copy; throughput and memory of all copies. [s], [1/s], [byte]"""

    batch: int
    latency_s: float
    samples_per_s: float
    memory_bytes: float
    fits: bool
    bound: str


@dataclass(frozen=True)
class Curve:
    """Latency and throughput over batches.

    Attributes
    ----------
    knee : the batch of most power, throughput over latency: larger ones buy throughput dearly. Source: Kleinrock,
        "Power and Deterministic Rules of Thumb for Probabilistic Problems in Computer Communications", ICC 1979.
    limit_s, within : the limit that was asked for, and the largest batch that keeps it; None where none does. [s]
    largest_batch : that the memory holds, of each copy.
    copies : streams or replicas beside each other.
    fastest : the batch, and where none were asked for the streams, of the largest rate within the limit.
    """

    workload: Workload
    device: Device
    options: Options
    points: tuple[CurvePoint, ...]
    knee: CurvePoint
    largest_batch: int
    limit_s: float | None = None
    within: CurvePoint | None = None
    copies: Instances = ALONE
    fastest: Choice | None = None


def curve(
    workload: Workload,
    device: Device,
    options: Options,
    batches: Sequence[int],
    limit_s: float | None = None,
    copies: Instances | None = None,
) -> Curve:
    """The curve over some batches; with a limit, the largest batch and the largest rate that keep it, of all batches.

    copies : streams or replicas beside each other; where None, the largest rate may be that of several streams.

    Raises
    ------
    InputError
        If the task is not inference.
    """
    if options.task != "infer":
        raise InputError("a curve over batches, and --slo, are of inference; add --task infer")
    found = [_run(workload, device, options, batch) for batch in batches]
    beside = copies or ALONE
    points = tuple(_point(simulation, beside) for simulation in found)
    return Curve(
        workload=workload,
        device=device,
        options=options,
        points=points,
        knee=max(points, key=lambda point: point.samples_per_s / point.latency_s),
        largest_batch=beside.largest_batch(found[0].memory),
        limit_s=limit_s,
        within=_within(Asking(workload, device, options, beside), limit_s) if limit_s else None,
        copies=beside,
        fastest=fastest_within(found[0], limit_s, copies) if limit_s else None,
    )


def _run(workload: Workload, device: Device, options: Options, batch: int) -> Simulation:
    return simulate(workload, device, replace(options, batch=batch, ignore_memory=True))


def _point(simulation: Simulation, copies: Instances) -> CurvePoint:
    step, memory, times = simulation.step, simulation.memory, simulation.times
    latency_s = float(copies.round_s(step.time_s, step.time_s - float(times.seconds[Bound.OVERHEAD].sum())))
    return CurvePoint(
        batch=step.batch,
        latency_s=latency_s,
        samples_per_s=copies.number * step.batch * step.devices / latency_s,
        memory_bytes=copies.memory_bytes(memory),
        fits=step.batch <= copies.largest_batch(memory),
        bound=step.bound.word if latency_s == step.time_s else "copies",
    )


@dataclass(frozen=True)
class Asking:
    """What a batch is asked of."""

    workload: Workload
    device: Device
    options: Options
    copies: Instances


def _within(asking: Asking, limit_s: float) -> CurvePoint | None:
    """The largest batch that fits the memory and takes no longer than a limit."""

    def kept(batch: int) -> CurvePoint | None:
        run = _run(asking.workload, asking.device, asking.options, batch)
        point = _point(run, asking.copies)
        return point if point.fits and point.latency_s <= limit_s else None

    best, high = kept(1), 2
    while best and (found := kept(high)):
        best, high = found, 2 * high
    low = best.batch if best else 0
    while best and high - low > 1:
        middle = (low + high) // 2
        found = kept(middle)
        best, low, high = (found, middle, high) if found else (best, low, middle)
    return best


def batches_of(text: str) -> tuple[int, ...]:
    """The batches of "32", "1,8,32", "1:256:x2" (each twice the last) or "8:64:8" (steps of 8).

    Raises
    ------
    InputError
        For what is none of these, or a batch below one.
    """
    try:
        batches = _range(text) if ":" in text else tuple(int(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"--batch {text!r}: write 32, 1,8,32, 1:256:x2 or 8:64:8") from None
    if not batches or not all(1 <= batch <= LARGEST for batch in batches):
        raise InputError(f"--batch {text!r}: batches are between 1 and {LARGEST}")
    return batches


def _range(text: str) -> tuple[int, ...]:
    first, last, step = text.split(":")
    low, high, times = int(first), int(last), step.startswith("x")
    by = int(step.removeprefix("x"))
    if low < 1 or high < low or by < (2 if times else 1):
        raise ValueError(text)
    batches = [low]
    while batches[-1] < high and len(batches) <= MOST_POINTS:
        batches.append(min(batches[-1] * by if times else batches[-1] + by, high))
    if len(batches) > MOST_POINTS:
        raise InputError(f"--batch {text!r}: more than {MOST_POINTS} batches; take larger steps")
    return tuple(batches)

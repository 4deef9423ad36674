"""The answer on a terminal, for a person with ten seconds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from simulator.errors import SimulatorError
from simulator.pipeline import Simulation, operations_per_sample
from simulator.report.layer_listing import shape_text
from simulator.report.listing import Row, print_table
from simulator.roofline.times import Bound
from simulator.units import FLOPS_PER_MAC, binary_bytes, duration, si

SLOWEST = 10


def print_scorecard(
    simulation: Simulation, others: Sequence[Simulation | tuple[str, SimulatorError]], folder: Path | None
) -> None:
    """The answer first, then what binds, the slowest layers and where the files are."""
    from rich.console import Console

    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.print(headline(simulation), style="bold")
    lines = [
        steps_line(simulation),
        *interval_lines(simulation),
        bound_line(simulation),
        memory_line(simulation),
        work_line(simulation),
    ]
    lines += [napkin_line(simulation), *(comparison_line(simulation, other) for other in others)]
    for line in lines:
        console.print(f"  {line}")
    console.print()
    print_table("slowest layers", slowest_rows(simulation))
    console.print(basis_line(simulation))
    if folder is not None:
        console.print(f"report: {folder / 'report.md'}")


def headline(simulation: Simulation) -> str:
    """Workload, device and the time of all epochs."""
    run, options = simulation.run, simulation.options
    verb = "training" if options.task == "train" else "inference"
    epochs = "1 epoch" if run.epochs == 1 else f"{run.epochs} epochs"
    data = simulation.workload.dataset
    return (
        f"{simulation.workload.name} on {simulation.device.name}: {epochs} of {data.name} ({data.samples:,} samples), "
        f"{verb} in {options.precision} at batch {simulation.batch}: {duration(run.total_s)}"
    )


def steps_line(simulation: Simulation) -> str:
    """Epoch, step and throughput."""
    step, run = simulation.step, simulation.run
    phases = f"forward {duration(step.forward_s)}"
    if step.backward_s:
        phases += f", backward {duration(step.backward_s)}, update {duration(step.update_s)}"
    return (
        f"epoch {duration(run.epoch_s)} = {run.steps_per_epoch:,} steps of {duration(step.time_s)} "
        f"({phases}); {step.samples_per_s:,.1f} samples/s"
    )


def interval_lines(simulation: Simulation) -> list[str]:
    """How sure the total is, where that is known."""
    interval, total = simulation.interval, simulation.run.total_s
    if interval is None:
        return []
    low, high = duration(total * interval.low), duration(total * interval.high)
    return [f"with {interval.coverage:.0%} probability between {low} and {high}"]


def bound_line(simulation: Simulation) -> str:
    """What the time waits for."""
    step = simulation.step
    shares = ", ".join(f"{step.bound_shares[bound]:.0%} {bound.name.lower()}" for bound in Bound)
    peak = simulation.device.peak[simulation.matrix_peak]
    return (
        f"bound by {step.bound.name.lower()} (of the time: {shares}); "
        f"{step.mfu:.0%} of the {si(peak, 'FLOP/s')} {simulation.matrix_peak} peak used (MFU)"
    )


def memory_line(simulation: Simulation) -> str:
    """Footprint against capacity."""
    memory = simulation.memory
    verdict = f"largest batch {memory.largest_batch:,}" if memory.fits else "does NOT fit; the time ignores that"
    return (
        f"memory {binary_bytes(memory.total_bytes)} of {binary_bytes(memory.capacity_bytes)} "
        f"(activations {binary_bytes(memory.activations_bytes)}); {verdict}"
    )


def work_line(simulation: Simulation) -> str:
    """MAC against FLOP, forward against a step."""
    workload, step = simulation.workload, simulation.step
    per_sample = step.flops / step.batch
    forward = FLOPS_PER_MAC * workload.macs
    times = f", {per_sample / forward:.2f} times the forward pass" if forward else ""
    return (
        f"work: {si(workload.macs, 'MAC')} forward a sample = {si(forward, 'FLOP')} (a MAC is 2 FLOP); "
        f"a whole step is {si(per_sample, 'FLOP')} a sample{times}"
    )


def napkin_line(simulation: Simulation) -> str:
    """The founding articles' division, and what it leaves out."""
    device, run = simulation.device, simulation.run
    operations = operations_per_sample(simulation.workload, simulation.options.count)
    peak = device.peak[simulation.matrix_peak]
    if not operations:
        return "napkin: no layer has MACs, so the articles' division says nothing"
    total = operations * run.samples * run.epochs / (peak * device.utilisation)
    return (
        f"napkin: {si(operations, 'MAC')} x {run.samples:,} x {run.epochs} / ({device.utilisation:.0%} of "
        f"{si(peak, 'FLOP/s')}) = {duration(total)}; it takes a MAC for one FLOP and leaves out what is not forward: "
        f"with both, {simulation.left_out:.2f} times that, {duration(total * simulation.left_out)}"
    )


def comparison_line(simulation: Simulation, other: Simulation | tuple[str, SimulatorError]) -> str:
    """Another device beside this one."""
    if isinstance(other, tuple):
        return f"{other[0]}: {other[1]}"
    ratio = other.run.total_s / simulation.run.total_s
    comparison = f"{ratio:.3g} times as long" if ratio >= 1 else f"{1 / ratio:.3g} times faster"
    return f"{other.device.name}: {duration(other.run.total_s)}, epoch {duration(other.run.epoch_s)}; {comparison}"


def basis_line(simulation: Simulation) -> str:
    """Fidelity, grade, traffic model."""
    options = simulation.options
    text = f"fidelity {options.fidelity} (weakest number used: {simulation.grade}), traffic {options.traffic}"
    if simulation.workload.unknown:
        text += f"; {len(simulation.workload.unknown)} layers have no cost rule and count nothing"
    return text


def slowest_rows(simulation: Simulation) -> list[Row]:
    """The layers that take longest."""
    times, step = simulation.layers, simulation.step
    rows: list[Row] = []
    for position in np.argsort(-times.time_s, kind="stable")[:SLOWEST]:
        layer = simulation.workload.layers[position]
        flops, traffic, time_s = times.flops[position], times.traffic_bytes[position], times.time_s[position]
        if not time_s:
            break
        rows.append(
            {
                "layer": layer.name,
                "op": layer.op.kind,
                "output": shape_text(layer.output),
                "time": duration(time_s),
                "share": f"{time_s / step.time_s:.1%}",
                "FLOP": si(flops, ""),
                "traffic": si(traffic, "B"),
                "FLOP/byte": f"{flops / traffic:.3g}" if traffic else "",
                "bound": Bound(times.bound[position]).name.lower(),
            }
        )
    return rows

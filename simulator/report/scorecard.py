"""The answer on a terminal, for a person with ten seconds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from simulator.pipeline import Simulation
from simulator.planning.division import division_of
from simulator.planning.hints import precision_hint
from simulator.planning.puzzles import puzzles_of, work_of
from simulator.report.asked import asked_line, no_interval, utilisation_words
from simulator.report.bill import bill_lines, course_lines, input_lines
from simulator.report.comparison import (
    UNIMPORTANT,
    Other,
    comparison_rows,
    failure_lines,
    total_s,
    waiting_lines,
)
from simulator.report.facts import slowest
from simulator.report.layer_listing import shape_text
from simulator.report.listing import Row, print_table
from simulator.report.style import binding, machine
from simulator.units import binary_bytes, duration, duration_range, si

DROPPED = ("op", "output", "FLOP/byte", "FLOP", "traffic")
"""Columns of the slowest layers that give way on a narrow terminal."""


def print_scorecard(simulation: Simulation, others: Sequence[Other], folder: Path | None) -> None:
    """The answer first, then what binds, the slowest layers and where the files are."""
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    console = Console(highlight=False, markup=False)
    console.print(Text(headline(simulation), style="bold"))
    for line in _lines(simulation, others):
        console.print(Padding(Text(line), (0, 0, 0, 2), expand=False))
    console.print()
    if others:
        print_table("devices", comparison_rows(simulation, others), UNIMPORTANT)
    print_table("slowest layers", slowest_rows(simulation), DROPPED)
    console.print(Text(basis_line(simulation)))
    if folder is not None:
        console.print(Text(f"report: {folder / 'report.md'}"), soft_wrap=True)


def _lines(simulation: Simulation, others: Sequence[Other]) -> Iterator[str]:
    """What stands between the headline and the tables."""
    asked = asked_line(simulation)
    if asked:
        yield f"asked: {asked}"
    yield steps_line(simulation)
    yield from interval_lines(simulation)
    yield bound_line(simulation)
    yield from input_lines(simulation.input)
    yield from exchange_lines(simulation)
    yield from course_lines(simulation.course)
    yield from bill_lines(simulation.bill)
    yield memory_line(simulation)
    yield work_line(simulation)
    if simulation.counts_epochs:
        yield napkin_line(simulation)
    yield from hint_lines(simulation)
    yield from waiting_lines(simulation, others)
    yield from failure_lines(others)


def headline(simulation: Simulation) -> str:
    """Workload, device and the time of all epochs, or of one step where none are asked for or known."""
    run, options = simulation.run, simulation.options
    verb = "training" if options.task == "train" else "inference"
    how = f"{verb} in {options.precision} at batch {simulation.batch:,}{' each' if simulation.step.devices > 1 else ''}"
    where = f"{simulation.workload.name} on {machine(simulation)}"
    if not simulation.counts_epochs:
        return f"{where}: {how}: {duration(simulation.step.time_s)} a step, {throughput(simulation)}"
    epochs = "1 epoch" if run.epochs == 1 else f"{run.epochs} epochs"
    return f"{where}: {epochs} of {simulation.workload.dataset.label}, {how}: {duration(total_s(simulation))}"


def throughput(simulation: Simulation) -> str:
    """Samples a second; of a single one-dimensional input, tokens too."""
    step, inputs = simulation.step, simulation.workload.inputs
    text = f"{step.samples_per_s:,.1f} samples/s"
    return f"{text}, {step.samples_per_s * inputs[0][0]:,.0f} tokens/s" if len(inputs[0]) == 1 else text


def steps_line(simulation: Simulation) -> str:
    """Epoch, step and throughput."""
    step, run = simulation.step, simulation.run
    phases = f"forward {duration(step.forward_s)}"
    if step.backward_s:
        phases += f", backward {duration(step.backward_s)}, update {duration(step.update_s)}"
    one = f"{duration(step.time_s)} ({phases}); {throughput(simulation)}"
    if not simulation.counts_epochs:
        return f"a step takes {one}"
    if run.samples < simulation.batch * step.devices:
        return f"epoch {duration(run.epoch_s)}: one step of its {run.samples:,} samples; a full step takes {one}"
    full, rest = divmod(run.samples, simulation.batch * step.devices)
    steps = f"{full:,} steps" if full > 1 else "1 step"
    last = f" and one of {rest:,} samples" if rest else ""
    return f"epoch {duration(run.epoch_s)} = {steps}{last}, each {one}"


def interval_lines(simulation: Simulation) -> list[str]:
    """How sure the total is and why no surer, or why that is not known."""
    interval, time_s = simulation.interval, total_s(simulation)
    if interval is None:
        return [no_interval(simulation)] if simulation.calibrated else []
    likely = duration_range(time_s * interval.low, time_s * interval.high)
    sure = f"with {interval.coverage:.0%} probability {likely}" if interval.validated else f"unvalidated: {likely}"
    return [f"{sure} ({'; '.join(interval.reasons)})" if interval.reasons else sure]


def hint_lines(simulation: Simulation) -> Iterator[str]:
    """What a reader stumbles over, a faster precision, and a classifier that is not the dataset's."""
    yield from puzzle_lines(simulation)
    hint = precision_hint(simulation)
    if hint is not None:
        yield f"in --precision {hint.precision}, on its matrix units, a step would be {hint.speedup:.2f} times faster"
    classes, dataset = simulation.workload.layers[-1].inputs[0][-1:], simulation.workload.dataset
    if dataset.classes is not None and classes and classes[0] != dataset.classes and simulation.counts_epochs:
        yield (
            f"the network keeps {classes[0]:,} outputs where {dataset.name} has {dataset.classes:,} classes; "
            f"--classes {dataset.classes} changes that where the family allows it"
        )


def puzzle_lines(simulation: Simulation) -> Iterator[str]:
    """In a line each, why numbers are not what a reader expects."""
    found = puzzles_of(simulation)
    if found.halved_attention:
        yield "causal attention computes half of its scores; MACs count the whole square, as other counters do"
    if found.short_backward:
        yield (
            "the backward pass is shorter than the forward pass: layers without weights before the first that has any "
            "have no gradient, and what only looks values up has little"
        )
    if found.idle_groups:
        yield f"{found.idle_groups} convolutions in groups compute far below the peak: narrow groups leave tiles idle"


def exchange_lines(simulation: Simulation) -> Iterator[str]:
    """What several devices exchange, and what of it hides behind nothing."""
    exchange, step = simulation.exchange, simulation.step
    if exchange is not None:
        size = si(exchange.message_bytes.sum(), "B")
        yield (
            f"exchange: {size} of gradients in {len(exchange.message_bytes)} buckets, {duration(exchange.busy_s)} on "
            f"the link; with waiting for the slowest device {duration(step.communication_s)} are exposed: "
            f"{step.kept_share:.0%} of the speed of {step.devices} devices that exchange nothing"
        )


def bound_line(simulation: Simulation) -> str:
    """What the time waits for."""
    step = simulation.step
    shares = ", ".join(f"{step.bound_shares[bound]:.0%} {bound.word}" for bound in binding(step))
    peak = f"{si(simulation.setting.matrix_flop_per_s, 'FLOP/s')} {simulation.setting.matrix_peak} peak"
    return f"bound by {step.bound.word} (of the time: {shares}); {utilisation_words(step.mfu, peak)}"


def memory_line(simulation: Simulation) -> str:
    """Footprint against capacity."""
    memory = simulation.memory
    parts = f"activations {binary_bytes(memory.activations_bytes)}"
    if memory.reserved_bytes:
        parts += f", the framework beside its tensors {binary_bytes(memory.reserved_bytes)}"
    left = f"largest batch {memory.largest_batch:,}, headroom {binary_bytes(memory.headroom_bytes)}"
    verdict = left if memory.fits else "does NOT fit; the time ignores that"
    edge = ", at the edge: drivers and releases differ by as much" if memory.at_the_edge else ""
    size, capacity = binary_bytes(memory.total_bytes), binary_bytes(memory.capacity_bytes)
    return f"memory {size} of {capacity} ({parts}); {verdict}{edge}"


def work_line(simulation: Simulation) -> str:
    """MAC against FLOP, forward against a step."""
    work = work_of(simulation)
    times = f", {work.passes:.2f} times the forward pass" if work.passes is not None else ""
    return (
        f"work: {si(work.macs, 'MAC')} forward a sample = {si(work.forward_flops, 'FLOP')} (a MAC is 2 FLOP); "
        f"a whole step is {si(work.step_flops, 'FLOP')} a sample{times}"
    )


def napkin_line(simulation: Simulation) -> str:
    """The founding articles' division, and what it leaves out."""
    found = division_of(simulation)
    if found is None:
        return "napkin: no layer has MACs, so the articles' division says nothing"
    return (
        f"napkin: {si(found.operations, 'MAC')} x {found.samples:,} x {found.epochs} / ({found.assumed_share:.0%} of "
        f"{si(found.peak_flop_per_s, 'FLOP/s')}) = {duration(found.time_s)}; it takes a MAC for one FLOP and "
        f"leaves out what is not forward: with both, {found.left_out:.2f} times that, {duration(found.complete_s)}"
    )


def basis_line(simulation: Simulation) -> str:
    """Fidelity, grade, traffic model."""
    options = simulation.options
    text = f"fidelity {options.fidelity} (weakest number used: {simulation.grade}), traffic {options.traffic}"
    if simulation.workload.unknown:
        text += f"; {len(simulation.workload.unknown)} layers have no cost rule and count nothing"
    return text


def slowest_rows(simulation: Simulation) -> list[Row]:
    """The layers that take longest."""
    return [
        {
            "layer": fact.layer.name,
            "op": fact.layer.op.kind,
            "output": shape_text(fact.layer.output),
            "time": duration(fact.time_s),
            "share": f"{fact.share:.1%}",
            "FLOP": si(fact.flops, ""),
            "traffic": si(fact.traffic_bytes, "B"),
            "FLOP/byte": fact.intensity,
            "bound": fact.bound_name,
        }
        for fact in slowest(simulation)
    ]

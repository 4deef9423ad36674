"""report.md: the answer first, then why, then what it rests on and what it leaves out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from simulator.pipeline import Simulation
from simulator.report.asked import asked_line, no_interval, utilisation_words
from simulator.report.bill import bill_lines, course_lines, input_lines
from simulator.report.comparison import Other, comparison_rows, failure_lines, total_s, waiting_lines
from simulator.report.facts import SLOWEST, slowest
from simulator.report.roofs import roofs_of
from simulator.report.scorecard import exchange_lines
from simulator.report.style import BOUNDS, EXPOSED, binding, machine, percent, setting, version
from simulator.report.tables import cell, listed, markdown_table, rows_table
from simulator.roofline.rates import Fidelity
from simulator.roofline.traffic import TrafficModel
from simulator.units import FLOPS_PER_MAC, binary_bytes, duration, duration_range, si

_FIDELITY = {
    Fidelity.NAPKIN: "forward multiply-accumulates, each taken for one operation, at a fraction of the peak; no "
    "backward pass, no memory traffic",
    Fidelity.ROOFLINE: "each kernel at the datasheet's peak or bandwidth, whichever is slower; a bound, not a forecast",
    Fidelity.CALIBRATED: "each kernel at sustained rates with its launch cost, fitted to measurements",
}
_TRAFFIC = {
    TrafficModel.IDEAL: "each tensor moves once a kernel",
    TrafficModel.CACHED: "what blocking for the last-level cache must still move",
    TrafficModel.NAIVE: "every use of an operand comes from memory, as without any cache",
}


def report_page(simulation: Simulation, others: Sequence[Other]) -> str:
    """The whole of report.md."""
    parts = [
        f"# {cell(setting(simulation))}",
        _answer(simulation),
        *_asked(simulation),
        "## Why",
        _why(simulation),
        "![Roofline](roofline.png)",
        "## Where the time goes",
        _phases(simulation),
        f"The {SLOWEST} slowest layers (all of them: [layers.csv](layers.csv)):",
        _slowest(simulation),
        "![Time by layer](layers.png)",
        "## Memory",
        _memory(simulation),
        "![Memory over a step](memory_over_time.png)",
        *_run(simulation),
        "## Other devices" if others else "## The whole",
        *([_comparison(simulation, others)] if others else []),
        *(["![Rooflines on equal axes](rooflines.png)"] if any(not isinstance(o, tuple) for o in others) else []),
        "![Time beside other devices](epochs.png)" if others else "![What the time is made of](epochs.png)",
        "## What this rests on",
        _basis(simulation),
        markdown_table(["numbers used", "grade", "source"], _numbers(simulation), right=3),
        "## What it leaves out",
        listed(_left_out(simulation)),
        f"All numbers: [summary.json](summary.json), [layers.csv](layers.csv). Made by simulator {version()}.",
    ]
    return "\n\n".join(parts) + "\n"


def _answer(simulation: Simulation) -> str:
    run, step = simulation.run, simulation.step
    verb = "Training" if simulation.options.task == "train" else "Inference with"
    what = f"{verb} {cell(simulation.workload.name)}"
    where = f"on {cell(machine(simulation))}"
    rate = f"{duration(step.time_s)} a step of {step.batch:,}, {step.samples_per_s:,.1f} samples/s"
    epochs = "one epoch" if run.epochs == 1 else f"{run.epochs} epochs"
    sentence = (
        f"**{what} for {epochs} of {cell(simulation.workload.dataset.label)} {where} takes {duration(run.total_s)}**: "
        f"{duration(run.epoch_s)} an epoch, {rate}."
        if simulation.counts_epochs
        else f"**{what} {where}: {rate}.**"
    )
    return f"{sentence} {_how_sure(simulation)}".rstrip()


def _how_sure(simulation: Simulation) -> str:
    interval, time_s = simulation.interval, total_s(simulation)
    if interval is None:
        return f"{no_interval(simulation)}.".capitalize() if simulation.calibrated else ""
    likely = duration_range(time_s * interval.low, time_s * interval.high)
    sure = f"With {percent(interval.coverage)} probability the true time is {likely}"
    if not interval.validated:
        sure = f"Nothing like it was measured: perhaps {likely}"
    return f"{sure}; {'; '.join(map(cell, interval.reasons))}." if interval.reasons else f"{sure}."


def _asked(simulation: Simulation) -> Iterator[str]:
    """The options that are not the defaults, and the command line."""
    line = asked_line(simulation)
    if line:
        yield f"Asked: {cell(line)}."
    if simulation.command:
        yield f"    {' '.join(simulation.command.split())}"


def _why(simulation: Simulation) -> str:
    """What binds, and where the step lies against the ridge."""
    if simulation.setting.fidelity is Fidelity.NAPKIN:
        return (
            "The napkin estimate divides work by a fraction of the peak; it cannot say what binds. The step does "
            f"{simulation.left_out:.2f} times the operations it counts (a MAC is {FLOPS_PER_MAC} FLOP, and there is "
            "more than the forward pass)."
        )
    step, roofs = simulation.step, roofs_of(simulation)
    shares = ", ".join(f"{percent(step.bound_shares[b])} for {BOUNDS[b][0]}" for b in binding(step))
    ridge, peak = roofs.ridges[0]
    intensity = step.intensity_flop_per_byte
    side = "above" if roofs.is_above_ridge(intensity) else "below"
    forward, moved = si(simulation.workload.macs, "MAC"), si(step.traffic_bytes, "B")
    work = f"{si(step.flops, 'FLOP')} ({forward} forward a sample; a MAC is {FLOPS_PER_MAC} FLOP)"
    return (
        f"The step is bound by **{BOUNDS[step.bound][0]}**: its kernels wait {shares}. It does {work} "
        f"and moves {moved}: {intensity:.3g} FLOP/byte, {side} the ridge of {ridge:.3g} FLOP/byte "
        f"where {si(roofs.memory.datasheet, 'B/s')} feed {si(peak, 'FLOP/s')}. It reaches "
        f"{si(step.flop_per_s, 'FLOP/s')}; {utilisation_words(step.mfu, 'peak of products of matrices')}."
    )


def _phases(simulation: Simulation) -> str:
    step = simulation.step
    rows = [("forward", step.forward_s), ("backward", step.backward_s), ("update", step.update_s)]
    rows += [(words, step.seconds[bound]) for bound, words in EXPOSED.items()]
    table = [(name, duration(seconds), percent(seconds / step.time_s)) for name, seconds in rows if seconds]
    return markdown_table(["phase", "time", "share"], [*table, ("step", duration(step.time_s), "100 %")])


def _slowest(simulation: Simulation) -> str:
    rows = []
    for fact in slowest(simulation):
        work = (si(fact.flops, "FLOP"), si(fact.traffic_bytes, "B"), fact.intensity)
        time = (duration(fact.time_s), percent(fact.share))
        rows.append((fact.layer.name, fact.layer.op.kind, BOUNDS[fact.bound][0], *work, *time))
    return markdown_table(["layer", "op", "bound by", "work", "traffic", "FLOP/byte", "time", "share"], rows, right=3)


def _memory(simulation: Simulation) -> str:
    memory = simulation.memory
    rows = [
        ("parameters", memory.parameters_bytes),
        ("gradients", memory.gradients_bytes),
        ("optimizer", memory.optimizer_bytes),
        ("activations", memory.activations_bytes),
        ("the framework beside them", memory.reserved_bytes),
    ]
    table = [(name, binary_bytes(size), percent(size / memory.total_bytes)) for name, size in rows if size]
    verdict = (
        f"It fits the device's {binary_bytes(memory.capacity_bytes)}; the largest batch that does is "
        f"{memory.largest_batch:,}, and {binary_bytes(memory.headroom_bytes)} are left."
        if memory.fits
        else f"**It does not fit the device's {binary_bytes(memory.capacity_bytes)}**; the times ignore that."
    )
    whole = ("step", binary_bytes(memory.total_bytes), "100 %")
    return f"{markdown_table(['held at once', 'size', 'share'], [*table, whole])}\n\n{verdict}"


def _run(simulation: Simulation) -> Iterator[str]:
    """What devices exchange, how samples come, and what the run takes and costs, where that is asked for."""
    lines = [
        *exchange_lines(simulation),
        *input_lines(simulation.input),
        *course_lines(simulation.course),
        *bill_lines(simulation.bill),
    ]
    if lines:
        yield "## The run"
        yield listed(lines)
    if simulation.bill is not None:
        yield "![Where time and money go](money.png)"


def _comparison(simulation: Simulation, others: Sequence[Other]) -> str:
    rows = comparison_rows(simulation, others)
    table = rows_table(rows)
    notes = [*waiting_lines(simulation, others), *failure_lines(others)]
    return "\n\n".join([table, *([listed(notes)] if notes else [])])


def _basis(simulation: Simulation) -> str:
    options, workload = simulation.options, simulation.workload
    lines = [
        f"- fidelity **{options.fidelity}**: {_FIDELITY[Fidelity(options.fidelity)]}",
        f"- traffic model **{options.traffic}**: {_TRAFFIC[TrafficModel(options.traffic)]}",
        f"- grade **{simulation.grade}**: the weakest of the numbers that the time rests on",
        f"- coverage **{percent(workload.coverage)}** of the layers have a cost rule",
    ]
    if workload.unknown:
        lines[-1] += f"; without one, and counted as nothing: {', '.join(map(cell, workload.unknown))}"
    if options.count != "exact":
        lines.append("- MACs are counted as the founding articles count them")
    return "\n".join(lines)


def _numbers(simulation: Simulation) -> Iterator[tuple[str, str, str]]:
    """(numbers, grade, source) of all that was used, those of one source together."""
    by_source: dict[tuple[str, str], list[str]] = {}
    for number in simulation.used:
        key = (number.provenance.grade, number.provenance.source)
        by_source.setdefault(key, []).append(f"{number.path} = {number.value}")
    for (grade, source), numbers in by_source.items():
        yield "; ".join(numbers), grade, source


def _left_out(simulation: Simulation) -> Iterator[str]:
    if simulation.input is None:
        yield "the input pipeline: reading, decoding and moving samples to the device"
    if simulation.course is None:
        yield "validation, start-up and anything between steps"
    if simulation.bill is None or simulation.bill.interrupted is None:
        yield "checkpoints and failures"
    if simulation.setting.fidelity is Fidelity.ROOFLINE:
        yield "the time to launch kernels, and what keeps them from the peaks"
    if not simulation.workload.dataset.sample_bytes:
        yield "the size of the dataset's samples, which is not known"

"""The answer for a plan, on a terminal and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from simulator.parallel.bound import PlanBound
from simulator.parallel.plan import as_row
from simulator.planned import Planned
from simulator.report.bill import bill_lines, course_lines, input_lines
from simulator.report.listing import Row, print_table
from simulator.report.style import PLAN_BOUNDS
from simulator.report.summary import known
from simulator.units import binary_bytes, duration, duration_range


def print_plan(answer: Planned, folder: Path | None) -> None:
    """The answer first, then where the time and the memory go."""
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    console = Console(highlight=False, markup=False)
    console.print(Text(headline(answer), style="bold"))
    for line in lines(answer):
        console.print(Padding(Text(line), (0, 0, 0, 2), expand=False))
    console.print()
    print_table("where the time goes, on the average over the stages", part_rows(answer))
    print_table("stages", stage_rows(answer), ("update", "optimizer", "gradients"))
    console.print(Text("fidelity calibrated; docs/scaling.md has the errors of plans"))
    if folder is not None:
        console.print(Text(f"report: {folder}"), soft_wrap=True)


def headline(answer: Planned) -> str:
    """Workload, devices, plan, time."""
    where = f"{answer.cluster.label.replace(' ', f' x {answer.device.label} ', 1)}"
    how = f"{answer.plan.label}, a global batch of {answer.global_batch:,} in {answer.options.precision}"
    return f"{answer.workload.name} on {where}: {how}: {duration(answer.step.time_s)} a step"


def lines(answer: Planned) -> Iterator[str]:
    """Throughput, schedule, use of the peak, memory."""
    step, plan = answer.step, answer.plan
    rate = f"{answer.samples_per_s:,.2f} samples/s"
    if answer.tokens > 1:
        rate += (
            f", {answer.samples_per_s * answer.tokens:,.0f} tokens/s, {answer.tokens_per_s_per_device:,.0f} a device"
        )
    yield rate
    yield certainty(answer)
    yield from input_lines(answer.input, "replica")
    yield from run_lines(answer)
    share = "sequence parallel, " if plan.sequence else ""
    share += "exchange in pieces beside products, " if plan.pipelined else ""
    yield (
        f"{step.microbatches} micro-batches of {answer.microbatch}, schedule {plan.schedule_label}, {share}"
        f"ZeRO stage {plan.zero}, recomputation {plan.recompute}, gradients {'beside' if plan.overlap else 'after'} "
        "the backward pass"
    )
    yield f"{answer.mfu:.1%} of the peak used (MFU); most of the step is {PLAN_BOUNDS[answer.step.bound][0]}"
    memory = answer.memory
    which = f" on stage {answer.fullest + 1}, the fullest" if plan.pipeline > 1 else ""
    yield (
        f"memory {binary_bytes(memory.total_bytes)} of {binary_bytes(memory.capacity_bytes)}{which} (activations "
        f"{binary_bytes(memory.activations_bytes)}){'' if memory.fits else ': it does not fit'}"
    )


def run_lines(answer: Planned) -> Iterator[str]:
    """Epochs, where they were asked for, and what the run costs."""
    run = answer.run
    if run is not None and (answer.options.epochs is not None or answer.bill is not None):
        epochs = "1 epoch" if run.epochs == 1 else f"{run.epochs} epochs"
        steps = run.epochs * run.steps_per_epoch
        yield f"{epochs} of {answer.workload.dataset.label}: {steps:,} steps, {duration(run.total_s)}"
    yield from course_lines(answer.course)
    yield from bill_lines(answer.bill)


def certainty(answer: Planned) -> str:
    """How sure the step's time is, and why no surer."""
    interval, time_s = answer.interval, answer.step.time_s
    likely = duration_range(time_s * interval.low, time_s * interval.high)
    sure = f"with {interval.coverage:.0%} probability {likely}" if interval.validated else f"unvalidated: {likely}"
    return f"{sure} ({'; '.join(interval.reasons)})" if interval.reasons else sure


def part_rows(answer: Planned) -> list[Row]:
    """Parts of the step that take time, the largest first."""
    parts = sorted(zip(PlanBound, answer.step.seconds, strict=True), key=lambda part: -part[1])
    total = answer.step.time_s
    return [
        {"part": PLAN_BOUNDS[bound][0], "time": duration(seconds), "share": f"{seconds / total:.1%}"}
        for bound, seconds in parts
        if seconds > 0
    ]


def stage_rows(answer: Planned) -> list[Row]:
    """A row a stage: its layers, its time for one micro-batch, its memory."""
    layers = answer.share.workload.layers
    rows = []
    for stage, memory in enumerate(answer.stages):
        here = answer.step.of_stage(stage)
        rows.append(
            {
                "stage": stage + 1,
                "from": layers[here[0].layers[0]].name,
                "to": layers[here[0].layers[-1]].name + (f" (+{len(here) - 1})" if len(here) > 1 else ""),
                "forward": duration(sum(piece.forward_s + piece.sent_s for piece in here)),
                "backward": duration(sum(p.again_s + p.backward_s + p.weights_s + p.returned_s for p in here)),
                "update": duration(sum(piece.update_s for piece in here)),
                "weights": binary_bytes(memory.parameters_bytes),
                "gradients": binary_bytes(memory.gradients_bytes),
                "optimizer": binary_bytes(memory.optimizer_bytes),
                "activations": binary_bytes(memory.activations_bytes),
                "memory": binary_bytes(memory.total_bytes),
            }
        )
    return rows


def plan_summary(answer: Planned) -> dict[str, Any]:
    """Stable keys, SI units; docs/json.md describes them."""
    step = answer.step
    return {
        "workload": {"name": answer.workload.name, "parameters": answer.workload.parameters},
        "device": {"name": answer.device.name, "devices": answer.plan.devices, "cluster": answer.cluster.label},
        "plan": as_row(answer.plan) | {"label": answer.plan.label},
        "options": {
            "precision": answer.options.precision,
            "optimizer": answer.options.optimizer,
            "framework": answer.options.framework,
            "global_batch": answer.global_batch,
            "microbatch": answer.microbatch,
            "microbatches": step.microbatches,
        },
        "step": {
            "time_s": step.time_s,
            "low_s": step.time_s * answer.interval.low,
            "high_s": step.time_s * answer.interval.high,
            "parts_s": {bound.word: step.seconds[bound] for bound in PlanBound},
            "samples_per_s": answer.samples_per_s,
            "tokens_per_s_per_device": answer.tokens_per_s_per_device if answer.tokens > 1 else None,
            "mfu": answer.mfu,
            "model_flops": answer.model_flops,
            "binds": step.bound.word,
            "hop_s": step.hop_s,
        },
        "run": known(answer.run),
        "bill": known(answer.bill),
        "course": known(answer.course),
        "input": known(answer.input),
        "memory": {"fits": answer.fits, "fullest_stage": answer.fullest + 1, "total_bytes": answer.memory.total_bytes},
        "stages": [_stage(answer, stage) for stage in range(answer.plan.pipeline)],
    }


def _stage(answer: Planned, stage: int) -> dict[str, Any]:
    layers, memory = answer.share.workload.layers, answer.stages[stage]
    pieces = [
        {key: value for key, value in asdict(piece).items() if key != "layers"}
        | {"first_layer": layers[piece.layers[0]].name, "last_layer": layers[piece.layers[-1]].name}
        for piece in answer.step.of_stage(stage)
    ]
    return {
        "pieces": pieces,
        "memory": {
            "parameters_bytes": memory.parameters_bytes,
            "gradients_bytes": memory.gradients_bytes,
            "optimizer_bytes": memory.optimizer_bytes,
            "activations_bytes": memory.activations_bytes,
            "reserved_bytes": memory.reserved_bytes,
            "total_bytes": memory.total_bytes,
            "capacity_bytes": memory.capacity_bytes,
        },
    }

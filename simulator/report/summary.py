"""The answer as JSON: stable keys, SI units. `docs/json.md` describes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import msgspec

from simulator.pipeline import Simulation
from simulator.planning.hints import busy_batch
from simulator.report.asked import asked
from simulator.report.facts import PASSES, LayerFact, layer_facts
from simulator.roofline.times import OF_KERNELS, ROOFS, Bound
from simulator.workload.dataset import NO_DATASET
from simulator.workload.workload import Workload

if TYPE_CHECKING:
    from simulator.execution.bill import Bill
    from simulator.execution.course import Course
    from simulator.execution.input import Input
    from simulator.execution.run import Run
    from simulator.report.comparison import Other
    from simulator.workload.table import LayerRow

CHANGES = ("dataset", "samples", "image_size", "sequence", "input", "classes", "attention")
"""Options that change a workload; null where they were not asked."""


def summary(simulation: Simulation, others: Sequence[Other] = ()) -> dict[str, Any]:
    """Everything a program may want to know of a simulation; `others` are the devices it is compared with."""
    return {
        "workload": workload_summary(simulation.workload) | {"flops_step": round(simulation.step.flops)},
        "device": _device(simulation),
        "options": _options(simulation),
        "step": _step(simulation),
        "run": _run(simulation),
        "memory": _memory(simulation),
        "exchange": _exchange(simulation),
        "interval": _interval(simulation),
        "bill": known(simulation.bill),
        "course": known(simulation.course),
        "input": known(simulation.input),
        "busy_batch": busy_batch(simulation),
        "layers": _layers(simulation),
        "coverage": simulation.workload.coverage,
        "unknown": list(simulation.workload.unknown),
        "others": [_other(other) for other in others],
    }


def summary_text(simulation: Simulation, others: Sequence[Other] = ()) -> str:
    """The same as the text of a file."""
    return json_text(summary(simulation, others)) + "\n"


def known(part: Bill | Course | Input | Run | None) -> dict[str, Any] | None:
    """A part of an answer with what follows from its fields; null where it was not asked for."""
    return None if part is None else asdict(part) | {name: getattr(part, name) for name in getattr(part, "DERIVED", ())}


def json_text(content: Any) -> str:
    """JSON with two spaces a level; NaN and infinities cannot occur in it."""
    return msgspec.json.format(msgspec.json.encode(content), indent=2).decode()


def workload_summary(workload: Workload) -> dict[str, Any]:
    """What is known of a workload without a device."""
    dataset = workload.dataset
    return {
        "name": workload.name,
        "parameters": workload.parameters,
        "macs_forward_per_sample": workload.macs,
        "dataset": None if dataset == NO_DATASET else {"name": dataset.name, "samples": dataset.samples},
    }


def layers_summary(workload: Workload, rows: Sequence[LayerRow], batch: int, flops_step: float) -> dict[str, Any]:
    """The table of layers without a device; counts are of one sample, `flops_step` of a training step at the batch."""
    return {
        "workload": workload_summary(workload) | {"flops_step": round(flops_step), "batch": batch},
        "layers": [_layer_row(row) for row in rows],
        "coverage": workload.coverage,
        "unknown": list(workload.unknown),
    }


def _layer_row(row: LayerRow) -> dict[str, Any]:
    return {
        "name": row.name,
        "op": row.op,
        "input_shapes": [list(shape) for shape in row.input_shapes],
        "output_shape": list(row.output_shape),
        "parameters": row.parameters,
        "weights": row.weights,
        "macs": row.macs,
        "flops": row.flops,
        "backward_flops": row.backward_flops,
        "activations": row.activations,
        "receptive_field": list(row.receptive_field) if row.receptive_field else None,
        "stride": list(row.stride) if row.stride else None,
        "macs_per_parameter": row.macs_per_parameter,
        "macs_per_weight": row.macs_per_weight,
    }


def _options(simulation: Simulation) -> dict[str, Any]:
    options, device = simulation.options, simulation.device
    return {
        "batch": simulation.batch,
        "precision": options.precision,
        "task": options.task,
        "epochs": simulation.run.epochs,
        "optimizer": options.optimizer if options.task == "train" else None,
        "fidelity": options.fidelity,
        "traffic": options.traffic,
        "count": options.count,
        "framework": options.framework,
        "host": options.host or None,
        "memory": device.swapped_memory,
        "set": list(device.overrides),
        "ignore_memory": options.ignore_memory,
        **{name: simulation.workload.changes.get(name.replace("_", "-")) for name in CHANGES},
        "asked": asked(simulation),
        "command": simulation.command or None,
    }


def _exchange(simulation: Simulation) -> dict[str, Any] | None:
    """What several devices exchange; None on one."""
    cluster, exchange = simulation.cluster, simulation.exchange
    if cluster is None:
        return None
    return {
        "devices": cluster.devices,
        "nodes": cluster.nodes,
        "link": cluster.link.name,
        "network": cluster.network.name if cluster.network else None,
        "message_bytes": exchange.message_bytes.tolist() if exchange else [],
        "busy_s": exchange.busy_s if exchange else 0.0,
        "exposed_s": exchange.exposed_s if exchange else 0.0,
    }


def _device(simulation: Simulation) -> dict[str, Any]:
    device = simulation.device
    return {"name": device.name, "label": device.label, "grade": simulation.grade}


def _step(simulation: Simulation) -> dict[str, Any]:
    step = simulation.step
    return {
        "batch": step.batch,
        "time_s": step.time_s,
        "forward_s": step.forward_s,
        "backward_s": step.backward_s,
        "update_s": step.update_s,
        **{f"{bound.word}_s": step.seconds[bound] for bound in Bound if bound not in OF_KERNELS},
        "samples_per_s": step.samples_per_s,
        "bound": step.bound.word,
        "mfu": step.mfu,
    }


def _run(simulation: Simulation) -> dict[str, Any]:
    run = simulation.run
    return {
        "steps_per_epoch": run.steps_per_epoch,
        "epoch_s": run.epoch_s,
        "epochs": run.epochs,
        "total_s": run.total_s,
    }


def _memory(simulation: Simulation) -> dict[str, Any]:
    memory = simulation.memory
    return {
        "total_bytes": round(memory.total_bytes),
        "parameters_bytes": round(memory.parameters_bytes),
        "gradients_bytes": round(memory.gradients_bytes),
        "optimizer_bytes": round(memory.optimizer_bytes),
        "activations_bytes": round(memory.activations_bytes),
        "reserved_bytes": round(memory.reserved_bytes),
        "headroom_bytes": round(memory.headroom_bytes),
        "capacity_bytes": round(memory.capacity_bytes),
        "largest_batch": memory.largest_batch,
        "fits": memory.fits,
        "at_the_edge": memory.at_the_edge,
    }


def _interval(simulation: Simulation) -> dict[str, Any] | None:
    interval, time_s = simulation.interval, simulation.step.time_s
    if interval is None:
        return None
    return {
        "low_s": time_s * interval.low,
        "high_s": time_s * interval.high,
        "coverage": interval.coverage,
        "validated": interval.validated,
        "reasons": list(interval.reasons),
    }


def _layers(simulation: Simulation) -> list[dict[str, Any]]:
    return [
        {
            "name": fact.layer.name,
            "op": fact.layer.op.kind,
            "output_shape": list(fact.layer.output),
            "parameters": fact.layer.parameters,
            "macs": fact.macs,
            "flops": round(fact.flops),
            "traffic_bytes": round(fact.traffic_bytes),
            "intensity_flop_per_byte": fact.intensity_flop_per_byte,
            **{f"{bound.word}_s": fact.seconds[bound] for bound in ROOFS},
            "time_s": fact.time_s,
            "bound": fact.bound_name or None,
            "passes": _passes(fact),
        }
        for fact in layer_facts(simulation)
    ]


def _passes(fact: LayerFact) -> dict[str, dict[str, Any]]:
    """Time and bound of the forward pass, the backward pass and the update; those that take time."""
    return {
        name: {"time_s": one.time_s, "bound": one.bound_name}
        for name, one in zip(PASSES, fact.passes, strict=True)
        if one.time_s
    }


def _other(other: Other) -> dict[str, Any]:
    if isinstance(other, tuple):
        return {"device": {"name": other[0]}, "reason": str(other[1])}
    return {
        "device": _device(other),
        "step": _step(other),
        "run": _run(other),
        "memory": _memory(other),
        "interval": _interval(other),
        "busy_batch": busy_batch(other),
        "layers": _layers(other),
    }

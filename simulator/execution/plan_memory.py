"""Memory of each stage of a plan, by component, at the fullest moment of its schedule."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np

from simulator.execution.memory import Footprint, fullest, most_held
from simulator.execution.plan_states import Holding, StageContent, stage_states
from simulator.execution.saved import CUT_LOSS_TENSORS, LOSS_TENSORS, passing_by_layer, saved_by_layer
from simulator.op.kernels import FloatArray
from simulator.parallel.plan import FULLY, Plan
from simulator.parallel.recomputing import REPEATING, kept_by_layer, repeated
from simulator.parallel.schedule import held_by_stage
from simulator.parallel.stages import blocks, crossing_elements
from simulator.parallel.zero import weights_of
from simulator.precision import Role
from simulator.workload.workload import Workload


def stage_contents(workload: Workload, split: Sequence[range], plan: Plan, microbatches: int) -> Iterator[StageContent]:
    """What lies on each stage, as many micro-batches' activations as the schedule keeps.

    workload : one rank's share.
    split : positions of each piece's layers.
    """
    held = held_by_stage(plan, microbatches)
    for number in range(plan.pipeline):
        counts = tuple(held[number].get(place, 0) for place in range(number, plan.chunks, plan.pipeline))
        yield StageContent(workload, plan, tuple(split[number :: plan.pipeline]), counts, microbatches, number)


def stage_footprint(stage: StageContent, microbatch: int, holding: Holding) -> Footprint:
    """A stage's footprint. [byte]

    Activations are those of as many micro-batches as the schedule keeps, whole, without attention's scores, or of
    blocks' inputs alone; and what one block needs while its backward pass runs.

    microbatch : its samples.
    """
    states, (held, made) = stage_states(stage, holding), stage_moments(stage, holding)
    moments = fullest(held, made)
    per_sample, gradients = most_held(moments, microbatch * (1 + holding.reserve.fragmentation))
    return Footprint(
        parameters_bytes=states.parameters,
        gradients_bytes=gradients,
        optimizer_bytes=states.optimizer,
        activations_bytes=per_sample * microbatch,
        activations_per_sample_bytes=per_sample,
        capacity_bytes=holding.capacity_bytes,
        reserve=holding.reserve,
        moments=moments,
    )


def stage_moments(stage: StageContent, holding: Holding) -> tuple[list[float], list[float]]:
    """Activations of a sample, and gradients of weights, while each layer runs backward, and after. [byte]"""
    whole = stage_states(stage, holding).gradients
    return [*layer_activations(stage, holding).tolist(), 0.0], [*layer_gradients(stage, whole, holding).tolist(), whole]


def stage_bytes(stage: StageContent, microbatch: int, holding: Holding) -> float:
    """The total of a stage's footprint alone. [byte]"""
    states, reserve = stage_states(stage, holding), holding.reserve
    samples = microbatch * (1 + reserve.fragmentation)
    during = layer_activations(stage, holding) * samples + layer_gradients(stage, states.gradients, holding)
    fullest_bytes = max(float(during.max()), states.gradients)
    return states.parameters + states.optimizer + fullest_bytes + reserve.context_bytes + reserve.workspace_bytes


def least_bytes(workload: Workload, plan: Plan, holding: Holding) -> float:
    """What the fullest stage holds at least, however the network is cut and whatever is computed again. [byte]

    Between the last backward pass and the update stages hold weights, gradients and moments, the fullest one no less
    than they do on the average.

    workload : one rank's share.
    """
    whole = StageContent(workload, plan, (range(len(workload.layers)),), (0,), 1, -1)
    return (
        sum(stage_states(whole, holding)) / plan.pipeline
        + holding.reserve.context_bytes
        + holding.reserve.workspace_bytes
    )


def layer_activations(stage: StageContent, holding: Holding) -> FloatArray:
    """Activations of one sample while each of a stage's layers runs backward, and of other micro-batches. [byte]"""
    kept, again, passing = _during(stage.workload, stage.plan.recompute, holding, cut=stage.plan.tensor > 1)
    spans, waiting = _spans(stage), waiting_bytes(stage, holding)
    found = []
    for count, span in zip(stage.counts, spans, strict=True):
        own = np.cumsum(kept[span]) - kept[span].sum() * min(count, 1)
        found.append(waiting + own + again[span] + passing[span])
    return np.concatenate(found)


def waiting_bytes(stage: StageContent, holding: Holding) -> float:
    """What a stage keeps of the micro-batches that wait for their backward pass, of one sample. [byte]"""
    kept = layer_kept(stage, holding)
    waiting = sum(count * float(kept[span].sum()) for count, span in zip(stage.counts, _spans(stage), strict=True))
    return waiting + (holding.precision.widths[Role.ACTIVATION] * _sent(stage) if holding.keeps("sent") else 0.0)


def layer_kept(stage: StageContent, holding: Holding) -> FloatArray:
    """What the forward pass of each layer keeps of a sample, of all layers, shape (layers,). [byte]"""
    return _during(stage.workload, stage.plan.recompute, holding, cut=stage.plan.tensor > 1)[0]


def _spans(stage: StageContent) -> list[slice]:
    return [slice(layers.start, layers.stop) for layers in stage.here]


def _sent(stage: StageContent) -> float:
    """Results of micro-batches that a stage has sent and keeps until their gradients come, of one sample. [elements]

    Source: torch.distributed.pipelining, `stage.py`: `fwd_cache`.
    """
    crossing, last = crossing_elements(stage.workload), len(stage.workload.layers)
    ends = [(count, layers.stop) for count, layers in zip(stage.counts, stage.here, strict=True)]
    return float(sum(count * crossing[stop - 1][0] for count, stop in ends if stop < last))


def layer_gradients(stage: StageContent, whole: float, holding: Holding) -> FloatArray:
    """Gradients of a stage's weights while each of its layers runs backward. [byte]

    They are all there after the first micro-batch, and before it where a framework has them in one buffer, beside which
    a layer's is made unless its product adds it up; those of one micro-batch are made as the backward pass goes.
    """
    trained = [trained_by_layer(stage.workload)[layers.start : layers.stop] for layers in stage.here]
    counts = np.concatenate(trained)
    if stage.microbatches > 1 or holding.keeps("gradients"):
        narrow = 0.0 if holding.accumulation == "fused" else holding.precision.widths[Role.WEIGHT_GRADIENT]
        every: FloatArray = whole + narrow * counts
        return every
    made = np.cumsum(counts[::-1])[::-1]
    total = float(made[0])
    share = whole / total if total else 0.0
    alive: FloatArray = made * share + _unshared(stage, holding)
    return alive


@lru_cache(maxsize=64)
def trained_by_layer(workload: Workload) -> FloatArray:
    """Weights of each layer that have a gradient, shape (layers,). [parameters]"""
    weights = weights_of(workload)
    result: FloatArray = (weights.dense + weights.experts) * weights.trained
    return result


def _unshared(stage: StageContent, holding: Holding) -> FloatArray:
    """Whole gradients of FSDP's blocks: of the one at work, and in full width of the one that is scattered. [byte]

    Source: PyTorch, `fully_shard`, `_fsdp_collectives.py`: `foreach_reduce` copies a block's gradients into one buffer
    of `reduce_dtype`, which lives until the next block's.
    """
    places = np.concatenate(stage.here)
    if stage.plan.shared < FULLY or stage.plan.data * stage.plan.context == 1:
        return np.zeros(len(places))
    trained, found = trained_by_layer(stage.workload), np.zeros(len(stage.workload.layers))
    narrow, before = holding.precision.widths[Role.WEIGHT_GRADIENT], 0.0
    for block in reversed(blocks(stage.workload)):
        here = slice(block.start, block.stop)
        found[here] = narrow * np.cumsum(trained[here][::-1])[::-1] + holding.gradient_bytes * before
        before = float(trained[here].sum())
    result: FloatArray = found[places]
    return result


@lru_cache(maxsize=256)
def _during(
    workload: Workload, recompute: str, holding: Holding, *, cut: bool
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Of one sample, shape (layers,): what waits for the backward pass, what is there again, gradients alive. [byte]

    cut : whether tensor-parallel ranks share the vocabulary.
    """
    precision, gathers = holding.precision, holding.keeps("gathered")
    saved = np.array(saved_by_layer(workload, precision, fused=holding.fused, gathers=gathers))
    found = kept_by_layer(workload, recompute, precision, tuple(saved.tolist()))
    kept, twice = np.array(found[0]), np.array(found[1])
    beside = CUT_LOSS_TENSORS if cut else LOSS_TENSORS
    tensors = 0 if holding.reserve.loss_in_place else beside
    passing = passing_by_layer(workload, precision.widths[Role.GRADIENT], tensors)
    again = np.zeros(len(kept))
    if recompute in REPEATING:
        stop = repeated(workload).stop
        for block in blocks(workload):
            here = slice(block.start, min(block.stop, stop))
            again[here] = np.cumsum(saved[here]) - np.cumsum(twice[here])
    return kept, again, passing

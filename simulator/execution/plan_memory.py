"""Memory of each stage of a plan, by component, at the fullest moment of its schedule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from simulator.device.framework import Reserve
from simulator.execution.memory import Footprint, fullest, most_held
from simulator.execution.saved import CUT_LOSS_TENSORS, LOSS_TENSORS, passing_by_layer, saved_by_layer
from simulator.op.kernels import FloatArray
from simulator.op.optimizer import Optimizer
from simulator.op.sequence import TiedLinear
from simulator.parallel.pieces import Piece, expert_replicas
from simulator.parallel.plan import FULLY, Plan
from simulator.parallel.recomputing import REPEATING, kept_by_layer, repeated
from simulator.parallel.schedule import held_by_stage
from simulator.parallel.stages import blocks, crossing_elements
from simulator.parallel.zero import AHEAD, weights_of
from simulator.precision import Precision, Role
from simulator.workload.lowering import optimizer_values
from simulator.workload.workload import Workload


@dataclass(frozen=True)
class Holding:
    """What a stage's memory depends on beside the network: number format, optimizer, device, framework.

    fused : whether the framework fuses element-wise operations.
    accumulation : how it adds up the gradients of micro-batches.
    """

    precision: Precision
    optimizer: Optimizer
    capacity_bytes: float
    reserve: Reserve
    fused: bool = False
    accumulation: str = "added"

    @property
    def master_bytes(self) -> float:
        """Of a master weight; none where the kernels' own are as wide."""
        return self.precision.widths[Role.STATE] if self.precision.master_weights else 0.0

    @property
    def gradient_bytes(self) -> float:
        """Of a weight's gradient, as it lies from its making to the update."""
        wide = self.precision.master_weights and self.accumulation != "narrow"
        return self.precision.widths[Role.STATE if wide else Role.WEIGHT_GRADIENT]

    def keeps(self, what: str) -> bool:
        """Whether the framework keeps "gradients", what ranks have "gathered", or what stages have "sent"."""
        return what in self.reserve.keeps


@dataclass(frozen=True, eq=False)
class StageContent:
    """What lies on one stage.

    here : its pieces.
    counts : micro-batches that the schedule keeps of each.
    microbatches : of a step.
    """

    workload: Workload
    plan: Plan
    here: tuple[Piece, ...]
    counts: tuple[int, ...]
    microbatches: int
    number: int


def stage_footprints(
    workload: Workload, pieces: Sequence[Piece], plan: Plan, samples: tuple[int, int], holding: Holding
) -> tuple[Footprint, ...]:
    """Each stage's footprint. [byte]

    Activations are those of as many micro-batches as the schedule keeps, whole, without attention's scores, or of
    blocks' inputs alone; and what one block needs while its backward pass runs.

    workload : one rank's share.
    samples : of a micro-batch, and micro-batches of a replica.
    """
    held = held_by_stage(plan, samples[1])
    found = []
    for number in range(plan.pipeline):
        counts = tuple(held[number].get(place, 0) for place in range(number, plan.chunks, plan.pipeline))
        stage = StageContent(workload, plan, tuple(pieces[number :: plan.pipeline]), counts, samples[1], number)
        found.append(_footprint(stage, samples[0], holding))
    return tuple(found)


def _footprint(stage: StageContent, microbatch: int, holding: Holding) -> Footprint:
    workload, plan = stage.workload, stage.plan
    widths = holding.precision.widths
    dense, experts = _weights(workload, stage.here, tied=plan.pipeline > 1 and stage.number == plan.pipeline - 1)
    states = _states_of_a_weight(workload, holding.optimizer) * widths[Role.STATE]
    whole = _shared(dense, experts, plan, 2) * holding.gradient_bytes
    if holding.accumulation == "narrow":  # the share that a rank updates is widened for it
        states += widths[Role.STATE]
    if holding.accumulation == "copied":
        whole += (dense + experts) * widths[Role.WEIGHT]
    moments = fullest((*_activations(stage, holding), 0.0), (*_gradients(stage, whole, holding), whole))
    per_sample, gradients = most_held(moments, microbatch * (1 + holding.reserve.fragmentation))
    shared = _shared(dense, experts, plan, 1)
    return Footprint(
        parameters_bytes=_narrow_bytes(stage, dense + experts, holding) + shared * holding.master_bytes,
        gradients_bytes=gradients,
        optimizer_bytes=shared * states,
        activations_bytes=per_sample * microbatch,
        activations_per_sample_bytes=per_sample,
        capacity_bytes=holding.capacity_bytes,
        reserve=holding.reserve,
        moments=moments,
    )


@lru_cache(maxsize=64)
def _states_of_a_weight(workload: Workload, optimizer: Optimizer) -> float:
    """Values that an optimizer keeps of a weight, on the average."""
    return optimizer_values(workload, optimizer) / max(workload.parameters, 1)


def _activations(stage: StageContent, holding: Holding) -> list[float]:
    """Activations of one sample while each of a stage's layers runs backward, and of other micro-batches. [byte]"""
    kept, again, passing = _during(stage.workload, stage.plan.recompute, holding, cut=stage.plan.tensor > 1)
    spans = [slice(piece.layers.start, piece.layers.stop) for piece in stage.here]
    waiting = sum(count * kept[span].sum() for count, span in zip(stage.counts, spans, strict=True))
    if holding.keeps("sent"):
        waiting += holding.precision.widths[Role.ACTIVATION] * _sent(stage)
    found: list[float] = []
    for count, span in zip(stage.counts, spans, strict=True):
        own = np.cumsum(kept[span]) - kept[span].sum() * min(count, 1)
        found += (waiting + own + again[span] + passing[span]).tolist()
    return found


def _sent(stage: StageContent) -> float:
    """Results of micro-batches that a stage has sent and keeps until their gradients come, of one sample. [elements]

    Source: torch.distributed.pipelining, `stage.py`: `fwd_cache`.
    """
    crossing, last = crossing_elements(stage.workload), len(stage.workload.layers)
    ends = [(count, piece.layers.stop) for count, piece in zip(stage.counts, stage.here, strict=True)]
    return float(sum(count * crossing[stop - 1][0] for count, stop in ends if stop < last))


def _gradients(stage: StageContent, whole: float, holding: Holding) -> list[float]:
    """Gradients of a stage's weights while each of its layers runs backward. [byte]

    They are all there after the first micro-batch, and before it where a framework has them in one buffer, beside which
    a layer's is made unless its product adds it up; those of one micro-batch are made as the backward pass goes.
    """
    trained = [_trained(stage.workload)[piece.layers.start : piece.layers.stop] for piece in stage.here]
    counts = np.concatenate(trained)
    if stage.microbatches > 1 or holding.keeps("gradients"):
        narrow = 0.0 if holding.accumulation == "fused" else holding.precision.widths[Role.WEIGHT_GRADIENT]
        return [whole + narrow * count for count in counts.tolist()]
    made = np.cumsum(counts[::-1])[::-1]
    total = float(made[0])
    share = whole / total if total else 0.0
    return [float(own + other) for own, other in zip(made * share, _unshared(stage, holding), strict=True)]


@lru_cache(maxsize=64)
def _trained(workload: Workload) -> FloatArray:
    weights = weights_of(workload)
    result: FloatArray = (weights.dense + weights.experts) * weights.trained
    return result


def _unshared(stage: StageContent, holding: Holding) -> FloatArray:
    """Whole gradients of FSDP's blocks: of the one at work, and in full width of the one that is scattered. [byte]

    Source: PyTorch, `fully_shard`, `_fsdp_collectives.py`: `foreach_reduce` copies a block's gradients into one buffer
    of `reduce_dtype`, which lives until the next block's.
    """
    spans = [np.arange(piece.layers.start, piece.layers.stop) for piece in stage.here]
    places = np.concatenate(spans)
    if stage.plan.shared < FULLY or stage.plan.data * stage.plan.context == 1:
        return np.zeros(len(places))
    trained, found = _trained(stage.workload), np.zeros(len(stage.workload.layers))
    narrow, before = holding.precision.widths[Role.WEIGHT_GRADIENT], 0.0
    for block in reversed(blocks(stage.workload)):
        here = slice(block.start, block.stop)
        found[here] = narrow * np.cumsum(trained[here][::-1])[::-1] + holding.gradient_bytes * before
        before = float(trained[here].sum())
    result: FloatArray = found[places]
    return result


def _weights(workload: Workload, here: Sequence[Piece], *, tied: bool) -> tuple[float, float]:
    """Trained values of a stage, those of experts apart; the last one has a copy of a tied embedding."""
    weights = weights_of(workload)
    spans = [slice(piece.layers.start, piece.layers.stop) for piece in here]
    copies = sum(_tied(workload)[span].sum() for span in spans) if tied else 0.0
    dense = sum(weights.dense[span].sum() for span in spans) + copies
    return float(dense), float(sum(weights.experts[span].sum() for span in spans))


@lru_cache(maxsize=64)
def _tied(workload: Workload) -> FloatArray:
    """Weights of products that read another layer's table, by layer."""
    layers = workload.layers
    return np.array([x.op.out * x.inputs[0][-1] if isinstance(x.op, TiedLinear) else 0 for x in layers], dtype=float)


def _shared(dense: float, experts: float, plan: Plan, stage: int) -> float:
    """What a rank keeps of weights that ZeRO shares out from a stage on."""
    if plan.shared < stage:
        return dense + experts
    return dense / (plan.data * plan.context) + experts / expert_replicas(plan)


def _narrow_bytes(stage: StageContent, weights: float, holding: Holding) -> float:
    """Weights as the kernels read them; of FSDP those that are gathered, beside wide ones or its own share of them.

    PyTorch gathers them before they are rounded to 8 bits, unless torchao's float8 all-gather is asked for.
    """
    plan, precision = stage.plan, holding.precision
    width = precision.widths[Role.WEIGHT]
    if plan.zero == FULLY and holding.keeps("gathered"):
        width = max(width, precision.widths[Role.ACTIVATION])
    if plan.shared < FULLY or plan.data * plan.context == 1:
        return weights * width
    own = 0.0 if precision.master_weights else weights / (plan.data * plan.context) * width
    return own + _gathered(stage.workload, stage.here, plan) * width


def _gathered(workload: Workload, here: Sequence[Piece], plan: Plan) -> float:
    """Weights of the blocks that FSDP has gathered at one time, beside a rank's own share. [parameters]"""
    if plan.shared < FULLY or plan.data * plan.context == 1:
        return 0.0
    sizes = sorted(
        sum(workload.layers[place].parameters for place in block)
        for block in blocks(workload)
        if any(block.start >= piece.layers.start and block.stop <= piece.layers.stop for piece in here)
    )
    return float(sum(sizes[-AHEAD:]))


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

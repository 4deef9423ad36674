"""Memory of each stage of a plan, by component, at the fullest moment of its schedule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from simulator.device.framework import Reserve
from simulator.execution.memory import Footprint, gradient_pair, saved_by_layer
from simulator.op.attention import Attention
from simulator.op.base import elements
from simulator.op.kernels import FloatArray
from simulator.op.optimizer import Optimizer
from simulator.op.sequence import TiedLinear
from simulator.parallel.pieces import Piece, expert_replicas
from simulator.parallel.plan import FULLY, Plan
from simulator.parallel.recomputing import kept_results, repeated
from simulator.parallel.schedule import held_by_stage
from simulator.parallel.stages import blocks, crossing_elements
from simulator.parallel.zero import AHEAD, weights_of
from simulator.precision import Precision, Role
from simulator.workload.lowering import optimizer_values
from simulator.workload.workload import Workload

REPEATING = ("full", "products")
"""Recomputations that go through a block again, which then keeps what it would have kept without."""


@dataclass(frozen=True)
class Holding:
    """What a stage's memory depends on beside the network: number format, optimizer, device, framework.

    fused : whether the framework fuses element-wise operations.
    copied : whether it keeps a micro-batch's gradients beside their sums.
    """

    precision: Precision
    optimizer: Optimizer
    capacity_bytes: float
    reserve: Reserve
    fused: bool = False
    copied: bool = False


def stage_footprints(
    workload: Workload, pieces: Sequence[Piece], plan: Plan, samples: tuple[int, int], holding: Holding
) -> tuple[Footprint, ...]:
    """Each stage's footprint. [byte]

    Activations are those of as many micro-batches as the schedule keeps, whole, without attention's scores, or of
    blocks' inputs alone; and what one block needs while its backward pass runs.

    workload : one rank's share.
    samples : of a micro-batch, and micro-batches of a replica.
    """
    kept = _kept_by_layer(workload, plan.recompute, holding.precision, fused=holding.fused)
    held = held_by_stage(plan, samples[1])
    return tuple(
        _footprint(workload, (pieces, plan, stage), (kept, held[stage], samples[0]), holding)
        for stage in range(plan.pipeline)
    )


def _footprint(
    workload: Workload,
    place: tuple[Sequence[Piece], Plan, int],
    samples: tuple[Sequence[float], Mapping[int, int], int],
    holding: Holding,
) -> Footprint:
    pieces, plan, stage = place
    here = pieces[stage :: plan.pipeline]
    kept, held, microbatch = samples
    widths = holding.precision.widths
    dense, experts = _weights(workload, here, tied=plan.pipeline > 1 and stage == plan.pipeline - 1)
    saved = sum(
        held.get(stage + place * plan.pipeline, 0) * sum(kept[piece.layers.start : piece.layers.stop])
        for place, piece in enumerate(here)
    )
    passing = max(_transient(workload, piece, plan, holding) for piece in here)
    master = widths[Role.STATE] if holding.precision.master_weights else 0
    gradient = widths[Role.STATE] if holding.precision.master_weights else widths[Role.WEIGHT_GRADIENT]
    kept_values = optimizer_values(workload, holding.optimizer) / max(workload.parameters, 1)
    optimizer = master + kept_values * widths[Role.STATE]
    copies = (dense + experts) * widths[Role.WEIGHT] if holding.copied else 0.0
    weights = _shared(dense, experts, plan, FULLY) * widths[Role.WEIGHT]
    weights += _gathered(workload, here, plan) * widths[Role.WEIGHT]
    master_bytes = _shared(dense, experts, plan, 1) * master
    return Footprint(
        parameters_bytes=weights + master_bytes,
        gradients_bytes=_shared(dense, experts, plan, 2) * gradient + copies,
        optimizer_bytes=_shared(dense, experts, plan, 1) * (optimizer - master),
        activations_bytes=(saved + passing) * microbatch,
        activations_per_sample_bytes=saved + passing,
        capacity_bytes=holding.capacity_bytes,
        reserve=holding.reserve,
    )


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
def _kept_by_layer(workload: Workload, recompute: str, precision: Precision, *, fused: bool) -> tuple[float, ...]:
    """What each layer's forward pass keeps for one sample under a recomputation. [byte]"""
    kept = list(saved_by_layer(workload, precision, fused=fused))
    if recompute == "selective":
        for place, layer in enumerate(workload.layers):
            if isinstance(layer.op, Attention):
                extra = sum(precision.widths[role] * n.per_sample for role, n in layer.op.saved(layer.site()))
                kept[place] -= extra
    if recompute in REPEATING:
        inside, crossing = repeated(workload), crossing_elements(workload)
        entering = {block.start: crossing[block.start - 1][0] for block in blocks(workload) if block.start}
        results = kept_results(workload) if recompute == "products" else ()
        for place in range(inside.start, inside.stop):
            result = elements(workload.layers[place].output) if place in results else 0
            kept[place] = precision.widths[Role.ACTIVATION] * (entering.get(place, 0) + result)
    return tuple(kept)


def _transient(workload: Workload, piece: Piece, plan: Plan, holding: Holding) -> float:
    """What the backward pass holds beside: the widest pair of gradients, and the block computed again. [byte]"""
    precision = holding.precision
    width = precision.widths[Role.GRADIENT]
    pair = max(
        _gradient_pairs(workload, width, in_place=holding.reserve.loss_in_place)[piece.layers.start : piece.layers.stop]
    )
    again = _largest_block(workload, precision, fused=holding.fused) if plan.recompute in REPEATING else 0.0
    return pair + again


@lru_cache(maxsize=64)
def _gradient_pairs(workload: Workload, width: float, *, in_place: bool) -> tuple[float, ...]:
    return tuple(gradient_pair(layer, width, in_place=in_place) for layer in workload.layers)


@lru_cache(maxsize=64)
def _largest_block(workload: Workload, precision: Precision, *, fused: bool) -> float:
    """What the block that keeps most keeps, of those that are computed again. [byte]"""
    saved, stop = saved_by_layer(workload, precision, fused=fused), repeated(workload).stop
    return max(sum(saved[block.start : min(block.stop, stop)]) for block in blocks(workload))
